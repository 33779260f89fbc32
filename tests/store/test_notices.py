"""What SQLite's handles take for news: what others wrote, never what they wrote or read themselves (contract DR2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from pillarbox.testing.fakes import FakeClock
from tests.store.opened import driver_on

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.store.sqlite.store import SQLiteStore
    from pillarbox.testing.store_suite import StoreDriver


class Heard:
    """Counts the notices of one handle; the file is looked at when the test says so."""

    def __init__(self, driver: StoreDriver) -> None:
        self.count = 0
        self._store = cast("SQLiteStore", driver.store)
        self.end = self._store.on_change(self._hear, seconds=3600)

    def _hear(self) -> None:
        self.count += 1

    def look(self) -> int:
        self._store._notices.look()
        return self.count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.mark.contract("DR2")
async def test_what_a_handle_does_itself_is_no_news_to_it(path: Path) -> None:
    async with driver_on(path) as one, driver_on(path) as two:
        await one.send()
        heard = Heard(one)
        for _ in range(3):
            await one.send()
        await one.deliver_next()
        assert heard.look() == 0
        other = cast("SQLiteStore", two.store)
        sidecar, other._sidecar = other._sidecar, None  # it tells nobody
        await two.send()
        await one.send()  # a write of its own hides no other's
        assert heard.look() == 1
        assert heard.look() == 1
        await two.send()
        await one.commit()  # nor does one that writes nothing
        assert heard.look() == 2
        other._sidecar = sidecar


@pytest.mark.contract("DR2")
async def test_a_write_that_came_between_is_no_ones_own(path: Path) -> None:
    """Where no lock of ours goes on when SQLite's ends, another may write before a handle has looked what it wrote."""
    async with driver_on(path, descriptor_locks=False) as one, driver_on(path, descriptor_locks=False) as two:
        await one.send()
        heard = Heard(one)
        store = cast("SQLiteStore", one.store)
        ours = store._handles.foreign
        before = ours._mark()
        await one.send()
        await two.send()
        ours._seen = before
        ours.end()
        assert heard.look() == 1


@pytest.mark.contract("DR2")
async def test_those_who_come_and_go_keep_nobody_from_hearing(path: Path) -> None:
    clock, heard = FakeClock(), asyncio.Event()
    async with driver_on(path, clock=clock) as one, driver_on(path) as two:
        one.store.on_change(heard.set, seconds=0.25)
        await two.send()
        for _ in range(5):
            one.store.on_change(lambda: None, seconds=0.25)()
            clock.advance(0.1)
        assert heard.is_set()


@pytest.mark.contract("DR2")
async def test_what_is_only_read_is_no_news_to_anybody(path: Path) -> None:
    async with driver_on(path) as one, driver_on(path) as two:
        await one.send()
        heard = Heard(two)
        await one.store.stats()
        await two.store.stats()
        assert heard.look() == 0
        await one.send()
        assert heard.look() == 1


@pytest.mark.contract("DR2")
async def test_what_was_written_before_one_listened_is_no_news(path: Path) -> None:
    async with driver_on(path) as one, driver_on(path) as two:
        Heard(two).end()
        await one.send()
        assert Heard(two).look() == 0


@pytest.mark.contract("DR2", "SG5")
async def test_a_closed_handle_tells_nothing_and_looks_at_nothing(path: Path) -> None:
    async with driver_on(path) as one:
        async with driver_on(path) as two:
            told = asyncio.Event()
            two.store.on_change(told.set, seconds=0.01)
        timer = cast("SQLiteStore", two.store)._notices._timer
        await one.send()
        assert (timer, told.is_set()) == (None, False)
