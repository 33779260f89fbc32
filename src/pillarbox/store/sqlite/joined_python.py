"""
Messages that are stored in a caller's own transaction on a shared file, through the caller's own library (EN9).

Of Python's ``sqlite3``, blocking or awaited (aiosqlite), and whatever stands on one of them. The caller's connection is
asked first whether what it commits survives (`callers_connection`).
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import apsw

from pillarbox.domain.message import Draft
from pillarbox.errors import Refused
from pillarbox.store.base import Enqueued
from pillarbox.store.foreign_connections import awaited_drivers, drivers, is_a, outside, unknown
from pillarbox.store.script import Ask, Script, Values, answered, pieces, run, run_awaited
from pillarbox.store.sqlite import callers_connection, python_library, shared_guard
from pillarbox.store.sqlite.joined_file import JoinedFile
from pillarbox.store.sqlite.session import Statements
from pillarbox.store.sqlite.statements import STATEMENTS
from pillarbox.store.steps.tx import Row

_KNOWN: Final = "one of sqlite3, aiosqlite, SQLAlchemy or Django"
_AWAITED: Final = "a connection that blocks: one that is awaited is for pillarbox.Outbox"
_BEGIN: Final = "connection.execute('BEGIN IMMEDIATE')"
_SAVEPOINT_ALONE: Final = (
    "SQLAlchemy has begun a savepoint here without the transaction around it, because Python's sqlite3 begins one only"
    " before it writes: the end of the savepoint would commit. Set isolation_level = None on new connections, and"
    " execute BEGIN IMMEDIATE at the event 'begin', as docs/how-to/transactions.md shows"
)
_LEGACY: Final[int] = getattr(sqlite3, "LEGACY_TRANSACTION_CONTROL", -1)
"""What ``autocommit`` is where ``isolation_level`` counts."""


class Joined:
    """See `Ready`."""

    def __init__(self, file: JoinedFile) -> None:
        self._file = file

    def write(self, connection: object) -> list[Enqueued]:
        """See `Ready`."""
        nested = _in_savepoint(connection)
        return self._write(drivers(connection), nested=nested)

    async def write_awaited(self, connection: object) -> list[Enqueued]:
        """See `Ready`."""
        nested = _in_savepoint(connection)
        driver = await awaited_drivers(connection)
        if not is_a(driver, "aiosqlite", "Connection"):
            return self._write(driver, nested=nested)
        with callers_connection.writing():
            return await run_awaited(self._script(driver, nested=nested), _asking(driver))

    def _write(self, driver: object, *, nested: bool) -> list[Enqueued]:
        if not isinstance(driver, sqlite3.Connection):
            raise unknown(driver, _AWAITED if is_a(driver, "aiosqlite", "Connection") else _KNOWN)
        with callers_connection.writing():
            return run(self._script(driver, nested=nested), functools.partial(python_library.ask, driver))

    def _script(self, connection: Any, *, nested: bool) -> Script[list[Enqueued]]:  # noqa: ANN401 — of both libraries
        _check_open(connection)
        by_itself = _begins_by_itself(connection)
        if nested and by_itself:
            raise Refused(_SAVEPOINT_ALONE)
        if connection.text_factory is not str:
            raise Refused("this connection does not return text as str: leave its text_factory as it was")
        yield from self._check()
        if not connection.in_transaction:
            if not by_itself:
                raise outside(_BEGIN)
            # As the library would with the first row: its commit and its rollback are the caller's own.
            yield STATEMENTS["begin_callers"], ()
            try:
                return (yield from self._all_or_nothing(connection))
            except BaseException:
                if connection.in_transaction:
                    yield STATEMENTS["rollback"], ()
                raise
        return (yield from self._all_or_nothing(connection))

    def _check(self) -> Script[None]:
        """Raise Refused for a connection whose commits are not safe, or are to another file."""
        files = yield STATEMENTS["callers_files"], ()
        main = next(str(file) for name, file in files if name == "main")
        self._file.check(main)
        if shared_guard.apsw_has(str(self._file.path)):
            raise Refused(
                f"{self._file.path} is open with apsw in this process too, and two SQLite libraries in one process drop"
                " each other's locks: close that connection"
            )
        yield from callers_connection.check_shared(self._file.path, self._file.durability)
        yield from callers_connection.check_names()

    def _all_or_nothing(self, connection: Any) -> Script[list[Enqueued]]:  # noqa: ANN401 — of both libraries
        yield STATEMENTS["join"], ()
        try:
            stored: list[Enqueued] = []
            for piece in pieces(self._file.drafts):
                stored += yield from answered(functools.partial(self._steps, piece))
            callers_connection.check_lock(self._file.path)
        except BaseException:
            # Some errors end a transaction themselves.
            if connection.in_transaction:
                yield STATEMENTS["join_undo"], ()
                yield STATEMENTS["join_end"], ()
            raise
        yield STATEMENTS["join_end"], ()
        return stored

    def _steps(self, drafts: Sequence[Draft], ask: Ask) -> list[Enqueued]:
        tx = Statements(cast("apsw.Connection", python_library.Spoken(ask)))
        return self._file.store(tx, drafts)


def _check_open(connection: Any) -> None:  # noqa: ANN401 — of both libraries
    """Raise Refused for a connection that was closed, or is another thread's."""
    try:
        # From Python 3.12 on the second one asks whose thread this is.
        _ = connection.in_transaction, _begins_by_itself(connection)
    except (sqlite3.ProgrammingError, ValueError) as exc:
        raise Refused(f"this connection cannot be used: {exc}") from exc


def _begins_by_itself(connection: Any) -> bool:  # noqa: ANN401 — of both libraries
    """Whether the library begins a transaction before it writes, of which its commit is the end."""
    # From Python 3.12 on: the other values are True, where nothing is begun, and False, where one is always open.
    control = getattr(connection, "autocommit", _LEGACY)
    return control == _LEGACY and connection.isolation_level is not None


def _in_savepoint(connection: Any) -> bool:  # noqa: ANN401 — of any library
    """Whether SQLAlchemy has begun a savepoint on it."""
    if is_a(connection, "sqlalchemy.orm", "scoped_session") or is_a(
        connection, "sqlalchemy.ext.asyncio", "async_scoped_session"
    ):
        connection = connection()
    known = is_a(connection, "sqlalchemy.orm", "Session") or is_a(connection, "sqlalchemy", "Connection")
    awaited = is_a(connection, "sqlalchemy.ext.asyncio", "AsyncSession", "AsyncConnection")
    return bool((known or awaited) and connection.in_nested_transaction())


def _asking(connection: Any) -> Callable[[str, Values], Any]:  # noqa: ANN401 — its own type
    async def ask(sql: str, values: Values) -> list[Row]:
        with python_library.errors():
            async with connection.cursor() as cursor:
                cursor.row_factory = None
                await cursor.execute(sql, python_library.bound(sql, values))
                return list(await cursor.fetchall())

    return ask
