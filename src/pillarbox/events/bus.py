"""
The bus: hands each event to those who subscribed.

A subscriber that raises, whatever it is, or is slow harms nobody: its errors are counted and logged, an async one runs
as a task.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pillarbox.deadline import ended_within
from pillarbox.events.events import BusEvent
from pillarbox.user_code import Log, channel_at_work, is_from_outside, name_of, pass_on

if TYPE_CHECKING:
    from pillarbox.clock import Clock

_log = Log("pillarbox.events")

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
        Call *subscriber* for events of *types*, or for all; return a function that ends it.

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
        """Whether a subscriber wants *kind*: no event needs to be made that no subscriber wants."""
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = any(issubclass(kind, each.types) for each in self._subscribers)
            self._wanted[kind] = wanted
        return wanted

    def publish(self, event: BusEvent) -> None:
        """
        Call every subscriber. Raises nothing of theirs: what ends a program is passed on after the current step.

        A subscriber that unsubscribes while an event is published is not called any more.
        """
        if not self._subscribers:
            return
        before = channel_at_work.set(getattr(event, "channel", None))
        try:
            self._call_each(event)
        finally:
            channel_at_work.reset(before)

    def _call_each(self, event: BusEvent) -> None:
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

    async def settle(self, seconds: float, *, clock: Clock) -> None:
        """
        Wait until the subscribers that are coroutines are done with what was published, at most *seconds* by *clock*.

        One that does not end in time is cancelled, and counted as an error.
        """
        loop = asyncio.get_running_loop()
        ends = clock.mono() + seconds
        # After a fork some belong to the parent's loop.
        while tasks := [task for task in self._tasks if task.get_loop() is loop]:
            left = ends - clock.mono()
            if left <= 0 or not await ended_within(tasks, left, clock=clock):
                break
        for task in tasks:
            task.cancel()
        if tasks:
            self.errors += len(tasks)
            _log.error("%d subscribers were not done %g s after the end, and were cut off", len(tasks), seconds)
            await ended_within(tasks, seconds, clock=clock)

    async def _await(self, waiting: Awaitable[None], subscriber: Subscriber, event: BusEvent) -> None:
        own = asyncio.current_task()
        try:
            await waiting
        except BaseException as exc:
            if is_from_outside(exc, own):
                # By `settle`, which has counted it, or with all the other tasks of the program.
                raise
            self._failed(subscriber, event, exc)

    def _failed(self, subscriber: Subscriber, event: BusEvent, error: BaseException) -> None:
        self.errors += 1
        _log.error("subscriber %s failed on %s", name_of(subscriber), type(event).__name__, exc_info=error)
        pass_on(error)
