"""
Typed events: what happened to a message, a channel or the outbox.

An event reports something that is already committed (contract EN11). It holds no message text and no secret; the
recipient is in it, so that a program can tell who is meant: log lines show a keyed hash instead (contract EV3).
"""

from __future__ import annotations

import msgspec


class BusEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all. ``at_ms``: when, in milliseconds since 1970."""

    at_ms: int


class MessageEvent(BusEvent, frozen=True, kw_only=True):
    """
    Base of what happens to one message.

    Attributes:
        to: The recipient, as admitted.
        attempt: How often it was claimed.
        part_count: Into how many parts it was split; 1 where it goes out whole, or was not admitted yet.
        parts_delivered: How many of them the platform has, as far as this event's process knows.
    """

    id: str
    channel: str
    to: str
    tenant: str = ""
    origin: str | None = None
    correlation_id: str | None = None
    attempt: int = 0
    part_count: int = 1
    parts_delivered: int = 0


class MessageEnqueued(MessageEvent, frozen=True, kw_only=True):
    """Accepted and committed; at most once per message."""


class MessageDelivered(MessageEvent, frozen=True, kw_only=True):
    """
    The platform has it.

    ``duration_ms``: from acceptance; ``send_ms``: the call alone; ``chars``: of the text that went out last, ``None``
    where it was none, or is not known; ``degraded``: what had to be left out of it, and why.
    """

    receipt: str | None
    duration_ms: int
    send_ms: int | None
    late: bool = False
    chars: int | None = None
    degraded: str | None = None


class PartDelivered(MessageEvent, frozen=True, kw_only=True):
    """
    The platform has one part of a split message; ``part`` counts from 0. That of the last part comes before the end.

    ``chars``: of the part's text; ``degraded``: what had to be left out of it, and why.
    """

    part: int
    receipt: str | None
    send_ms: int | None
    chars: int | None = None
    degraded: str | None = None


class RetryScheduled(MessageEvent, frozen=True, kw_only=True):
    """Will be tried again at ``due_ms``. ``charged``: whether the attempt counted; ``sent``: whether it was begun."""

    due_ms: int
    error: str
    error_class: str
    charged: bool
    sent: bool = True


class MessageHeld(MessageEvent, frozen=True, kw_only=True):
    """A person must decide."""

    reason: str
    error: str | None
    error_class: str | None = None


class MessageDied(MessageEvent, frozen=True, kw_only=True):
    """Dead: it will not be tried again. ``duration_ms``: from acceptance, as for the two below."""

    reason: str
    error: str | None
    error_class: str | None
    duration_ms: int | None = None


class MessageExpired(MessageEvent, frozen=True, kw_only=True):
    """Its time was over before it could be delivered."""

    duration_ms: int | None = None


class MessageCancelled(MessageEvent, frozen=True, kw_only=True):
    """
    Withdrawn before it was delivered.

    ``reason`` is a stable word; ``said`` is what whoever withdrew it gave as the reason, where this process was told.
    """

    reason: str | None = None
    said: str | None = None
    duration_ms: int | None = None


class LeaseLost(MessageEvent, frozen=True, kw_only=True):
    """A lease of this worker was gone when it wanted to record an outcome; nothing was changed."""

    outcome: str


class ChannelPaused(BusEvent, frozen=True, kw_only=True):
    """Nothing more is sent through a channel, until ``until_ms`` or, where that is ``None``, until resumed."""

    channel: str
    tenant: str = ""
    until_ms: int | None
    reason: str | None


class HookCancelled(BusEvent, frozen=True, kw_only=True):
    """A ``before_delivery`` hook stopped a message; nothing was stored, and it has no id."""

    channel: str
    to: str
    correlation_id: str | None = None
    origin: str | None = None
    reason: str = ""


class Drained(BusEvent, frozen=True, kw_only=True):
    """A drain has ended; see `DrainReport` for the words. ``at_start``: it is the one that `start` began."""

    attempted: int
    delivered: int
    failed: int
    expired: int
    exhausted: int
    deferred_backoff: int
    deferred_budget: int
    uncertain: int
    duration_ms: int
    held: int = 0
    deferred_leased: int = 0
    deferred_lost: int = 0
    reaped: int = 0
    at_start: bool = False


class Alarm(BusEvent, frozen=True, kw_only=True):
    """Something a person should look at. ``what`` is a stable word."""

    what: str
    detail: str
