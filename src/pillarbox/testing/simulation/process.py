"""`Process`: what belongs together on a simulated loop, and dies together."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")


class Killed(Exception):
    """The process in which this ran was killed."""


class Process:
    """
    A simulated process: all that its tasks begin, tasks, callbacks and timers alike, is its own.

    Made by `SimulatedLoop.process`. When it is killed, none of that ever runs again: no ``finally``, no ``except``, as
    with SIGKILL. What the kernel does at the end of a process, such as to close its files, is said by `at_end`.

    Attributes:
        name: For people.
        alive: Whether it was not killed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._steps_left: int | None = None
        self._ends: list[Callable[[], object]] = []
        self._waiting: list[asyncio.Future[Any]] = []
        self.name = name
        self.alive = True

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """
        Run *work* in the process; a caller outside may wait for its end, or cancel the wait.

        The future raises `Killed` where the process is killed first.
        """
        outside: asyncio.Future[T] = self._loop.create_future()
        if not self.alive:
            work.close()
            outside.set_exception(Killed(self.name))
            return outside
        self._waiting = [future for future in self._waiting if not future.done()]
        self._waiting.append(outside)
        inside = contextvars.copy_context()
        inside.run(_current.set, self)
        task = self._loop.create_task(work, name=self.name, context=inside)
        # Heard in the caller's own context, which does not die.
        task.add_done_callback(lambda done: _hand_on(done, outside))
        return outside

    def kill_after(self, steps: int) -> None:
        """Kill it when so many more of its callbacks have run: between two of them, where something awaits."""
        self._steps_left = max(1, steps)

    def at_end(self, callback: Callable[[], object]) -> None:
        """Call this once it is killed; those that were said last come first."""
        self._ends.append(callback)

    def kill(self) -> None:
        """End it at once. Safe to repeat."""
        if not self.alive:
            return
        self.alive = False
        for callback in reversed(self._ends):
            callback()
        for future in self._waiting:
            if not future.done():
                future.set_exception(Killed(self.name))
                future.exception()  # nobody has to wait for it
        self._waiting.clear()

    def stepped(self) -> None:
        """Called by the loop when one of its callbacks has run."""
        if self._steps_left is not None and self.alive:
            self._steps_left -= 1
            if self._steps_left == 0:
                self.kill()


_current: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar("pillarbox-process", default=None)


def process_of(context: contextvars.Context) -> Process | None:
    """Return the process to which what runs in *context* belongs; ``None`` for the simulation itself."""
    return context.get(_current, None)


def _hand_on(task: asyncio.Future[T], outside: asyncio.Future[T]) -> None:
    if task.cancelled():
        outside.cancel()
    elif (error := task.exception()) is not None:
        if not outside.done():
            outside.set_exception(error)
    elif not outside.done():
        outside.set_result(task.result())
