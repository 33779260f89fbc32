"""docs/how-to/dramatiq.md: actors in worker processes of the real command, over a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw
import pytest

from pillarbox import Attempt, Outbox
from tests.integrations.programs import SECONDS, Program, commands
from tests.store.postgres_cluster import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

EXAMPLE: Final = Path(__file__).parents[2] / "examples/dramatiq_shop"
BROKER: Final = 'RedisBroker(url="redis://localhost:6379")'
READY: Final = "Worker process is ready for action"
AT_WORK: Final = r"PID (\d+).* Received message confirm\((?:[4-9]|\d\d),"  # an order that no program of the page makes
DONE: Final = r"PID (\d+).*\[shop\.confirm\] .*Completed after"
CHILDREN: Final = 2
THREADS: Final = 4
ORDERS: Final = 20

# As a program that has opened the outbox when it forks; the command imports the module in each child instead.
OPENED_BEFORE: Final = """
import shop
shop.box.start()
shop.box.send("mail", to="ann@example.org", text="Order 99 is on its way", key="order-99")
from dramatiq import cli
cli.main(cli.make_argument_parser().parse_args())
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Path]:
    """Return a folder with the example, whose broker is a Redis of the test's own."""
    server = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if server is None:
        pytest.skip("!!! no redis-server here: install Debian's package `redis-server` !!!")
    with short_folder() as folder:
        for file in EXAMPLE.glob("*.py"):
            text = file.read_text("utf-8")
            assert file.name != "shop.py" or text.count(BROKER) == 1
            # What a killed worker had comes again after a minute; here, as soon as nobody can be only slow.
            quick = f'RedisBroker(url="unix://{folder}/redis", heartbeat_timeout=2500, maintenance_chance=1_000_000)'
            (tmp_path / file.name).write_text(text.replace(BROKER, quick), "utf-8")
        async with Program(
            server, "--port", "0", "--unixsocket", f"{folder}/redis", "--save", "", folder=tmp_path
        ) as redis:
            await redis.said("ready to accept connections")
            yield tmp_path
            await redis.stop()


async def delivered(folder: Path, count: int) -> list[str]:
    """Deliver until so many messages have gone out, and return all that are there."""
    sent: list[str] = []
    enough = asyncio.Event()

    async def mail(attempt: Attempt) -> None:
        sent.append(attempt.text)
        if len(sent) >= count:
            enough.set()

    async with Outbox(folder / "outbox.db", channels={"mail": mail}) as box, asyncio.timeout(SECONDS):
        await enough.wait()
        await box.drain(SECONDS)
        assert await box.check() == []
    return sorted(sent)


async def bought(worker: Program, folder: Path, buy: Sequence[str]) -> None:
    """Buy as the page shows, until all tasks have ended."""
    async with Program(*buy, folder=folder) as buyer:
        await buyer.said("^8 tasks$")
    await worker.said(DONE, times=8)


async def all_at_work(worker: Program, folder: Path) -> set[int]:
    """Hand out more tasks, until every thread of every child is at one; return the children."""
    more = f"import shop\nfor number in range(4, {4 + ORDERS}): shop.confirm.send(number, 'ann@example.org')"
    async with Program("python", "-c", more, folder=folder) as buyer:
        assert await buyer.process.wait() == 0
    await worker.said(AT_WORK, times=CHILDREN * THREADS)
    return {int(match[1]) for line in worker.output if (match := re.search(AT_WORK, line))}


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the database's one write lock: what sends waits for it."""
    with contextlib.closing(apsw.Connection(str(folder / "outbox.db"))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.timeout(900)
@pytest.mark.contract("EN1", "EN7", "LE9")
async def test_what_a_killed_child_had_is_sent_once_all_the_same(shop: Path) -> None:
    (name, *arguments), buy, _deliver = commands("dramatiq.md")
    async with Program(name, *arguments, "--verbose", folder=shop) as worker:
        await worker.said(READY, times=CHILDREN)
        await bought(worker, shop, buy)
        with writing(shop):
            children = await all_at_work(worker, shop)
            assert len(children) == CHILDREN
            os.kill(children.pop(), signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            # The others are stopped with it, and a supervisor begins them anew.
            assert await worker.process.wait() != 0
    async with Program(name, *arguments, folder=shop) as worker:
        await worker.said(READY, times=CHILDREN)
        sent = await delivered(shop, 4 + ORDERS)
    assert sent == sorted(f"Order {number} is on its way" for number in range(4 + ORDERS))


@pytest.mark.timeout(900)
@pytest.mark.contract("LE9")
async def test_children_of_a_process_that_has_it_open_open_their_own(shop: Path) -> None:
    (_, *arguments), buy, _deliver = commands("dramatiq.md")
    async with Program(buy[0], "-c", OPENED_BEFORE, *arguments, "--verbose", folder=shop) as worker:
        await worker.said(READY, times=CHILDREN)
        await bought(worker, shop, buy)
        with writing(shop):
            assert len(await all_at_work(worker, shop)) == CHILDREN
        sent = await delivered(shop, 5 + ORDERS)
        await worker.stop()
    assert sent == sorted(f"Order {number} is on its way" for number in (*range(4 + ORDERS), 99))
