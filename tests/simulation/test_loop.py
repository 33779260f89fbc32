"""The simulated loop: time that jumps, an order that a seed draws, deaths without a last word, deadlocks with names."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from pillarbox.deadline import Within
from pillarbox.testing.simulation import Deadlock, Killed, Order, SimulatedClock, SimulatedLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEEDS = range(20)
Make = "Callable[..., SimulatedLoop]"


@pytest.fixture
def make() -> Iterator[Callable[..., SimulatedLoop]]:
    loops: list[SimulatedLoop] = []

    def made(seed: int = 1, **options: object) -> SimulatedLoop:
        loops.append(SimulatedLoop(seed, **options))  # type: ignore[arg-type]
        return loops[-1]

    yield made
    for loop in loops:
        loop.close()


def test_hours_pass_at_once_and_timers_come_in_time(make: Callable[..., SimulatedLoop]) -> None:
    loop, seen = make(), list[float]()

    async def main() -> str:
        loop.call_later(3600, lambda: seen.append(loop.time()))
        await asyncio.sleep(7200)
        seen.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        seen.append(loop.time())
        return "done"

    assert loop.run(main()) == "done"
    assert seen == [3600, 7200, 7230]


def test_the_clock_goes_by_the_loop_and_its_wall_can_be_set(make: Callable[..., SimulatedLoop]) -> None:
    loop = make()
    clock = SimulatedClock(loop, wall_ms=1_000_000)

    async def main() -> tuple[int, int, float]:
        boot_ms = clock.boot_ms()
        await clock.sleep(90)
        wall_ms = clock.wall_ms()
        clock.set_wall(5_000)
        await clock.sleep(1)
        assert clock.wall_ms() == 6_000
        return wall_ms, clock.boot_ms() - boot_ms, clock.mono()

    assert loop.run(main()) == (1_090_000, 91_000, 91.0)


def test_however_short_a_delay_is_some_time_passes(make: Callable[..., SimulatedLoop]) -> None:
    loop = make()

    async def main() -> None:
        await asyncio.sleep(1_000)
        until = loop.time() + 1e-6
        while loop.time() < until:  # noqa: ASYNC110 — it is about time
            await asyncio.sleep(1e-15)

    loop.run(main())


async def steps(name: str, trace: list[str]) -> None:
    for number in range(3):
        trace.append(f"{name}{number}")
        await asyncio.sleep(0)


def order(loop: SimulatedLoop, *, apart: bool) -> list[str]:
    """Let four tasks go on beside each other, in one process or each in its own."""
    trace: list[str] = []

    async def main() -> None:
        if apart:
            await asyncio.gather(*(loop.process(name).spawn(steps(name, trace)) for name in "abcd"))
        else:
            await asyncio.gather(*(steps(name, trace) for name in "abcd"))

    loop.run(main())
    return trace


def test_one_process_keeps_the_order_that_asyncio_promises(make: Callable[..., SimulatedLoop]) -> None:
    usual = [f"{name}{number}" for number in range(3) for name in "abcd"]
    assert all(order(make(seed), apart=False) == usual for seed in SEEDS)


@pytest.mark.parametrize(("how", "apart"), [(Order.KEPT, True), (Order.ANY, False)])
def test_all_other_orders_are_drawn_by_the_seed(make: Callable[..., SimulatedLoop], how: Order, apart: bool) -> None:
    drawn = [order(make(seed, order=how), apart=apart) for seed in SEEDS]
    assert len({tuple(trace) for trace in drawn}) > 1
    assert drawn == [order(make(seed, order=how), apart=apart) for seed in SEEDS]
    # Nobody gets a second turn before all had their first.
    assert all(sorted(trace[:4]) == ["a0", "b0", "c0", "d0"] for trace in drawn)


def test_timers_of_one_instant_come_in_any_order(make: Callable[..., SimulatedLoop]) -> None:
    def came(seed: int) -> str:
        loop, trace = make(seed), list[str]()

        async def main() -> None:
            for name in "abc":
                loop.call_later(1, trace.append, name)
            await asyncio.sleep(2)

        loop.run(main())
        return "".join(trace)

    assert {came(seed) for seed in range(60)} == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_who_is_killed_says_no_last_word(make: Callable[..., SimulatedLoop]) -> None:
    loop, said = make(), list[str]()

    async def work() -> None:
        loop.call_later(5, said.append, "its timer")
        try:
            said.append("begun")
            await asyncio.sleep(10)
        finally:
            said.append("finally")

    async def main() -> None:
        process = loop.process("worker")
        process.at_end(lambda: said.append("its files"))
        process.at_end(lambda: said.append("its locks"))
        end = process.spawn(work())
        await asyncio.sleep(1)
        process.kill()
        process.kill()
        with pytest.raises(Killed, match="worker"):
            await end
        with pytest.raises(Killed):
            await process.spawn(work())
        await asyncio.sleep(60)

    loop.run(main())
    assert said == ["begun", "its locks", "its files"]


def test_a_process_may_be_killed_at_each_of_its_steps(make: Callable[..., SimulatedLoop]) -> None:
    def got_to(step: int) -> int:
        loop, trace = make(), list[str]()

        async def main() -> None:
            process = loop.process("worker")
            process.kill_after(step)
            end = process.spawn(steps("a", trace))
            await asyncio.sleep(1)
            assert end.done()
            assert isinstance(end.exception(), Killed) is not process.alive

        loop.run(main())
        return len(trace)

    assert [got_to(step) for step in range(1, 5)] == [1, 2, 3, 3]


def test_a_machine_that_slept_finds_its_timers_late(make: Callable[..., SimulatedLoop]) -> None:
    loop = make()
    clock = SimulatedClock(loop)

    async def main() -> float:
        answer: asyncio.Future[str] = loop.create_future()
        loop.call_soon(loop.stall, 3600)
        loop.call_later(10.5, answer.set_result, "read in the grace")
        async with Within(10, clock=clock):
            assert await answer == "read in the grace"
        return loop.time()

    assert loop.run(main()) == 3600


@pytest.mark.parametrize("how", Order)
def test_a_deadlock_names_who_waits_and_where(make: Callable[..., SimulatedLoop], how: Order) -> None:
    loop = make(order=how)

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        dead = loop.process("dead")
        dead.spawn(stuck())
        await asyncio.sleep(1)
        dead.kill()
        loop.process("worker").spawn(stuck())
        await loop.create_future()

    with pytest.raises(Deadlock) as found:
        loop.run(main())
    said = str(found.value)
    assert "no timer is set" in said
    assert "main in test_a_deadlock_names_who_waits_and_where.<locals>.main (test_loop.py:" in said
    assert "worker/worker in Event.wait" in said
    assert "dead/" not in said


def test_what_goes_on_for_ever_is_one_too(make: Callable[..., SimulatedLoop]) -> None:
    loop = make(seconds_max=3600)

    def again() -> None:
        loop.call_later(1, again)

    async def main() -> None:
        again()
        await loop.create_future()

    with pytest.raises(Deadlock, match="3600 s are over; waiting: main in "):
        loop.run(main())


def test_executors_run_at_once_and_other_threads_are_refused(make: Callable[..., SimulatedLoop]) -> None:
    loop = make()
    refused: list[str] = []

    def stranger() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as exc:
            refused.append(str(exc))

    async def main() -> None:
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        thread = threading.Thread(target=stranger, name="stranger")
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(refused.append, "ours")
        await asyncio.sleep(1)
        await loop.create_future()

    with pytest.raises(Deadlock, match="threads called that have no place here: stranger"):
        loop.run(main())
    assert refused == ["a simulation has one thread", "ours"]


def test_what_a_callback_raises_ends_the_run_unless_somebody_handles_it(make: Callable[..., SimulatedLoop]) -> None:
    loop = make()

    async def main() -> None:
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        loop.run(main())
    handled: list[object] = []
    loop.set_exception_handler(lambda _, context: handled.append(context["exception"]))
    loop.run(main())
    assert [type(error) for error in handled] == [ZeroDivisionError]
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
