"""
Comis's event names and fields, for programs that listened to its bus.

Made from the typed events, from live and recovered messages alike. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pillarbox.domain.lifecycle import ErrorClass, Reason
from pillarbox.events import (
    Bus,
    BusEvent,
    Drained,
    HookCancelled,
    MessageCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    MessageEvent,
    MessageExpired,
    MessageHeld,
    RetryScheduled,
)

Listener = Callable[[str, dict[str, Any]], None]

ENQUEUED: Final = "delivery:enqueued"
ACKED: Final = "delivery:acked"
NACKED: Final = "delivery:nacked"
FAILED: Final = "delivery:failed"
QUEUE_DRAINED: Final = "delivery:queue_drained"
HOOK_CANCELLED: Final = "delivery:hook_cancelled"
ABORTED: Final = "delivery:aborted"

_UNCERTAIN: Final = frozenset({ErrorClass.UNCERTAIN, ErrorClass.WORKER_LOST})


def listen(bus: Bus, listener: Listener) -> Callable[[], None]:
    """Call *listener* with Comis's name and fields of every event that has one; gives a function that ends it."""

    def translate(event: BusEvent) -> None:
        found = translated(event)
        if found is not None:
            listener(*found)

    return bus.subscribe(translate)


def translated(event: BusEvent) -> tuple[str, dict[str, Any]] | None:
    """Give the name and fields Comis has for *event*, or ``None``."""
    match event:
        case MessageEnqueued():
            return ENQUEUED, _of_message(event)
        case MessageDelivered():
            fields = {"messageId": event.receipt, "durationMs": event.duration_ms, "sendMs": event.send_ms}
            return ACKED, _of_message(event) | fields
        case RetryScheduled():
            fields = {"error": event.error, "nextRetryAt": event.due_ms, "errorKind": _kind(event.error_class)}
            return NACKED, _of_message(event) | fields
        case MessageHeld():
            fields = {"error": event.error, "reason": event.reason, "errorKind": "uncertain"}
            return NACKED, _of_message(event) | fields
        case MessageDied():
            error_kind = _kind(event.error_class, event.reason)
            return FAILED, _of_message(event) | {"error": event.error, "reason": event.reason, "errorKind": error_kind}
        case MessageExpired():
            fields = {"error": "expired", "reason": str(Reason.EXPIRED), "errorKind": "permanent"}
            return FAILED, _of_message(event) | fields
        case MessageCancelled():
            return ABORTED, _of_message(event) | {"reason": event.reason}
        case HookCancelled():
            return HOOK_CANCELLED, {
                "channelType": event.channel,
                "origin": event.origin,
                "reason": event.reason,
                "timestamp": event.at_ms,
            }
        case Drained():
            attempted = event.delivered + event.failed + event.exhausted + event.uncertain
            return QUEUE_DRAINED, {
                "entriesAttempted": attempted,
                "entriesDelivered": event.delivered,
                "entriesFailed": event.failed + event.exhausted,
                "durationMs": event.duration_ms,
                "timestamp": event.at_ms,
            }
        case _:
            return None


def _of_message(event: MessageEvent) -> dict[str, Any]:
    return {
        "entryId": event.id,
        "channelType": event.channel,
        "origin": event.origin,
        "attemptCount": event.attempt,
        "timestamp": event.at_ms,
    }


def _kind(error_class: str | None, reason: str | None = None) -> str:
    if error_class in _UNCERTAIN:
        return "uncertain"
    permanent = error_class == ErrorClass.PERMANENT or reason in (Reason.REJECTED, Reason.INVALID, Reason.UNREADABLE)
    return "permanent" if permanent or reason is not None else "transient"
