"""PgQueuer: every message a job, a thousand an insert; then one worker takes and ends them, a thousand at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
from life import TEXT, recipients, run
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgqueuer.models import Job

_BATCH = 1000


def prepare(url: str, _: str) -> Callable[[int], int]:
    """Make its tables in the database that the URL names."""
    asyncio.run(_install(url))
    return lambda count: asyncio.run(_lives(url, count))


async def _install(url: str) -> None:
    connection = await asyncpg.connect(url)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def _lives(url: str, count: int) -> int:
    connection = await asyncpg.connect(url)
    driver = AsyncpgDriver(connection)
    worker = PgQueuer(driver)
    done = 0

    async def take(_: Job) -> None:
        """Take it at once."""
        nonlocal done
        done += 1

    worker.entrypoint("ops")(take)
    queries, everybody = Queries(driver), recipients(count)
    for first in range(0, count, _BATCH):
        payloads = [f"{one}\n{TEXT}".encode() for one in everybody[first : first + _BATCH]]
        await queries.enqueue(["ops"] * len(payloads), payloads, [0] * len(payloads))
    await worker.run(batch_size=_BATCH, mode=QueueExecutionMode.drain)
    return done


if __name__ == "__main__":
    run("pgqueuer", prepare)
