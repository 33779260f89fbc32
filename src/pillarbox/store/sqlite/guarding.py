"""
Keeps what was committed when others open, copy, delete or replace the database's files.

SQLite's own locks are POSIX locks: they belong to the process, and *all* of them on a file fall when anything in the
process closes that file: a `sqlite3` connection, a backup, a plain `open` (https://sqlite.org/howtocorrupt.html#_posix_
advisory_locks_canceled_by_a_separate_thread_doing_close_). The next one that closes it then believes that it is the
last, and deletes the log that this process goes on writing to. Two defences:

* A `Guard` holds locks that foreign closes cannot drop (`ofd`), for as long as any connection of this process is open:
  on the database, SQLite's shared lock, so that no process believes to be the last; on ``-shm``, the lock that marks
  it as in use, so that no process empties it; during a transaction that writes, the write lock, which a foreign close
  would let a second writer have (each then overwrites what the other committed).
* It compares which files the path names (device and inode) with those that were opened, before and after whatever is
  written or read.

A guard is shared by all connections of this process to one file, and closes its descriptors after the last of them:
closing one drops the locks of SQLite, as any close does.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from pillarbox.clock import pause_thread
from pillarbox.errors import StoreReplaced, StoreUnavailable, StoreUnsafe
from pillarbox.store import forking
from pillarbox.store.sqlite import ofd
from pillarbox.store.sqlite.contents import Contents
from pillarbox.store.sqlite.turns import Line, Turn

if TYPE_CHECKING:
    import apsw

# https://sqlite.org/src/file/src/os_unix.c: the bytes that every connection has a shared lock on; of -shm, the byte
# that tells that it is in use (UNIX_SHM_DMS).
_SHARED_FIRST: Final = 0x40000002
_SHARED_BYTES: Final = 510
_IN_USE: Final = 128
_WRITE: Final = 120  # the lock of who writes (WAL_WRITE_LOCK)
_HEADER_BYTES: Final = 96  # of -shm: what every commit changes
_STRANGER_LOOKS: Final = 50
_STRANGER_PAUSE_SECONDS: Final = 0.01

_LIBRARY: Final = "apsw"

DATABASE, LOG, INDEX = "", "-wal", "-shm"
Identity = tuple[int, int]

# Held while a guard is looked for, made or left; a last connection closes under it.
_registry = threading.Lock()
_guards: dict[Identity, Guard] = {}


def identity(path: str) -> Identity | None:
    """Return what identifies a file, whatever its name; ``None`` where no file can be seen."""
    try:
        info = os.stat(path)  # noqa: PTH116 — at every commit, and twice as quick
    except OSError:
        return None
    return info.st_dev, info.st_ino


def identity_of(descriptor: int) -> Identity:
    """As `identity`, of an open file."""
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino


class Guard:
    """
    What protects one database file in this process.

    Args:
        descriptor: Of the file, where it is open already.

    Attributes:
        gap: Why the locks are not held; ``None`` where they are.
    """

    _write_lock = _WRITE

    def __init__(self, path: str, *, locks: bool, descriptor: int | None = None) -> None:
        self.path = path
        self.gap: str | None = None if locks else "locks of open file descriptions (OFD) were not wanted"
        self.users = 0
        self.descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW) if descriptor is None else descriptor
        self.identity = identity_of(self.descriptor)
        self._known: dict[str, Identity] = {DATABASE: self.identity}
        self._index: int | None = None
        self._contents: Contents | None = None
        self._line: Line | None = None
        self._engaged = False
        self._engaging = threading.Lock()
        if self.gap is None:
            self.gap = ofd.obstacle(self.descriptor)

    # --- from open to close ---

    def admit(self, library: str) -> None:
        """Raise StoreUnsafe where *library*, another one than has the file open, is to open it."""
        if library != _LIBRARY:
            raise StoreUnsafe(f"{self.path} is open with {_LIBRARY} in this process, and is no shared file")

    def look_for_strangers(self) -> None:
        """
        Refuse a database whose log is in use while it itself is not: the log is that of a file which was here before.

        Only before this process has a connection. Raises StoreUnsafe.
        """
        descriptor = None if self.gap is not None else _opened(self.path + INDEX)
        if descriptor is None:
            return
        try:
            # More than one look: a process that is killed this instant lets its locks go one after the other.
            for _ in range(_STRANGER_LOOKS):
                if not ofd.is_held(descriptor, _IN_USE) or ofd.is_held(self.descriptor, _SHARED_FIRST, _SHARED_BYTES):
                    return
                pause_thread(_STRANGER_PAUSE_SECONDS)
        finally:
            os.close(descriptor)
        msg = (
            f"{self.path}: a process still works with the log of a file that was here before (a restore, a deletion?); "
            "stop every process that uses the database first"
        )
        raise StoreUnsafe(msg)

    def engage(self) -> None:
        """
        Lock, and remember which files are open. Called with each connection, once it has read something.

        Raises:
            StoreReplaced: The path names other files by now than those that this process has open.
        """
        with self._engaging:
            self.check()
            if self._engaged:
                return
            if self.gap is None and not ofd.take(self.descriptor, ofd.SHARED, _SHARED_FIRST, _SHARED_BYTES):
                self.gap = "a connection has locked the file for itself alone"
            self._index = _opened(self.path + INDEX)
            if self.gap is None and self._index is not None:
                ofd.take(self._index, ofd.SHARED, _IN_USE)
                self._contents = Contents(self.path, self.descriptor, self._index)
                self._contents.look()
                self._line = Line(self.descriptor, functools.partial(ofd.is_held, self._index, _WRITE))
            self._engaged = True
            self.check()

    def disengage(self) -> None:
        """
        Unlock for the last connection's close, so that SQLite tidies up: it empties the log, and deletes it by name.

        Where that name is another file's by now, or the database was written over, the lock stays, and so do the files.
        """
        if self._contents is not None and self._contents.problem is not None:
            return
        if self.gap is None and self._known.get(LOG) in {None, identity(self.path + LOG)}:
            with contextlib.suppress(OSError):
                if self._index is not None:
                    ofd.release(self._index, _IN_USE)
                ofd.release(self.descriptor, _SHARED_FIRST, _SHARED_BYTES)

    def close(self) -> None:
        """Close the descriptors, and with them whatever is still locked. Safe to repeat."""
        # The index first: who has it alone works with the log of another file (`look_for_strangers`).
        descriptors, self.descriptor, self._index = (self._index, self.descriptor), -1, None
        for descriptor in descriptors:
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)

    @property
    def closed(self) -> bool:
        """Whether the last connection was closed."""
        return self.descriptor < 0

    # --- while it is open ---

    def turn(self, seconds_max: float) -> AbstractContextManager[Callable[[], bytes | None]]:
        """
        Enter what waits for the write lock, in the order of those who wait (`turns`), until a transaction has it.

        Called, it returns what every commit changes, for `hold_write_lock`; ``None`` where only SQLite's own wait is
        to be had. To be called again where another was quicker. Raises StoreBusy after *seconds_max*.
        """
        if self._line is None or self._index is None:
            return contextlib.nullcontext(lambda: None)
        return _Coming(self._line.turn(seconds_max), self._index)

    def hold_write_lock(self, before: bytes) -> bool:
        """
        Put a lock that no foreign close drops in the place of SQLite's write lock, just taken by a transaction.

        SQLite goes on as if it had its own, and lets no other connection of this process write.

        Args:
            before: Returned by a call of `turn`, before the transaction began: its lock may have fallen as soon as it
                had it, and another process may have written since on what it has read.

        Returns:
            False where one has: then the transaction must begin anew.
        """
        if self.gap is not None or self._index is None:
            return True
        fcntl.lockf(self._index, fcntl.LOCK_UN, 1, self._write_lock)
        if not ofd.take(self._index, ofd.EXCLUSIVE, self._write_lock):
            return False
        if os.pread(self._index, _HEADER_BYTES, 0) != before:
            self.drop_write_lock()
            return False
        return True

    def drop_write_lock(self) -> None:
        """Release the write lock. Safe to repeat."""
        if self.gap is None and self._index is not None:
            ofd.release(self._index, self._write_lock)

    def unchanged(self) -> AbstractContextManager[None]:
        """Check that the files are the same before and after. Raises StoreReplaced, also in the place of any error."""
        return _Unchanged(self)

    def check(self) -> None:
        """Raise StoreReplaced where the path names other files than those that were opened."""
        problem = self.problem()
        if problem is not None:
            raise StoreReplaced(problem)

    def problem(self) -> str | None:
        """Return what happened to the files; ``None`` while they are those that were opened, or are closed."""
        if self.closed:
            return None
        for ending in (DATABASE, LOG, INDEX):
            found, known = identity(self.path + ending), self._known.get(ending)
            if known is None:
                if found is not None and self._engaged:
                    self._known[ending] = found
            elif found != known:
                return _sentence(self.path + ending, gone=found is None)
        return None if self._contents is None else self._contents.problem

    def mark(self) -> bytes | None:
        """Return what every commit changes; ``None`` where it is not open."""
        index = self._index
        # Another thread may close it this instant.
        with contextlib.suppress(OSError):
            return None if index is None else os.pread(index, _HEADER_BYTES, 0)
        return None

    def straggler(self) -> bool:
        """Whether a process that waits for the write lock did not take it, and was passed by (`turns`)."""
        return self._line is not None and not self.closed and self._line.straggler()

    def look(self) -> None:
        """Raise StoreReplaced where the files were written over."""
        if self._contents is not None and not self.closed:
            self._contents.look()
            if self._contents.problem is not None:
                raise StoreReplaced(self._contents.problem)


class _Coming(AbstractContextManager[Callable[[], bytes]]):
    """A turn in the line of who writes next, and what every commit changes, read when it has come."""

    def __init__(self, turn: Turn, index: int) -> None:
        self._turn = turn
        self._index = index

    def __enter__(self) -> Callable[[], bytes]:
        self._turn.__enter__()
        return self._come

    def __exit__(self, *_: object) -> None:
        self._turn.__exit__()

    def _come(self) -> bytes:
        self._turn.come()
        return os.pread(self._index, _HEADER_BYTES, 0)


class _Unchanged(AbstractContextManager[None]):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        self._guard.check()

    def __exit__(self, _: type[BaseException] | None, exc: BaseException | None, traceback: object) -> None:
        if exc is None:
            self._guard.check()
        elif isinstance(exc, Exception):
            problem = self._guard.problem()
            if problem is not None:
                raise StoreReplaced(problem) from exc


def _sentence(path: str, *, gone: bool) -> str:
    what = "was deleted or moved away" if gone else "was replaced by another file"
    return (
        f"{path} {what} while it was open: nothing more is accepted, recorded or sent here; stop every process that "
        "uses the database, put the files in order, and start again"
    )


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def enter(path: str, *, expected: Identity | None, make: Callable[[str], Guard], library: str = _LIBRARY) -> Guard:
    """
    Return the guard of a file, before a connection to it is opened. Call `leave` afterwards in every case.

    Args:
        expected: The file that it must still be.
        make: Makes the guard of a file that has none yet.
        library: With which it is to be opened.

    Raises:
        StoreReplaced: It is another one, or none.
        StoreUnsafe: Its log is in use by a process that works on another file, or another library has it open here.
    """
    with _registry:
        found = identity(path)
        if expected is not None and found != expected:
            raise StoreReplaced(_sentence(path, gone=found is None))
        guard = None if found is None else _guards.get(found)
        if guard is None:
            try:
                guard = make(path)
            except OSError as exc:
                msg = f"{path} cannot be opened: {exc.strerror}"
                raise StoreUnavailable(msg) from exc
            try:
                guard.look_for_strangers()
            except BaseException:
                guard.close()
                raise
            _guards[guard.identity] = guard
        else:
            guard.admit(library)
            # Before SQLite looks at it: a file that was emptied under it looks like one to be made.
            guard.check()
            guard.look()
        guard.users += 1
        return guard


def keep(guard: Guard) -> None:
    """Never close its descriptors: somebody's transaction in this process has locks that would fall with that."""
    with _registry:
        guard.users += 1


def leave(guard: Guard, connection: apsw.Connection | None) -> None:
    """Close a connection, with the guard's help if it is this process's last. Raises what closing it raises."""
    with _registry:
        last = guard.users == 1
        if last:
            guard.disengage()
        try:
            if connection is not None:
                connection.close()
        finally:
            guard.users -= 1
            if last:
                _guards.pop(guard.identity, None)
                guard.close()


class _Inherited:
    """What a forked child does with its parent's guards."""

    def drop_inherited(self) -> None:
        """
        Close them without unlocking: they share the parent's locks, and must not keep them beyond its end.

        The child has no POSIX lock yet that a close could drop.
        """
        global _registry  # noqa: PLW0603 — another thread of the parent may have held it
        _registry = threading.Lock()
        for guard in _guards.values():
            with contextlib.suppress(OSError):
                guard.close()
        _guards.clear()


_inherited = _Inherited()
forking.drops(_inherited)
