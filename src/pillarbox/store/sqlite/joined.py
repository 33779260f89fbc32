"""
Messages that are stored in a caller's own transaction, on its own connection to the file (contract EN9).

Only on one of the library that the outbox has the file open with: see `guarding` for what another one in the process
does to its locks. The caller's transaction has the file's only write lock, so that limits are exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import apsw

from pillarbox.errors import Refused
from pillarbox.store.base import Enqueued
from pillarbox.store.foreign_connections import awaited_drivers, drivers, is_a, outside, unknown
from pillarbox.store.script import Values, run
from pillarbox.store.sqlite import callers_connection, shared_guard
from pillarbox.store.sqlite.joined_file import JoinedFile
from pillarbox.store.sqlite.session import Statements
from pillarbox.store.steps.tx import Row

_TWO_LIBRARIES: Final = (
    "this connection is of Python's own SQLite, the outbox works with that of apsw: two of them in one process break"
    " each other's locks on a file, and messages would be lost. Share the file (pillarbox db init --shared FILE) and"
    " open the outbox as sqlite3:///FILE; or connect with apsw.Connection(file), use PostgreSQL, or send()"
    " after the commit"
)


def is_open(connection: apsw.Connection) -> bool:
    """Whether a transaction is open on a connection."""
    with contextlib.suppress(apsw.ConnectionClosedError):
        return connection.in_transaction
    return False


class Joined:
    """
    See `Ready`.

    Args:
        on_joined: Called with each connection.
    """

    def __init__(self, file: JoinedFile, *, on_joined: Callable[[apsw.Connection], None]) -> None:
        self._file = file
        self._on_joined = on_joined

    def write(self, connection: object) -> list[Enqueued]:
        """See `Ready`."""
        driver = drivers(connection)
        if is_a(driver, "sqlite3", "Connection") or is_a(driver, "aiosqlite", "Connection"):
            raise Refused(_TWO_LIBRARIES)
        if not isinstance(driver, apsw.Connection):
            raise unknown(driver, "an apsw.Connection")
        self._check(driver)
        self._on_joined(driver)
        with callers_connection.writing(), _plain(driver):
            shared = self._check_settings(driver)
            with _all_or_nothing(driver) as tx:
                stored = self._file.store(tx, self._file.drafts)
                if shared:
                    callers_connection.check_lock(self._file.path)
                return stored

    async def write_awaited(self, connection: object) -> list[Enqueued]:
        """See `Ready`."""
        return self.write(await awaited_drivers(connection))

    def _check(self, connection: apsw.Connection) -> None:
        if not connection.in_transaction:
            raise outside("connection.execute('BEGIN IMMEDIATE')")
        self._file.check(connection.filename)

    def _check_settings(self, connection: apsw.Connection) -> bool:
        """Raise Refused for a connection whose commits are not safe; return whether the file is a shared one."""

        def ask(sql: str, values: Values) -> list[Row]:
            return connection.execute(sql, values).fetchall()

        run(callers_connection.check_names(), ask)
        if connection.pragma("application_id") == shared_guard.SHARED_ID:
            run(callers_connection.check_shared(self._file.path, self._file.durability), ask)
            return True
        run(callers_connection.check_private(self._file.durability), ask)
        return False


@contextlib.contextmanager
def _plain(connection: apsw.Connection) -> Iterator[None]:
    """Return rows as the library makes them, whatever the caller has made of them."""
    tracer: Any = connection.row_trace
    connection.row_trace = None
    try:
        yield
    finally:
        connection.row_trace = tracer


@contextlib.contextmanager
def _all_or_nothing(connection: apsw.Connection) -> Iterator[Statements]:
    tx = Statements(connection)
    tx.many("join")
    try:
        yield tx
    except BaseException:
        # Some errors end a transaction themselves.
        if connection.in_transaction:
            tx.many("join_undo")
            tx.many("join_end")
        raise
    tx.many("join_end")
