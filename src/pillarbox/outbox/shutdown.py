"""`End`: the one end of what was opened, taken step by step, for which any number of callers may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from pillarbox.clock import Clock

T = TypeVar("T")


class Patience:
    """Takes steps of an end to their end: the first cancellation takes the patience, and then they go on in a hurry."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def through(self, step: Callable[[float], Awaitable[T]]) -> T | None:
        """Call *step* with the seconds that it may wait; once it is cancelled, again with 0. It is safe to repeat."""
        while True:
            try:
                return await step(self._seconds)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or not task.cancelling():
                    # Raised by something of the program's own that was asked to close: that step is over.
                    return None
                while task.uncancel():
                    pass
                self._seconds = 0.0


class End:
    """
    Begins with the first call of `reach`.

    Args:
        steps: Takes all the steps; returns how many sends were cut off.
        on_hurry: Called where a later caller waits less long than the first one.
    """

    def __init__(
        self, steps: Callable[[Patience], Coroutine[Any, Any, int]], on_hurry: Callable[[], object], clock: Clock
    ) -> None:
        self._events = asyncio.get_running_loop()
        self._clock = clock
        self._steps = steps
        self._on_hurry = on_hurry
        self._end: asyncio.Future[int] | None = None
        self._ends_at = 0.0

    @property
    def begun(self) -> bool:
        """Whether `reach` was called."""
        return self._end is not None

    @property
    def over(self) -> bool:
        """Whether the last step was taken."""
        return self._end is not None and self._end.done()

    async def reach(self, deadline_seconds: float) -> int:
        """
        Take every step; return how many sends were cut off.

        Called again meanwhile, it waits for the same end; with an earlier deadline, that one holds. A caller that is
        cancelled stops waiting, and the end comes all the same.
        """
        ends_at = self._clock.mono() + deadline_seconds
        if self._end is None:
            # No task: whoever cancels every task that there is must not end this wait.
            self._end = self._events.create_future()
            self._ends_at = ends_at
            self._begin(deadline_seconds)
        elif ends_at < self._ends_at:
            self._ends_at = ends_at
            self._clock.call_later(deadline_seconds, self._on_hurry)
        return await asyncio.shield(self._end)

    def _begin(self, deadline_seconds: float) -> None:
        steps = self._steps(Patience(deadline_seconds))
        self._events.create_task(steps).add_done_callback(self._on_steps_end)

    def _on_steps_end(self, task: asyncio.Task[int]) -> None:
        if self._end is None or self._end.done():
            return
        if task.cancelled():
            # Before its first step.
            self._begin(0)
            return
        error = task.exception()
        if error is None:
            self._end.set_result(task.result())
            return
        self._end.set_exception(error)
        # Whoever waited may be gone.
        self._end.exception()
