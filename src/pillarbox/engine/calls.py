"""
Calls of an application's coroutines, for a bounded time, and what they end in, whatever that is.

A coroutine can be asked to stop, not made to. One that goes on all the same is left behind and remembered until it
ends: nobody waits for it, and `health` can report it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pillarbox.clock import Clock
from pillarbox.deadline import ended_within
from pillarbox.engine.deadlines import SEND_GRACE

# How long a call that was cut off may take to clean up.
GRACE_SECONDS: Final = 2.0
# How many calls of one function may be left behind before it is not called any more.
LEFT_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """
    How a call ended.

    Attributes:
        error: What it raised, of whatever kind.
        overran: It was cut off, because it took too long.
        left: It goes on all the same.
    """

    value: Any = None
    error: BaseException | None = None
    overran: bool = False
    left: bool = False


class Calls:
    """
    The calls of one kind, such as hooks.

    Args:
        clock: By which their time passes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: dict[asyncio.Task[Ended], tuple[str, object]] = {}

    def left(self) -> Counter[str]:
        """Return how many calls of each name go on though they were cut off."""
        return Counter(name for name, _ in self._left.values())

    def is_stuck(self, function: object) -> bool:
        """Whether so many calls of *function* were left behind that it should not be called any more."""
        return len(self._left) >= LEFT_MAX and sum(other is function for _, other in self._left.values()) >= LEFT_MAX

    async def run(
        self, name: str, function: Callable[..., Any], *values: object, seconds: float, grace_seconds: float = 0.0
    ) -> Ended:
        """
        Call *function*, and await what it returns if that can be awaited. Raises nothing of the function's.

        Args:
            seconds: When it is cut off.
            grace_seconds: How long to wait then for its end, and for what it says at its end.
        """
        try:
            answer = function(*values)
            if not inspect.isawaitable(answer):
                return Ended(value=answer)
            task = asyncio.ensure_future(_ended(answer))
        except BaseException as exc:  # noqa: BLE001 — its caller judges what it raised
            return Ended(error=exc)
        try:
            await ended_within((task,), seconds, clock=self._clock, grace=SEND_GRACE)
            if task.done():
                return _result(task)
            self._cut(task, name, function)
            if grace_seconds:
                await ended_within((task,), grace_seconds, clock=self._clock, grace=SEND_GRACE)
        except BaseException:
            # Whoever waited does so no more.
            self._cut(task, name, function)
            raise
        if not task.done():
            return Ended(overran=True, left=True)
        ended = _result(task)
        return Ended(value=ended.value, error=ended.error, overran=True)

    def _cut(self, task: asyncio.Task[Ended], name: str, function: object) -> None:
        if not task.done() and task not in self._left:
            self._left[task] = name, function
            task.add_done_callback(lambda done: self._left.pop(done, None))
            task.cancel()


async def _ended(answer: Any) -> Ended:  # noqa: ANN401 — whatever a function gives that can be awaited
    try:
        return Ended(value=await answer)
    except BaseException as exc:  # noqa: BLE001 — its caller judges what it raised
        return Ended(error=exc)


def _result(task: asyncio.Task[Ended]) -> Ended:
    # A task that is cancelled before its first step has caught nothing.
    return Ended(error=asyncio.CancelledError()) if task.cancelled() else task.result()
