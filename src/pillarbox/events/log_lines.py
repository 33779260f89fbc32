"""
The log lines about messages: one for each event that operators follow, with its fields as the record's attributes.

The words and field names are those that Comis documents for its queue, so that searches and alerts go on working. No
line holds what a message says; the recipient is a keyed hash unless the operator wants it in the clear (contract EV3).
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Final

from pillarbox.domain.casefold import words_replaced
from pillarbox.domain.transition import MAYBE_ARRIVED, ErrorClass
from pillarbox.events import events
from pillarbox.user_code import Log

ENQUEUED: Final = "Message enqueued for delivery"
DELIVERED: Final = "Message delivered and acked"
RETRYING: Final = "Message delivery failed, scheduled for retry"
UNSENT: Final = "Message given back before it was sent"
FAILED: Final = "Message delivery permanently failed"
HELD: Final = "Message delivery uncertain, held for a decision"
EXPIRED: Final = "Message expired before delivery"
STARTUP_DRAINED: Final = "Delivery queue startup drain complete"
DRAINED: Final = "Delivery queue drain complete"
HOOK_CANCELLED: Final = "Delivery cancelled by before_delivery hook"
ABORTED: Final = "Delivery aborted"

_LEVELS: Final[dict[type[events.BusEvent], int]] = {
    events.MessageEnqueued: logging.INFO,
    events.MessageDelivered: logging.INFO,
    events.RetryScheduled: logging.WARNING,
    events.MessageDied: logging.WARNING,
    events.MessageHeld: logging.WARNING,
    events.MessageExpired: logging.WARNING,
    events.MessageCancelled: logging.INFO,
    events.HookCancelled: logging.INFO,
    events.Drained: logging.INFO,
}
_log = Log("pillarbox.delivery")
# For programs that set up no logging at all: what becomes of a message is no reason to write to their stderr.
_log.logger.addHandler(logging.NullHandler())
_HASH_BYTES: Final = 6
_MASKED_LENGTH_MIN: Final = 4


class Recipients:
    """
    How recipients are written in the log.

    Args:
        key: Makes the hashes; the same for every process of a database, and known to nobody else. ``None`` writes
            recipients as they are.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def shown(self, to: str) -> str:
        """Return the name by which the log tells recipients apart: ``#`` and 12 hexadecimal digits."""
        if self._key is None:
            return to
        digest = hashlib.blake2b(to.encode("utf-8", "replace"), key=self._key, digest_size=_HASH_BYTES)
        return f"#{digest.hexdigest()}"

    def masked(self, text: str | None, to: str) -> str | None:
        """
        Take a recipient out of what a platform or a channel said, where it stands there as a word of its own.

        One of three characters or fewer stays: it identifies no person, and it is part of too many words. Of a
        telephone number the digits are looked for too, as many platforms write it without its plus sign.
        """
        if text is None or self._key is None or len(to) < _MASKED_LENGTH_MIN:
            return text
        shown = self.shown(to)
        text = words_replaced(text, to, shown)
        digits = to.removeprefix("+")
        return words_replaced(text, digits, shown) if digits != to and digits.isdigit() else text


class Lines:
    """Writes the log lines of one outbox."""

    def __init__(self, recipients: Recipients) -> None:
        self.recipients = recipients

    def wants(self, kind: type[events.BusEvent]) -> bool:
        """Whether an event of that kind would be written."""
        level = _LEVELS.get(kind)
        return level is not None and _log.is_enabled(level)

    def write(self, event: events.BusEvent) -> bool:
        """Write the line of an event, if it has one; false where the log failed."""
        level = _LEVELS.get(type(event))
        if level is None or not _log.is_enabled(level):
            return True
        text, fields = self._line(event)
        if text == UNSENT:
            level = logging.DEBUG
        # A record's attribute cannot be removed, so what has no value is left out from the start.
        return _log.log(level, text, extra={name: value for name, value in fields.items() if value is not None})

    def _line(self, event: events.BusEvent) -> tuple[str, dict[str, Any]]:
        match event:
            case events.MessageEvent():
                text, fields = self._of_message(event)
                return text, self._about(event) | fields
            case events.HookCancelled():
                about = {
                    "channelId": self.recipients.shown(event.to),
                    "channelType": event.channel,
                    "origin": event.origin,
                    "correlationId": event.correlation_id,
                }
                return HOOK_CANCELLED, about | {"reason": event.reason}
            case events.Drained():
                return (STARTUP_DRAINED if event.at_start else DRAINED), drain_fields(event)
            case _:
                raise TypeError(type(event).__name__)

    def _of_message(self, event: events.MessageEvent) -> tuple[str, dict[str, Any]]:
        chunks = {"chunksDelivered": event.parts_delivered, "totalChunks": event.part_count}
        match event:
            case events.MessageEnqueued():
                return ENQUEUED, {}
            case events.MessageDelivered():
                fields = {"messageId": event.receipt, "durationMs": event.duration_ms, "sendMs": event.send_ms}
                degraded = None if event.degraded is None else self._error(event, event.degraded)
                return DELIVERED, fields | {"late": event.late or None, "degraded": degraded} | chunks
            case events.RetryScheduled():
                fields = {"error": self._error(event, event.error), "errorKind": error_kind(event.error_class)}
                return (RETRYING if event.sent else UNSENT), fields | {"nextRetryAt": event.due_ms}
            case events.MessageDied():
                fields = {"error": self._error(event, event.error), "reason": event.reason}
                return FAILED, fields | {"errorKind": error_kind(event.error_class, final=True)} | chunks
            case events.MessageHeld():
                fields = {"error": self._error(event, event.error), "reason": event.reason}
                return HELD, fields | {"errorKind": error_kind(event.error_class, final=True)}
            case events.MessageExpired():
                return EXPIRED, {"reason": "expired", "errorKind": "permanent"} | chunks
            case events.MessageCancelled():
                return ABORTED, {"reason": event.reason, "durationMs": event.duration_ms} | chunks
            case _:
                raise TypeError(type(event).__name__)

    def _about(self, event: events.MessageEvent) -> dict[str, Any]:
        return {
            "entryId": event.id,
            "channelId": self.recipients.shown(event.to),
            "channelType": event.channel,
            "tenant": event.tenant or None,
            "origin": event.origin,
            "correlationId": event.correlation_id,
            "attemptCount": event.attempt,
        }

    def _error(self, event: events.MessageEvent, error: str | None) -> str | None:
        return self.recipients.masked(error, event.to)


def error_kind(error_class: str | None, *, final: bool = False) -> str:
    """
    Return the kind of failure, in Comis's words and one of ours: ``transient``, ``permanent`` or ``uncertain``.

    Args:
        final: The message will not be tried again by itself.
    """
    if error_class in MAYBE_ARRIVED:
        return "uncertain"
    return "permanent" if final or error_class == ErrorClass.PERMANENT else "transient"


def drain_fields(event: events.Drained) -> dict[str, Any]:
    """Return what a drain did, by Comis's names and, for what it does not count, in their style."""
    failed = event.failed + event.exhausted
    return {
        "entriesAttempted": event.attempted,
        "entriesDelivered": event.delivered,
        "entriesFailed": failed,
        "entriesExpired": event.expired,
        "entriesExhausted": event.exhausted,
        "entriesUncertain": event.uncertain,
        "entriesDeferredBackoff": event.deferred_backoff,
        "entriesDeferredBudget": event.deferred_budget,
        "entriesHeld": event.held,
        "entriesDeferredLeased": event.deferred_leased,
        "entriesDeferredLost": event.deferred_lost,
        "entriesReaped": event.reaped,
        "durationMs": event.duration_ms,
    }
