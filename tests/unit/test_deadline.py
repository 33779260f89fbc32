"""A deadline that comes late gives one grace, and no more."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from pillarbox.deadline import Deadline, Grace, RepeatedDeadline, Within, at_most, ended_within
from pillarbox.engine.deadlines import Deadlines
from pillarbox.errors import StoreUnavailable
from pillarbox.store.thread import Delayed
from pillarbox.testing.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.clock import Timer

SHORT = Grace(seconds=1.0, turns=3)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_deadline_in_time_calls_after_a_few_turns_of_the_loop() -> None:
    clock, calls = FakeClock(), list[str]()
    deadline = Deadline(lambda: calls.append("over"), clock=clock, grace=SHORT)
    deadline.set(10)
    clock.advance(9.9)
    await turns(20)
    assert not deadline.overdue()
    clock.advance(0.1)
    assert (calls, deadline.overdue()) == ([], True)
    await turns(20)
    assert calls == ["over"]


async def test_one_that_comes_late_waits_for_its_grace_and_calls_once() -> None:
    clock, calls = FakeClock(), list[str]()
    kept = Deadline(lambda: calls.append("kept"), clock=clock, grace=Grace(seconds=3600, turns=3))
    cut = Deadline(lambda: calls.append("cut"), clock=clock, grace=SHORT)
    for deadline in (kept, cut):
        deadline.set(10)
    clock.stall(60)
    await turns(20)
    assert calls == []
    clock.advance(1)
    await turns(20)
    clock.advance(60)
    await turns(20)
    assert calls == ["cut"]
    assert kept.overdue()
    kept.cancel()


class CountedTimers(FakeClock):
    """Counts the timers that are set."""

    def __init__(self) -> None:
        super().__init__()
        self.set = 0

    def call_later(self, seconds: float, callback: Callable[..., object], *values: object) -> Timer:
        self.set += 1
        return super().call_later(seconds, callback, *values)


async def test_things_that_end_in_time_share_a_timer_and_the_one_that_does_not_is_cut_off() -> None:
    clock, calls = CountedTimers(), list[str]()
    deadline = RepeatedDeadline(lambda: calls.append("over"), clock=clock, grace=SHORT)
    for _ in range(90):
        deadline.begin(clock.mono() + 10)
        clock.advance(0.1)
        deadline.end()
    assert clock.set == 1
    deadline.begin(clock.mono() + 10)
    clock.advance(9.9)
    await turns(20)
    assert calls == []
    clock.advance(0.1)
    await turns(20)
    clock.advance(60)
    await turns(20)
    assert calls == ["over"]


async def test_one_that_has_less_time_than_the_one_before_is_cut_off_in_time() -> None:
    clock, calls = FakeClock(), list[str]()
    deadline = RepeatedDeadline(lambda: calls.append("over"), clock=clock, grace=SHORT)
    deadline.begin(clock.mono() + 3600)
    deadline.end()
    deadline.begin(clock.mono() + 1)
    clock.advance(1)
    await turns(20)
    assert calls == ["over"]


@pytest.mark.parametrize("ends", [False, True])
async def test_what_goes_on_while_the_loop_stands_still_has_a_grace_and_the_next_a_time_of_its_own(ends: bool) -> None:
    clock, calls = FakeClock(), list[str]()
    deadline = RepeatedDeadline(lambda: calls.append("over"), clock=clock, grace=SHORT)
    deadline.begin(clock.mono() + 10)
    clock.stall(60)
    await turns(20)
    assert calls == []
    if ends:
        deadline.end()
        deadline.begin(clock.mono() + 10)
    clock.advance(1)
    await turns(20)
    assert calls == ([] if ends else ["over"])
    clock.advance(9)
    await turns(20)
    assert calls == ["over"]


async def test_one_that_is_closed_cuts_nothing_off_and_leaves_no_timer() -> None:
    for late in (False, True):
        clock, calls = FakeClock(), list[str]()
        deadline = RepeatedDeadline(lambda calls=calls: calls.append("over"), clock=clock, grace=SHORT)  # type: ignore[misc]
        deadline.begin(clock.mono() + 10)
        if late:
            clock.stall(60)
        deadline.close()
        deadline.close()
        clock.advance(60)
        await turns(20)
        assert calls == []


async def test_what_comes_in_the_grace_is_taken_and_nothing_is_cut_off() -> None:
    clock = FakeClock()
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with Within(10, clock=clock, grace=SHORT) as within:
        clock.stall(60)
        await turns(20)
        assert within.overdue()
        answer.set_result("200")
        assert await answer == "200"
    clock.advance(60)
    await turns(20)
    assert not within.expired()


@pytest.mark.parametrize("late", [False, True])
async def test_what_does_not_come_is_cut_off_in_either_case(late: bool) -> None:
    clock = FakeClock()
    within = Within(10, clock=clock, grace=SHORT)
    asyncio.get_running_loop().call_soon(clock.stall if late else clock.advance, 60)
    asyncio.get_running_loop().call_soon(clock.advance, 1)
    with pytest.raises(TimeoutError):
        async with within:
            await asyncio.Event().wait()
    assert within.expired()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_cancellation_from_outside_is_none_of_its_own() -> None:
    began = asyncio.Event()

    async def wait() -> None:
        async with Within(3600, clock=FakeClock()):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_are_a_cancellation() -> None:
    async def wait() -> None:
        async with Within(0, clock=FakeClock(), grace=SHORT):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_time_it_lasts_as_long_as_it_takes() -> None:
    async with Within(None, clock=FakeClock()) as within:
        await turns(3)
        assert not within.overdue()
    async with Within(0, clock=FakeClock(), grace=SHORT) as lifted:
        lifted.lift()
        await turns(50)
    assert not lifted.expired()


async def test_sends_whose_timer_comes_late_are_cut_off_after_one_grace() -> None:
    clock, over = FakeClock(), list[str]()
    deadlines: Deadlines[str] = Deadlines(over.append, clock=clock, grace=SHORT)
    for name in ("a", "b", "c"):
        deadlines.add(name, 10)
    clock.stall(60)
    await turns(20)
    assert over == []
    deadlines.remove("b", 10)
    clock.advance(1)
    await turns(20)
    assert over == ["a", "c"]
    deadlines.remove("a", 10)


async def test_a_wait_for_several_ends_with_the_last_of_them_or_with_its_time() -> None:
    clock, loop = FakeClock(), asyncio.get_running_loop()
    both: list[asyncio.Future[None]] = [loop.create_future(), loop.create_future()]
    ended = asyncio.ensure_future(ended_within(both, 10, clock=clock))
    both[1].set_result(None)
    await turns(20)
    assert not ended.done()
    both[0].set_result(None)
    assert await ended
    late: asyncio.Future[None] = loop.create_future()
    ended = asyncio.ensure_future(ended_within((late,), 10, clock=clock))
    await turns(20)
    clock.advance(10)
    assert not await ended
    assert not late.done()


async def test_what_takes_too_long_is_cancelled_and_nothing_is_raised() -> None:
    clock, ends = FakeClock(), list[str]()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    waiting = asyncio.create_task(at_most(10, wait(), clock=clock))
    await turns(5)
    clock.advance(10)
    await waiting
    assert ends == ["cancelled"]
    await at_most(0, asyncio.sleep(0), clock=clock)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_ended_although_its_time_was_over_leaves_no_cancellation_behind(fails: bool) -> None:
    """Who waits for a commit waits to its end, and is cancelled at the next wait: a drain was, after its time."""
    clock, disk, written = FakeClock(), FakeClock(), list[str]()
    commits = Delayed(disk, lambda: 1.0)

    def commit() -> str:
        if fails:
            raise StoreUnavailable("gone")
        return "written"

    async def both() -> None:
        with contextlib.suppress(StoreUnavailable):
            written.append(await commits.run_through(commit))

    async def over_before_the_commit() -> None:
        await turns(3)
        clock.advance(10)
        await turns(3)
        disk.advance(1)
        disk.advance(1)

    other = asyncio.create_task(over_before_the_commit())
    await at_most(10, both(), clock=clock)
    await other
    assert written == ([] if fails else ["written"])
    await turns(3)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
