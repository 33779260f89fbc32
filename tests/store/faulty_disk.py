"""
A disk that fails on request: an apsw VFS over the real one.

Python cannot give SQLite shared memory, so a connection through it locks the file for itself (``locking_mode``); a
store's other connections get an empty database in memory meanwhile. What was stored is read by another handle later.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import apsw

from pillarbox.store.sqlite import opening

When = Callable[[int, str], bool]

if TYPE_CHECKING:
    from types import TracebackType

    from pillarbox.store.base import Durability

_WAL_HEADER = 32  # bytes; a log's beginning is synced by itself, before anything is committed to it
_names = itertools.count(1)


class FaultyDisk(apsw.VFS):
    """
    Counts the operations that change something, and fails those it is told to.

    Attributes:
        count: Operations so far.
        log: Their names.
    """

    def __init__(self) -> None:
        self.name = f"faulty-{next(_names)}"
        super().__init__(self.name, base="")
        self.count = 0
        self.log: list[str] = []
        self._fails: When = _never
        self._until_reopened = False
        self._error: type[apsw.Error] = apsw.IOError
        self._connection: apsw.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def fail(self, when: When, error: type[apsw.Error] = apsw.IOError, *, until_reopened: bool = False) -> None:
        """
        Raise *error* instead of an operation for which *when* is true.

        Args:
            when: Told an operation's number, counted from now on, and its name.
            until_reopened: The disk works again with the next connection.
        """
        self.count = 0
        self.log = []
        self._fails, self._error, self._until_reopened = when, error, until_reopened

    def heal(self) -> None:
        self._fails = _never

    def operation(self, name: str) -> None:
        self.count += 1
        self.log.append(name)
        if self._fails(self.count, name):
            raise self._error("the disk fails on request")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 — SQLite's name
        return FaultyFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 — SQLite's name
        self.operation("delete")
        super().xDelete(filename, syncdir)

    def connect(self, path: str, durability: Durability) -> apsw.Connection:
        """The store's seam: one connection at a time is really on the disk."""
        if self._connection is not None and _is_open(self._connection):
            return apsw.Connection(":memory:")
        if self._until_reopened and self._fails(self.count, ""):
            self.heal()
        with opening.translated("opening the database"):
            self.operation("open")
            connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=self.name)
            try:
                connection.pragma("locking_mode", "exclusive")
                opening.configure(connection, durability)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection


class FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 — SQLite's name
        self._disk.operation("write" if len(data) > _WAL_HEADER else "write a header")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 — SQLite's name
        self._disk.operation("sync")
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802 — SQLite's name
        self._disk.operation("truncate")
        super().xTruncate(size)


def once(number: int) -> When:
    """Fail one operation."""
    return lambda count, _: count == number


def since(number: int) -> When:
    """Fail from one operation on."""
    return lambda count, _: count >= number


def synced() -> When:
    """Fail from the sync of a commit on: it is in the file, and the writer is told that it is not."""
    seen: list[str] = []

    def when(_: int, name: str) -> bool:
        seen.append(name)
        return ("write", "sync") in itertools.pairwise(seen)

    return when


def _never(_number: int, _name: str) -> bool:
    return False


def _is_open(connection: apsw.Connection) -> bool:
    try:
        connection.filename  # noqa: B018 — asked for its error
    except apsw.ConnectionClosedError:
        return False
    return True
