"""
Writes to one SQLite file as fast as it may, beside others, and reports how long it waited for the write lock.

Either with pillarbox's own store, batch by batch as an outbox gives them to it; or with SQLite alone, whose busy
timeout looks for the lock more and more seldom.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.filling import NO_LIMITS, draft
from bench.harness.raw import connect
from bench.programs.speech import heard, say
from pillarbox.clock import SystemClock
from pillarbox.store.base import Batch, Durability
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.store.thread import Inline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import apsw

_WAITING = ("BEGIN", "COMMIT", "PRAGMA")


class Waits:
    """How long each transaction waited: from its beginning until the first statement that runs in it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began: float | None = None

    def begin(self) -> None:
        """Note that a transaction is wanted from now on."""
        self._began = time.monotonic()

    def trace(self, _: object, sql: str, __: object) -> bool:
        """Called by apsw before each statement; lets all of them pass."""
        if self._began is not None and not sql.startswith(_WAITING):
            self.seconds.append(time.monotonic() - self._began)
            self._began = None
        return True


async def with_pillarbox(db: Path, waits: Waits, rows: int) -> Callable[[], Awaitable[object]]:
    """Return what commits one batch of *rows* messages to pillarbox's store."""

    def connecting(path: str, durability: Durability) -> apsw.Connection:
        connection = opening.connect(path, durability)
        connection.exec_trace = waits.trace
        return connection

    store = SQLiteStore(db, limits=NO_LIMITS, caller=lambda _: Inline(), connect=connecting)
    clock = SystemClock()
    await store.open()
    waits.seconds.clear()

    async def write() -> None:
        now_ms = clock.wall_ms()
        batch = Batch(now_ms=now_ms, enqueue=[[draft(f"recipient-{row}", now_ms=now_ms)] for row in range(rows)])
        waits.begin()
        await store.commit(batch)

    return write


async def with_sqlite(db: Path, waits: Waits, rows: int) -> Callable[[], Awaitable[object]]:
    """Return what commits one batch of *rows* rows, and waits as SQLite does by itself."""
    connection = connect(db)
    connection.exec_trace = waits.trace

    async def write() -> None:
        waits.begin()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO t (content) VALUES (?)", [("x" * 200,)] * rows)
        connection.execute("COMMIT")

    return write


_WAYS = {"pillarbox": with_pillarbox, "timeout": with_sqlite}


async def main() -> None:
    """Report that it is ready, wait for the word, write, and report how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", type=Path)
    parser.add_argument("way", choices=_WAYS)
    parser.add_argument("seconds", type=float)
    parser.add_argument("rows", type=int)
    parser.add_argument("pause", type=float, help="seconds between two commits")
    options = parser.parse_args()
    waits = Waits()
    write = await _WAYS[options.way](options.db, waits, options.rows)
    say(event="ready")
    await heard()
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        await write()
        await asyncio.sleep(options.pause)
    waited = sorted(waits.seconds)
    say(commits=len(waited), median=waited[len(waited) // 2], worst=waited[-1])


if __name__ == "__main__":
    asyncio.run(main())
