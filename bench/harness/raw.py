"""The database alone, without us: what this disk and this SQLite allow at most."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import apsw

from pillarbox.store.sqlite.opening import BUSY_MS

if TYPE_CHECKING:
    from pathlib import Path


class RawCommits:
    """
    One row, one commit, one fsync: the least that anything durable costs.

    Args:
        path: A file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, content TEXT)")
        self._number = 0

    def commit(self) -> float:
        """Write one row; return the seconds that this took."""
        self._number += 1
        began = time.perf_counter()
        self._connection.execute("INSERT INTO t (at, content) VALUES (?, ?)", (self._number, _CONTENT))
        return time.perf_counter() - began

    def rate(self, count: int) -> float:
        """Write *count* rows one after the other; return commits a second."""
        began = time.perf_counter()
        for _ in range(count):
            self.commit()
        return count / (time.perf_counter() - began)

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()


_CONTENT = '{"text":"Deploy done, all checks are green"}'


def connect(path: Path, *, synchronous: str = "full") -> apsw.Connection:
    """Open a database with a write-ahead log, as pillarbox does; wait while another process opens or closes it."""
    connection = apsw.Connection(str(path))
    # Before all else: who opens a log, or is the last to close it, has the file for itself for an instant.
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", synchronous)
    connection.pragma("cache_size", -8192)
    return connection
