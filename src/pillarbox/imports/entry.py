"""
What a reader says of another system's queue: one `SourceEntry` for everything it found there.

Values only; the readers make them, `plan` turns them into messages of ours.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from pillarbox.domain.envelope import Kind
from pillarbox.domain.message import Content, Format, State

_FORMATS: Final = {"html": Format.HTML, "markdown": Format.MARKDOWN, "markdownv2": Format.MARKDOWN}
HOUR_MS: Final = 3_600_000
MAX_AGE_MS: Final = 72 * HOUR_MS


class System(StrEnum):
    """Whose queue it is. The word is half of an imported message's key."""

    OPENCLAW_FILES = "openclaw-files"
    OPENCLAW_SQLITE = "openclaw-sqlite"
    OPENCLAW_OUTBOX = "openclaw-outbox"
    COMIS = "comis"


class Outcome(StrEnum):
    """What becomes of an entry."""

    IMPORTED = "imported"
    """Stored, and will be sent or decided."""
    TERMINAL = "terminal"
    """Stored for the record, never sent."""
    QUARANTINED = "quarantined"
    """Stays in its source, reported, not sent."""
    SKIPPED = "skipped"
    """Known not to be a message to send; nothing is stored."""
    LEFT = "left"
    """Not understood or not accepted; its source is untouched."""

    @property
    def stored(self) -> bool:
        """Whether a message of ours stands for it."""
        return self in (Outcome.IMPORTED, Outcome.TERMINAL)


class OnUncertain(StrEnum):
    """What to do with a send that was started and whose end is not known."""

    HOLD = "hold"
    RESEND = "resend"


class FailedFiles(StrEnum):
    """What to do with the files of OpenClaw's ``failed`` directory."""

    IMPORT = "import"
    """Stored as dead; the files stay."""
    ARCHIVE = "archive"
    """Stored as dead; the files move to ``imported/`` like the others."""
    LEAVE = "leave"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """
    What every entry is judged by.

    Attributes:
        now_ms: All rules are relative to it.
        max_age_ms: OpenClaw's pending entries that are this old, or older, are quarantined.
    """

    now_ms: int
    max_age_ms: int = MAX_AGE_MS
    on_uncertain: OnUncertain = OnUncertain.HOLD
    failed: FailedFiles = FailedFiles.IMPORT


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One entry of a source, and what is to become of it. Times are milliseconds since 1970.

    Attributes:
        source_id: The path below the source, or the row's key: what the ledger remembers.
        state: For what is stored: scheduled, held, dead or expired.
        attempts: Failed attempts, for what is stored.
        reason: A word for people.
        delivery_id: The id inside the entry. Two entries of one id are one delivery.
        content: All that is to be said, in one value.
        contents: One for each payload, in order; what differs from ``content`` where there are several.
        metadata: What the source said besides, as it said it.
        not_before_ms: The source itself wanted it sent no sooner; ``None`` where that time is past.
        next_attempt_ms: No attempt before; ``None``: it is due.
        max_attempts: The entry's own limit, where it had one.
        best_effort: Whether payloads behind a rejected one go out all the same; ``None`` where the source does not say.
    """

    source_id: str
    outcome: Outcome
    reason: str
    state: State | None = None
    attempts: int | None = None
    delivery_id: str | None = None
    channel: str = ""
    to: str = ""
    account: str = ""
    thread: str | None = None
    tenant: str = ""
    kind: Kind = Kind.FINAL
    content: Content | None = None
    contents: tuple[Content, ...] = ()
    metadata: dict[str, Any] = {}
    origin: str | None = None
    correlation_id: str | None = None
    enqueued_ms: int | None = None
    not_before_ms: int | None = None
    next_attempt_ms: int | None = None
    expires_ms: int | None = None
    max_attempts: int | None = None
    best_effort: bool | None = None
    last_error: str | None = None
    last_attempt_ms: int | None = None

    @property
    def alias(self) -> str | None:
        """
        What the ledger knows the delivery by besides its source id; ``None`` where the two are the same.

        No source id looks like it: one with a control character is not accepted.
        """
        if self.delivery_id is None or self.delivery_id == self.source_id:
            return None
        return f"id\x1f{self.delivery_id}"


def format_of(mode: object) -> Format:
    """Read a parse mode, as Telegram and those who follow it name them."""
    return _FORMATS.get(mode.lower(), Format.PLAIN) if isinstance(mode, str) else Format.PLAIN


def left(source_id: str, reason: str) -> SourceEntry:
    """Return an entry that stays where it is, because it was not understood."""
    return SourceEntry(source_id=source_id, outcome=Outcome.LEFT, reason=reason)


def skipped(source_id: str, reason: str) -> SourceEntry:
    """Return an entry that is no message to send."""
    return SourceEntry(source_id=source_id, outcome=Outcome.SKIPPED, reason=reason)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """
    One entry in the report. ``state`` and ``attempts`` are ``None`` where nothing is stored.

    ``id`` is its message's, where this import made one.
    """

    source_id: str
    outcome: Outcome
    state: State | None
    attempts: int | None
    reason: str
    id: str | None = None


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an import did, or on a dry run would do.

    Attributes:
        totals: A count for each result: ``imported/scheduled``, ``terminal/dead``, ``left``, …
        waiting: How many of the messages wait, scheduled or held, by channel of ours, in the order of its name.
        retired: Source files moved to ``imported/``.
        kept: Why source files whose messages are stored could not be put away; ``None`` where nothing stood against it.
    """

    system: System
    source: str
    entries: tuple[Line, ...]
    totals: dict[str, int]
    waiting: dict[str, int] = {}
    retired: int = 0
    kept: str | None = None
    dry_run: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing was left behind that a person should look at."""
        waits = any(line.outcome in (Outcome.LEFT, Outcome.QUARANTINED) for line in self.entries)
        return not waits and self.kept is None


def totals(lines: tuple[Line, ...]) -> dict[str, int]:
    """Count the results by name, in the order of their names."""
    names = [f"{line.outcome}/{line.state}" if line.state else str(line.outcome) for line in lines]
    return {name: names.count(name) for name in sorted(set(names))}
