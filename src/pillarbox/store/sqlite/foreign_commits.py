"""
Finds whether anybody *else* wrote to the file, so that a worker's own commits wake nobody.

Every commit changes the first bytes of ``-shm``, which say how far the log is written; the event loop may look at them
at any time. What one's own commit makes of them is read while nobody else can write.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Final

# https://sqlite.org/walformat.html#the_wal_index_file_format, in the machine's byte order: what each commit counts up.
_COMMITS: Final = slice(8, 12)


class Versions:
    """
    Counts what others wrote, as far as it was noticed.

    Args:
        mark: Returns what every commit changes; ``None`` for a database in memory.
    """

    def __init__(self, mark: Callable[[], bytes | None]) -> None:
        self._mark = mark
        # Held by the loop's thread and the writer's; neither waits for anything else meanwhile.
        self._guard = threading.Lock()
        self._count = 0
        self._told = 0
        self._seen: bytes | None = None
        self._writing = False

    def news(self) -> bool:
        """Whether another handle was seen to have written since this was asked last."""
        with self._guard:
            # While we write, a change is ours.
            if not self._writing:
                self._note()
        told, self._told = self._told, self._count
        return told != self._told

    def begin(self) -> None:
        """Called on the writing thread when it holds the write lock: what has changed by now, others did."""
        with self._guard:
            self._note()
            self._writing = True

    def end(self) -> None:
        """
        Called on the writing thread before it drops the write lock: what has changed since then, it did itself.

        Where SQLite has dropped the lock already (`guarding.Guard.gap`), more than one commit is not ours alone.
        """
        with self._guard:
            mark = self._mark()
            if mark and self._seen and (_commits(mark) - _commits(self._seen)) % (1 << 32) > 1:
                self._count += 1
            self._seen = mark
            self._writing = False

    def _note(self) -> None:
        mark = self._mark()
        if self._seen not in (None, mark):
            self._count += 1
        self._seen = mark


def _commits(mark: bytes) -> int:
    return int.from_bytes(mark[_COMMITS], sys.byteorder)
