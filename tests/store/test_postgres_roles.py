"""Each role does what it is for and nothing else; the schema may be made by hand."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State
from pillarbox.errors import KeyConflict, StoreReadOnly
from pillarbox.store.base import Cancel, Schema
from pillarbox.store.postgres import migrations
from pillarbox.store.postgres.connection import ServerConnection, connect
from pillarbox.store.postgres.copier import COPIED_MIN
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_server import as_role, connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pillarbox.domain.ids import MessageId
    from pillarbox.store.base import Durability
    from pillarbox.store.postgres.dsn import Place

CLOCK = FakeClock()
SECONDS = 30.0
GROUPS = ("worker", "sender", "reader")


@pytest.fixture
def url() -> Iterator[str]:
    """A schema that was made by hand, and for each group a role that logs in."""
    with fresh_database() as fresh:
        base, _, schema = fresh.partition("schema=")
        schema = f"hand_{schema}"
        url = f"{base}schema={schema}"
        with connected(base) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            connection.execute(open_store(url).script())
            for group in GROUPS:
                connection.execute(f"CREATE ROLE {schema}_{group}_1 LOGIN IN ROLE {schema}_{group}")
        yield url
        with connected(base) as connection:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
            for group in GROUPS:
                connection.execute(f"DROP ROLE {schema}_{group}_1; DROP ROLE {schema}_{group}")


@contextlib.asynccontextmanager
async def driver_as(url: str, group: str, **options: Any) -> AsyncIterator[StoreDriver]:
    role = f"{url.partition('schema=')[2]}_{group}_1"
    store = open_store(as_role(url, role), clock=CLOCK, lease_clock=CLOCK.boot_ms, **options)
    await store.open()
    try:
        yield StoreDriver(store, CLOCK, SeededEntropy(GROUPS.index(group)))
    finally:
        await store.close()


@pytest.mark.contract("SG2")
async def test_who_sends_works_or_reads_needs_no_more_rights_than_that(url: str) -> None:
    async with driver_as(url, "sender") as sender:
        ids = [
            await sender.send(),
            await sender.send(key="k", digest=b"d"),
            await sender.send(lane="a", text="x" * 5000),
        ]
        assert await sender.send(key="k", digest=b"d") == ids[1]
        # Who only sends may draw no numbers: even so many go as arrays.
        ids += [stored.id for stored in await sender.enqueue(*(sender.draft() for _ in range(COPIED_MIN)))]
        for order in (sender.claim(), sender.act(Cancel(id=ids[0], actor="ann"))):
            with pytest.raises(StoreReadOnly, match="this database role may not"):
                await order
    async with driver_as(url, "worker") as worker:
        await worker.register()
        await worker.deliver(*await worker.claim(len(ids)))
        assert {view.state for view in await worker.everything()} == {State.DELIVERED}
        await worker.healthy()
    async with driver_as(url, "reader", create=False) as reader:
        assert [view.id for view in await reader.everything()] == ids
        assert await reader.store.schema() == Schema(version=migrations.VERSION, usable_from=migrations.USABLE_FROM)
        assert await reader.store.stats()
        await reader.store.workers()
        await reader.healthy()
        with pytest.raises(StoreReadOnly, match="this database role may not"):
            await reader.send()
        # From SQL too.
        with connected(as_role(url, f"{url.partition('schema=')[2]}_sender_1")) as connection:
            ((made,),) = connection.execute("""SELECT enqueue('ops', 'ann', '{"text": "hi"}', key => 'l')""").fetchall()
        assert [view.id for view in await reader.everything()] == [*ids, made]


@pytest.mark.contract("EN1", "SG2")
async def test_many_messages_are_stored_where_the_server_judges_who_may_write_which_row(url: str) -> None:
    with connected(url) as connection:
        connection.execute(
            "ALTER TABLE message ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON message USING (true)"
        )
    async with driver_as(url, "worker") as worker:
        stored = await worker.enqueue(*(worker.draft() for _ in range(COPIED_MIN)))
        assert [view.id for view in await worker.everything()] == [one.id for one in stored]


class _Cursor(psycopg.RawCursor[Any]):
    """Counts what goes by COPY."""

    copies = 0

    def copy(self, *args: Any, **options: Any) -> Any:
        _Cursor.copies += 1
        return super().copy(*args, **options)


def connecting(place: Place, durability: Durability) -> ServerConnection:
    connection = connect(place, durability)
    connection.cursor_factory = _Cursor
    return connection


TAKEN = {
    "row security": (
        "ALTER TABLE message ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON message USING (true)",
        "ALTER TABLE message DISABLE ROW LEVEL SECURITY",
    ),
    "numbers": (
        "REVOKE USAGE ON SEQUENCE message_seq_seq FROM {role}",
        "GRANT USAGE ON SEQUENCE message_seq_seq TO {role}",
    ),
    "a column": (
        """
        REVOKE INSERT ON message FROM {role};
        DO $$ BEGIN EXECUTE (
            SELECT 'GRANT INSERT (' || string_agg(quote_ident(attname), ', ') || ') ON message TO {role}'
            FROM pg_attribute
            WHERE attrelid = 'message'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'seq'
        ); END $$
        """,
        "GRANT INSERT ON message TO {role}",
    ),
    # Not asked about before: only the refusal shows it.
    "another reason": (
        """
        ALTER TABLE message RENAME TO stored;
        CREATE VIEW message AS SELECT * FROM stored;
        GRANT SELECT, INSERT, UPDATE, DELETE ON message TO {role}
        """,
        "DROP VIEW message; ALTER TABLE stored RENAME TO message",
    ),
}


@pytest.mark.contract("EN1", "LA1", "SG2")
@pytest.mark.parametrize("what", TAKEN)
async def test_many_messages_are_stored_where_copy_is_forbidden_while_a_worker_runs(url: str, what: str) -> None:
    taken, given = (sql.format(role=f"{url.partition('schema=')[2]}_worker") for sql in TAKEN[what])

    async def stored(worker: StoreDriver) -> bool:
        """Store a group, and whoever is refused beside it; say whether it went by COPY at last."""
        before = _Cursor.copies
        group = [worker.draft(lane="l") for _ in range(COPIED_MIN)]
        result = await worker.commit(enqueue=[group, [worker.draft(key="k", digest=os.urandom(4))]])
        assert isinstance(result.enqueued[1], KeyConflict)
        ids.extend(draft.id for draft in group)
        return _Cursor.copies > before

    ids: list[MessageId] = []
    async with driver_as(url, "worker", connect=connecting) as worker:
        ids.append(await worker.send(lane="l", key="k", digest=b"first"))
        assert await stored(worker)
        with connected(url) as connection:
            connection.execute(taken)
        await stored(worker)
        assert not await stored(worker)
        with connected(url) as connection:
            connection.execute(given)
        CLOCK.advance(60)
        assert await stored(worker)
        assert [view.id for view in await worker.everything()] == ids
        for identity in ids:
            assert await worker.deliver_next() == identity
        await worker.healthy()


@pytest.mark.contract("EN4", "SG2")
async def test_who_may_store_nothing_is_told_so_once_however_many_they_were(url: str) -> None:
    role = f"{url.partition('schema=')[2]}_worker"
    async with driver_as(url, "worker", connect=connecting) as worker:
        await worker.enqueue(*(worker.draft() for _ in range(COPIED_MIN)))
        with connected(url) as connection:
            connection.execute(f"REVOKE INSERT ON message FROM {role}")
        with pytest.raises(StoreReadOnly, match="this database role may not"):
            await worker.enqueue(*(worker.draft() for _ in range(COPIED_MIN)))
        with connected(url) as connection:
            connection.execute(f"GRANT INSERT ON message TO {role}")
        await worker.enqueue(*(worker.draft() for _ in range(COPIED_MIN)))
        assert len(await worker.everything()) == 2 * COPIED_MIN


@pytest.mark.contract("LA1", "SG2")
async def test_a_worker_may_give_a_message_for_later_its_place(url: str) -> None:
    async with driver_as(url, "worker") as worker:
        await worker.register()
        now_ms = CLOCK.wall_ms()
        later = await worker.send(lane="a", not_before_ms=now_ms)
        assert await worker.claimed_ids() == [later]


@pytest.mark.contract("EN1", "CO4", "DK1", "HO4", "EN5")
async def test_an_application_that_only_sends_may_use_all_that_send_takes(url: str) -> None:
    def seen(_: object) -> str:
        return "sent"

    role = as_role(url, f"{url.partition('schema=')[2]}_sender_1")
    async with Outbox(url, deliver=False, limits={"recipient_messages": 9}):
        pass  # The owner: from now on each recipient's messages are counted.
    record = {"sessionKey": "s", "text": "hi"}
    several: tuple[dict[str, Any], ...] = ({}, {"files": [b"abc"]}, {"mirror": record}, {"kind": "block"})
    async with Outbox(role, deliver=False, limits={"recipient_messages": 9}) as box:
        for options in several:
            await box.send("pager", to="ann", **{"text": "hi", **options})
            with connected(role) as connection, connection.transaction():
                await box.enqueue(connection, "pager", to="bob", **{"text": "hi", **options})
        made = await box.list()
        assert len(made) == 8
        async with Outbox(url, channels={"pager": seen}) as worker:
            for message in made:
                await (await worker.find(message.id or "")).wait(SECONDS)
        assert {message.state for message in await box.list()} == {State.DELIVERED}
