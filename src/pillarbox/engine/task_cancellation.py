"""
A lull: for a moment nothing begins, because the tasks of the program are being cancelled, ours among them.

That is how programs end (``for task in asyncio.all_tasks(): task.cancel()``, the end of `asyncio.run`), and what began
now would be cut off by the end of the event loop. Where the program goes on, so do we.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from pillarbox.clock import Clock
from pillarbox.deadline import ended_within

SECONDS: Final = 1.0
SHORT_SECONDS: Final = 0.1
_RECORDED_SECONDS_MAX: Final = 5.0


class Lull:
    """
    Whether there is one.

    Args:
        over: Called when it is over.
    """

    def __init__(self, over: Callable[[], None], *, clock: Clock) -> None:
        self._over = over
        self._clock = clock
        self.is_on = False
        self._until = 0.0
        self._awaited = 0

    def begin(self, seconds: float = SECONDS) -> None:
        """Begin one, or make the one that there is last so long."""
        now = self._clock.mono()
        self._until = max(self._until, now + seconds)
        if not self.is_on:
            self.is_on = True
            self._clock.call_later(self._until - now, self._look)

    def _look(self) -> None:
        now = self._clock.mono()
        if self._awaited:
            # Until those are recorded that the end of the program waits for, and for a moment after that.
            self._until = now + SHORT_SECONDS
        if now < self._until:
            self._clock.call_later(self._until - now, self._look)
            return
        self.is_on = False
        self._over()

    async def hold(self, recorded: asyncio.Future[None]) -> None:
        """
        Wait until something is recorded, for a bounded time, whoever cancels that once more.

        `asyncio.run` waits for the tasks that it cancels, and for nothing else: one of them has to wait.
        """
        ends = self._clock.mono() + _RECORDED_SECONDS_MAX
        self._awaited += 1
        while not recorded.done() and (left := ends - self._clock.mono()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await ended_within((recorded,), left, clock=self._clock)
        self._awaited -= 1
        self._until = max(self._until, self._clock.mono() + SHORT_SECONDS)
