"""
Python's own SQLite, spoken to as the rest of this room speaks to apsw: for files that applications open with it.

Two SQLite libraries in one process drop each other's locks on a file. So where the application's connections are of
this one, ours are too, and not a byte of the file is read in any other way.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import apsw

from pillarbox.errors import Refused, StoreUnsafe
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.shared_guard import SHARED_ID, not_shared

if TYPE_CHECKING:
    from pillarbox.store.base import Durability
    from pillarbox.store.steps.tx import Row

Ask = Callable[[str, Sequence[Any]], "list[Row]"]
"""Runs one statement, and returns its rows."""

_OLDEST: Final = (3, 38, 0)  # strict tables are of 3.37, what our statements say of JSON of 3.38
_STATEMENTS_KEPT: Final = 200
_BOUND: Final = frozenset((kind, sqlite3.PrepareProtocol) for kind in (int, str, bytes))
"""What is bound by our statements, as the library keeps adapters by it. Of truth values numbers are made."""
_FIRST: Final = "?1"
_UNREADABLE: Final = "Could not decode to UTF-8"


class Rows(list[Any]):
    """What a statement returned, to be gone through or fetched."""

    def fetchall(self) -> list[Any]:
        """Return all of them."""
        return self


class Spoken:
    """
    What `Statements` runs on: a connection of whatever library that answers to *ask*.

    *ask* raises apsw's errors.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> Rows:
        """Run one statement, or several that take no bindings. Returns the rows of the last."""
        rows: list[Row] = []
        for statement in _apart(sql):
            rows = self._ask(statement, bindings)
        return Rows(rows)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Rows:
        """Run a statement for each of *rows*. Returns all that it returned."""
        return Rows([row for bindings in rows for row in self._ask(sql, bindings)])

    def changes(self) -> int:
        """Return how many rows the last statement that writes has changed."""
        return self._number("SELECT changes()")

    def total_changes(self) -> int:
        """Return how many rows were changed since the connection was opened."""
        return self._number("SELECT total_changes()")

    def last_insert_rowid(self) -> int:
        """Return the number of the row that was inserted last."""
        return self._number("SELECT last_insert_rowid()")

    def pragma(self, name: str, value: object = None) -> Any:  # noqa: ANN401 — what it says
        """Return what a pragma says, after setting it to *value*; ``None`` where it says nothing."""
        rows = self._ask(f"PRAGMA {name}" if value is None else f"PRAGMA {name} = {value}", ())
        return rows[0][0] if rows else None

    def _number(self, sql: str) -> int:
        ((number,),) = self._ask(sql, ())
        return int(number)


class PythonConnection(Spoken):
    """
    A connection of Python's own library with what this room uses of apsw's.

    Attributes:
        filename: The file's whole path.
        system_errno: The library does not tell.
    """

    system_errno = 0

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(functools.partial(ask, connection))
        self._connection = connection
        with errors():
            self.filename = str(ask(connection, "PRAGMA database_list", ())[0][2])

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def set_busy_timeout(self, milliseconds: int) -> None:
        """Set for how long SQLite waits for a lock by itself."""
        self.pragma("busy_timeout", milliseconds)

    def config(self, option: int, value: int) -> None:
        """Set what the library can be told of a connection: from Python 3.12 on."""
        tell = getattr(self._connection, "setconfig", None)
        if tell is not None:
            with errors():
                tell(option, bool(value))

    def create_scalar_function(
        self, name: str, function: Callable[..., Any], arguments: int = -1, *, deterministic: bool = False
    ) -> None:
        """Let SQL call *function*."""
        with errors():
            self._connection.create_function(name, arguments, function, deterministic=deterministic)

    def close(self) -> None:
        """Close it. Safe to repeat."""
        with errors():
            self._connection.close()


def connect(path: str, durability: Durability) -> apsw.Connection:
    """As `opening.connect`, with Python's library. Raises StoreError."""
    check_library(sqlite3.sqlite_version_info)
    with opening.translated("opening the database", path=path), errors():
        raw = sqlite3.connect(
            f"file:{quote(path)}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_KEPT,
        )
        try:
            connection = cast("apsw.Connection", PythonConnection(raw))
            _check_mark(connection, path)
            opening.configure(connection, durability)
        except BaseException:
            raw.close()
            raise
    return connection


def _check_mark(connection: apsw.Connection, path: str) -> None:
    """Raise StoreUnsafe where the mark in the header was of a transaction that did not end, and is undone by now."""
    if connection.pragma("application_id") != SHARED_ID:
        raise not_shared(path)


def check_library(version: tuple[int, ...]) -> None:
    """Refuse a SQLite library that does not know what the schema says. Raises StoreUnsafe."""
    if version < _OLDEST:
        found, needed = (".".join(map(str, one)) for one in (version, _OLDEST))
        raise StoreUnsafe(f"Python's own SQLite is {found}; a shared file needs {needed} or later: take a newer Python")


def ask(connection: sqlite3.Connection, sql: str, bindings: Sequence[Any]) -> list[Row]:
    """Run one statement, and return its rows as tuples, whatever the connection makes of them. Raises apsw.Error."""
    with errors(), contextlib.closing(connection.cursor()) as cursor:
        cursor.row_factory = None
        return cursor.execute(sql, bound(sql, bindings)).fetchall()


def bound(sql: str, values: Sequence[Any]) -> list[Any] | dict[str, Any]:
    """
    Return the values of a statement so that they are stored as they are, whatever else the program has values made of.

    The library takes ``?1`` for a name; from Python 3.14 on it takes no list for one (3.12 warns):
    https://docs.python.org/3/library/sqlite3.html#sqlite3.Cursor.execute

    Raises:
        Refused: It has numbers, texts or bytes made something else.
    """
    if not _BOUND.isdisjoint(getattr(sqlite3, "adapters", ())):
        name = next(kind.__name__ for kind, protocol in sqlite3.adapters if (kind, protocol) in _BOUND)
        raise Refused(
            f"this program changes what Python's sqlite3 stores of every {name} (sqlite3.register_adapter({name}, …)):"
            " nothing of the outbox's would be what it is; convert the values of your own statements instead"
        )
    stored = [int(value) if value is True or value is False else value for value in values]
    return {str(number): value for number, value in enumerate(stored, start=1)} if _FIRST in sql else stored


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """
    Turn the library's errors into apsw's, which one table explains (`opening`).

    Raises:
        Refused: The connection was closed, or is another thread's.
    """
    try:
        yield
    except sqlite3.Error as exc:
        code: int | None = getattr(exc, "sqlite_errorcode", None)
        if code is not None:
            named = apsw.exception_for(code)
            named.args = (str(exc),)
            raise named from exc
        if _UNREADABLE in str(exc):
            raise UnicodeDecodeError("utf-8", b"", 0, 0, str(exc)) from exc
        raise Refused(f"this connection cannot be used: {exc}") from exc


@functools.cache
def _apart(sql: str) -> tuple[str, ...]:
    """Return the statements of a text one by one."""
    if ";" not in sql.rstrip().rstrip(";"):
        return (sql,)
    done: list[str] = []
    start = 0
    for at, character in enumerate(sql, start=1):
        if character == ";" and sqlite3.complete_statement(sql[start:at]):
            done.append(sql[start:at])
            start = at
    return (*done, sql[start:]) if sql[start:].strip() else tuple(done)
