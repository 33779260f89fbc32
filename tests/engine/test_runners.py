"""Sends share tasks as long as none of them waits; what one of them does to its task is no other's affair."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Attempt, Outbox
from pillarbox.engine.flight import Flight
from pillarbox.engine.runners import Runners
from tests.unit.leased_messages import leased

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 40
WHOSE: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


async def delivered(path: Path, channel: Any, *, count: int = COUNT, **options: Any) -> Outbox:
    """Send as many as are claimed at once, each to a recipient of its own, and wait for all."""
    box = Outbox(path / "x.db", concurrency=count)
    box.channel("ops", channel, concurrency=count, **options)
    async with box, asyncio.timeout(20):
        await box.drained()
        await box.send_many([{"channel": "ops", "to": f"r{n}", "text": "x"} for n in range(count)])
        await box.drain(20)
        assert box.counts["delivered"] == count
    return box


async def turns() -> None:
    """Let the event loop do what is to be done."""
    for _ in range(10):
        await asyncio.sleep(0)


def unwanted(flight: Flight) -> None:
    """Fail the test: no send of it may end so."""
    pytest.fail(f"{flight} ended otherwise than it should")


def ignored(_: Flight) -> None:
    """Take no note of a send that waits."""


async def test_sends_that_do_not_wait_share_a_task(tmp_path: Path) -> None:
    tasks: list[Any] = []

    async def note(_: Attempt) -> None:
        tasks.append(asyncio.current_task())

    await delivered(tmp_path, note)
    assert len(tasks) == COUNT
    assert len(set(tasks)) == 1


async def test_sends_that_wait_are_all_under_way_at_once(tmp_path: Path) -> None:
    begun: list[str] = []
    turns = 0
    everybody = asyncio.Event()

    async def meet(attempt: Attempt) -> None:
        begun.append(attempt.to)
        if len(begun) == COUNT:
            everybody.set()
        await everybody.wait()

    async def count_turns() -> None:
        nonlocal turns
        while not everybody.is_set():
            await asyncio.sleep(0)
            turns += bool(begun)

    counting = asyncio.create_task(count_turns())
    await delivered(tmp_path, meet)
    async with asyncio.timeout(60):
        await counting
    # They double with every turn of the loop; one after the other they would take one each.
    assert turns < COUNT / 2


async def test_what_a_send_sets_in_a_context_variable_no_other_sees(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def note(attempt: Attempt) -> None:
        before = WHOSE.get()
        WHOSE.set(attempt.to)
        if attempt.to.endswith("3"):
            await asyncio.sleep(0)
        seen.append((before, WHOSE.get()))

    WHOSE.set("the program's")
    await delivered(tmp_path, note)
    assert sorted(seen) == sorted(("the program's", f"r{n}") for n in range(COUNT))


async def test_a_task_that_was_cancelled_begins_no_other_send() -> None:
    cancelling: list[int] = []

    async def run(flight: Flight) -> None:
        task = asyncio.current_task()
        assert task is not None
        cancelling.append(task.cancelling())
        if flight is first:
            # As old libraries time out: they never say that it is over.
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            runners.start(second)

    first, second = Flight(message=leased(), until_ms=0), Flight(message=leased(), until_ms=0)
    runners = Runners(run, on_wait=ignored, on_failed=unwanted, on_refused=unwanted)
    runners.start(first)
    await turns()
    assert cancelling == [0, 0]


async def test_what_was_not_begun_by_a_task_that_was_cancelled_is_refused() -> None:
    async def run(_: Flight) -> None:
        pytest.fail("it was begun")

    refused: list[Flight] = []
    flights = [Flight(message=leased(), until_ms=0) for _ in range(3)]
    runners = Runners(run, on_wait=ignored, on_failed=unwanted, on_refused=refused.append)
    others = asyncio.all_tasks()
    for flight in flights:
        runners.start(flight)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    await turns()
    assert refused == flights


async def test_a_bug_in_one_send_keeps_no_other_from_beginning() -> None:
    begun: list[Flight] = []
    failed: list[Flight] = []

    async def run(flight: Flight) -> None:
        begun.append(flight)
        if flight is flights[0]:
            raise RuntimeError("a bug")

    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: reported.append(about))
    flights = [Flight(message=leased(), until_ms=0) for _ in range(3)]
    runners = Runners(run, on_wait=ignored, on_failed=failed.append, on_refused=unwanted)
    for flight in flights:
        runners.start(flight)
    await turns()
    assert (begun, failed) == (flights, flights[:1])
    assert [flight.task for flight in flights] == [None] * 3
