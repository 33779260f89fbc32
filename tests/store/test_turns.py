"""Who writes next, where several wait for one database: in what order, and past whom (SG2, LA2, DR3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Self

import pytest

from pillarbox.domain.limits import Limits
from pillarbox.errors import StoreBusy
from pillarbox.store.sqlite import ofd, turns
from tests.store.opened import driver_on, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 30
BUSY_SECONDS = 10.0
pytestmark = pytest.mark.skipif(not hasattr(__import__("fcntl"), "F_OFD_SETLK"), reason="no OFD locks here")

WRITER = """
import sys
from pathlib import Path
from pillarbox.clock import SystemClock
from pillarbox.store.base import Durability
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.handles import Handles
from pillarbox.store.sqlite.session import Session
handles = Handles(Path(sys.argv[1]), Durability.POWER, opening.connect, locks=sys.argv[2] == "True")
session = Session(handles.open(), handles, SystemClock().boot_ms)
print("ready", flush=True)
for line in sys.stdin:
    for word in line.split():
        if word == "begin":
            session.begin()
        elif word == "commit":
            session.commit()
        else:
            session.connection.execute("INSERT INTO meta SELECT ?, count(*) FROM meta", (word,))
    print("done", flush=True)
"""


class Writer:
    """A process that does as it is told with one database. Killed at the end of the context."""

    def __init__(self, path: Path, *, locks: bool = True) -> None:
        self._arguments = [sys.executable, "-c", WRITER, str(path), str(locks)]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        await self.says(b"ready\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def says(self, line: bytes = b"done\n") -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await self._process.stdout.readline() == line

    def tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())

    async def does(self, words: str) -> None:
        self.tell(words)
        await self.says()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()


class Places:
    """Looks who stands in the line of a database. Closed when nobody in this process uses that any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR)

    def taken(self) -> list[int]:
        return [place for place in range(turns.PLACES) if ofd.is_held(self.descriptor, turns.FIRST + place)]

    async def until(self, *places: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.taken() != list(places):  # noqa: ASYNC110 — the kernel sends no event
                await asyncio.sleep(0)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    async with driver_on(tmp_path / "outbox.db"):
        pass
    return tmp_path / "outbox.db"


@pytest.fixture
def places(path: Path) -> Iterator[Places]:
    found = Places(path)
    yield found
    os.close(found.descriptor)


def order(path: Path) -> list[str]:
    """What the writers wrote, in the order in which they did."""
    with raw(path) as connection:
        rows = connection.execute("SELECT key, CAST(value AS INTEGER) FROM meta WHERE length(key) = 2 ORDER BY 2")
        return [str(key) for key, _ in rows]


# --- in turn -------------------------------------------------------------------------------------------------------


@pytest.mark.contract("SG2", "LA2")
async def test_a_writer_that_writes_back_to_back_lets_the_one_who_waits_go_first(path: Path, places: Places) -> None:
    async with Writer(path) as worker, Writer(path) as rare:
        await worker.does("begin w0")
        rare.tell("begin r0 commit")
        await places.until(0)
        await worker.does("commit " + " ".join(f"begin w{n} commit" for n in range(1, 9)))
        await rare.says()
    assert order(path)[:3] == ["w0", "r0", "w1"]


@pytest.mark.contract("SG2", "LA2")
async def test_those_who_wait_write_in_the_order_in_which_they_came(path: Path, places: Places) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first, *others = [await stack.enter_async_context(Writer(path)) for _ in range(4)]
        await first.does("begin a0")
        for number, other in enumerate(others):
            other.tell(f"begin b{number} commit")
            await places.until(*range(number + 1))
        await first.does("commit begin a1 commit")
        for other in others:
            await other.says()
    assert order(path) == ["a0", "b0", "b1", "b2", "a1"]
    assert places.taken() == []


@pytest.mark.contract("SG2")
async def test_two_handles_of_one_process_and_another_process_all_write(path: Path, places: Places) -> None:
    async with driver_on(path) as one, driver_on(path) as two, Writer(path) as other:
        await other.does("begin x0")
        waiting = [asyncio.create_task(driver.send()) for driver in (one, two, one, two)]
        await places.until(0)
        await other.does("commit begin x1 commit")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*waiting)
        assert len(await one.everything()) == 4
        await one.healthy()


@pytest.mark.contract("SG2")
async def test_who_knows_nothing_of_the_line_and_who_stands_in_it_all_write(path: Path, places: Places) -> None:
    async with Writer(path, locks=False) as older, Writer(path) as first, Writer(path) as second:
        await older.does("begin o0")
        first.tell("begin a0 commit")
        await places.until(0)
        second.tell("begin b0 commit")
        await places.until(0, 1)
        await older.does("commit begin o1 commit begin o2 commit")
        await first.says()
        await second.says()
    found = order(path)
    assert sorted(found) == ["a0", "b0", "o0", "o1", "o2"]
    assert found.index("a0") < found.index("b0")


@pytest.mark.contract("SG2", "DR1")
async def test_opening_a_database_and_reading_it_waits_for_nobody_who_writes(path: Path) -> None:
    limits = Limits(recipient_messages=5)
    async with driver_on(path, limits=limits):
        pass
    async with Writer(path) as holder:
        await holder.does("begin h0")
        async with driver_on(path, limits=limits) as driver, driver_on(path, create=False) as reader:
            assert await driver.everything() == await reader.everything() == []
        await holder.does("commit")


# --- past those who do not go on -----------------------------------------------------------------------------------


@pytest.mark.contract("SG2", "LA2")
async def test_one_that_was_stopped_as_it_waited_is_passed_by_and_told_of(path: Path, places: Places) -> None:
    async with driver_on(path) as driver, Writer(path) as holder, Writer(path) as stopped:
        await holder.does("begin h0")
        stopped.tell("begin s0 commit")
        await places.until(0)
        stopped.signal(signal.SIGSTOP)
        await holder.does("commit")
        assert driver.store.problems() == []
        await driver.send()
        (problem,) = driver.store.problems()
        assert "does not go on" in problem
        assert problem in await driver.store.check()
        await driver.send()
        stopped.signal(signal.SIGCONT)
        await stopped.says()
        assert driver.store.problems() == []
        assert len(await driver.everything()) == 2
        await driver.healthy()
    assert order(path) == ["h0", "s0"]


@pytest.mark.contract("SG2", "LA2")
async def test_one_that_was_killed_as_it_waited_holds_nobody_up(path: Path, places: Places) -> None:
    async with Writer(path) as holder, Writer(path) as killed, Writer(path) as other:
        await holder.does("begin h0")
        killed.tell("begin k0 commit")
        await places.until(0)
        other.tell("begin o0 commit")
        await places.until(0, 1)
        await killed.kill()
        await places.until(0)
        await holder.does("commit")
        await other.says()
    assert order(path) == ["h0", "o0"]


@pytest.mark.contract("SG2", "ST7")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGCONT])
async def test_one_that_is_stopped_or_killed_as_it_writes_is_waited_for(
    path: Path, places: Places, end: signal.Signals
) -> None:
    async with Writer(path) as holder, Writer(path) as other:
        await holder.does("begin h0")
        holder.signal(signal.SIGSTOP)
        other.tell("begin o0 commit")
        await places.until(0)
        holder.signal(end)
        if end is signal.SIGCONT:
            await holder.does("commit")
        await other.says()
    assert order(path) == (["h0", "o0"] if end is signal.SIGCONT else ["o0"])


# --- how long, counted instead of timed ----------------------------------------------------------------------------


class Pauses:
    """Pauses that take no time, and call something after some."""

    def __init__(self, *, then: Callable[[], object] = lambda: None, after_seconds: float = 1e9) -> None:
        self.seconds = 0.0
        self._then, self._after = then, after_seconds

    def __call__(self, seconds: float) -> float:
        self.seconds += seconds
        if self.seconds >= self._after:
            self._then()
        return seconds


@pytest.fixture
def other(path: Path) -> Iterator[int]:
    """Another process's descriptor, as far as the kernel is concerned."""
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def come(line: turns.Line) -> None:
    with line.turn(BUSY_SECONDS) as turn:
        turn.come()
        turn.come()


@pytest.mark.contract("SG2")
def test_nobody_is_waited_for_where_nobody_waits_or_writes(places: Places) -> None:
    pauses = Pauses()
    with turns.Line(places.descriptor, lambda: False, pause=pauses).turn(BUSY_SECONDS) as turn:
        turn.come()
    assert pauses.seconds == 0


@pytest.mark.contract("SG2", "LA2")
@pytest.mark.parametrize("place", range(turns.PLACES))
def test_a_place_that_does_not_move_costs_a_second_once(places: Places, other: int, place: int) -> None:
    pauses = Pauses()
    line = turns.Line(places.descriptor, lambda: False, pause=pauses)
    assert ofd.take(other, ofd.EXCLUSIVE, turns.FIRST + place)
    come(line)
    assert turns.PATIENCE_SECONDS <= pauses.seconds < turns.PATIENCE_SECONDS + 0.01
    assert line.straggler()
    for _ in range(10):
        come(line)
    assert pauses.seconds < turns.PATIENCE_SECONDS + 0.02
    ofd.release(other, turns.FIRST + place)
    assert not line.straggler()
    come(line)
    # Found to move, it is waited for again.
    assert ofd.take(other, ofd.EXCLUSIVE, turns.FIRST + place)
    come(line)
    assert pauses.seconds >= 2 * turns.PATIENCE_SECONDS


@pytest.mark.contract("SG2", "LA2")
def test_who_cannot_go_on_because_somebody_writes_for_long_is_not_passed_by(places: Places, other: int) -> None:
    passed_by: list[bool] = []

    def goes_on() -> None:
        passed_by.append(line.straggler())
        ofd.release(other, turns.FIRST)

    pauses = Pauses(then=goes_on, after_seconds=3 * turns.PATIENCE_SECONDS)
    line = turns.Line(places.descriptor, lambda: pauses.seconds < 3.1 * turns.PATIENCE_SECONDS, pause=pauses)
    assert ofd.take(other, ofd.EXCLUSIVE, turns.FIRST)
    come(line)
    assert pauses.seconds >= 3.1 * turns.PATIENCE_SECONDS
    assert set(passed_by) == {False}


@pytest.mark.contract("SG2", "SG3")
def test_a_lock_that_is_held_for_longer_than_the_busy_timeout_is_told_and_the_place_left(
    places: Places, other: int
) -> None:
    pauses = Pauses()
    with pytest.raises(StoreBusy):
        come(turns.Line(places.descriptor, lambda: True, pause=pauses))
    assert BUSY_SECONDS <= pauses.seconds < BUSY_SECONDS + 0.01
    assert not ofd.is_held(other, turns.FIRST, turns.PLACES)


@pytest.mark.contract("SG2")
def test_a_process_that_was_stopped_itself_does_not_take_others_for_stopped(places: Places, other: int) -> None:
    looks: list[float] = []

    def stopped_for_an_hour(seconds: float) -> float:
        looks.append(seconds)
        if len(looks) == 3:
            ofd.release(other, turns.FIRST)
        return 3600.0

    assert ofd.take(other, ofd.EXCLUSIVE, turns.FIRST)
    line = turns.Line(places.descriptor, lambda: False, pause=stopped_for_an_hour)
    come(line)
    assert not line.straggler()
