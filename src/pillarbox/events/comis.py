"""
Comis's event names and fields, for programs that listened to its bus.

Made from the typed events, from live and recovered messages alike. Times are milliseconds since 1970; a field that has
no value is there all the same, as ``None``. ``channelId`` is the recipient, ``channelType`` the channel's name, and a
*chunk* is a part: a message that goes out whole is one chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pillarbox.domain.transition import Reason
from pillarbox.events import events
from pillarbox.events.bus import Bus
from pillarbox.events.log_lines import drain_fields, error_kind

Listener = Callable[[str, dict[str, Any]], None]
Named = tuple[str, dict[str, Any]]

ENQUEUED: Final = "delivery:enqueued"
ACKED: Final = "delivery:acked"
NACKED: Final = "delivery:nacked"
FAILED: Final = "delivery:failed"
QUEUE_DRAINED: Final = "delivery:queue_drained"
HOOK_CANCELLED: Final = "delivery:hook_cancelled"
ABORTED: Final = "delivery:aborted"
CHUNK_SENT: Final = "delivery:chunk_sent"
COMPLETE: Final = "delivery:complete"

# Comis has two words for why a message failed, this one and ours of exhausted retries. What it cannot know of keeps its
# word of ours.
_REASONS: Final[dict[str, str]] = dict.fromkeys((Reason.REJECTED, Reason.INVALID), "permanent_error")
_DONE: Final = ("attempted", "delivered", "failed", "expired", "exhausted", "uncertain", "held", "reaped")


def listen(bus: Bus, listener: Listener) -> Callable[[], None]:
    """Call *listener* with Comis's name and fields of every event that has one; return a function that ends it."""

    def translate(event: events.BusEvent) -> None:
        failed: list[BaseException] = []
        for name, fields in translated(event):
            try:
                listener(name, fields)
            except BaseException as exc:  # noqa: BLE001 — one event has several names, and all of them are told
                failed.append(exc)
        if failed:
            raise failed[0]

    return bus.subscribe(translate)


def translated(event: events.BusEvent) -> list[Named]:
    """Return Comis's events for *event*, in its order; empty where it has none."""
    match event:
        case events.MessageEvent():
            return _of_message(event)
        case events.HookCancelled():
            fields = {"channelId": event.to, "channelType": event.channel, "origin": event.origin}
            return [(HOOK_CANCELLED, fields | {"reason": event.reason, "timestamp": event.at_ms})]
        case events.Drained():
            if not event.at_start and not _did_something(event):
                return []
            return [(QUEUE_DRAINED, drain_fields(event) | {"timestamp": event.at_ms})]
        case _:
            return []


def _did_something(drain: events.Drained) -> bool:
    return any(getattr(drain, name) for name in _DONE)


def _of_message(event: events.MessageEvent) -> list[Named]:
    about = _about(event)
    chunks = {"chunksDelivered": event.parts_delivered, "totalChunks": event.part_count}
    match event:
        case events.MessageEnqueued():
            return [(ENQUEUED, about)]
        case events.PartDelivered():
            return [(CHUNK_SENT, about | _chunk(event, event.part) | chunks)]
        case events.MessageDelivered():
            acked = {"messageId": event.receipt, "durationMs": event.duration_ms, "sendMs": event.send_ms}
            chars = event.chars if event.part_count == 1 else None
            told = [(ACKED, about | acked), (COMPLETE, about | acked | chunks | _end(event, chars=chars))]
            if event.part_count == 1:
                told.insert(0, (CHUNK_SENT, about | _chunk(event, 0) | chunks))
            return told
        case events.RetryScheduled():
            error_class = event.error_class
            again = {"error": event.error, "nextRetryAt": event.due_ms, "errorKind": error_kind(error_class)}
            return [(NACKED, about | again)]
        case events.MessageHeld():
            held = {"error": event.error, "reason": event.reason, "nextRetryAt": None}
            return [(NACKED, about | held | {"errorKind": error_kind(event.error_class, final=True)})]
        case events.MessageDied():
            kind = error_kind(event.error_class, final=True)
            fields = {"error": event.error, "reason": _REASONS.get(event.reason, event.reason), "errorKind": kind}
            took = {"durationMs": event.duration_ms}
            return [(FAILED, about | fields), (COMPLETE, about | fields | took | chunks | _end(event))]
        case events.MessageExpired():
            expired = {"error": "expired", "reason": str(Reason.EXPIRED), "errorKind": "permanent"}
            took = {"durationMs": event.duration_ms}
            return [(FAILED, about | expired), (COMPLETE, about | expired | took | chunks | _end(event))]
        case events.MessageCancelled():
            why = {"reason": event.said or event.reason, "durationMs": event.duration_ms}
            return [(ABORTED, about | why | chunks)]
        case _:
            return []


def _chunk(event: events.PartDelivered | events.MessageDelivered, index: int) -> dict[str, Any]:
    """Return Comis's fields of one chunk that the platform took."""
    return {
        "messageId": event.receipt,
        "durationMs": event.send_ms,
        "chunkIndex": index,
        "charCount": event.chars,
        "ok": True,
        "retried": event.attempt > 1,
    }


def _end(event: events.MessageEvent, *, chars: int | None = None) -> dict[str, Any]:
    """Return the counts of a message that has ended; *chars* of its whole text, where they are known."""
    return {
        "ok": isinstance(event, events.MessageDelivered),
        "deliveredChunks": event.parts_delivered,
        "failedChunks": event.part_count - event.parts_delivered,
        "totalChars": chars,
    }


def _about(event: events.MessageEvent) -> dict[str, Any]:
    return {
        "entryId": event.id,
        "channelId": event.to,
        "channelType": event.channel,
        "origin": event.origin,
        "attemptCount": event.attempt,
        "timestamp": event.at_ms,
    }
