"""What a batch costs on PostgreSQL does not depend on how many wait, nor on when the server made its plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
import pytest

from pillarbox.errors import InvalidMessage, ValueRefused
from pillarbox.store.base import Presence
from pillarbox.store.postgres.connection import connect
from pillarbox.store.postgres.statements import STATEMENTS
from pillarbox.store.postgres.store import PostgresStore
from pillarbox.store.registry import open_store
from pillarbox.store.thread import Inline
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_server import connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pillarbox.store.base import Durability
    from pillarbox.store.postgres.connection import ServerConnection
    from pillarbox.store.postgres.dsn import Place

FEW, MANY = 300, 20_000
CAPACITY = 10
CLAIMS = 7
LANES = 4
ERA = 20
TURNS = 15
_COUNTED = "SELECT sum(hits + reads)::bigint FROM pg_stat_get_backend_io($1::integer) WHERE object = 'relation'"
_COLUMNS = (
    "SELECT string_agg(column_name, ',') FROM information_schema.columns WHERE table_schema = current_schema()"
    " AND table_name = 'message' AND is_generated = 'NEVER' AND column_name <> ALL (%s)"
)
# As a message that was sent already, but for what is new with each.
_FILL = (
    "INSERT INTO message (id, state, due_at, lane, waiting, claims, {columns})"
    " SELECT 'm' || n, 0, due_at + n %% 1000, CASE WHEN %s THEN 'long' END, %s AND n > 0, 0, {columns}"
    " FROM generate_series(0, %s) n, (SELECT * FROM message WHERE id = %s) sent"
)
_NEW = ("seq", "id", "state", "due_at", "lane", "waiting", "claims", "lease", "lease_until", "claimed_at",
        "completed_at", "terminal_reason", "receipt", "worker")  # fmt: skip


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as url:
        with connected(url) as connection:
            if connection.info.server_version < 180_000:
                pytest.skip("!!! only PostgreSQL 18 and newer count what one connection reads !!!")
        yield url


def pages(store: Any) -> int:
    """Return how many pages the store's own connections have touched."""
    postgres: PostgresStore = store
    touched = 0
    for session in filter(None, (postgres._session, postgres._reading)):
        session.connection.execute("SELECT pg_stat_force_next_flush()")
        ((found,),) = session.connection.execute(_COUNTED, (str(session.connection.info.backend_pid),)).fetchall()
        touched += int(found)
    return touched


async def cost(url: str, waiting: int, *, plans: str, long_lane: bool) -> int:
    """Return how many pages the middle one of several batches touches, in which ten are claimed, and ten settled."""
    with connected(url) as connection:
        connection.execute("DELETE FROM message; DELETE FROM tally")
        # So it looks to the server after a while in which nothing was to be sent.
        connection.execute("VACUUM ANALYZE message")
    clock = FakeClock()
    store = open_store(url, clock=clock, lease_clock=clock.boot_ms, caller=lambda _: Inline())
    await store.open()
    driver = StoreDriver(store, clock, SeededEntropy(waiting))
    sent: str = ""
    for _ in range(3):
        # The plans are made while next to nothing is there.
        sent = await driver.send()
        await driver.deliver(*await driver.claim())
    with connected(url) as connection:
        ((columns,),) = connection.execute(_COLUMNS, (list(_NEW),))
        fill = _FILL.format(columns=columns)
        connection.execute(fill, (long_lane, long_lane, waiting, sent))
        if plans == "new":
            connection.execute("VACUUM ANALYZE message")
    clock.advance(10)
    costs = []
    for _ in range(CLAIMS):
        if long_lane:
            await driver.enqueue(*[driver.draft() for _ in range(CAPACITY)])
        before = pages(store)
        claimed = await driver.claim(CAPACITY)
        await driver.deliver(*claimed)
        costs.append(pages(store) - before)
        assert len(claimed) == CAPACITY
    await store.close()
    return sorted(costs)[CLAIMS // 2]


@pytest.mark.contract("LA1", "LE2")
@pytest.mark.parametrize("plans", ["old", "new"])
@pytest.mark.parametrize("long_lane", [False, True])
async def test_a_claim_costs_the_same_however_many_wait(url: str, plans: str, long_lane: bool) -> None:
    store = open_store(url)
    await store.open()
    await store.close()
    # For as long as somebody reads, no row that was deleted goes away, and a table that is empty still has its pages.
    with connected(url) as reader:
        reader.execute("VACUUM")
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM message")
        few = await cost(url, FEW, plans=plans, long_lane=long_lane)
        many = await cost(url, MANY, plans=plans, long_lane=long_lane)
    # Its indexes are one level higher, and what was deleted stands in them. There are 67 times as many messages.
    assert many <= 2.5 * few, (few, many)


@pytest.mark.contract("LA1", "LE4")
async def test_a_life_costs_the_same_however_many_were_lived_while_somebody_reads(url: str) -> None:
    """What was leased, and what ended, stays in the indexes until the reader ends; nobody walks over it."""
    clock = FakeClock()
    store: Any = open_store(url, clock=clock, lease_clock=clock.boot_ms, caller=lambda _: Inline())
    await store.open()
    store._eras.leases = ERA
    driver = StoreDriver(store, clock, SeededEntropy(1))
    await driver.send()
    await driver.deliver(*await driver.claim())

    async def lives(count: int) -> int:
        before = pages(store)
        for _ in range(count):
            clock.advance(1)
            drafts = [[driver.draft(lane=f"l{number}")] for number in range(LANES)]
            claimed = (await driver.commit(enqueue=drafts, claim=await driver.request(LANES))).claimed
            assert len(claimed) == LANES
            assert await driver.lapsed() == []
            await driver.deliver(*claimed)
        return pages(store) - before

    with connected(url) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM message")
        few = await lives(TURNS)
        await lives(6 * TURNS)
        many = await lives(TURNS)
    await store.close()
    # Its indexes are one level higher.
    assert many <= 1.5 * few, (few, many)


@pytest.mark.contract("LA3", "LE4")
@pytest.mark.parametrize("name", ["claim", "claim_only", "claim_suspect", "park", "taken_lanes"])
async def test_whoever_looks_for_a_lane_does_not_look_through_all_that_is_leased(url: str, name: str) -> None:
    store: Any = open_store(url, caller=lambda _: Inline())
    await store.open()
    plan = planned(store, name)
    assert "using message_one on message p" in plan
    assert "message_leased" not in plan
    await store.close()


@pytest.mark.contract("LE4")
@pytest.mark.parametrize(
    "name",
    [
        "backlog_leased",
        "claim_again",
        "era_take_along",
        "lapsed_by_owner",
        "lapsed_by_time",
        "last_suspect",
        "leased_by",
        "leased_workers",
    ],
)
async def test_whoever_looks_for_leases_looks_in_the_present_era(url: str, name: str) -> None:
    store: Any = open_store(url, caller=lambda _: Inline())
    await store.open()
    plan = planned(store, name)
    looks = plan.count("message_leased")
    assert looks >= 1
    assert plan.count("Index Cond: ((era = ") + plan.count("Index Cond: (era = ") == looks
    await store.close()


def planned(store: Any, name: str) -> str:
    """Return the plan of a statement on an empty schema, on which everything looks small."""
    found = store._session.connection.execute(f"EXPLAIN (GENERIC_PLAN) {STATEMENTS[name]}").fetchall()
    return "\n".join(line for (line,) in found)


class Recorded(psycopg.RawCursor[Any]):
    """Notes what is said, one line a round trip."""

    said: ClassVar[list[str]] = []

    def execute(self, query: Any, *values: Any, **options: Any) -> Any:
        self.said.append(str(query))
        return super().execute(query, *values, **options)


@pytest.fixture
async def recorded(url: str) -> AsyncIterator[StoreDriver]:
    def opened(place: Place, durability: Durability) -> ServerConnection:
        connection = connect(place, durability)
        connection.cursor_factory = Recorded
        return connection

    clock = FakeClock()
    store = PostgresStore(url, clock=clock, lease_clock=clock.boot_ms, caller=lambda _: Inline(), connect=opened)
    await store.open()
    yield StoreDriver(store, clock, SeededEntropy(1))
    await store.close()


@pytest.mark.contract("DR2")
async def test_plans_are_made_anew_where_a_table_has_grown_and_nowhere_else(url: str, recorded: StoreDriver) -> None:
    """Whoever comes first afterwards waits for them: to plan a claim takes longer than the claim."""
    sent = await recorded.send()
    await recorded.deliver(*await recorded.claim())
    for grown in (True, False, False):
        if grown:
            with connected(url) as connection:
                ((columns,),) = connection.execute(_COLUMNS, (list(_NEW),))
                connection.execute(_FILL.format(columns=columns), (False, False, FEW, sent))
        Recorded.said.clear()
        recorded.clock.advance(10)
        await recorded.deliver(*await recorded.claim(CAPACITY))
        assert ("DISCARD PLANS" in Recorded.said) is grown


@pytest.mark.contract("DR2")
async def test_one_message_makes_few_round_trips(recorded: StoreDriver) -> None:
    """Another process's message waits for all of them: of the sender, and of the worker's claim."""
    await recorded.send()
    await recorded.deliver(*await recorded.claim())
    request = await recorded.request()
    draft = recorded.draft()
    Recorded.said.clear()
    await recorded.enqueue(draft)
    assert words() == ["BEGIN", "SAVEPOINT", "INSERT", "INSERT", "COMMIT", "BEGIN"]
    assert (await recorded.commit(claim=request)).claimed
    assert words() == ["BEGIN", "SELECT", "WITH", "SELECT", "INSERT", "COMMIT"]
    assert await recorded.store.queues()
    assert words() == ["SELECT"]


def words() -> list[str]:
    """Return the first word of each round trip since the last call."""
    said = [query.split()[0].rstrip(";") for query in Recorded.said]
    Recorded.said.clear()
    return said


async def test_what_is_prepared_outlives_what_goes_wrong(url: str) -> None:
    """Not only what one message's values did to it, but a whole transaction that is undone."""
    clock = FakeClock()
    store: Any = open_store(url, clock=clock, lease_clock=clock.boot_ms, caller=lambda _: Inline())
    await store.open()
    driver = StoreDriver(store, clock, SeededEntropy(1))
    await driver.send()
    await driver.deliver(*await driver.claim())
    prepared = "SELECT name FROM pg_prepared_statements"
    before = set(store._session.connection.execute(prepared).fetchall())
    result = await driver.commit(enqueue=[[driver.draft(recipient="\0")], [driver.draft()]])
    assert isinstance(result.enqueued[0], InvalidMessage)
    with pytest.raises(ValueRefused):
        await driver.commit(enqueue=[[driver.draft()]], presence=Presence(worker=1, channels=("\0",)))
    await driver.deliver(*await driver.claim())
    assert before <= set(store._session.connection.execute(prepared).fetchall())
    await store.close()
