"""A deadline that comes late gives one grace, and no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.deadline import Deadline, Grace, Within
from pillarbox.engine.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 10.0
LATE = 60.0  # by the clock that says so; the loop's own timers come at once
SHORT = Grace(seconds=0.02, turns=3)
ENDLESS = Grace(seconds=3600, turns=3)


def stood_still(for_seconds: float) -> Callable[[], float]:
    """Give a clock by which every timer comes so much too late."""
    loop = asyncio.get_running_loop()
    return lambda: loop.time() + for_seconds


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_deadline_in_time_calls_after_a_few_turns_of_the_loop() -> None:
    over = asyncio.Event()
    deadline = Deadline(over.set, grace=Grace(seconds=3600, late_seconds=3600))
    deadline.set(asyncio.get_running_loop().time())
    async with asyncio.timeout(SECONDS):
        await over.wait()


async def test_one_that_comes_late_waits_for_its_grace_and_calls_once() -> None:
    calls: list[str] = []
    kept = Deadline(lambda: calls.append("kept"), grace=ENDLESS, now=stood_still(LATE))
    over = asyncio.Event()

    def call() -> None:
        calls.append("cut")
        over.set()

    cut = Deadline(call, grace=SHORT, now=stood_still(LATE))
    for deadline in (kept, cut):
        deadline.set(asyncio.get_running_loop().time())
    async with asyncio.timeout(SECONDS):
        await over.wait()
    await turns(20)
    assert calls == ["cut"]
    assert kept.overdue()
    kept.cancel()


async def test_what_comes_in_the_grace_is_taken_and_nothing_is_cut_off() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with Within(0, grace=ENDLESS, now=stood_still(LATE)) as within:
        await turns(20)
        assert within.overdue()
        answer.set_result("200")
        assert await answer == "200"
    assert not within.expired()


@pytest.mark.parametrize("late", [0.0, LATE])
async def test_what_does_not_come_is_cut_off_in_either_case(late: float) -> None:
    within = Within(0, grace=SHORT, now=stood_still(late))
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
        async with Within(3600):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_are_a_cancellation() -> None:
    async def wait() -> None:
        async with Within(0, grace=SHORT):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_time_it_lasts_as_long_as_it_takes() -> None:
    async with Within(None) as within:
        await turns(3)
        assert not within.overdue()
    async with Within(0, grace=SHORT) as lifted:
        lifted.lift()
        await turns(50)
    assert not lifted.expired()


async def test_sends_whose_timer_comes_late_are_cut_off_after_one_grace() -> None:
    over: list[str] = []
    both = asyncio.Event()

    def cut(name: str) -> None:
        over.append(name)
        if len(over) == 2:
            both.set()

    deadlines: Deadlines[str] = Deadlines(cut, grace=SHORT, now=stood_still(LATE))
    for name in ("a", "b", "c"):
        deadlines.add(name, 0.0)
    await turns(5)
    assert over == []
    deadlines.remove("b", 0.0)
    async with asyncio.timeout(SECONDS):
        await both.wait()
    await turns(20)
    assert over == ["a", "c"]
    deadlines.remove("a", 0.0)
