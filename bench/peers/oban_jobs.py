"""Oban: every message a job, a thousand an insert, while one worker does a hundred at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from life import TEXT, recipients, run
from oban import Job, Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH = 1000
_SLOTS = 100
_CONNECTIONS = 10


def prepare(url: str, _: str) -> Callable[[int], int]:
    """Make its tables in the database that the URL names."""
    asyncio.run(_install(url))
    return lambda count: asyncio.run(_lives(url, count))


async def _install(url: str) -> None:
    async with AsyncConnectionPool(url, open=False) as pool:
        await install(pool)


async def _lives(url: str, count: int) -> int:
    done = 0
    everything = asyncio.Event()

    class Taking:
        async def process(self, _: Job) -> None:
            """Take it at once."""
            nonlocal done
            done += 1
            if done == count:
                everything.set()

    job: Any = worker(queue="ops")(Taking)
    everybody = recipients(count)
    pool = AsyncConnectionPool(url, open=False, min_size=2, max_size=_CONNECTIONS)
    async with pool, Oban(pool=pool, queues={"ops": _SLOTS}) as oban:
        for first in range(0, count, _BATCH):
            some = everybody[first : first + _BATCH]
            await oban.enqueue_many([job.new({"to": one, "text": TEXT}) for one in some])
        await everything.wait()
    return done


if __name__ == "__main__":
    run("oban", prepare)
