"""What a worker did, as a line for people and as a row of JSON. Neither holds a text or a recipient (contract EV3)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pillarbox.events import events
from pillarbox.views import stamp

NAMES: Final[dict[type[events.BusEvent], str]] = {
    events.MessageDelivered: "delivered",
    events.RetryScheduled: "retry",
    events.MessageHeld: "held",
    events.MessageDied: "dead",
    events.MessageExpired: "expired",
    events.MessageCancelled: "cancelled",
    events.LeaseLost: "lease_lost",
    events.ChannelPaused: "channel_paused",
    events.Alarm: "alarm",
}
"""The events that are told, by their stable names in JSON."""


def row_of(event: events.BusEvent) -> dict[str, Any] | None:
    """Return an event as plain values with its name first; ``None`` for an event that is not shown."""
    name = NAMES.get(type(event))
    if name is None:
        return None
    row: dict[str, Any] = msgspec.to_builtins(event)
    row.pop("to", None)
    row = {"event": name, "at": stamp(row.pop("at_ms")), **row}
    for key in ("due_ms", "until_ms"):
        if key in row:
            row[f"{key.removesuffix('_ms')}_at" if key == "due_ms" else "until"] = stamp(row.pop(key))
    return row


def line_of(event: events.BusEvent) -> str:
    """Return one line that says what happened."""
    match event:
        case events.MessageDelivered():
            took = "" if event.send_ms is None else f" in {event.send_ms} ms"
            late = ", after its lease had ended" if event.late else ""
            return f"{_head(event)} delivered{took}{late}{f': {event.degraded}' if event.degraded else ''}"
        case events.RetryScheduled():
            return f"{_head(event)} again at {stamp(event.due_ms)}: {event.error}"
        case events.MessageHeld():
            return f"{_head(event)} held, a person must decide: {event.reason}: {event.error}"
        case events.MessageDied():
            return f"{_head(event)} dead: {event.reason}{f': {event.error}' if event.error else ''}"
        case events.MessageExpired():
            return f"{_head(event)} expired"
        case events.MessageCancelled():
            return f"{_head(event)} cancelled"
        case events.LeaseLost():
            return f"{_head(event)} its lease was lost; what it came to ({event.outcome}) was not recorded"
        case events.ChannelPaused():
            return f"channel {event.channel} pauses until {stamp(event.until_ms) or 'resumed'}: {event.reason}"
        case events.Alarm():
            return f"alarm: {event.what}: {event.detail}"
        case _:
            return type(event).__name__


def _head(event: events.MessageEvent) -> str:
    return f"{stamp(event.at_ms)} {event.id} {event.channel} #{event.attempt}"
