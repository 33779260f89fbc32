"""
Decides what the store must be asked so that a source's entries become messages of ours. Pure: values to values.

The entries say what was found; routes, limits and checks are those of every other message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from pillarbox.channels.base import admitted
from pillarbox.domain.channel_names import check_name
from pillarbox.domain.ids import PARTS_MAX, MessageId
from pillarbox.domain.message import Admission, Content, Draft, State, encode_content
from pillarbox.domain.outgoing import Outgoing
from pillarbox.domain.retry import ExpireAction, PartsMode, Policy
from pillarbox.domain.transition import ErrorClass, Reason
from pillarbox.errors import InvalidMessage
from pillarbox.imports.entry import Line, Outcome, SourceEntry, System
from pillarbox.outbox.checks import checked
from pillarbox.outbox.routes import Route
from pillarbox.store.base import Import

SPLITTER: Final = "import"
"""Says of a message's parts that its source had cut them."""
ERROR_LENGTH_MAX: Final = 2000
_TAG_LENGTH_MAX: Final = 255
_ENCODE: Final = msgspec.json.Encoder()
# What was understood; a link or a marker in the place of a file that was imported is reported as what it is.
_READ: Final = frozenset({Outcome.IMPORTED, Outcome.TERMINAL, Outcome.QUARANTINED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    What a plan needs to know besides the entries.

    Attributes:
        channel_map: Channel of ours by theirs, or by ``theirs/account``; one that is missing keeps its name.
        route: What a channel's messages get, by our name; any name may be asked for.
        new_id: Gives a fresh id at every call.
    """

    system: System
    now_ms: int
    channel_map: Mapping[str, str]
    route: Callable[[str], Route]
    new_id: Callable[[], MessageId]
    content_bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One entry's line for the report, and what is to be stored of it, if anything."""

    line: Line
    item: Import | None = None
    known: bool = False


def plan(entries: Sequence[SourceEntry], setting: Setting, *, known: Collection[str] = ()) -> list[Planned]:
    """
    Plan every entry, in order.

    Of two entries of one id, the first is the delivery; the other would be a copy of it, and is quarantined.

    Args:
        known: Source ids and aliases that the ledger has: nothing is asked for these, however old they are by now.
    """
    seen: set[str] = set()
    planned: list[Planned] = []
    for entry in entries:
        before = entry.source_id in known and entry.outcome in _READ
        waiting = entry.outcome is Outcome.IMPORTED
        copied = waiting and not before and (entry.delivery_id in seen or entry.alias in known)
        if waiting and entry.delivery_id is not None:
            seen.add(entry.delivery_id)
        if before:
            planned.append(Planned(line=already(entry.source_id), known=True))
        elif copied:
            planned.append(Planned(line=_line(entry, Outcome.QUARANTINED, "duplicate_id")))
        elif entry.outcome.stored:
            planned.append(_planned(entry, setting))
        else:
            planned.append(Planned(line=_line(entry, entry.outcome, entry.reason)))
    return planned


def already(source_id: str) -> Line:
    """Report an entry that an earlier import took."""
    return Line(source_id=source_id, outcome=Outcome.SKIPPED, state=None, attempts=None, reason="already_imported")


def refused(source_id: str, reason: str) -> Line:
    """Report an entry that was not accepted; its source stays."""
    return Line(source_id=source_id, outcome=Outcome.LEFT, state=None, attempts=None, reason=reason)


def _line(entry: SourceEntry, outcome: Outcome, reason: str) -> Line:
    stored = outcome.stored
    return Line(
        source_id=entry.source_id,
        outcome=outcome,
        state=entry.state if stored else None,
        attempts=entry.attempts if stored else None,
        reason=reason,
    )


def _planned(entry: SourceEntry, setting: Setting) -> Planned:
    try:
        draft = _draft(entry, setting)
    except InvalidMessage as exc:
        # What no message of ours may be stays where it is; the operator can mend it, or map its channel elsewhere.
        return Planned(line=refused(entry.source_id, f"invalid_field:{exc.field}"))
    state = entry.state or State.DEAD
    reason, error_class = _end(entry, state)
    item = Import(
        system=str(setting.system),
        source_id=entry.source_id,
        outcome=str(entry.outcome),
        draft=draft,
        # A delivery that was given up there may still wait elsewhere: only what may be sent has a second name.
        alias=entry.alias if entry.outcome is Outcome.IMPORTED else None,
        state=state,
        attempts=entry.attempts or 0,
        reason=None if reason is None else str(reason),
        error_class=None if error_class is None else str(error_class),
        last_error=None if entry.last_error is None else entry.last_error[:ERROR_LENGTH_MAX],
        last_attempt_ms=entry.last_attempt_ms,
        note=f"{setting.system}: {entry.reason}",
    )
    return Planned(line=_line(entry, entry.outcome, entry.reason), item=item)


def _end(entry: SourceEntry, state: State) -> tuple[Reason | None, ErrorClass | None]:
    """Return in our words why a message is held or ended, and what its last attempt met."""
    match state:
        case State.HELD:
            return Reason.UNCERTAIN, ErrorClass.UNCERTAIN
        case State.EXPIRED:
            return Reason.EXPIRED, ErrorClass.TRANSIENT if entry.attempts else None
        case State.DEAD if entry.reason == "max_attempts":
            return Reason.RETRIES_EXHAUSTED, ErrorClass.TRANSIENT
        case State.DEAD if entry.reason == "non_final_kind":
            return Reason.NON_FINAL, ErrorClass.TRANSIENT if entry.attempts else None
        case State.DEAD:
            return Reason.REJECTED, ErrorClass.PERMANENT
        case _:
            return None, ErrorClass.TRANSIENT if entry.attempts else None


def _draft(entry: SourceEntry, setting: Setting) -> Draft:
    channel = _channel(entry, setting.channel_map)
    route = setting.route(channel)
    content = entry.content or Content(text="")
    outgoing = Outgoing(
        channel=channel,
        to=entry.to,
        text=content.text,
        subject=content.subject,
        format=content.format,
        reply_to=content.reply_to,
        thread=entry.thread,
        silent=content.silent,
        files=content.files,
        extra=content.extra or None,
        mirror=content.mirror,
        key=f"{setting.system}:{entry.source_id}",
        max_attempts=entry.max_attempts,
        kind=entry.kind,
        correlation_id=_tag(entry.correlation_id),
        origin=_tag(entry.origin) or str(setting.system),
        tenant=entry.tenant,
        account=entry.account,
    )
    draft = checked(
        outgoing,
        Route(channel=None, policy=_policy(entry, route.policy), ordered=route.ordered),
        message_id=setting.new_id(),
        now_ms=setting.now_ms,
        content_bytes_max=setting.content_bytes_max,
    )
    return msgspec.structs.replace(
        draft,
        created_ms=min(entry.enqueued_ms or setting.now_ms, setting.now_ms),
        not_before_ms=entry.not_before_ms,
        due_ms=_due_ms(entry, setting.now_ms),
        expires_ms=_expires_ms(entry, draft, setting.now_ms),
        metadata=_ENCODE.encode(entry.metadata),
        admission=_admission(entry, draft, route, setting.content_bytes_max),
    )


def _channel(entry: SourceEntry, channel_map: Mapping[str, str]) -> str:
    channel = channel_map.get(f"{entry.channel}/{entry.account}") or channel_map.get(entry.channel) or entry.channel
    # As for a channel that nobody here has configured: it may be one that another process has.
    check_name(channel)
    if len(channel) > _TAG_LENGTH_MAX:
        raise InvalidMessage("channel", "expected the name of a channel")
    return channel


def _policy(entry: SourceEntry, policy: Policy) -> Policy:
    """Return the policy: what the source said of its payloads holds for our parts."""
    if entry.best_effort is None:
        return policy
    parts = PartsMode.BEST_EFFORT if entry.best_effort else PartsMode.ALL_OR_ABORT
    return msgspec.structs.replace(policy, parts=parts)


def _due_ms(entry: SourceEntry, now_ms: int) -> int:
    """Return when it may go: a past time keeps its place in the order, the older the sooner."""
    at = entry.next_attempt_ms or min(entry.enqueued_ms or now_ms, now_ms)
    return max(at, entry.not_before_ms or 0)


def _expires_ms(entry: SourceEntry, draft: Draft, now_ms: int) -> int | None:
    """Keep the source's own end; without one the time to live counts from the import (contract IM1)."""
    if draft.policy.expire_action is ExpireAction.DELIVER:
        return None
    if entry.expires_ms is not None or draft.expires_ms is None:
        return entry.expires_ms
    # Never before it may go: for a message for later it counts from then (contract EN13).
    return draft.expires_ms + max(0, (entry.not_before_ms or 0) - now_ms)


def _admission(entry: SourceEntry, draft: Draft, route: Route, bytes_max: int) -> Admission | None:
    """
    Make parts out of several payloads: they were one delivery, and go one by one, in order, each sent once.

    A single payload is left to the first claim, like any message. So a channel that is not at hand gets several
    payloads as they are: they are not cut any further.
    """
    if len(entry.contents) <= 1:
        return None
    recipient = draft.recipient
    parts: list[bytes] = []
    for content in entry.contents:
        made = Admission(recipient=draft.recipient)
        if route.channel is not None:
            made = admitted(
                route.channel, to=draft.recipient, content=content, thread=draft.thread, policy=draft.policy
            )
        recipient = made.recipient
        parts += made.parts or (encode_content(content),)
    if len(parts) > PARTS_MAX or sum(len(part) for part in parts) > bytes_max:
        raise InvalidMessage("payloads", f"expected at most {PARTS_MAX} payloads of {bytes_max} bytes together")
    return Admission(recipient=recipient, parts=tuple(parts), splitter=SPLITTER)


def _tag(value: str | None) -> str | None:
    """Return a label that may stand beside a message; ``None`` for one that may not, which the metadata alone keep."""
    if not value or len(value) > _TAG_LENGTH_MAX or not value.isprintable():
        return None
    return value
