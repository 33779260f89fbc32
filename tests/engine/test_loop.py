"""The one loop: it runs when it is poked or when it said so, outlives what fails, and ends when it is asked to."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

import pytest

from pillarbox.engine.deadlines import Deadlines
from pillarbox.engine.loop import Loop
from pillarbox.errors import NotStarted, StoreBusy, StoreUnavailable
from pillarbox.testing.fakes import FakeClock
from tests.engine.stand import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Ticking:
    """A tick that is counted, and does what it is told next."""

    def __init__(self, *answers: float | Exception | Callable[[], Awaitable[None]] | None) -> None:
        self.count = 0
        self._answers = list(answers)

    async def __call__(self) -> float | None:
        self.count += 1
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is None or isinstance(answer, int | float):
            return answer
        await answer()
        return None


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_begins_at_once_and_then_waits_for_a_poke() -> None:
    tick = Ticking()
    loop = Loop("test", tick, clock=FakeClock())
    loop.start()
    await settled()
    assert tick.count == 1
    loop.poke()
    await settled()
    assert tick.count == 2
    await loop.stop()


async def test_it_comes_back_when_the_tick_said_so() -> None:
    clock = FakeClock()
    tick = Ticking(0, 0, 30.0)
    loop = Loop("test", tick, clock=clock)
    loop.start()
    await until(lambda: tick.count == 3)
    clock.advance(29.9)
    await settled()
    assert tick.count == 3
    clock.advance(0.1)
    await until(lambda: tick.count == 4)
    await loop.stop()


async def test_a_poke_during_a_tick_is_not_lost() -> None:
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    tick = Ticking(wait)
    loop = Loop("test", tick, clock=FakeClock())
    loop.start()
    await settled()
    loop.poke()
    loop.poke()
    gate.set()
    await settled()
    assert tick.count == 2
    await loop.stop()


@pytest.mark.contract("EV4")
async def test_it_outlives_a_tick_that_fails_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    tick = Ticking(StoreBusy("locked"), RuntimeError("a bug"), StoreBusy("locked"))
    failures: list[str] = []
    loop = Loop("reaper", tick, clock=FakeClock(), failed=lambda name, error: failures.append(f"{name}: {error}"))
    loop.start()
    for _ in range(3):
        await settled()
        loop.poke()
    await until(lambda: tick.count == 4)
    assert failures == ["reaper: locked", "reaper: a bug", "reaper: locked"]
    # What a database says is one line; what nobody expected is shown whole.
    assert [record.exc_info is not None for record in caplog.records] == [False, True, False]
    await loop.stop()


async def test_it_comes_back_by_itself_after_a_failure() -> None:
    clock = FakeClock()
    tick = Ticking(StoreBusy("locked"))
    loop = Loop("test", tick, clock=clock)
    loop.start()
    await until(lambda: tick.count == 1)
    await settled()
    clock.advance(5.0)
    await until(lambda: tick.count == 2)
    await loop.stop()


@pytest.mark.contract("DR3")
async def test_a_stop_lets_the_tick_end_and_begins_no_other() -> None:
    gate = asyncio.Event()
    ended: list[bool] = []

    async def wait() -> None:
        await gate.wait()
        ended.append(True)

    tick = Ticking(wait)
    loop = Loop("test", tick, clock=FakeClock())
    loop.start()
    await settled()
    stopping = asyncio.create_task(loop.stop())
    loop.poke()
    await settled()
    assert not stopping.done()
    gate.set()
    await stopping
    loop.poke()
    await settled()
    assert (ended, tick.count) == ([True], 1)
    await loop.stop()


@pytest.mark.contract("DR3", "EV4")
async def test_what_fails_once_nobody_waits_for_its_end_any_more_is_no_failure_of_an_open_outbox(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server was silent until after the close: nobody can do anything about it."""
    caplog.set_level(logging.WARNING)
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise StoreUnavailable("the server did not answer")

    clock, tick, failures = FakeClock(), Ticking(fail), list[str]()
    loop = Loop("reaper", tick, clock=clock, failed=lambda name, _: failures.append(name))
    loop.start()
    await settled()
    stopping = asyncio.create_task(loop.stop())
    await settled()
    stopping.cancel()
    await settled()
    loop.poke()
    gate.set()
    await settled()
    clock.advance(60)
    await settled()
    assert (tick.count, failures, caplog.messages) == (1, [], [])


@pytest.mark.contract("EV4")
async def test_what_fails_while_a_stop_waits_for_it_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise StoreUnavailable("the server did not answer")

    loop = Loop("reaper", Ticking(fail), clock=FakeClock())
    loop.start()
    await settled()
    stopping = asyncio.create_task(loop.stop())
    await settled()
    gate.set()
    await stopping
    assert caplog.messages == ["reaper: the server did not answer"]


@pytest.mark.contract("DR3")
async def test_it_may_be_started_again() -> None:
    tick = Ticking()
    loop = Loop("test", tick, clock=FakeClock())
    loop.start()
    loop.start()
    await settled()
    await loop.stop()
    loop.start()
    await settled()
    await loop.stop()
    assert tick.count == 2


async def test_a_deadline_comes_to_each_that_is_still_there_in_order() -> None:
    over: list[str] = []
    clock = FakeClock()
    deadlines: Deadlines[str] = Deadlines(over.append, clock=clock)
    for name in ("a", "b", "c"):
        deadlines.add(name, 10)
        clock.advance(1)
    deadlines.add("never", 3600)
    deadlines.remove("b", 10)
    clock.advance(8)
    await until(lambda: over == ["a"])
    clock.advance(1)
    await until(lambda: over == ["a", "c"])
    deadlines.add("d", 10)
    deadlines.remove("unknown", 10)
    deadlines.remove("unknown", 5)
    clock.advance(10)
    await until(lambda: len(over) == 3)
    deadlines.remove("never", 3600)
    assert not any(deadlines._queues.values())


async def test_one_that_is_added_while_another_ends_has_its_own_time() -> None:
    over: list[str] = []

    def again(name: str) -> None:
        over.append(name)
        if len(over) < 3:
            deadlines.add(f"after {name}", 10)

    clock = FakeClock()
    deadlines: Deadlines[str] = Deadlines(again, clock=clock)
    deadlines.add("a", 10)
    for ended in range(1, 4):
        clock.advance(10)
        await until(lambda: len(over) == ended)  # noqa: B023 — asked in this turn
    assert over == ["a", "after a", "after after a"]


@pytest.mark.contract("DR3")
def test_what_is_collected_while_another_task_runs_just_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A program may drop its event loop with ours on it; whatever runs then is none of them."""

    async def begin() -> None:
        Loop("dropped", asyncio.Event().wait, clock=FakeClock()).start()
        await settled()

    async def collect() -> None:
        gc.collect()

    events = asyncio.new_event_loop()
    events.run_until_complete(begin())
    events.close()
    del events
    asyncio.run(collect())
    assert "Task was destroyed" in caplog.text
    assert "dropped failed" not in caplog.text


async def test_a_poke_in_time_makes_a_long_wait_shorter_and_no_short_one_longer() -> None:
    clock = FakeClock()
    tick = Ticking(30.0, 0.5)
    loop = Loop("test", tick, clock=clock)
    loop.start()
    await settled()
    loop.poke_within(1.0)
    clock.advance(1.0)
    await settled()
    assert tick.count == 2
    loop.poke_within(1.0)
    clock.advance(0.5)
    await settled()
    assert tick.count == 3
    # Who waits for a poke alone is not woken by one that is only about time.
    loop.poke_within(1.0)
    clock.advance(5.0)
    await settled()
    assert tick.count == 3
    await loop.stop()


async def test_a_tick_that_outlives_a_stop_ends_in_silence_where_its_store_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever closes an outbox waits for a tick only so long, and closes the store then."""
    closed = asyncio.Event()
    failures: list[str] = []

    async def until_closed() -> None:
        await closed.wait()
        raise NotStarted("the store is not open")

    loop = Loop("test", Ticking(until_closed), clock=FakeClock(), failed=lambda name, _: failures.append(name))
    loop.start()
    await settled()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await loop.stop()
    closed.set()
    await loop.stop()
    assert (failures, caplog.records) == ([], [])
