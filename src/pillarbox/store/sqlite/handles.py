"""The connections of one store to its database: each is opened, used and closed under the file's guard (`guarding`)."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from pillarbox.errors import StoreReplaced, StoreUnsafe
from pillarbox.store.base import Durability
from pillarbox.store.sqlite import astray, guarding, shared_guard
from pillarbox.store.sqlite.foreign_commits import Versions
from pillarbox.store.sqlite.opening import MEMORY

Connector = Callable[[str, Durability], apsw.Connection]


class Library(NamedTuple):
    """
    A SQLite library, and how files are opened with it.

    Attributes:
        name: What no other one has.
        make: Makes the guard of a file.
    """

    name: str
    make: Callable[..., guarding.Guard]


THROUGH_APSW: Final = Library(shared_guard.APSW, shared_guard.make)
THROUGH_PYTHON: Final = Library(shared_guard.PYTHON, shared_guard.make_for_python)


class Handles:
    """
    Opens and closes connections. Once one is open, only to that very file, until `forget`.

    Args:
        connect: Opens a connection; tests pass one whose file system fails.
        locks: Whether locks that foreign closes cannot drop may be used; tests say no.
        library: The one of the connections that *connect* opens.

    Attributes:
        foreign: What others wrote.
    """

    def __init__(
        self, path: Path, durability: Durability, connect: Connector, *, locks: bool, library: Library = THROUGH_APSW
    ) -> None:
        self._path = path
        self._durability = durability
        self._connect = connect
        self._make = functools.partial(library.make, locks=locks)
        self._library = library.name
        self._place: str | None = None
        self._identity: guarding.Identity | None = None
        self._lock = threading.Lock()
        # Never changed in place: another thread may be looking.
        self._guards: dict[apsw.Connection, guarding.Guard] = {}
        self._guard: guarding.Guard | None = None
        self.foreign = Versions(self._mark)

    def open(self) -> apsw.Connection:
        """Open one more connection. Raises StoreError."""
        if str(self._path) == MEMORY:
            return self._connect(MEMORY, self._durability)
        if self._place is None:
            # Once: a process may change its directory later.
            self._place = os.path.abspath(self._path)  # noqa: PTH100 — `Path.resolve` would follow links
        guard = guarding.enter(self._place, expected=self._identity, make=self._make, library=self._library)
        connection = None
        try:
            connection = self._connect(self._place, self._durability)
            if connection.filename:
                guard.engage()
        except BaseException:
            guarding.leave(guard, connection)
            raise
        if not connection.filename:
            # A test's stand-in for a connection that its disk cannot have.
            guarding.leave(guard, None)
            return connection
        self._identity = guard.identity
        with self._lock:
            self._now({**self._guards, connection: guard})
        return connection

    def close(self, connection: apsw.Connection) -> None:
        """Close a connection. Raises apsw.Error; it is closed all the same."""
        with self._lock:
            guard = self._guards.get(connection)
            self._now({other: its for other, its in self._guards.items() if other is not connection})
        if guard is None:
            connection.close()
        else:
            guarding.leave(guard, connection)

    def keep(self) -> None:
        """See `guarding.keep`."""
        if self._guard is not None:
            guarding.keep(self._guard)

    def forget(self) -> None:
        """Forget the file: the next connection opens the file that has the name by then. Only when none is open."""
        self._place = self._identity = None

    def drop_inherited(self) -> None:
        """Forget the guards in a forked child: they are the parent's (`guarding`)."""
        self._lock = threading.Lock()
        self._now({})
        self.forget()

    def turn(self, seconds_max: float) -> AbstractContextManager[Callable[[], bytes | None]]:
        """See `guarding.Guard.turn`."""
        guard = self._guard
        return contextlib.nullcontext(lambda: None) if guard is None else guard.turn(seconds_max)

    def hold_write_lock(self, before: bytes) -> bool:
        """See `guarding.Guard.hold_write_lock`."""
        guard = self._guard
        return guard is None or guard.hold_write_lock(before)

    def begin(self) -> None:
        """Called when a transaction has the write lock: note what others wrote before, and look after the files."""
        self.foreign.begin()
        self.look()

    def end(self) -> None:
        """Called at the transaction's end: note what it wrote, and drop the write lock."""
        self.foreign.end()
        guard = self._guard
        if guard is not None:
            guard.drop_write_lock()

    def look(self) -> None:
        """See `guarding.Guard.look`."""
        guard = self._guard
        if guard is not None:
            guard.look()

    def unchanged(self) -> AbstractContextManager[None]:
        """See `guarding.Guard.unchanged`."""
        guard = self._guard
        return contextlib.nullcontext() if guard is None else guard.unchanged()

    def problem(self) -> str | None:
        """Return what happened to the files; ``None`` while they are those that were opened."""
        guard = self._guard
        if guard is None:
            return None
        try:
            guard.look()
        except StoreReplaced:
            return guard.problem()
        except StoreUnsafe as exc:
            return str(exc)
        return guard.problem()

    def straggler(self) -> bool:
        """See `guarding.Guard.straggler`."""
        guard = self._guard
        return guard is not None and guard.straggler()

    def astray(self) -> list[str]:
        """Return a sentence for each process that works on other files than these. May take a while."""
        return [] if self._guard is None else astray.problems(self._guard.path)

    @property
    def gap(self) -> str | None:
        """Why the file is not locked against foreign closes; ``None`` where it is, or is none."""
        guard = self._guard
        return None if guard is None else guard.gap

    def _mark(self) -> bytes | None:
        guard = self._guard
        return None if guard is None else guard.mark()

    def _now(self, guards: dict[apsw.Connection, guarding.Guard]) -> None:
        self._guards, self._guard = guards, next(iter(guards.values()), None)
