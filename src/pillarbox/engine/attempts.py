"""From a leased message to what its channel is given, and from what the channel does to an outcome."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Final

import msgspec

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import dedupe_token
from pillarbox.domain.message import Content, Leased, decode_content
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Misreported, Uncertain, plain
from pillarbox.domain.retry import UncertainAction
from pillarbox.errors import InvalidOutcome
from pillarbox.tracebacks import frames_of
from pillarbox.user_code import Log, pass_on

_log = Log("pillarbox.engine")
_FAULTS: Final[weakref.WeakKeyDictionary[Channel, set[str]]] = weakref.WeakKeyDictionary()
_FAULTS_MAX: Final = 100
_METADATA: Final = msgspec.json.Decoder(dict[str, object])


def attempt_of(message: Leased, channel: Channel) -> Attempt:
    """
    Return what is to be sent.

    Raises:
        msgspec.MsgspecError, ValueError, IndexError: The stored message cannot be read.
    """
    content = decode_content(message.content)
    mark = None if message.maybe_sent_ms is None or content.payload is not None else mark_of(message)
    if mark is not None:
        content = msgspec.structs.replace(content, mark=mark)
    content = content if message.part_count > 1 else _fitted(message, channel, content)
    return Attempt(
        id=message.id,
        channel=message.channel,
        to=message.recipient,
        content=content if mark is None else _marked(message, channel, content, mark),
        number=message.claims,
        token=dedupe_token(message.token_id or message.id, message.part_next, message.token_epoch),
        part=message.part_next,
        part_count=message.part_count,
        receipts=message.receipts,
        account=message.account,
        thread=message.thread,
        op=message.op,
        target=message.target,
        tenant=message.tenant,
        correlation_id=message.correlation_id,
        origin=message.origin,
        traceparent=message.traceparent,
        metadata={} if message.metadata is None else _METADATA.decode(message.metadata),
        deadline_seconds=channel.send_timeout_seconds,
        created_ms=message.created_ms,
        reconciles=message.policy.uncertain is UncertainAction.RECONCILE,
    )


def with_files(attempt: Attempt, found: Mapping[str, bytes]) -> Attempt:
    """Return the attempt with the bytes of those of its files that are stored."""
    files = tuple(msgspec.structs.replace(file, data=found.get(file.digest or "")) for file in attempt.files)
    return msgspec.structs.replace(attempt, content=msgspec.structs.replace(attempt.content, files=files))


def mark_of(message: Leased) -> str | None:
    """Return what a send says of itself that may be a second copy; ``None`` where it says nothing (contract CH6)."""
    marks = message.policy.uncertain is UncertainAction.RESEND_MARKED and message.op is Op.SEND
    return message.policy.uncertain_mark if marks and message.maybe_sent_ms is not None else None


def _marked(message: Leased, channel: Channel, content: Content, mark: str) -> Content:
    try:
        return channel.marked(content, mark)
    except BaseException as exc:  # noqa: BLE001 — an adapter's own code; a copy without its mark is better than none
        log_failure(exc, "channel %s failed to mark message %s", message.channel, message.id)
        pass_on(exc)
        return msgspec.structs.replace(content, mark=None)


def _fitted(message: Leased, channel: Channel, content: Content) -> Content:
    try:
        return channel.fitted(content)
    except BaseException as exc:  # noqa: BLE001 — an adapter's own code; the platform may judge of the whole text
        log_failure(exc, "channel %s failed to fit message %s", message.channel, message.id)
        pass_on(exc)
        return content


def outcome_of(answer: object, attempt: Attempt, channel: Channel, *, keep_answer: bool = False) -> AnyOutcome:
    """
    Return what an adapter returned, if it is an outcome; anything else is a bug, and the platform may have the message.

    Args:
        keep_answer: What was said to a success is kept too (history ``full``).

    Returns:
        An outcome without what nobody may read.
    """
    outcome = channel.fit_to_show(plain(answer), attempt, keep_answer=keep_answer)
    if isinstance(outcome, Delivered) and attempt.content.mark is not None:
        return _with_its_mark(outcome, attempt.content.mark)
    if not isinstance(outcome, Misreported):
        return outcome
    _log_once(channel, outcome.reason, attempt)
    return Uncertain(outcome.reason, answer=outcome.answer)


def _with_its_mark(outcome: Delivered, mark: str) -> Delivered:
    """Return the delivery of a copy that says that it may be one: its attempt is kept, and says so too."""
    said = "; ".join(filter(None, (f"sent with its mark: {mark}", outcome.degraded)))
    return Delivered(outcome.receipt, degraded=said, rest=outcome.rest, answer=outcome.answer)


def _log_once(channel: Channel, fault: str, attempt: Attempt) -> None:
    """Log an adapter's bug once for each adapter that has it, and not again with every message that meets it."""
    try:
        known = _FAULTS.setdefault(channel, set())
    except TypeError:
        known = set()  # an adapter that cannot be remembered
    if fault not in known:
        if len(known) < _FAULTS_MAX:
            known.add(fault)
        _log.error("channel %s has a bug, first met on message %s: %s", attempt.channel, attempt.id, fault)


def raised(attempt: Attempt, error: BaseException) -> AnyOutcome:
    """Return the outcome of a send whose adapter raised, whatever it raised."""
    log_failure(error, "channel %s failed on message %s", attempt.channel, attempt.id)
    if isinstance(error, InvalidOutcome):
        return Uncertain(str(error))
    return Uncertain(f"the adapter failed: {type(error).__name__}")


def interrupted(attempt: Attempt) -> AnyOutcome:
    """
    Return the outcome of a send that was cancelled, but not by us.

    Something in the channel was cancelled, or all tasks of the program were. Whether the platform has the message is
    known only to an adapter that notes when it writes.
    """
    if attempt.progress.written is False:
        return Deferred("cancelled before it was written")
    return Uncertain("cancelled while sending")


def log_failure(error: BaseException, text: str, *values: str) -> None:
    """Log where an adapter failed, but not what its error says: that may hold the message's text (EV3)."""
    frames = "\n".join(frames_of(error))
    _log.error(text + ": %s\n%s", *values, type(error).__name__, frames)
