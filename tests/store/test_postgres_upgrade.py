"""Machines are upgraded one by one: older and newer workers on one schema, before it is contracted."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import errors

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.errors import StoreError, StoreTooNew, StoreTooOld
from pillarbox.store.base import Durability, Schema
from pillarbox.store.postgres import dsn, migrations
from pillarbox.store.postgres.connection import Session, connect
from pillarbox.store.postgres.server_clock import ServerClock
from pillarbox.store.postgres.statements import SCHEMA
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_server import as_role, connected, fresh_database

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


WITHOUT_ERAS = """
    DROP TABLE era;
    ALTER TABLE message DROP COLUMN era;
    DROP INDEX message_open;
    CREATE INDEX message_open ON message (lane, lane_pos) WHERE state < 3 AND NOT waiting AND lane IS NOT NULL;
    CREATE UNIQUE INDEX message_one ON message (lane) WHERE state = 1 AND lane IS NOT NULL;
    CREATE INDEX message_leased ON message (worker, lease_until) WHERE state = 1
"""
SEND = "SELECT enqueue('ops', 'ann', '{\"text\": \"1\"}')"
LEASE = """
    UPDATE message SET state = 1, lease = '1', lease_until = 0, worker = 7, claims = 1, claimed_at = 0
    WHERE seq = (SELECT min(seq) FROM message)
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'message' AND schemaname = current_schema()"


def indexes(url: str) -> set[tuple[str, str]]:
    with connected(url) as connection:
        found = connection.execute(INDEXES).fetchall()
    return {(name, made_by.replace(url.rpartition("schema=")[2], "")) for name, made_by in found}


def made_by_version_1(url: str) -> None:
    """Make the schema as it was made before what is temporary was named last, and before leases had eras."""
    base, _, schema = url.rpartition("schema=")
    with connected(base) as connection:
        connection.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}, pg_catalog")
        connection.execute(SCHEMA["tables"])
        connection.execute("INSERT INTO meta VALUES ('version', '1'), ('usable_from', '1')")
        connection.execute(WITHOUT_ERAS)


@pytest.mark.contract("SG2", "LA1", "LE4")
async def test_what_was_leased_before_leases_had_eras_is_taken_back_and_keeps_its_lane(url: str) -> None:
    made_by_version_1(url)
    with connected(url) as connection:
        for _ in range(2):
            connection.execute(SEND)
        # Of two of a lane the first is being sent.
        connection.execute(LEASE)
    clock = FakeClock()
    newer = open_store(url, migrate=True, clock=clock, lease_clock=clock.boot_ms)
    await newer.open()
    driver = StoreDriver(newer, clock, SeededEntropy(1))
    clock.advance(3600)
    assert await driver.claim() == []
    assert [lapsed.by for lapsed in await driver.lapsed()] == ["owner"]
    await newer.close()
    with fresh_database() as fresh:
        made = open_store(fresh)
        await made.open()
        await made.close()
        assert indexes(url) == indexes(fresh)


@pytest.mark.contract("SG2", "LA1")
async def test_leases_get_no_eras_while_somebody_works_who_knows_none(url: str) -> None:
    made_by_version_1(url)
    newer = open_store(url, migrate=True)
    with connected(url) as connection:
        connection.execute(SEND)
        connection.execute(
            "INSERT INTO worker (id, host, pid, version, channels, started_at, seen_at, heard_at)"
            " SELECT '1', 'old', 1, '0', 'ops', 0, 0, extract(epoch FROM clock_timestamp()) * 1000"
        )
        with pytest.raises(StoreError, match="workers are at work: stop them"):
            await newer.open()
        connection.execute("UPDATE worker SET closed = true")
        await newer.open()
        # Who was not stopped is refused what it leases: nobody else would know of it.
        with pytest.raises(errors.CheckViolation):
            connection.execute(LEASE)
    await newer.close()


@pytest.mark.contract("SG2", "EN9")
async def test_whoever_could_send_work_or_read_still_can(url: str) -> None:
    """Whatever their roles are called, and whether the groups of pillarbox were ever made."""
    made_by_version_1(url)
    schema = url.rpartition("schema=")[2]
    rights = {"worker": "SELECT, INSERT, UPDATE, DELETE", "sender": "SELECT, INSERT", "reader": "SELECT", "other": ""}
    roles = {group: f"{schema} {group}" for group in rights}
    may = "SELECT has_table_privilege(%s, 'era', 'SELECT'), has_table_privilege(%s, 'era', 'INSERT, UPDATE, DELETE')"
    with connected(url) as connection:
        for group, role in roles.items():
            connection.execute(f'CREATE ROLE "{role}"')
            if rights[group]:
                connection.execute(f'GRANT {rights[group]} ON message TO "{role}"')
        try:
            newer = open_store(url, migrate=True)
            await newer.open()
            await newer.close()
            found = {group: connection.execute(may, (role, role)).fetchone() for group, role in roles.items()}
        finally:
            for role in roles.values():
                connection.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    assert found == {"worker": (True, True), "sender": (True, False), "reader": (True, False), "other": (False, False)}


@pytest.mark.contract("SG2")
async def test_a_schema_stays_its_owners_whoever_brings_it_up_to_date(url: str) -> None:
    made_by_version_1(url)
    schema = url.rpartition("schema=")[2]
    owner, administrator = f"{schema}_owner", f"{schema}-Administrator"
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = current_schema()"
    with connected(url) as connection:
        connection.execute(f'CREATE ROLE {owner}; CREATE ROLE "{administrator}" SUPERUSER LOGIN')
        try:
            connection.execute(f"GRANT CREATE, USAGE ON SCHEMA {schema} TO {owner}")
            for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"):
                connection.execute(f"ALTER TABLE {table} OWNER TO {owner}")
            newer = open_store(as_role(url, administrator), migrate=True)
            await newer.open()
            await newer.close()
            found = connection.execute(owners).fetchall()
        finally:
            connection.execute(f"REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {owner}")
            connection.execute(f'DROP ROLE "{administrator}"')
    assert found == [(owner,)]


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
    assert await newer.schema() == Schema(version=VERSION, usable_from=migrations.USABLE_FROM)
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
