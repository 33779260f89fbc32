"""
Keeps a shared file: one that applications open with a SQLite library of their own, in rollback journal mode.

There is no log that could be lost, and no lock outlives a transaction: SQLite's own on the file are all that counts.
Whoever opens and closes the file in a process drops them, so a descriptor of ours stays open until the process ends:
one for each file. During a transaction of ours that writes, the lock of who writes is held as a lock that foreign
closes cannot drop, as in `guarding`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from pathlib import Path
from typing import Final

import apsw

from pillarbox.errors import StoreReplaced, StoreUnsafe
from pillarbox.store import forking
from pillarbox.store.sqlite import guarding, ofd
from pillarbox.store.sqlite.guarding import Guard, Identity, identity
from pillarbox.store.sqlite.turns import Line

SHARED_ID: Final = 0x50424F53  # "PBOS", its application_id
APSW, PYTHON = "apsw", "sqlite3"
# https://sqlite.org/fileformat2.html#the_database_header
_HEADER: Final = 100
_VERSIONS: Final = slice(18, 20)
_COUNTER: Final = slice(24, 28)
_OWNER: Final = slice(68, 72)
_ROLLBACK: Final = b"\1\1"
_RESERVED: Final = 0x40000001  # https://sqlite.org/src/file/src/os_unix.c: the lock of who writes
_MARK: Final = SHARED_ID.to_bytes(4, "big")
_DESCRIPTORS: Final = Path("/proc/self/fd")
IN_LOG_MODE: Final = (
    "{path}: an application has switched this shared file to a write-ahead log (PRAGMA journal_mode = WAL), which loses"
    " committed messages with some SQLite libraries: remove that, stop all that use the file, and run"
    " `pillarbox db init --shared {path}`"
)
_UNMARKED: Final = (
    "{path} lost the mark of shared files while it was open: something wrote over it, or an application set an"
    " application_id of its own. Nothing more is accepted, recorded or sent here; stop every process that uses the"
    " database, put the file in order, and start again"
)
_MIXED: Final = (
    "{path}: this process has the file open with {other} already, and two SQLite libraries in one process drop each"
    " other's locks on it. Where your connections are Python's sqlite3, open the outbox as sqlite3:///{path}; else run"
    " `pillarbox run` as a process of its own"
)

_kept: dict[Identity, int] = {}
_keeping = threading.Lock()


def kept(path: str) -> int:
    """Return a descriptor of a file that stays open as long as the process. Raises OSError."""
    with _keeping:
        found = identity(path)
        descriptor = None if found is None else _kept.get(found)
        if descriptor is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            info = os.fstat(descriptor)
            _kept[info.st_dev, info.st_ino] = descriptor
        return descriptor


def is_shared(descriptor: int) -> bool:
    """Whether an open file has the mark of shared files."""
    return os.pread(descriptor, _HEADER, 0)[_OWNER] == _MARK


def writes(path: str) -> bool:
    """Whether anybody has the lock of who writes; true where nobody can be asked."""
    descriptor = kept(path)
    return ofd.obstacle(descriptor) is not None or ofd.is_held(descriptor, _RESERVED)


def apsw_has(path: str) -> bool:
    """Whether any connection of apsw in this process, ours or not, has the file open."""
    found = identity(path)
    return any(identity(one.filename) == found for one in apsw.connections() if one.filename)


def refuse_others(path: str) -> None:
    """Raise StoreUnsafe where this process has the file open by something that is neither ours nor apsw."""
    if apsw_has(path):
        return
    with _keeping:
        ours = {str(descriptor) for descriptor in _kept.values()}
    found = set[str]()
    with contextlib.suppress(OSError):
        wanted = identity(path)
        found = {one.name for one in _DESCRIPTORS.iterdir() if identity(str(one)) == wanted}
    if found - ours:
        raise StoreUnsafe(_MIXED.format(path=path, other="something else"))


def make(path: str, *, locks: bool) -> Guard:
    """Return the guard of a file that is to be opened with apsw: whichever its mark asks for. Raises OSError."""
    found = identity(path)
    descriptor = None if found is None else _kept.get(found)
    if descriptor is None:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not is_shared(descriptor):
            return Guard(path, locks=locks, descriptor=descriptor)
        with _keeping:
            _kept[guarding.identity_of(descriptor)] = descriptor
    elif not is_shared(descriptor):
        return Guard(path, locks=locks)
    return SharedGuard(path, descriptor, APSW, locks=locks)


def not_shared(path: str) -> StoreUnsafe:
    """Return the error for a file that Python's own library must not open."""
    return StoreUnsafe(
        f"{path} is no shared file, and only these may be opened with Python's own SQLite: make it one with"
        f" `pillarbox db init --shared {path}`"
    )


def make_for_python(path: str, *, locks: bool) -> Guard:
    """Return the guard of a file that is to be opened with Python's library. Raises OSError, StoreUnsafe."""
    descriptor = kept(path)
    if not is_shared(descriptor):
        raise not_shared(path)
    return SharedGuard(path, descriptor, PYTHON, locks=locks)


class SharedGuard(Guard):
    """
    What protects one shared file in this process. See `Guard`.

    Args:
        library: By which it is opened; only one in a process.
    """

    _write_lock = _RESERVED

    def __init__(self, path: str, descriptor: int, library: str, *, locks: bool) -> None:
        super().__init__(path, locks=locks, descriptor=descriptor)
        self.library = library
        # What every commit changes stands in the file itself.
        self._index = descriptor
        if self.gap is None:
            self._line = Line(descriptor, functools.partial(ofd.is_held, descriptor, _RESERVED))

    def look_for_strangers(self) -> None:
        """Refuse a file that this process has open with another library. Raises StoreUnsafe."""
        if self.library == APSW:
            refuse_others(self.path)
        elif apsw_has(self.path):
            raise StoreUnsafe(_MIXED.format(path=self.path, other="apsw"))

    def admit(self, library: str) -> None:
        """Raise StoreUnsafe where another library is to open the file."""
        if library != self.library:
            raise StoreUnsafe(_MIXED.format(path=self.path, other=self.library))

    def engage(self) -> None:
        """Remember that it is open. Raises StoreReplaced."""
        with self._engaging:
            self.check()
            self._engaged = True

    def disengage(self) -> None:
        """Do nothing: nothing is locked between transactions."""

    def close(self) -> None:
        """Forget the descriptor, and leave it open: the application's locks would fall with it."""
        self.descriptor, self._index = -1, None

    def mark(self) -> bytes | None:
        """See `Guard.mark`. Written as ``-shm`` has it."""
        header = super().mark()
        if header is None:
            return None
        return bytes(8) + int.from_bytes(header[_COUNTER], "big").to_bytes(4, sys.byteorder)

    def look(self) -> None:
        """Raise StoreReplaced where it has lost its mark, StoreUnsafe where it is in another journal mode."""
        index = self._index
        if index is None:
            return
        header = os.pread(index, _HEADER, 0)
        if header[_OWNER] != _MARK:
            raise StoreReplaced(_UNMARKED.format(path=self.path))
        if header[_VERSIONS] != _ROLLBACK:
            raise StoreUnsafe(IN_LOG_MODE.format(path=self.path))


class _Inherited:
    """What a forked child does with its parent's descriptors."""

    def drop_inherited(self) -> None:
        """Close them: the child has no lock yet that a close could drop. The parent's locks stay."""
        global _keeping  # noqa: PLW0603 — another thread of the parent may have held it
        _keeping = threading.Lock()
        for descriptor in _kept.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        _kept.clear()


_inherited = _Inherited()
forking.drops(_inherited)
