"""
Typed events, and the bus that hands them to subscribers.

An event tells of something that is already committed (contract EN11). It holds no message text and no secret; the
recipient is in it, so that a program can tell who is meant: log lines show a keyed hash instead (contract EV3).
A subscriber that raises, whatever it is, or is slow harms nobody: its errors are counted and logged, an async one runs
as a task.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from pillarbox.fencing import Log, is_from_outside, name_of, pass_on

_log = Log("pillarbox.events")


class BusEvent(msgspec.Struct, frozen=True, kw_only=True):
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
    where it was none, or is not known.
    """

    receipt: str | None
    duration_ms: int
    send_ms: int | None
    late: bool = False
    chars: int | None = None


class PartDelivered(MessageEvent, frozen=True, kw_only=True):
    """
    The platform has one part of a split message; ``part`` counts from 0. The last one's is told before its end.

    ``chars``: of the part's text.
    """

    part: int
    receipt: str | None
    send_ms: int | None
    chars: int | None = None


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
    """Given up. ``duration_ms``: from acceptance, as for the two below."""

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


Subscriber = Callable[[Any], Awaitable[None] | None]


class _Subscription:
    __slots__ = ("call", "ended", "types")

    def __init__(self, types: tuple[type[BusEvent], ...], call: Subscriber) -> None:
        self.types = types
        self.call = call
        self.ended = False


class Bus:
    """
    Hands each event to every subscriber whose types it matches, in the order of subscription.

    ``errors`` counts what subscribers raised.
    """

    def __init__(self) -> None:
        self.errors = 0
        self._subscribers: list[_Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted: dict[type[BusEvent], bool] = {}

    def subscribe(self, subscriber: Subscriber, *types: type[BusEvent]) -> Callable[[], None]:
        """
        Call *subscriber* for events of *types*, or for all; gives a function that ends it.

        A plain function is called on the loop and must not block; a coroutine function runs as a task.

        Raises:
            TypeError: It cannot be called, or one of *types* is no kind of event.
        """
        given: object = subscriber
        if not callable(given):
            msg = f"subscriber: expected a function of an event, not {type(given).__name__}"
            raise TypeError(msg)
        for kind in types:
            asked: object = kind
            if not isinstance(asked, type) or not issubclass(asked, BusEvent):
                msg = f"types: expected kinds of events, such as MessageDelivered, not {asked!r}"
                raise TypeError(msg)
        subscription = _Subscription(types or (BusEvent,), subscriber)
        # Another list, so that who is told of an event just now is told in peace.
        self._subscribers = [*self._subscribers, subscription]
        self._wanted.clear()

        def unsubscribe() -> None:
            # By identity: the same function may have subscribed twice.
            subscription.ended = True
            self._subscribers = [other for other in self._subscribers if other is not subscription]
            self._wanted.clear()

        return unsubscribe

    def wants(self, kind: type[BusEvent]) -> bool:
        """Whether anybody listens, so that nobody builds an event for nobody."""
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = any(issubclass(kind, each.types) for each in self._subscribers)
            self._wanted[kind] = wanted
        return wanted

    def publish(self, event: BusEvent) -> None:
        """
        Tell everybody. Raises nothing of theirs: what ends a program is passed on when the step of now is over.

        Who unsubscribes while an event is told is not told any more.
        """
        for each in self._subscribers:
            if each.ended or not isinstance(event, each.types):
                continue
            try:
                waiting = each.call(event)
                if inspect.isawaitable(waiting):
                    task = asyncio.ensure_future(self._await(waiting, each.call, event))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            except BaseException as exc:  # noqa: BLE001 — a subscriber that raises harms nobody (EN8, EN11)
                self._failed(each.call, event, exc)

    async def settle(self, seconds: float) -> None:
        """
        Wait until the subscribers that are coroutines are done with what was published, at most *seconds*.

        Who is not is cancelled, and counted as an error.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        # After a fork some belong to the parent's loop.
        while tasks := [task for task in self._tasks if task.get_loop() is loop]:
            left = ends - loop.time()
            if left <= 0:
                break
            await asyncio.wait(tasks, timeout=left)
        for task in tasks:
            task.cancel()
        if tasks:
            self.errors += len(tasks)
            _log.error("%d subscribers were not done %g s after the end, and were cut off", len(tasks), seconds)
            await asyncio.wait(tasks, timeout=seconds)

    async def _await(self, waiting: Awaitable[None], subscriber: Subscriber, event: BusEvent) -> None:
        try:
            await waiting
        except BaseException as exc:
            if is_from_outside(exc):
                # By `settle`, which has counted it, or with all the other tasks of the program.
                raise
            self._failed(subscriber, event, exc)

    def _failed(self, subscriber: Subscriber, event: BusEvent, error: BaseException) -> None:
        self.errors += 1
        _log.error("subscriber %s failed on %s", name_of(subscriber), type(event).__name__, exc_info=error)
        pass_on(error)
