"""A standby has everything that was answered, whatever became of the wait for it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from pillarbox.errors import StoreError, StoreOutcomeUnknown, StoreUnavailable
from pillarbox.outbox.outbox import Outbox
from pillarbox.store.postgres.connection import ServerConnection, connect
from pillarbox.store.registry import open_store
from tests.store.postgres_cluster import SYNCHRONOUS, Machine, short_folder
from tests.store.postgres_server import connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    import psycopg

    from pillarbox.store.base import Durability
    from pillarbox.store.postgres import dsn

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


@pytest.mark.timeout(600)
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
            async with asyncio.timeout(SECONDS):
                # Whoever reads there sees it a moment after the standby has it.
                while {made.id, first.id} - stored(connection):  # noqa: ASYNC110 — the server tells nobody
                    await asyncio.sleep(0)


def stored(connection: psycopg.Connection[Any]) -> set[str]:
    return {f"{identity}" for (identity,) in connection.execute("SELECT id FROM pillarbox.message").fetchall()}


def impatient(place: dsn.Place, durability: Durability) -> ServerConnection:
    connection = connect(place, durability)
    connection.commit_seconds = 2.0
    connection.answer_seconds = 3.0
    return connection


def hurried(url: str) -> Outbox:
    return Outbox(url, store=lambda: open_store(url, connect=impatient), deliver=False)


async def said_by(call: Awaitable[Any]) -> BaseException | None:
    try:
        await call
    except StoreError as error:
        return error
    return None


@pytest.mark.timeout(600)
@pytest.mark.contract("EN4", "LE4")
async def test_an_outbox_closes_though_its_standby_is_away(primary: Machine, standby: Machine) -> None:
    """What was not answered is unknown to its caller, and found by its key when the standby is back."""
    box = hurried(primary.url)
    async with asyncio.timeout(SECONDS):
        await box.start()
        standby.kill()
        try:
            send = asyncio.ensure_future(said_by(box.send("hooks", to="ann", text="2", key="closing")))
            with connected(primary.url) as connection:
                await waiting(connection, send, known=set())
            await box.close()
            error = await send
            assert isinstance(error, StoreOutcomeUnknown)
            assert "the server did not answer within 2 s" in str(error)
        finally:
            standby.run()
        async with Outbox(primary.url, deliver=False) as other:
            made = await other.send("hooks", to="ann", text="2", key="closing")
        assert not made.created
        assert made.id in error.message_ids


@pytest.mark.timeout(600)
@pytest.mark.contract("EN4")
async def test_an_outbox_closes_though_its_server_is_silent(standby: Machine, primary: Machine) -> None:
    url = f"{primary.url}&connect_timeout=2"
    async with asyncio.timeout(SECONDS):
        box = hurried(url)
        await box.start()
        pids = [primary.pid, *primary.processes()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            error = await said_by(box.send("hooks", to="ann", text="3"))
            await box.close()
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert isinstance(error, StoreUnavailable)
        assert not isinstance(error, StoreOutcomeUnknown)
        async with Outbox(primary.url, deliver=False) as other:
            await other.send("hooks", to="ann", text="4")
