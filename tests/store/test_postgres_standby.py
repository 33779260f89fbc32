"""A standby has everything that was answered, whatever became of the wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from pillarbox.outbox.outbox import Outbox
from tests.store.postgres_cluster import SYNCHRONOUS, Machine, short_folder
from tests.store.postgres_server import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

SECONDS: Final = 120.0
_WAITING: Final = "SELECT pid, xact_start FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
_END: Final = {
    "terminate": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
    "cancel": "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
}

Commits = set[tuple[Any, ...]]


@pytest.fixture(scope="module")
def primary() -> Iterator[Machine]:
    with short_folder() as folder:
        machine = Machine(folder, SYNCHRONOUS)
        machine.run()
        yield machine
        machine.kill()


@pytest.fixture(scope="module")
def standby(primary: Machine) -> Iterator[Machine]:
    with short_folder() as folder:
        machine = primary.standby(folder)
        machine.run()
        yield machine
        machine.kill()


async def waiting(connection: psycopg.Connection[Any], *sends: asyncio.Task[Any], known: Commits) -> Commits:
    """Wait until as many commits as there are sends wait for the standby, and are none that were *known* before."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = set(connection.execute(_WAITING).fetchall())
            if len(found) == len(sends) and not found & known:
                return found
            assert not any(send.done() for send in sends), "answered, though the standby does not have it"
            await asyncio.sleep(0)


@pytest.mark.timeout(300)
@pytest.mark.contract("EN1", "EN4", "EN7")
@pytest.mark.parametrize("how", ["terminate", "cancel"])
async def test_what_did_not_wait_for_its_standby_is_not_answered(
    primary: Machine, standby: Machine, how: Literal["terminate", "cancel"]
) -> None:
    """Whoever ends a commit's wait leaves it committed, on the primary alone: a failover would lose it."""
    async with Outbox(primary.url, deliver=False) as box, Outbox(primary.url, deliver=False) as other:
        first = await box.send("hooks", to="ann", text="1")
        assert (await other.list())[0].id == first.id
        standby.kill()
        sends = [asyncio.ensure_future(box.send("hooks", to="ann", text="2", key=how))]
        try:
            with connected(primary.url) as connection:
                before = await waiting(connection, *sends, known=set())
                connection.execute(_END[how])
                again = await waiting(connection, *sends, known=before)
                # It can be seen now, by whoever has its key.
                sends.append(asyncio.ensure_future(other.send("hooks", to="ann", text="2", key=how)))
                assert again < await waiting(connection, *sends, known=before)
        finally:
            standby.run()
        async with asyncio.timeout(SECONDS):
            made, found = await asyncio.gather(*sends)
        assert made.id == found.id
        assert made.created
        assert not found.created
        with connected(standby.url) as connection:
            assert {made.id, first.id} <= {
                f"{one}" for (one,) in connection.execute("SELECT id FROM pillarbox.message").fetchall()
            }
