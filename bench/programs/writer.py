"""
Writes to one SQLite file as fast as it may, beside others, and reports how long it waited for the write lock.

How it waits is the question: SQLite's own busy timeout, the same with locks that block (``setlk_timeout``), a handler
that looks every half millisecond, or a lock on a file beside the database, which the kernel hands on when it is free.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from bench.programs.speech import heard, say

if TYPE_CHECKING:
    from collections.abc import Callable

_BUSY_MS = 10_000
_POLL_SECONDS = 0.0005
_ROWS = 100


class Sidecar:
    """A lock that really waits, on a file of its own. Nothing else in this process opens that file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)

    def take(self) -> None:
        """Wait for it."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def give(self) -> None:
        """Release the lock for the next one."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def connect(db: Path, wait: str) -> apsw.Connection:
    """Open the database as pillarbox does, but for the waiting."""
    connection = apsw.Connection(str(db))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    if wait == "polling":
        connection.set_busy_handler(_look_again)
    elif wait == "blocking":
        connection.set_busy_timeout(_BUSY_MS)
        connection.setlk_timeout(_BUSY_MS, 0)
    else:
        connection.set_busy_timeout(_BUSY_MS)
    return connection


def _look_again(_: int) -> bool:
    time.sleep(_POLL_SECONDS)
    return True


def write(
    connection: apsw.Connection, seconds: float, pause: float, take: Callable[[], None], give: Callable[[], None]
) -> list[float]:
    """Commit batches for *seconds*, *pause* apart; return how long each waited for its turn."""
    waits = []
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        take()
        try:
            connection.execute("BEGIN IMMEDIATE")
            waits.append(time.monotonic() - began)
            connection.executemany("INSERT INTO t (content) VALUES (?)", [("x" * 200,)] * _ROWS)
            connection.execute("COMMIT")
        finally:
            give()
        time.sleep(pause)
    return waits


async def main() -> None:
    """Report that it is ready, wait for the word, write, and report how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", type=Path)
    parser.add_argument("wait", choices=("timeout", "polling", "blocking", "sidecar"))
    parser.add_argument("seconds", type=float)
    parser.add_argument("pause", type=float)
    options = parser.parse_args()
    connection = connect(options.db, options.wait)
    sidecar = Sidecar(options.db.with_name(f"{options.db.name}-turn"))
    take, give = (sidecar.take, sidecar.give) if options.wait == "sidecar" else (_nothing, _nothing)
    say(event="ready")
    await heard()
    waits = sorted(write(connection, options.seconds, options.pause, take, give))
    say(commits=len(waits), median=waits[len(waits) // 2], worst=waits[-1])


def _nothing() -> None:
    """Do nothing: this way of waiting has no lock of its own."""


if __name__ == "__main__":
    asyncio.run(main())
