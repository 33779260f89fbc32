"""A new era takes along all that is leased, or does not begin: one lane, one lease, whoever leases meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import errors

from pillarbox.store.base import Batch, Durability
from pillarbox.store.postgres import dsn
from pillarbox.store.postgres.connection import Session, connect
from pillarbox.store.postgres.eras import TAKEN_ALONG, Eras
from pillarbox.store.postgres.server_clock import ServerClock
from pillarbox.store.registry import open_store
from pillarbox.store.thread import Inline
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_server import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pillarbox.domain.message import Leased

LANE = "l"
MANY = 1_000_000
LOOKS_MAX = 200
LAST = 32_767
OLDER = "SELECT age(%s::xid) >= age(%s::xid)"
HELD = "SELECT mode FROM pg_locks WHERE relation = 'era'::regclass AND pid = %s AND mode = 'ExclusiveLock'"


class Watched:
    """A store, a transaction that stays open, and an era that begins when the test says so."""

    def __init__(self, url: str, driver: StoreDriver) -> None:
        self.url = url
        self.driver = driver
        self.reader = connected(url)
        self.reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM message")
        self.reading = connected(url)
        place = dsn.parse(url)
        clock = ServerClock(FakeClock())
        self.session = Session(connect(place, Durability.PROCESS), place, Durability.PROCESS, lambda: 0, clock)

    def era(self) -> int:
        ((number,),) = self.reading.execute("SELECT coalesce(max(number), 0) FROM era").fetchall()
        return int(number)

    def turn(self, looks: int = LOOKS_MAX) -> bool:
        """Begin a new era; return whether it did. Who reads elsewhere on this server may be done between two looks."""
        eras = Eras(0)
        eras.gave(MANY)
        before = self.era()
        for _ in range(looks):
            eras.turn(self.session)
            if self.era() != before:
                return True
        return False

    def close(self) -> None:
        for connection in (self.session.connection, self.reader, self.reading):
            connection.close()


@pytest.fixture
async def watched(url: str) -> AsyncIterator[Watched]:
    clock = FakeClock()
    store = open_store(url, clock=clock, lease_clock=clock.boot_ms, caller=lambda _: Inline())
    await store.open()
    watched = Watched(url, StoreDriver(store, clock, SeededEntropy(1)))
    try:
        yield watched
    finally:
        watched.close()
        await store.close()


@pytest.mark.contract("LA1", "LE1", "LE4")
async def test_what_is_leased_goes_along_and_stays_what_it_was(watched: Watched) -> None:
    driver = watched.driver
    first, second = await driver.send_in_turn(LANE, 2)
    (leased,) = await driver.claim(1)
    request = await driver.request(lease=leased.lease)
    for _ in range(2):
        assert watched.turn()
    await driver.healthy()
    # Its lane is taken, for a claim and for what is new; a claim whose answer was lost finds it; it can lapse, and end.
    assert (await driver.commit(enqueue=[[driver.draft(lane=LANE)]], claim=await driver.request())).claimed == []
    assert [one.id for one in (await driver.commit(claim=request, again=True)).claimed] == [first]
    driver.clock.advance(3600)
    assert [lapsed.message.id for lapsed in await driver.lapsed()] == [first]
    await driver.deliver(leased)
    assert await driver.claimed_ids() == [second]
    await driver.healthy()


@pytest.mark.contract("LA1", "LE4")
async def test_after_the_last_number_of_eras_the_first_one_comes_again(watched: Watched) -> None:
    driver = watched.driver
    # What was sent in the first era is in no index of what is leased.
    await driver.deliver(*await sent_and_claimed(driver))
    watched.reading.execute("INSERT INTO era VALUES (%s)", (LAST,))
    (leased,) = await sent_and_claimed(driver)
    assert watched.turn()
    assert watched.reading.execute("SELECT DISTINCT era FROM message WHERE state = 1").fetchall() == [(0,)]
    assert (await driver.commit(enqueue=[[driver.draft(lane=LANE)]], claim=await driver.request())).claimed == []
    driver.clock.advance(3600)
    assert [lapsed.message.id for lapsed in await driver.lapsed()] == [leased.id]
    await driver.deliver(leased)
    await driver.healthy()


@pytest.mark.contract("LA1", "LE4")
async def test_a_lease_of_another_era_is_said_to_be_wrong(watched: Watched) -> None:
    (leased,) = await sent_and_claimed(watched.driver)
    assert await watched.driver.store.check() == []
    assert watched.turn()
    watched.reading.execute("DELETE FROM era")
    (found,) = await watched.driver.store.check()
    assert leased.id in found
    assert "is leased where nobody looks" in found
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "postgresql.md").read_text("utf-8")
    watched.driver.clock.advance(3600)
    assert await watched.driver.lapsed() == []
    remedy = page.partition("## Leases that nobody looks for")[2].partition("```sql\n")[2].partition("```")[0]
    watched.reading.execute(remedy)
    assert await watched.driver.store.check() == []
    assert [lapsed.message.id for lapsed in await watched.driver.lapsed()] == [leased.id]


async def sent_and_claimed(driver: StoreDriver) -> list[Leased]:
    await driver.send(lane=LANE)
    return await driver.claim(1)


@pytest.mark.contract("LA1", "LE1")
async def test_no_era_begins_while_a_lease_is_being_given(watched: Watched) -> None:
    """Two that lease in different eras at the same time would not meet in the index that lets one a lane be leased."""
    driver = watched.driver
    await driver.register()
    store: Any = driver.store
    applied, go = threading.Event(), threading.Event()
    apply = store._apply

    def slowly(session: Session, batch: Batch) -> object:
        result = apply(session, batch)
        applied.set()
        assert go.wait(30)
        return result

    store._apply = slowly
    batch = Batch(now_ms=driver.clock.wall_ms(), enqueue=[[driver.draft(lane=LANE)]], claim=await driver.request())
    leasing = threading.Thread(target=store._commit, args=(batch,))
    leasing.start()
    assert applied.wait(30)
    assert not watched.turn(looks=2)
    go.set()
    leasing.join()
    store._apply = apply
    assert watched.turn()
    assert (await driver.commit(enqueue=[[driver.draft(lane=LANE)]], claim=await driver.request())).claimed == []
    await driver.healthy()


@pytest.mark.contract("LA1", "EN9")
async def test_a_callers_transaction_that_holds_what_is_sent_puts_off_the_era_and_nobody_waits(
    watched: Watched,
) -> None:
    driver = watched.driver
    sent = await driver.send(lane=LANE)
    (leased,) = await driver.claim(1)
    with connected(watched.url) as caller:
        caller.execute("BEGIN")
        caller.execute("UPDATE message SET cancel_requested_at = 1 WHERE id = %s", (sent,))
        assert not watched.turn(looks=3)
        other = await driver.send(lane="other")
        assert await driver.claimed_ids() == [other]
        caller.execute("ROLLBACK")
    assert watched.turn()
    await driver.deliver(leased)
    await driver.healthy()


@pytest.mark.contract("LE3", "LE4")
async def test_who_is_stopped_while_an_era_begins_keeps_nobody_from_leasing(watched: Watched) -> None:
    """The server hears of all of it at once: whatever becomes of who asked, nobody waits for that."""
    session: Any = watched.session
    execute = session._cursor.execute
    held: list[tuple[str]] = []

    def looks(*said: object, **options: object) -> object:
        done = execute(*said, **options)
        held.extend(watched.reading.execute(HELD, (session.connection.info.backend_pid,)).fetchall())
        return done

    session._cursor = SimpleNamespace(execute=looks)
    assert watched.turn()
    assert held == []


async def test_an_era_begins_behind_a_pooler_too(watched: Watched) -> None:
    """What is said to a server's connection there holds for one transaction alone."""
    place = dsn.parse(f"{watched.url}&notices=poll")
    watched.session.connection.close()
    clock = ServerClock(FakeClock())
    watched.session = Session(connect(place, Durability.PROCESS), place, Durability.PROCESS, lambda: 0, clock)
    assert not watched.session.connection.lasting
    assert watched.turn()


async def test_who_wrote_and_goes_on_without_reading_keeps_what_is_dead_too(watched: Watched) -> None:
    watched.reader.execute("COMMIT")
    with connected(watched.url) as caller:
        caller.execute("BEGIN; CREATE TEMPORARY TABLE written () ON COMMIT DROP")
        ((own,),) = caller.execute("SELECT pg_current_xact_id()::xid::text").fetchall()
        found = watched.session.many("era_oldest")
        # Who reads on this server for another test may have begun before.
        assert found
        assert watched.reading.execute(OLDER, (found[0][0], own)).fetchall() == [(True,)]


@pytest.mark.contract("LA1")
async def test_nothing_is_leased_outside_of_the_eras(watched: Watched) -> None:
    await watched.driver.send(lane=LANE)
    with connected(watched.url) as connection, pytest.raises(errors.CheckViolation):
        connection.execute("UPDATE message SET state = 1, lease = '1', lease_until = 1, worker = 1")


class Said:
    """A session that says who reads and how much is leased, and has eras beginning without anything being leased."""

    def __init__(self, oldest: list[str | None], leased: int, *, table_locks: bool = True) -> None:
        self._oldest = iter(oldest)
        self._leased = leased
        self.begun = 0
        self.connection: Any = self
        self.traits: Any = self
        self.table_locks = table_locks

    def transaction(self) -> Said:
        return self

    def at_once(self, _: object) -> None:
        self.begun += 1

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def many(self, name: str, _: object = ()) -> list[tuple[object]]:
        if name == "era_oldest":
            oldest = next(self._oldest)
            return [] if oldest is None else [(oldest,)]
        return [(self._leased,)]


@pytest.mark.parametrize(
    ("said", "begun"),
    [
        (Said(["7", "7", "7"], 10), 1),
        # Somebody always reads, but nobody for long.
        (Said(["7", "8", "9"], 10), 0),
        (Said([None, None, "7"], 10), 0),
        # It would be much to take along, for little that is left behind.
        (Said(["7", "7", "7"], 16), 0),
        (Said([], 10, table_locks=False), 0),
    ],
)
def test_an_era_begins_where_what_is_dead_piles_up_and_it_pays(said: Said, begun: int) -> None:
    eras = Eras(10 * TAKEN_ALONG // 2)
    for _ in range(3):
        session: Any = said
        eras.gave(eras.leases)
        eras.turn(session)
    assert said.begun == begun
