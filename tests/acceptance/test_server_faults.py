"""
A PostgreSQL server in trouble under load: nothing is lost, nothing is stored twice, every copy is explained.

``PILLARBOX_TEST_POSTGRES_FAULTS=40`` (``make proof-postgres``) is the long form: so many of each fault of a connection,
and a quarter as many of each fault of a whole server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

import psycopg
import pytest

from pillarbox.domain.message import State
from pillarbox.store.base import Event
from tests.acceptance.server_load import Load, facts, pause, unexplained
from tests.store.postgres_cluster import SYNCHRONOUS, Machine, short_folder
from tests.store.postgres_proxy import Cut, Proxy
from tests.store.postgres_server import connected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASKED: Final = int(os.environ.get("PILLARBOX_TEST_POSTGRES_FAULTS", "0"))
FAULTS: Final = ASKED or 3
SERVERS: Final = ASKED // 4 or 1
BETWEEN: Final = 30 if ASKED else 6  # messages
pytestmark = [
    pytest.mark.contract("EN1", "EN4", "EN7", "ST7", "LE1", "LA1", "UN4"),
    pytest.mark.timeout(3600 if ASKED else 600),
]
OURS: Final = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE application_name = 'pillarbox' AND backend_type = 'client backend' ORDER BY pid"
)


@pytest.fixture
def server() -> Iterator[Machine]:
    with short_folder() as folder:
        machine = Machine(folder)
        machine.run()
        yield machine
        machine.kill()


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


async def strike(url: str, how: Literal["terminate", "kill"], luck: random.Random) -> None:
    """End one of our connections' processes in the server. One that is killed takes all others with it."""
    while True:
        with contextlib.suppress(psycopg.OperationalError), connected(url) as connection:
            pids = [pid for (pid,) in connection.execute(OURS)]
            if pids and how == "terminate":
                connection.execute("SELECT pg_terminate_backend(%s)", (luck.choice(pids),))
                return
            if pids:
                os.kill(luck.choice(pids), signal.SIGKILL)
                return
        await pause()


@pytest.mark.parametrize("how", ["terminate", "kill"])
async def test_processes_of_the_server_end_in_the_midst_of_it(
    server: Machine, how: Literal["terminate", "kill"]
) -> None:
    count = FAULTS if how == "terminate" or ASKED else 1
    luck = random.Random(how)
    async with Load(server.url) as load:
        for _ in range(count):
            await load.moves(BETWEEN)
            await strike(server.url, how, luck)
        await load.moves(BETWEEN)
        await load.ends()
        assert await load.faults(server.url) == []
        print(facts(load, **{f"processes ({how})": count}))  # noqa: T201 — the figures of the long form


async def test_answers_to_commits_are_swallowed_and_connections_reset(server: Machine, folder: Path) -> None:
    proxy = Proxy(folder, server.folder)
    try:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable&gssencmode=disable"
        async with Load(url) as load:
            await load.moves(1)
            # As many as are asked for between a commit and its answer, and some that the server never hears of.
            cuts: list[Cut] = [("after", "during")[number % 2] for number in range(FAULTS)]
            cuts += ["before" for _ in range(SERVERS)]
            random.Random("cuts").shuffle(cuts)
            for cut in cuts:
                proxy.cut = cut
                await load.moves(BETWEEN)
                await load.until(lambda: proxy.cut is None)
            await load.ends()
            assert await load.faults(server.url) == []
        assert proxy.cuts == Counter(cuts)
        print(facts(load, **{f"cut {cut}": count for cut, count in proxy.cuts.items()}))  # noqa: T201
    finally:
        proxy.close()


async def test_the_whole_server_is_killed(server: Machine) -> None:
    async with Load(server.url) as load:
        for _ in range(SERVERS):
            await load.moves(BETWEEN)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.run)
        await load.moves(BETWEEN)
        await load.ends()
        assert await load.faults(server.url) == []
        print(facts(load, servers=SERVERS))  # noqa: T201


async def test_a_standby_takes_the_place_of_a_primary_that_was_killed(folder: Path) -> None:
    with short_folder() as other, contextlib.ExitStack() as machines:

        def run(machine: Machine) -> Machine:
            machines.callback(machine.kill)
            machine.run()
            return machine

        primary = run(Machine(folder, SYNCHRONOUS))
        standby = run(primary.standby(other))
        places = f"host={folder},{other}&target_session_attrs=read-write"
        async with Load(f"postgresql://postgres@/postgres?{places}") as load:
            for _ in range(SERVERS):
                await load.moves(BETWEEN)
                await asyncio.to_thread(primary.kill)
                await asyncio.to_thread(standby.promote)
                primary, free = standby, primary.folder
                # Nothing is answered until there is another one.
                standby = await asyncio.to_thread(lambda: run(primary.standby(free)))  # noqa: B023
            await load.moves(BETWEEN)
            await load.ends()
            assert await load.faults(primary.url) == []
        print(facts(load, failovers=SERVERS))  # noqa: T201


def test_a_copy_that_nobody_can_explain_is_found() -> None:
    known = [
        Event(
            at_ms=1,
            act="settle",
            actor="reaper",
            from_state=State.LEASED,
            to_state=State.SCHEDULED,
            attempt=1,
            outcome=how,
        )
        for how in ("worker_lost", "transient")
    ]
    assert unexplained("m", [1, 2], known[:1]) == []
    assert unexplained("m", [1, 2], known[1:]) != []
    assert unexplained("m", [1, 1], known[:1]) != []
