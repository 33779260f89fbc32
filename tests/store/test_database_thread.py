"""How the database's thread tells the event loop that it is done."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from pillarbox.store.thread import DatabaseThread, TwoThreads

SECONDS = 60.0


async def test_many_answers_in_a_row_are_all_heard() -> None:
    thread = DatabaseThread("test")
    try:
        async with asyncio.timeout(SECONDS):
            assert await asyncio.gather(*(thread.run(lambda n=n: n) for n in range(20_000))) == list(range(20_000))  # type: ignore[misc]
    finally:
        thread.stop()


async def test_an_error_gets_to_who_waits_and_the_thread_goes_on() -> None:
    thread = DatabaseThread("test")
    try:
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: 1 // 0)
        assert await thread.run_through(lambda: 1) == 1
    finally:
        thread.stop()


async def test_what_is_done_when_it_stops_is_told_all_the_same() -> None:
    thread = DatabaseThread("test")
    waiting = [asyncio.create_task(thread.run(lambda: 1)) for _ in range(10)]
    await asyncio.sleep(0)
    thread.stop()
    async with asyncio.timeout(SECONDS):
        assert await asyncio.gather(*waiting) == [1] * 10


@pytest.mark.contract("LE2")
async def test_who_is_cancelled_meanwhile_has_the_result_and_is_cancelled_at_the_next_wait() -> None:
    thread = DatabaseThread("test")
    begins = threading.Event()
    got: list[int] = []

    async def wait() -> None:
        got.append(await thread.run_through(lambda: 7 if begins.wait(SECONDS) else 0))
        await asyncio.sleep(0)
        got.append(-1)

    try:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        begins.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (got, task.cancelling()) == ([7], 1)
    finally:
        thread.stop()


def test_what_was_not_told_goes_with_the_loop_that_waited_for_it() -> None:
    threads: list[DatabaseThread] = []
    goes_on = threading.Event()
    done = threading.Event()
    gone: list[weakref.ref[object]] = []

    async def work() -> None:
        threads.append(DatabaseThread("test"))
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        gone.append(weakref.ref(future))
        threads[0]._put(lambda: goes_on.wait(SECONDS), future)

    asyncio.run(work())
    goes_on.set()
    threads[0].leave(done.set)
    assert done.wait(SECONDS)
    gc.collect()
    assert gone[0]() is None


async def test_another_loop_is_told_in_its_own_way() -> None:
    thread = DatabaseThread("test")
    try:
        assert await thread.run(lambda: 1) == 1
        assert await asyncio.to_thread(lambda: asyncio.run(thread.run(lambda: 2))) == 2
    finally:
        thread.stop()


class SlowToOpen(TwoThreads):
    """What cannot be opened until a test lets it."""

    def __init__(self) -> None:
        self.begun, self.gate, self.closed = threading.Event(), threading.Event(), threading.Event()

    async def open(self) -> None:
        await self._begin_writing(DatabaseThread("slow"))

    def _open(self) -> None:
        self.begun.set()
        self.gate.wait(SECONDS)

    def _close_reading(self) -> None: ...

    def _close(self) -> None:
        assert self.gate.is_set(), "it was not open yet"
        self.closed.set()


async def test_who_gives_up_opening_waits_for_nothing_and_leaves_nothing_open() -> None:
    """A server that does not answer stops neither the event loop nor who was cancelled."""
    store = SlowToOpen()
    opening = asyncio.ensure_future(store.open())
    await asyncio.to_thread(store.begun.wait, SECONDS)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not store.closed.is_set()
    store.gate.set()
    assert await asyncio.to_thread(store.closed.wait, SECONDS)
