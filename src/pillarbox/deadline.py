"""
Deadlines that know when they should have come, and when they did.

A loop that stood still (a blocking call, SIGSTOP, a paused machine) finds its timers overdue and the answers that came
meanwhile unread, and runs the timers first. What is cut off then has been answered. So a timer that comes late gives
one short grace, exactly once, in which what waits is read; one that comes in time gives only a few turns of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from types import TracebackType

    from pillarbox.clock import Clock, Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """
    How long a deadline still waits before it cuts off.

    Attributes:
        late_seconds: A timer that comes later than this was kept from coming.
        seconds: How much longer one waits then.
        turns: Of the loop, given in any case: what was read in the same turn needs some to get to who waits for it.
    """

    late_seconds: float = 0.05
    seconds: float = 1.0
    turns: int = 10


GRACE: Final = Grace()
# For what nobody answers from outside.
NO_GRACE: Final = Grace(seconds=0.0, turns=0)
_NEVER: Final = math.inf


class Deadline:
    """
    Calls *over* once when its time has come.

    Args:
        over: What cuts off.
        clock: By which time passes.
    """

    __slots__ = ("_clock", "_grace", "_handle", "_over", "_when")

    def __init__(self, over: Callable[[], object], *, clock: Clock, grace: Grace = GRACE) -> None:
        self._clock = clock
        self._over = over
        self._grace = grace
        self._handle: Timer | None = None
        self._when: float | None = None

    def set(self, seconds: float | None) -> None:
        """Call in *seconds* from now instead; ``None`` for never. A grace that was begun ends without a call."""
        self.cancel()
        if seconds is not None:
            self._when = self._clock.mono() + seconds
            self._handle = self._clock.call_later(seconds, self.come, self._when)

    def cancel(self) -> None:
        """Make sure that it cuts nothing off. Safe to repeat."""
        self._when = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def overdue(self) -> bool:
        """Whether its time has come."""
        return self._when is not None and self._clock.mono() >= self._when

    def come(self, when: float) -> None:
        """Called when the time has come, which was to be *when* by `Clock.mono`; any timer may call it."""
        if self._clock.mono() - when > self._grace.late_seconds:
            self.come_late()
        else:
            self._turn(self._grace.turns)

    def come_late(self) -> None:
        """Called when the time had come before any code could see it."""
        self._handle = self._clock.call_later(self._grace.seconds, self._turn, self._grace.turns)

    def _turn(self, left: int) -> None:
        # Also after the grace: it may have come late itself, with what it waited for in the same turn.
        if left > 0:
            self._handle = asyncio.get_running_loop().call_soon(self._turn, left - 1)
        else:
            self._handle = None
            self._over()


class RepeatedDeadline:
    """
    A deadline of one thing after another, most of which end long before it: its timer stays from one to the next.

    Args:
        over: What cuts off what goes on.
        clock: By which time passes.
    """

    __slots__ = ("_clock", "_coming", "_ends", "_grace", "_over", "_timer", "_timer_at")

    def __init__(self, over: Callable[[], object], *, clock: Clock, grace: Grace = GRACE) -> None:
        self._over = over
        self._clock = clock
        self._grace = grace
        self._ends = _NEVER
        self._timer: Timer | None = None
        self._timer_at = _NEVER
        self._coming: Deadline | None = None

    def begin(self, ends: float) -> None:
        """Called when something begins; `end` comes before *ends* by `Clock.mono`, or it is cut off."""
        self._ends = ends
        if ends < self._timer_at:
            self._set_timer(ends)

    def end(self) -> None:
        """Make sure that nothing is cut off until something begins again. Safe to repeat."""
        self._ends = _NEVER
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def close(self) -> None:
        """Let go of the timer and of *over*; nothing begins any more. Safe to repeat."""
        self.end()
        self._over = _nothing  # what it cuts off mostly holds this: else both would be the garbage collector's
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, ends: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = ends
        self._timer = self._clock.call_later(ends - self._clock.mono(), self._look)

    def _look(self) -> None:
        """Called when the time of what began first has come, which has mostly ended; then it waits for the last one."""
        self._timer, self._timer_at = None, _NEVER
        if self._ends > self._clock.mono():
            if self._ends < _NEVER:
                self._set_timer(self._ends)
            return
        self._coming = Deadline(self._over, clock=self._clock, grace=self._grace)
        self._coming.come(self._ends)


class Within:
    """
    ``async with`` this, at most so many seconds pass: `asyncio.timeout`, with the grace of a late timer.

    Raises TimeoutError where the time is over; what is inside is cancelled first.

    Args:
        seconds: ``None`` for as long as it takes.
        clock: By which time passes.
    """

    def __init__(self, seconds: float | None, *, clock: Clock, grace: Grace = GRACE) -> None:
        self._seconds = seconds
        self._clock = clock
        self._deadline = Deadline(self._over, clock=clock, grace=grace)
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    async def __aenter__(self) -> Self:
        """Begin to count."""
        task = self._task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for what runs in a task")
        self._cancelling = task.cancelling()
        self._deadline.set(self._seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count no more."""
        self._deadline.cancel()
        if self._expired and self._task is not None:
            # Where somebody else cancelled as well, that is what the task hears of.
            alone = self._task.uncancel() <= self._cancelling
            if alone and kind is asyncio.CancelledError:
                raise TimeoutError from error
            if alone:
                await self._hear_of_it(self._task)

    async def _hear_of_it(self, task: asyncio.Task[object]) -> None:
        """Take the cancellation that what is inside left to its next wait, of which there was none (`store.thread`)."""
        try:
            await self._clock.sleep(0)
        except asyncio.CancelledError:
            if task.cancelling() > self._cancelling:
                raise

    def lift(self) -> None:
        """Remove the limit: it may take any time from now on."""
        self._deadline.cancel()

    def overdue(self) -> bool:
        """Whether its time has come, also while the grace lasts: nothing new is to be begun then."""
        return self._deadline.overdue()

    def expired(self) -> bool:
        """Whether the time was over, and what is inside was cancelled."""
        return self._expired

    def _over(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()


async def ended_within(
    futures: Collection[asyncio.Future[Any]], seconds: float | None, *, clock: Clock, grace: Grace = GRACE
) -> bool:
    """
    Wait until all of *futures* have ended, for so many seconds at most; returns whether they have.

    They are left alone. ``None`` waits as long as it takes.
    """
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    deadline = Deadline(functools.partial(_end, over), clock=clock, grace=grace)
    deadline.set(seconds)
    try:
        for future in futures:
            if not future.done() and not over.done():
                await asyncio.wait((future, over), return_when=asyncio.FIRST_COMPLETED)
    finally:
        deadline.cancel()
        over.cancel()
    return all(future.done() for future in futures)


async def at_most(seconds: float, waiting: Awaitable[object], *, clock: Clock) -> None:
    """Wait for what is ours alone, for so many seconds; then it is cancelled, and nothing is raised."""
    with contextlib.suppress(TimeoutError):
        async with Within(seconds, clock=clock, grace=NO_GRACE):
            await waiting


def _nothing() -> None:
    """Do nothing."""


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
