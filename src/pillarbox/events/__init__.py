"""What happened, for programs that listen: typed events, the bus, and the log lines made of them."""

from pillarbox.events.bus import Bus, Subscriber
from pillarbox.events.events import (
    Alarm,
    BusEvent,
    ChannelPaused,
    Drained,
    HookCancelled,
    LeaseLost,
    MessageCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    MessageEvent,
    MessageExpired,
    MessageHeld,
    PartDelivered,
    RetryScheduled,
)

__all__ = [
    "Alarm",
    "Bus",
    "BusEvent",
    "ChannelPaused",
    "Drained",
    "HookCancelled",
    "LeaseLost",
    "MessageCancelled",
    "MessageDelivered",
    "MessageDied",
    "MessageEnqueued",
    "MessageEvent",
    "MessageExpired",
    "MessageHeld",
    "PartDelivered",
    "RetryScheduled",
    "Subscriber",
]
