"""
Moves a source's messages into the store: reads, commits, and only then puts the files away (contract IM2).

Every step may be the last one before a crash. The ledger, written with the messages, makes the next run go on where
this one stopped: what is in it is not stored again, and its file is put away.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from pillarbox.clock import Clock
from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.retry import Policy
from pillarbox.entropy import Entropy, new_message_id
from pillarbox.errors import InvalidMessage, KeyConflict, NotFound, PillarboxError, QueueFull, Refused
from pillarbox.imports import comis, openclaw_files, openclaw_outbox, openclaw_sqlite
from pillarbox.imports.entry import (
    MAX_AGE_MS,
    FailedFiles,
    Line,
    OnUncertain,
    Outcome,
    SourceEntry,
    SourceReport,
    System,
    Terms,
    totals,
)
from pillarbox.imports.plan import Planned, Setting, already, plan, refused
from pillarbox.imports.retire import retire
from pillarbox.outbox.routes import Route
from pillarbox.queue_clock import QueueClock
from pillarbox.store import lost_answers
from pillarbox.store.base import Batch, Durability, Enqueued, Store

T = TypeVar("T")
BATCH_MAX: Final = 200
Checkpoint = Callable[[str], None]


def _pass(step: str) -> None:
    """Do nothing, so that the import goes on."""


def _no_channel(_name: str) -> Route:
    """Return the route of a channel that is not configured."""
    return Route(channel=None, policy=Policy(), ordered=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """
    How to import.

    Attributes:
        now_ms: The time to import at; ``None`` for the clock's.
        max_age_ms: Of OpenClaw's pending messages; older ones are quarantined.
        channel_map: Channel of ours by theirs, or by ``theirs/account``.
        dry_run: Only report; nothing is written, neither here nor there.
        route: What the messages of a channel of ours get; any name may be asked for.
        own_database: The store's file, if it has one: as a source it is refused before it is opened.
    """

    now_ms: int | None = None
    max_age_ms: int = MAX_AGE_MS
    on_uncertain: OnUncertain = OnUncertain.HOLD
    failed: FailedFiles = FailedFiles.IMPORT
    channel_map: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    route: Callable[[str], Route] = _no_channel
    content_bytes_max: int = 256 << 10
    own_database: Path | None = None


async def run_import(
    store: Store | None,
    system: System,
    path: Path,
    options: ImportOptions,
    *,
    clock: Clock,
    entropy: Entropy,
    checkpoint: Checkpoint = _pass,
) -> SourceReport:
    """
    Import a source. Safe to repeat, and to be interrupted anywhere.

    The program that the source belongs to must not run meanwhile: what it sends after it was read is sent twice.

    Args:
        store: Open. ``None`` only on a dry run: then nothing is known of earlier imports.
        path: The directory, or the database file.
        checkpoint: Called before and after each step that a crash can fall between; what it raises ends the import.

    Raises:
        NotFound: There is nothing at *path*.
        InvalidMessage: ``path`` is not what it should be, or cannot be trusted; nothing was written.
        Refused: The store is in memory.
        StoreError: What was committed before stays; call it again.
    """
    if not options.dry_run and (store is None or store.in_memory):
        raise Refused("nothing is imported into a database in memory: it would end with this process")
    _refuse_own(path, options.own_database)
    time = QueueClock.of(clock)
    if store is not None:
        time.learn(await store.clock_news())
    # The source's times are the wall clock's, and are judged by it.
    now_ms = time.machine.wall_ms() if options.now_ms is None else options.now_ms
    terms = Terms(
        now_ms=now_ms, max_age_ms=options.max_age_ms, on_uncertain=options.on_uncertain, failed=options.failed
    )
    entries = await asyncio.to_thread(list, read(system, path, terms))
    checkpoint("read")
    known = await _known(store, system, entries)
    setting = Setting(
        system=system,
        now_ms=now_ms,
        channel_map=options.channel_map,
        route=options.route,
        new_id=lambda: new_message_id(time, entropy),
        content_bytes_max=options.content_bytes_max,
    )
    planned = plan(entries, setting, known=known)
    if store is None or options.dry_run:
        return _report(system, path, planned, [item.line for item in planned], dry_run=True)
    lines: list[Line] = []
    retired, kept = 0, None
    for some in _batches(planned):
        done = await _commit(store, some, now_ms, time, checkpoint)
        lines += done
        files = _files(some, done, options.failed) if system is System.OPENCLAW_FILES else []
        if files and store.durability is not Durability.POWER:
            kept = f"the store's durability is {store.durability}, not {Durability.POWER}"
        elif files and kept is None:
            try:
                retired += await asyncio.to_thread(retire, path, files, checkpoint)
            except (OSError, Refused, NotFound) as exc:
                # They are imported all the same, and the ledger remembers that.
                kept = f"{type(exc).__name__}: {exc}"
    return _report(system, path, planned, lines, retired=retired, kept=kept)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH_MAX] for start in range(0, len(items), BATCH_MAX))


def _refuse_own(path: Path, own: Path | None) -> None:
    """Refuse the file that this process has open as its store: closing it would drop the store's locks."""
    try:
        if own is not None and path.samefile(own):
            raise InvalidMessage("path", "expected another system's database, not this outbox's own")
    except OSError:
        # One of them is not there; the reader says which.
        return


_READERS: Final[dict[System, Callable[[Path, Terms], Iterator[SourceEntry]]]] = {
    System.OPENCLAW_FILES: openclaw_files.read,
    System.OPENCLAW_SQLITE: openclaw_sqlite.read,
    System.OPENCLAW_OUTBOX: openclaw_outbox.read,
    System.COMIS: comis.read,
}


def read(system: System, path: Path, terms: Terms) -> Iterator[SourceEntry]:
    """Read a source with its system's reader; arguments and errors are the readers'."""
    return _READERS[system](path, terms)


async def _known(store: Store | None, system: System, entries: Sequence[SourceEntry]) -> set[str]:
    if store is None:
        return set()
    found: set[str] = set()
    for some in _batches(entries):
        names = [name for entry in some for name in (entry.source_id, entry.alias) if name is not None]
        found |= await store.known_imports(str(system), names)
    return found


async def _commit(
    store: Store, planned: Sequence[Planned], now_ms: int, time: QueueClock, checkpoint: Checkpoint
) -> list[Line]:
    """Store what is to be stored, in one transaction; return what became of each entry, in order."""
    behind_ms = -time.ahead_ms()
    items = [shifted(item.item, behind_ms) for item in planned if item.item is not None]
    # Those that an earlier run stored may not be synced yet, and their sources are put away next.
    sync = any(item.known for item in planned)
    checkpoint("committing")
    results: Iterator[Enqueued | PillarboxError] = iter(())
    if items or sync:
        mark = time.unsaved(refresh=False)
        batch = Batch(now_ms=now_ms + behind_ms, imports=items, sync=sync, mark=mark)
        results = iter((await lost_answers.commit(store, batch)).imported)
        if mark is not None:
            time.saved(mark)
    checkpoint("committed")
    return [item.line if item.item is None else _outcome(item.line, next(results)) for item in planned]


def _outcome(line: Line, result: Enqueued | PillarboxError) -> Line:
    match result:
        case QueueFull():
            return refused(line.source_id, "queue_full")
        case KeyConflict():
            return refused(line.source_id, "key_conflict")
        case InvalidMessage():
            return refused(line.source_id, f"invalid_field:{result.field}")
        case PillarboxError():
            return refused(line.source_id, "refused")
        case _:
            return msgspec.structs.replace(line, id=result.id) if result.created else already(line.source_id)


def _files(planned: Sequence[Planned], lines: Sequence[Line], failed: FailedFiles) -> list[str]:
    """Return the files whose messages are committed, now or by an earlier run that ended before it put them away."""
    done = [
        line.source_id
        for item, line in zip(planned, lines, strict=True)
        if item.known or (item.item is not None and line.outcome is not Outcome.LEFT)
    ]
    keep = failed is not FailedFiles.ARCHIVE
    return [name for name in done if not (keep and name.startswith(f"{openclaw_files.FAILED}/"))]


def _report(
    system: System,
    path: Path,
    planned: Sequence[Planned],
    lines: Sequence[Line],
    *,
    retired: int = 0,
    kept: str | None = None,
    dry_run: bool = False,
) -> SourceReport:
    entries = tuple(lines)
    return SourceReport(
        system=system,
        source=str(path),
        entries=entries,
        totals=totals(entries),
        waiting=_waiting(planned, lines),
        retired=retired,
        kept=kept,
        dry_run=dry_run,
    )


def _waiting(planned: Sequence[Planned], lines: Sequence[Line]) -> dict[str, int]:
    """Count the messages that wait, by channel."""
    channels = [
        item.item.draft.channel
        for item, line in zip(planned, lines, strict=True)
        if item.item is not None and line.outcome is Outcome.IMPORTED
    ]
    return dict(sorted(Counter(channels).items()))
