"""Procrastinate: every message a task, five hundred an insert; then one worker does a hundred at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from life import TEXT, recipients, run
from procrastinate import App, PsycopgConnector

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH = 500
_SLOTS = 100


def prepare(url: str, _: str) -> Callable[[int], int]:
    """Make its tables in the database that the URL names."""
    asyncio.run(_install(url))
    return lambda count: asyncio.run(_lives(url, count))


async def _install(url: str) -> None:
    async with App(connector=PsycopgConnector(conninfo=url)).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def _lives(url: str, count: int) -> int:
    app = App(connector=PsycopgConnector(conninfo=url))
    done = 0

    async def take(**_: str) -> None:
        """Take it at once."""
        nonlocal done
        done += 1

    task = app.task(name="ops")(take)
    everybody = recipients(count)
    async with app.open_async():
        for first in range(0, count, _BATCH):
            await task.batch_defer_async(*({"to": one, "text": TEXT} for one in everybody[first : first + _BATCH]))
        await app.run_worker_async(wait=False, concurrency=_SLOTS, install_signal_handlers=False)
    return done


if __name__ == "__main__":
    run("procrastinate", prepare)
