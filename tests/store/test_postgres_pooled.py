"""Behind PgBouncer in transaction mode: each transaction on another connection, and nothing left behind on any."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State
from pillarbox.store.base import Durability
from pillarbox.store.postgres import dsn
from pillarbox.store.postgres.connection import Session, connect
from pillarbox.store.postgres.server_clock import ServerClock
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import Backstage, MakeStore, StoreDriver, StoreSuite
from pillarbox.testing.store_suite.handles import HandleSuite
from pillarbox.testing.store_suite.repeating import RepeatingSuite
from tests.store.pgbouncer import pooled
from tests.store.postgres_server import fresh_database
from tests.store.test_suite_postgres import HOURS_MS, PostgresBackstage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.domain.limits import Limits
    from pillarbox.store.base import Store

WHOLE = "PILLARBOX_TEST_POOLED"
SECONDS = 60
MESSAGES = 12


@pytest.fixture(scope="module")
def pooler() -> Iterator[str]:
    with pooled() as url:
        yield url


@pytest.fixture
def direct() -> Iterator[str]:
    with fresh_database() as url:
        yield url


def through(pooler: str, direct: str) -> str:
    """The same schema by way of the pooler."""
    return f"{pooler}&schema={direct.partition('schema=')[2]}"


class Short(RepeatingSuite, HandleSuite):
    """Lost answers, and handles side by side: where a session that is another one would be missed."""


Suite: Any = StoreSuite if os.environ.get(WHOLE) else Short


class TestPooled(Suite):  # type: ignore[misc]
    exact_limits = False
    lease_clock = "own"

    @pytest.fixture
    def make_store(self, pooler: str, direct: str, clock: FakeClock) -> MakeStore:
        first = clock

        def make(*, limits: Limits | None = None, clock: FakeClock | None = None) -> Store:
            options: dict[str, Any] = {"lease_clock": lambda: first.boot_ms() + HOURS_MS}
            return open_store(through(pooler, direct), limits=limits, clock=clock, **options)

        return make

    @pytest.fixture
    def backstage(self, direct: str) -> Backstage:
        return PostgresBackstage(direct)


def session_on(url: str) -> Session:
    place = dsn.parse(url)
    return Session(connect(place, Durability.POWER), place, Durability.POWER, None, ServerClock(FakeClock()))


@pytest.mark.contract("LE4")
async def test_all_that_an_outbox_does_leaves_nothing_behind_on_any_connection(pooler: str, direct: str) -> None:
    delivered: list[str] = []

    def page(attempt: Any) -> str:
        delivered.append(attempt.content.text)
        return "paged"

    with pooled(levels=2) as far:
        url = through(far, direct)
        async with Outbox(url, channels={"pager": page}) as worker, Outbox(url, deliver=False) as sender:
            made = [await sender.send("pager", to=f"p{number % 3}", text=str(number)) for number in range(MESSAGES)]
            for message in made:
                found = await worker.find(message.id or "")
                await found.wait(SECONDS)
            assert {message.state for message in await sender.list()} == {State.DELIVERED}
        assert sorted(delivered, key=int) == [str(number) for number in range(MESSAGES)]
        seen = set()
        with psycopg.connect(far, autocommit=True, prepare_threshold=None) as neighbour:
            for _ in range(12):
                backend, *left = neighbour.execute(
                    "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements),"
                    " (SELECT count(*) FROM pg_listening_channels()), current_setting('search_path'),"
                    " current_setting('statement_timeout'), current_setting('enable_seqscan'),"
                    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
                ).fetchall()[0]
                seen.add(backend)
                assert left == [0, 0, '"$user", public', "0", "on", 0]
    # Or else nothing was shown.
    assert len(seen) > 1


def test_a_pooler_is_noticed_and_what_the_url_says_goes_before(pooler: str, direct: str) -> None:
    said = {
        direct: (True, True, True),
        through(pooler, direct): (False, False, True),
        f"{direct}&notices=poll": (False, False, False),
        f"{through(pooler, direct)}&notices=poll": (False, False, False),
        f"{direct}&backend=yugabyte": (True, False, False),
        f"{direct}&backend=yugabyte&notices=listen": (True, True, True),
    }
    for url, expected in said.items():
        connection = connect(dsn.parse(url), Durability.POWER)
        assert (connection.lasting, connection.listens, connection.gives_notice) == expected, url
        connection.close()


@pytest.mark.contract("LE4")
async def test_who_listens_past_the_pooler_hears_of_those_behind_it(pooler: str, direct: str) -> None:
    near, far = open_store(direct), open_store(through(pooler, direct))
    await near.open()
    await far.open()
    heard = asyncio.Event()
    try:
        # So late that nothing is found by looking.
        near.on_change(heard.set, seconds=10 * SECONDS)
        await asyncio.wait_for(heard.wait(), SECONDS)  # it listens from now on
        heard.clear()
        await StoreDriver(far, FakeClock(), SeededEntropy(1)).send()
        await asyncio.wait_for(heard.wait(), SECONDS)
    finally:
        await near.close()
        await far.close()


def test_a_commit_in_doubt_is_ended_and_not_what_the_same_connection_does_since(direct: str) -> None:
    doubtful, asking = session_on(direct), session_on(direct)
    with contextlib.suppress(psycopg.OperationalError), doubtful.transaction():
        at = (doubtful.backend, doubtful.since)
        with asking.transaction():
            assert asking.many("backend_end", (at[0], at[1] - 1, 5_000)) == []
        with asking.transaction():
            assert asking.many("backend_end", (*at, 5_000)) == [(True,)]
    assert doubtful.broken
    asking.connection.close()
    doubtful.connection.close()


@pytest.mark.contract("LA1")
def test_each_statement_sees_what_was_committed_before_it_whatever_the_default_is(direct: str) -> None:
    session = session_on(direct.replace("?", "?options=-cdefault_transaction_isolation%3Dserializable&"))
    with session.transaction():
        assert session.connection.execute("SHOW transaction_isolation").fetchall() == [("read committed",)]
    session.connection.close()
