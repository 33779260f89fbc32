"""Each role does what it is for and nothing else; the schema may be made by hand."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State
from pillarbox.errors import StoreReadOnly
from pillarbox.store.base import Cancel, Schema
from pillarbox.store.postgres import migrations
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_server import as_role, connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


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
        for order in (sender.claim(), sender.act(Cancel(id=ids[0], actor="ann"))):
            with pytest.raises(StoreReadOnly, match="this database role may not"):
                await order
    async with driver_as(url, "worker") as worker:
        await worker.register()
        await worker.deliver(*await worker.claim(10))
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
