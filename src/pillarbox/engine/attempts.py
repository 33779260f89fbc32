"""From a leased message to what its channel is given, and from what the channel does to an outcome."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Final

import msgspec

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.ids import dedupe_token
from pillarbox.domain.message import Leased, Op, decode_content
from pillarbox.domain.outcome import AnyOutcome, Uncertain

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger("pillarbox.engine")
_OPS: Final[Sequence[Op]] = tuple(Op)
_METADATA: Final = msgspec.json.Decoder(dict[str, object])


def attempt_of(message: Leased, channel: Channel) -> Attempt:
    """
    Say what is to be sent.

    Raises:
        msgspec.MsgspecError, ValueError, IndexError: The stored message cannot be read.
    """
    content = decode_content(message.content)
    return Attempt(
        id=message.id,
        channel=message.channel,
        to=message.recipient,
        content=content if message.part_count > 1 else channel.fitted(content),
        number=message.claims,
        token=dedupe_token(message.token_id or message.id, message.part_next, message.token_epoch),
        part=message.part_next,
        part_count=message.part_count,
        receipts=message.receipts,
        account=message.account,
        thread=message.thread,
        op=_OPS[message.op],
        target=message.target,
        tenant=message.tenant,
        correlation_id=message.correlation_id,
        origin=message.origin,
        traceparent=message.traceparent,
        metadata={} if message.metadata is None else _METADATA.decode(message.metadata),
        deadline_seconds=channel.send_timeout_seconds,
        created_ms=message.created_ms,
    )


def outcome_of(answer: object) -> AnyOutcome:
    """Take what an adapter gave for an outcome; anything else is a bug, and the platform may have the message."""
    if isinstance(answer, AnyOutcome):
        return answer
    return Uncertain(f"the adapter gave {type(answer).__name__} instead of an outcome")


def raised(attempt: Attempt, error: Exception) -> AnyOutcome:
    """The same for what an adapter raised beside outcomes."""
    log_failure(error, "channel %s failed on message %s", attempt.channel, attempt.id)
    return Uncertain(f"the adapter failed: {type(error).__name__}")


def log_failure(error: Exception, text: str, *values: str) -> None:
    """Log where an adapter failed, but not what its error says: that may hold the message's text (EV3)."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error(text + ": %s\n%s", *values, type(error).__name__, frames)
