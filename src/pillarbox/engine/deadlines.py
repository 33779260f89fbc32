"""
Cuts off what takes too long: one timer for all that share a timeout, instead of one for each send.

Those that began first end first, so a queue for each timeout is enough. One whose timer comes late is given a grace
(`pillarbox.deadline`), exactly once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from pillarbox.clock import Clock
from pillarbox.deadline import Deadline, Grace

T = TypeVar("T")

# Longer than a channel's own, which knows better what it means that no answer came.
SEND_GRACE: Final = Grace(seconds=1.5, turns=20)


class Deadlines(Generic[T]):
    """
    Watches over items from `add` to `remove`; holds none that was removed.

    Args:
        over: Called with each item whose time is over; it is not watched any more.
        clock: Sets the timers; a timer that is late by it gets the grace.
    """

    def __init__(self, over: Callable[[T], None], *, clock: Clock, grace: Grace = SEND_GRACE) -> None:
        self._over = over
        self._clock = clock
        self._grace = grace
        # By timeout, in the order of their ends: what is added later ends later.
        self._queues: dict[float, dict[int, tuple[float, T]]] = {}
        self._armed: set[float] = set()
        # Those whose time is over, and what cuts them off.
        self._ending: dict[int, Deadline] = {}

    def add(self, item: T, seconds: float) -> None:
        """Watch *item* for *seconds*."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = {}
        queue[id(item)] = (self._clock.mono() + seconds, item)
        if seconds not in self._armed:
            self._armed.add(seconds)
            self._set_timer(seconds, seconds)

    def remove(self, item: T, seconds: float) -> None:
        """Watch *item* no more; *seconds* as it was added."""
        queue = self._queues.get(seconds)
        if queue is not None:
            queue.pop(id(item), None)
        ending = self._ending.pop(id(item), None)
        if ending is not None:
            ending.cancel()

    def _set_timer(self, delay: float, seconds: float) -> None:
        # An event loop holds its timers, and an outbox that nobody holds must not be kept by one.
        self._clock.call_later(delay, _look_again, weakref.ref(self), seconds)

    def _look(self, seconds: float) -> None:
        queue = self._queues[seconds]
        now = self._clock.mono()
        while queue:
            key, (ends, item) = next(iter(queue.items()))
            if ends > now:
                self._set_timer(ends - now, seconds)
                return
            del queue[key]
            self._end(key, item, ends)
        self._armed.discard(seconds)

    def _end(self, key: int, item: T, ends: float) -> None:
        def over() -> None:
            del self._ending[key]
            self._over(item)

        deadline = self._ending[key] = Deadline(over, clock=self._clock, grace=self._grace)
        deadline.come(ends)


def _look_again(watching: weakref.ref[Deadlines[Any]], seconds: float) -> None:
    deadlines = watching()
    if deadlines is not None:
        deadlines._look(seconds)  # noqa: SLF001 — its own timer
