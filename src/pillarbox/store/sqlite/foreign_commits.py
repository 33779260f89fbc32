"""
Finds whether anybody *else* wrote to the file, so that a worker's own commits wake nobody.

SQLite's ``data_version`` of a connection changes when another one commits. A watching connection, which the event
loop may ask at any time, sees our own commits too. The writing one does not, but it is the writing thread's: so each
commit of ours asks both, and lets the watching one take note of what was ours alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import apsw


class Versions:
    """
    Counts what others wrote, as far as it was noticed.

    Args:
        watching: Gives the connection that nothing else is done with; ``None`` for a database in memory.
    """

    def __init__(self, watching: Callable[[], apsw.Connection | None]) -> None:
        self._watching = watching
        # Held by the loop's thread and the writer's; neither waits for anything else meanwhile.
        self._guard = threading.Lock()
        self._count = 0
        self._told = 0
        self._seen: int | None = None
        self._ours: tuple[apsw.Connection, int] | None = None
        self._writing = False

    def count(self) -> int:
        """Return a number that changes when another handle was seen to have written."""
        watching = self._watching()
        # While we write, a change may be ours; what others wrote meanwhile is told at the end of that.
        if watching is not None and not self._writing:
            with contextlib.suppress(apsw.Error), self._guard:
                version = _version(watching)
                if self._seen not in (None, version):
                    self._count += 1
                self._seen = version
        return self._count

    def news(self) -> bool:
        """Whether that number has changed since this was asked last."""
        told, self._told = self._told, self.count()
        return told != self._told

    @contextlib.contextmanager
    def writing(self, writer: Callable[[], apsw.Connection | None]) -> Iterator[None]:
        """Take all writes inside the context for our own. On the writing thread."""
        with self._guard:
            self._writing = True
        try:
            yield
        finally:
            try:
                self._written(writer())
            finally:
                self._writing = False

    def _written(self, writer: apsw.Connection | None) -> None:
        watching = self._watching()
        if watching is None or writer is None:
            return
        with contextlib.suppress(apsw.Error), self._guard:
            # In this order: what somebody else commits between the two is seen by the second.
            seen = _version(watching)
            ours = _version(writer)
            if self._ours != (writer, ours):
                # Somebody else wrote since our last commit, or this is the connection's first.
                self._count += 1
            self._seen, self._ours = seen, (writer, ours)


def _version(connection: apsw.Connection) -> int:
    return int(connection.pragma("data_version"))
