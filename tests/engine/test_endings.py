"""How programs end: tasks cancelled from outside, a close that nobody waits for, event loops that end before it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.channels.base import Channel
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Delivered
from pillarbox.errors import NotStarted, Refused
from tests.left_open import nothing_left_open, open_files

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Iterator

    from pillarbox.channels.base import Attempt
    from pillarbox.domain.outcome import AnyOutcome

SECONDS = 60.0


class Desk:
    """What a channel was given, in order, and how often each message was."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.wanted = 1

    def note(self, attempt: Attempt) -> None:
        self.given.append(attempt.to)
        if len(self.given) >= self.wanted:
            self.arrived.set()

    async def stubborn(self, attempt: Attempt) -> str:
        """Answer the truth, however often it is cancelled meanwhile."""
        self.note(attempt)
        with contextlib.suppress(asyncio.CancelledError):
            await self.gate.wait()
        return f"to {attempt.to}"

    async def obedient(self, attempt: Attempt) -> str:
        self.note(attempt)
        await self.gate.wait()
        return f"to {attempt.to}"


async def open_sending(db: Path, desk: Desk, **settings: Any) -> Outbox:
    """Open an outbox whose one message has reached the desk, and is not answered yet."""
    # Its events belong to the loop that runs now.
    desk.__init__()  # type: ignore[misc]
    box = Outbox(db, channels={"desk": desk.obedient}, **settings)
    await box.start()
    await box.send("desk", to="ann", text="hi")
    await desk.arrived.wait()
    return box


def cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


async def states(db: Path) -> Counter[str]:
    from collections import Counter

    async with Outbox(db, deliver=False) as box:
        return Counter(str(message.state) for message in await box.list(limit=1000))


@contextlib.contextmanager
def never_closed() -> Iterator[None]:
    """An outbox is left behind here, says so, and keeps nothing open."""
    said = pytest.warns(ResourceWarning, match=r"outbox\.db> was never closed")
    # Its own threads let go, and nobody waits for them.
    with nothing_left_open(seconds=SECONDS), said as caught:
        yield
        ends = time.monotonic() + SECONDS
        # A thread may hold on to what it has just done for an instant.
        while not caught.list and time.monotonic() < ends:
            gc.collect()
            threading.Event().wait(0.001)


def our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("pillarbox")}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def run(main: Callable[[], Awaitable[Any]], **options: Any) -> Any:
    """Run a program to its end; one that hangs is a failure and not a hung test."""

    async def timed() -> Any:
        async with asyncio.timeout(SECONDS):
            return await main()

    return asyncio.run(timed(), **options)


@pytest.mark.contract("DR3", "UN4")
@pytest.mark.parametrize("closes", [True, False], ids=["with a close", "without one"])
def test_what_was_answered_is_recorded_when_every_task_is_cancelled(db: Path, *, closes: bool) -> None:
    desk = Desk()

    async def main() -> None:
        desk.__init__()  # type: ignore[misc]
        desk.wanted = 20
        box = Outbox(db, channels={"desk": desk.stubborn})
        await box.start()
        try:
            await box.send_many([{"channel": "desk", "to": f"r{n}", "text": "hi"} for n in range(100)])
            await desk.arrived.wait()
            asyncio.get_running_loop().call_soon(cancel_all)
            await asyncio.Event().wait()
        finally:
            if closes:
                await box.close()

    def ended() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(main())

    with contextlib.nullcontext() if closes else never_closed():
        ended()
    assert len(set(desk.given)) == len(desk.given)
    found = asyncio.run(states(db))
    assert (found["delivered"], found["scheduled"]) == (len(desk.given), 100 - len(desk.given))


@pytest.mark.contract("DR3", "UN4")
def test_a_program_that_just_ends_has_recorded_what_was_answered(db: Path) -> None:
    """`asyncio.run` cancels what is left and waits for that alone: nothing else may be needed."""
    desk = Desk()

    async def main() -> None:
        desk.__init__()  # type: ignore[misc]
        desk.wanted = 5
        box = Outbox(db, channels={"desk": desk.stubborn})
        await box.start()
        for n in range(5):
            await box.send("desk", to=f"r{n}", text="hi")
        await desk.arrived.wait()

    with never_closed():
        run(main)
    assert asyncio.run(states(db)) == {"delivered": 5}


@pytest.mark.contract("DR3", "UN4")
def test_a_plain_function_is_heard_to_its_end_when_every_task_is_cancelled(db: Path) -> None:
    """It cannot be stopped; without its answer the message would be sent again."""
    begun, go_on = threading.Event(), threading.Event()

    def channel(attempt: Attempt) -> str:
        begun.set()
        assert go_on.wait(SECONDS)
        return f"to {attempt.to}"

    async def main() -> None:
        async with Outbox(db, channels={"desk": channel}) as box:
            await box.send("desk", to="ann", text="hi")
            await asyncio.to_thread(begun.wait, SECONDS)
            loop = asyncio.get_running_loop()
            loop.call_soon(cancel_all)
            loop.call_soon(loop.call_soon, go_on.set)
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert asyncio.run(states(db)) == {"delivered": 1}


@pytest.mark.contract("DR3", "UN1")
@pytest.mark.parametrize(
    ("written", "state", "error_class"),
    [(False, State.SCHEDULED, "released"), (True, State.HELD, "uncertain"), (None, State.HELD, "uncertain")],
    ids=["nothing written", "written", "nobody says"],
)
def test_what_was_cut_off_from_outside_is_free_only_where_nothing_was_written(
    db: Path, *, written: bool | None, state: State, error_class: str
) -> None:
    begun = asyncio.Event()

    async def channel(attempt: Attempt) -> str:
        attempt.progress.written = written
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def main() -> None:
        async with Outbox(db) as box:
            await box.stop()
            box.channel("desk", channel, uncertain="hold")
            await box.start()
            message = await box.send("desk", to="ann", text="hi")
            await begun.wait()
            me = asyncio.current_task()
            for task in asyncio.all_tasks():
                if task is not me:
                    task.cancel()
            await box.close()
        async with Outbox(db, deliver=False) as box:
            found = await box.get(message.id or "")
            assert found is not None
            assert found.view is not None
            assert (found.view.state, found.view.error_class) == (state, error_class)
            assert found.view.charged == (0 if written is False else 1)

    run(main)


@pytest.mark.contract("DR2", "DR3")
def test_a_program_that_goes_on_after_cancelling_every_task_is_served_as_before(db: Path) -> None:
    desk = Desk()

    async def main() -> None:
        desk.__init__()  # type: ignore[misc]
        desk.gate.set()
        async with Outbox(db, channels={"desk": desk.obedient}) as box:
            for n in range(5):
                me = asyncio.current_task()
                for task in asyncio.all_tasks():
                    if task is not me:
                        task.cancel()
                message = await box.send("desk", to=f"r{n}", text="hi")
                assert (await message.wait()).state is State.DELIVERED

    run(main)
    assert desk.given == [f"r{n}" for n in range(5)]


@pytest.mark.contract("EN1", "EN4")
def test_a_commit_under_way_is_told_although_the_committer_is_cancelled(db: Path) -> None:
    """Whoever sends is not cancelled, so they must hear that it is stored: at every moment of the commit."""

    async def main() -> None:
        async with Outbox(db, deliver=False) as box:
            for turns in range(16):
                sending = asyncio.create_task(box.send("desk", to="ann", text="hi", key=str(turns)))
                for _ in range(turns % 8):
                    await asyncio.sleep(0)
                for task in asyncio.all_tasks():
                    if task not in {sending, asyncio.current_task()}:
                        task.cancel()
                assert (await sending).created
            assert len(await box.list(limit=100)) == 16

    run(main)


@pytest.mark.contract("DR3")
def test_a_second_close_waits_for_the_first_that_nobody_waits_for_any_more(db: Path) -> None:
    desk = Desk()

    async def main() -> None:
        box = await open_sending(db, desk, stop_seconds=60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.close(), 0.01)
        second, third = asyncio.create_task(box.close()), asyncio.create_task(box.stop())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
        assert not third.done()
        desk.gate.set()
        await second
        assert await third == 0
        await box.close()
        async with Outbox(db, deliver=False) as looking:
            assert [message.state for message in await looking.list()] == [State.DELIVERED]
            assert await looking.workers() == []

    run(main)


@pytest.mark.contract("DR3")
def test_a_second_stop_with_an_earlier_deadline_cuts_off_what_the_first_waits_for(db: Path) -> None:
    desk = Desk()

    async def main() -> None:
        box = await open_sending(db, desk)
        first = asyncio.create_task(box.stop(600))
        await asyncio.sleep(0)
        await box.stop(0)
        await first

    run(main)
    assert asyncio.run(states(db)) == {"scheduled": 1}


@pytest.mark.contract("DR3")
def test_a_start_after_a_close_that_goes_on_waits_for_it(db: Path) -> None:
    desk = Desk()

    async def main() -> None:
        box = await open_sending(db, desk, stop_seconds=60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.close(), 0.01)
        starting = asyncio.create_task(box.start())
        desk.gate.set()
        await starting
        assert (await box.list())[0].state is State.DELIVERED
        assert len(await box.workers()) == 1
        await box.close()

    run(main)


@pytest.mark.contract("DR3", "SG5")
def test_a_close_whose_task_is_cancelled_comes_to_its_end(db: Path) -> None:
    """Twice Ctrl-C, a second sweep of all tasks: it hurries, and still records and lets everything go."""
    desk = Desk()

    async def main() -> None:
        box = await open_sending(db, desk, stop_seconds=600)
        closing = asyncio.create_task(box.close())
        for turns in range(30):
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closing
        await box.close()

    with nothing_left_open():
        run(main)
    assert asyncio.run(states(db)) == {"scheduled": 1}


@pytest.mark.contract("DR3", "SG5")
def test_a_start_that_is_cancelled_leaves_nothing_open(db: Path) -> None:
    async def main() -> None:
        Outbox(db, deliver=False)
        for turns in range(40):
            box = Outbox(db, channels={"desk": Desk().obedient})
            starting = asyncio.create_task(box.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            await box.close()
            # The end of what was opened meanwhile goes on behind the back of whoever was cancelled.
            while left := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(left)

    # Nobody who was cancelled waits for what was being opened; its own thread closes it.
    with nothing_left_open(seconds=SECONDS):
        run(main)
    assert asyncio.run(workers(db)) == 0


async def workers(db: Path) -> int:
    async with Outbox(db, deliver=False) as box:
        return len(await box.workers())


@pytest.mark.contract("DR3", "SG5")
def test_a_block_that_is_cancelled_while_it_ends_lets_everything_go(db: Path) -> None:
    desk = Desk()

    async def main() -> None:
        desk.__init__()  # type: ignore[misc]

        async def block() -> None:
            async with Outbox(db, channels={"desk": desk.stubborn}, stop_seconds=600) as box:
                await box.send("desk", to="ann", text="hi")
                await desk.arrived.wait()

        blocked = asyncio.create_task(block())
        await desk.arrived.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked

    with nothing_left_open():
        run(main)
    assert asyncio.run(states(db)) == {"delivered": 1}


@pytest.mark.contract("DR3", "EN1")
def test_an_outbox_that_a_loop_left_open_opens_anew_in_the_next(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A store in memory that another test fell back to stays for as long as the process.
    before = our_threads()
    box = Outbox(db, channels={"desk": lambda attempt: f"to {attempt.to}"})
    files = 0

    async def main() -> None:
        await box.start()
        message = await box.send("desk", to="ann", text="hi")
        assert (await message.wait()).state is State.DELIVERED
        assert len(await box.workers()) == 1

    async def end() -> None:
        await box.close()

    async def without_a_start() -> None:
        assert not box.started
        with pytest.raises(NotStarted, match="event loop"):
            await box.send("desk", to="ann", text="hi")

    for _ in range(3):
        run(main)
        files = files or len(open_files())
        assert len(open_files()) <= files
        run(without_a_start)
    assert "ended before close()" in caplog.text
    run(end)
    run(end)
    left = {thread.name for thread in our_threads() - before}
    assert {"pillarbox-writer", "pillarbox-reader"}.isdisjoint(left)


@pytest.mark.contract("UN1", "DR3")
def test_what_flew_when_its_loop_was_closed_is_uncertain_and_not_lost(db: Path) -> None:
    """A loop that is stopped and closed without cancelling anything cuts every send off in the midst."""
    desk = Desk()
    box = Outbox(db, channels={"desk": desk.obedient})

    async def begin() -> None:
        desk.__init__()  # type: ignore[misc]
        await box.start()
        await box.send("desk", to="ann", text="hi")
        await desk.arrived.wait()

    async def look() -> None:
        await box.start()
        (found,) = await box.list()
        assert found.view is not None
        assert (found.view.error_class, found.view.lost) == ("uncertain", 0)
        await box.close()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    left = asyncio.all_tasks(loop)
    loop.close()
    run(look)
    for task in left:
        # Or it would be said when they are collected: that is whose loop it was to say.
        task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.contract("DR3")
def test_another_loop_than_the_one_it_is_open_in_is_told_so(db: Path) -> None:
    box = Outbox(db, channels={"desk": lambda attempt: None})
    said: list[type[Exception]] = []

    async def elsewhere() -> None:
        for call in (box.start, box.close, box.stats, lambda: box.send("desk", to="ann", text="hi"), box.drained):
            with pytest.raises(Refused, match="another event loop") as refused:
                await asyncio.wait_for(call(), SECONDS)
            said.append(refused.type)

    async def main() -> None:
        async with box:
            await asyncio.to_thread(asyncio.run, elsewhere())
            message = await box.send("desk", to="ann", text="hi")
            await message.wait()

    run(main)
    assert said == [Refused] * 5

    # Nor in a loop that has not ended, though it stands still.
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first.run_until_complete(box.start())
        said.clear()
        second.run_until_complete(elsewhere())
        assert said == [Refused] * 5
        first.run_until_complete(box.close())
        second.run_until_complete(box.start())
        second.run_until_complete(box.close())
    finally:
        first.close()
        second.close()


@pytest.mark.contract("DR3")
async def test_whoever_waits_when_it_closes_hears_that_it_is_closed(db: Path) -> None:
    async with asyncio.timeout(SECONDS):
        box = Outbox(db, deliver=False)
        await box.start()
        message = await box.send("desk", to="ann", text="hi")
        waiting = [asyncio.create_task(message.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        await box.close()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in ended] == [NotStarted] * 3


@pytest.mark.contract("DR3")
async def test_whoever_waits_for_a_drain_when_it_closes_hears_that_it_is_closed(db: Path) -> None:
    gate = asyncio.Event()

    class Hangs(Channel):
        async def send(self, attempt: Attempt) -> AnyOutcome:
            gate.set()
            await asyncio.Event().wait()
            return Delivered()

    async with asyncio.timeout(SECONDS):
        box = Outbox(db, channels={"desk": Hangs()})
        await box.start()
        await box.send("desk", to="ann", text="hi")
        await gate.wait()
        draining, drained = asyncio.create_task(box.drain(600)), asyncio.create_task(box.drained())
        await asyncio.sleep(0)
        await box.stop(0)
        ended = await asyncio.gather(draining, drained, return_exceptions=True)
        assert [type(one) for one in ended] == [NotStarted] * 2


@pytest.mark.contract("DR3", "SG5")
def test_an_outbox_that_is_dropped_says_so_and_lets_everything_go(db: Path) -> None:
    """One that accepts only has nothing that its loop would keep it for."""

    async def main() -> None:
        box = Outbox(db, deliver=False)
        await box.start()
        await box.send("desk", to="ann", text="hi")
        assert await box.list()

    async def loop_goes_on() -> None:
        with never_closed():
            await main()

    with never_closed():
        run(main)
    run(loop_goes_on)

    async def worker() -> None:
        box = Outbox(db, channels={"desk": lambda attempt: f"to {attempt.to}"})
        await box.start()
        await (await box.send("desk", to="ann", text="hi")).wait()

    with never_closed():
        run(worker)


@pytest.mark.contract("DR3")
def test_a_worker_that_nobody_holds_goes_on_for_as_long_as_its_loop(db: Path) -> None:
    desk = Desk()

    async def main() -> None:
        desk.__init__()  # type: ignore[misc]
        desk.gate.set()
        await Outbox(db, channels={"desk": desk.obedient}).start()
        gc.collect()
        async with Outbox(db, deliver=False) as box:
            assert (await (await box.send("desk", to="ann", text="hi")).wait()).state is State.DELIVERED

    with never_closed():
        run(main)


@pytest.mark.contract("DR3")
def test_one_that_was_closed_or_never_opened_says_nothing(db: Path) -> None:
    async def main() -> None:
        Outbox(db)
        async with Outbox(db, deliver=False):
            pass
        box = Outbox(db, channels={"desk": Desk().obedient})
        await box.start()
        await box.close()

    run(main)
    gc.collect()
