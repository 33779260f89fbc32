"""
Copies a database to another file while it is worked on: one moment's content, checked, durable, and whole or not there.

The copy is made under a name of its own beside the target, and gets the target's name last, which must be free.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw

from pillarbox.errors import (
    InvalidMessage,
    StoreCorrupt,
    StoreDiskFull,
    StoreReadOnly,
    StoreUnavailable,
)
from pillarbox.store.sqlite import integrity, opening
from pillarbox.store.sqlite.handles import Handles

_PAGES_A_STEP: Final = 1000
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Copying:
    """
    One backup.

    Args:
        source: The file that is copied; ``None`` for a database in memory.
    """

    def __init__(self, source: Path | None, target: Path) -> None:
        self._source = source
        self._target = target
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """End it soon, from another thread; nothing is kept."""
        self._given_up.set()

    def with_handles(self, handles: Handles) -> int:
        """Copy by way of a connection of its own. Raises as `Store.backup`."""
        self._check_target()
        connection = handles.open()
        try:
            with handles.unchanged():
                return self.write(connection)
        finally:
            handles.close(connection)

    def write(self, connection: apsw.Connection) -> int:
        """Copy what a connection sees. Raises as `Store.backup`."""
        self._check_target()
        with _named(f"backing up to {self._target}"):
            # Private to this user from its first byte on.
            descriptor, name = tempfile.mkstemp(prefix=".pillarbox-", suffix=".part", dir=self._target.parent)
            try:
                self._fill(connection, name)
                os.fsync(descriptor)
                _check(name)
                size = os.fstat(descriptor).st_size
                self._publish(name)
            finally:
                os.close(descriptor)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)  # noqa: PTH108 — the name is text here
            opening.sync_directory(self._target.parent)
        return size

    def _check_target(self) -> None:
        target = self._target
        try:
            if os.path.lexists(target):
                raise InvalidMessage("path", f"{target} exists already; expected a name that is free")
            if not target.parent.is_dir():
                raise InvalidMessage("path", f"{target.parent} is not a directory that can be seen")
        except ValueError as exc:
            raise InvalidMessage("path", "expected a path without NUL") from exc
        if not target.name:
            raise InvalidMessage("path", "expected the name of a new file")
        if self._source is not None and target.parent.resolve() == self._source.parent.resolve():
            own = self._source.name
            if target.name.startswith(own + "-wake") or target.name in {own + ending for ending in opening.BESIDE}:
                raise InvalidMessage("path", f"{target.name} is a name that the database {own} uses itself")

    def _fill(self, connection: apsw.Connection, name: str) -> None:
        copy = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            # Nobody reads it before it is whole, and it is synced in one go.
            copy.pragma("journal_mode", "off")
            copy.pragma("synchronous", "off")
            # One snapshot: without it each commit of another process would begin the copy anew.
            with opening.snapshot(connection):
                connection.pragma("schema_version")
                with copy.backup("main", connection, "main") as steps:
                    while not steps.done:
                        if self._given_up.is_set():
                            raise StoreUnavailable("the backup was given up")
                        steps.step(_PAGES_A_STEP)
        finally:
            copy.close()

    def _publish(self, name: str) -> None:
        """Name the copy as its target. Raises InvalidMessage where another file has taken that name meanwhile."""
        try:
            os.link(name, self._target)
        except FileExistsError:
            raise InvalidMessage("path", f"{self._target} exists already; expected a name that is free") from None
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            # A file system without links: look and rename, which is the best that it can do.
            self._check_target()
            os.rename(name, self._target)  # noqa: PTH104 — the name is text here


def _check(name: str) -> None:
    """Read all of a copy. Raises StoreCorrupt."""
    connection = apsw.Connection(
        f"file:{quote(name)}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    )
    try:
        damage = list(integrity.damage(connection))
    finally:
        connection.close()
    if damage:
        raise StoreCorrupt(f"the copy is damaged ({damage[0]}), and was not kept; look at the database with db check")


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    with opening.translated(what):
        try:
            yield
        except OSError as exc:
            if exc.errno in _FULL:
                raise StoreDiskFull(f"{what}: {exc.strerror}") from exc
            if exc.errno in _FORBIDDEN:
                raise StoreReadOnly(f"{what}: {exc.strerror}") from exc
            raise StoreUnavailable(f"{what}: {exc.strerror}") from exc
