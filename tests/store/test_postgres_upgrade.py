"""Machines are upgraded one by one: older and newer workers on one schema, before it is contracted."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.errors import StoreTooNew, StoreTooOld
from pillarbox.store.base import Durability, Schema
from pillarbox.store.postgres import dsn, migrations
from pillarbox.store.postgres.connection import Session, connect
from pillarbox.store.postgres.server_clock import ServerClock
from pillarbox.store.postgres.statements import SCHEMA
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_server import connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import psycopg

VERSION = migrations.VERSION


def expand(connection: psycopg.Connection[Any]) -> None:
    connection.execute("ALTER TABLE message ADD COLUMN colour text; CREATE INDEX message_colour ON message (colour)")


def contract(connection: psycopg.Connection[Any]) -> None:
    connection.execute("ALTER TABLE message DROP COLUMN colour")


STEPS = {VERSION: expand, VERSION + 1: contract}


@pytest.fixture
def url() -> Iterator[str]:
    """A schema that no other test gets afterwards."""
    with fresh_database() as fresh:
        base, _, schema = fresh.partition("schema=")
        yield f"{base}schema=up_{schema}"
        with connected(base) as connection:
            connection.execute(f"DROP SCHEMA up_{schema} CASCADE")


def migrate(url: str, version: int, usable_from: int) -> None:
    """What a newer pillarbox does by `db migrate`."""
    place = dsn.parse(url)
    session = Session(connect(place, Durability.POWER), place, Durability.POWER, None, ServerClock(FakeClock()))
    with contextlib.closing(session.connection):
        migrations.prepare(
            session, place.schema, create=True, forward=True, version=version, usable_from=usable_from, steps=STEPS
        )


@contextlib.asynccontextmanager
async def worker(url: str, clock: FakeClock, seed: int) -> AsyncIterator[StoreDriver]:
    store = open_store(url, clock=clock, lease_clock=clock.boot_ms)
    await store.open()
    try:
        driver = StoreDriver(store, clock, SeededEntropy(seed))
        await driver.register()
        yield driver
    finally:
        await store.close()


@pytest.mark.contract("SG2", "LE3", "LA1")
async def test_an_older_worker_goes_on_beside_a_newer_one(url: str) -> None:
    clock = FakeClock()
    async with worker(url, clock, 1) as older:
        ids = [await older.send(lane=f"l{n % 2}") for n in range(8)]
        flying = await older.claim(1)
        # Its statements are prepared, and one message is under way.
        migrate(url, VERSION + 1, VERSION)
        assert await older.store.schema() == Schema(version=VERSION + 1, usable_from=VERSION)
        await older.deliver(*flying)
        async with worker(url, clock, 2) as newer:
            sent = [message.id for message in flying]
            while claimed := [(driver, one) for driver in (older, newer) for one in await driver.claim(1)]:
                for driver, message in claimed:
                    await driver.deliver(message)
                    sent.append(message.id)
            assert sorted(sent) == sorted(ids)
            for lane in (0, 1):
                assert [one for one in sent if ids.index(one) % 2 == lane] == ids[lane::2]
        ids.append(await older.send())
        assert [view.state for view in await older.everything()] == [State.DELIVERED] * 8 + [State.SCHEDULED]
        await older.healthy()


def made_by_version_1(url: str) -> None:
    """Make the schema as it was made before what is temporary was named last."""
    base, _, schema = url.rpartition("schema=")
    with connected(base) as connection:
        connection.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}, pg_catalog")
        connection.execute(SCHEMA["tables"])
        connection.execute("INSERT INTO meta VALUES ('version', '1'), ('usable_from', '1')")


@pytest.mark.contract("SG2", "EN9")
async def test_functions_of_a_schema_that_an_older_version_made_store_nothing_in_a_callers_temporary_tables(
    url: str,
) -> None:
    made_by_version_1(url)
    send = "SELECT enqueue('pager', 'ann', '{\"text\": \"1\"}')"
    with connected(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE message (LIKE message INCLUDING ALL)")
        connection.execute(send)
        assert connection.execute("SELECT count(*) FROM pg_temp.message").fetchall() == [(1,)]
    store = open_store(url)
    with pytest.raises(StoreTooOld, match="`pillarbox db migrate`"):
        await store.open()
    newer = open_store(url, migrate=True)
    await newer.open()
    await newer.limit(Limits(recipient_messages=100))
    with connected(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE message (LIKE message INCLUDING ALL)")
        connection.execute("CREATE TEMPORARY TABLE recipient_tally (LIKE recipient_tally INCLUDING ALL)")
        connection.execute(send)
        assert connection.execute("SELECT count(*) FROM pg_temp.message").fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM pg_temp.recipient_tally").fetchall() == [(0,)]
    with connected(url) as connection:
        assert connection.execute("SELECT recipient FROM message").fetchall() == [("ann",)]
    assert await newer.schema() == Schema(version=VERSION, usable_from=1)
    await newer.close()
    await store.close()


@pytest.mark.contract("SG2")
async def test_a_worker_that_is_too_old_for_a_contracted_schema_does_not_start(url: str) -> None:
    async with worker(url, FakeClock(), 1) as older:
        await older.send()
        migrate(url, VERSION + 2, VERSION + 2)
        # Who is at work goes on; who starts is refused.
        await older.deliver(*await older.claim(1))
    store = open_store(url)
    with pytest.raises(StoreTooNew, match=f"usable from {VERSION + 2}"):
        await store.open()
    await store.close()


@pytest.mark.contract("SG2")
async def test_two_that_bring_a_schema_up_to_date_at_once_do_it_once(url: str) -> None:
    async with worker(url, FakeClock(), 1) as older:
        threads = [threading.Thread(target=migrate, args=(url, VERSION + 1, VERSION)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (await older.store.schema()).version == VERSION + 1
        await older.healthy()


@pytest.mark.contract("SG2")
async def test_whoever_starts_to_work_leaves_an_older_schema_as_it_is_and_says_what_to_run(url: str) -> None:
    async with worker(url, FakeClock(), 1) as older:
        await older.send()
    with connected(url) as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE key IN ('version', 'usable_from')")
    store = open_store(url)
    with pytest.raises(StoreTooOld, match=f"has schema 0, this pillarbox works on {VERSION}: .*`pillarbox db migrate`"):
        await store.open()
    await store.close()
    with connected(url) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchall() == [("0",)]
