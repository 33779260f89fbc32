"""Tenants divided over two PostgreSQL servers, of which one dies and comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox import Message, Outbox
from pillarbox.domain.message import State
from pillarbox.errors import StoreError
from pillarbox.outbox.reads import view_of
from pillarbox.outbox.shards import sharded_lifetime
from tests.engine.stand import until
from tests.engine.test_shards import ONE, SECONDS, TWO, Ways, tenants_in
from tests.store.postgres_cluster import own_server
from tests.store.postgres_server import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.postgres_server import Server


@pytest.fixture
def first() -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.fixture
def second(first: str) -> Iterator[Server]:
    assert first, "where that is skipped, no server can be had"
    with own_server() as server:
        yield server


async def test_each_server_has_its_own_tenants_and_goes_on_while_the_other_is_down(
    first: str, second: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_lifetime, "AGAIN_SECONDS", 0.05)
    both = [first, f"{second.url}&schema=outbox"]
    async with Outbox(shards=both, channels={"ops": Ways()}) as box:

        async def delivered(tenant: str, key: str) -> Message:
            message = await box.send("ops", to="ann", text="hi", tenant=tenant, key=key)
            assert (await message.wait(SECONDS)).state is State.DELIVERED
            return message

        async def heard() -> bool:
            try:
                await delivered(TWO[0], "meanwhile")
            except StoreError:
                return False
            return True

        for tenant in (*ONE, *TWO):
            await delivered(tenant, "before")
        assert {view_of(message).tenant for message in await box.list()} == {*ONE, *TWO}
        await asyncio.to_thread(second.stop)
        await delivered(ONE[0], "meanwhile")
        assert not await heard()
        await asyncio.to_thread(second.start)
        await until(heard)
        assert (await box.replay_many("state=delivered", dry_run=True)).matched == 6
        assert {tally.tenant for tally in await box.stats()} == {*ONE, *TWO}
    assert [await tenants_in(url) for url in both] == [set(ONE), set(TWO)]
