"""
Messages that are stored in a caller's own transaction, on its own connection (contract EN9).

A savepoint holds all of it, so that a refusal leaves the transaction as it was. The connection is of any library, has
whatever settings, and may be a pooler's: nothing is prepared on it, and every value goes as text.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pillarbox.errors import OtherDatabase, Refused, StoreBusy, ValueRefused
from pillarbox.store.foreign_connections import awaited_drivers, drivers, is_a, outside, unknown
from pillarbox.store.postgres.connection import Statements
from pillarbox.store.postgres.errors import CONFLICTS, REFUSALS, translated
from pillarbox.store.postgres.statements import STATEMENTS
from pillarbox.store.script import answered, pieces, run, run_awaited
from pillarbox.store.steps import ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pillarbox.domain.message import Draft
    from pillarbox.store.base import Enqueued
    from pillarbox.store.script import Ask, Script, Values
    from pillarbox.store.steps.tx import Row

_TRIES_MAX: Final = 3
_KNOWN: Final = "one of psycopg, asyncpg, SQLAlchemy or Django"
_AWAITED: Final = "a connection that blocks: one that is awaited is for pillarbox.Outbox"
_BEGIN: Final = "with connection.transaction():"
_FAILED: Final = "the open transaction has failed: roll it back before anything else"
_UNDONE: Final = "the server undid your transaction because another one was first: roll back, and begin anew"
# Every library sends text, whatever a mark stands for.
_MARK: Final = re.compile(r"\$(\d+)")
_TEXTS: Final = {name: _MARK.sub(r"$\1::text", sql) for name, sql in STATEMENTS.items()}
_TEXTS["tally_add"] = _TEXTS["tally_add_apart"]


class Home(NamedTuple):
    """
    Where the outbox itself works.

    Attributes:
        mark: What no other schema has.
        search_path: Under which our tables are found.
        channel: On which its workers listen; empty where none does.
        synchronous_commit: What a transaction waits for at least.
    """

    mark: str
    search_path: str
    channel: str
    synchronous_commit: str


class Joined:
    """See `Ready`."""

    def __init__(self, home: Home, drafts: Sequence[Draft], known: ready.Known, now_ms: int) -> None:
        self._home = home
        self._drafts = drafts
        self._known = known
        self._now_ms = now_ms

    def write(self, connection: object) -> list[Enqueued]:
        """See `Ready`."""
        driver = drivers(connection)
        if not isinstance(driver, psycopg.Connection):
            awaited = isinstance(driver, psycopg.AsyncConnection) or _of_asyncpg(driver)
            raise unknown(driver, _AWAITED if awaited else _KNOWN)
        _check_open(driver)
        with _translated():
            return run(self._script(), lambda sql, values: _ask(driver, sql, values))

    async def write_awaited(self, connection: object) -> list[Enqueued]:
        """See `Ready`."""
        driver = await awaited_drivers(connection)
        ask: Callable[[str, Values], Awaitable[list[Row]]]
        if isinstance(driver, psycopg.AsyncConnection):
            _check_open(driver)
            ask = _asking_psycopg(driver)
        elif _of_asyncpg(driver):
            if not driver.is_in_transaction():
                raise outside(_BEGIN)
            ask = _asking_asyncpg(driver)
        else:
            return self.write(driver)
        with _translated():
            return await run_awaited(self._script(), ask)

    def _script(self) -> Script[list[Enqueued]]:
        for _ in range(_TRIES_MAX):
            try:
                return (yield from self._tried())
            except errors.UniqueViolation:
                # Another transaction has just committed one of the keys: the next try finds it.
                continue
        raise StoreBusy("another transaction has taken a key which this one does not see: roll back, and begin anew")

    def _tried(self) -> Script[list[Enqueued]]:
        home = self._home
        yield "SAVEPOINT pillarbox", ()
        try:
            ((path, *_),) = yield _TEXTS["join"], (home.search_path, home.synchronous_commit)
            yield from self._find()
            stored: list[Enqueued] = []
            for piece in pieces(self._drafts):
                stored += yield from answered(functools.partial(self._steps, piece))
            if not all(one.created for one in stored):
                # As in a commit of our own: what was found is to be as durable as what is written.
                yield _TEXTS["sync"], ()
            yield _TEXTS["join_end"], (path, home.channel)
        except BaseException:
            with contextlib.suppress(Exception):
                yield "ROLLBACK TO SAVEPOINT pillarbox", ()
                yield "RELEASE SAVEPOINT pillarbox", ()
            raise
        yield "RELEASE SAVEPOINT pillarbox", ()
        return stored

    def _find(self) -> Script[None]:
        """Raise OtherDatabase where this is not the outbox's database."""
        try:
            found = yield _TEXTS["meta"], ()
        except errors.UndefinedTable as exc:
            raise _elsewhere() from exc
        if ("log_key", self._home.mark) not in found:
            raise _elsewhere()

    def _steps(self, drafts: Sequence[Draft], ask: Ask) -> list[Enqueued]:
        return ready.write(_Asking(ask), drafts, self._known, now_ms=self._now_ms)


class _Asking(Statements):
    """Runs the steps' statements by asking."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def _run(self, name: str, values: Sequence[str | None]) -> list[Row]:
        return self._ask(_TEXTS[name], values)

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """See `Tx`. What an error leaves is undone with all the rest."""
        try:
            yield
        except REFUSALS as exc:
            if isinstance(exc, CONFLICTS):
                raise
            raise ValueRefused(f"the database refused a value ({type(exc).__name__})") from exc


def _elsewhere() -> OtherDatabase:
    return OtherDatabase(
        "the outbox's tables are not to be found on this connection: it is to another database, or its role may not use"
        " their schema"
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        with translated("writing in your transaction"):
            yield
    except Exception as exc:
        if isinstance(exc.__cause__, errors.InFailedSqlTransaction):
            raise Refused(_FAILED) from exc
        if isinstance(exc.__cause__, (errors.SerializationFailure, errors.DeadlockDetected)):
            raise StoreBusy(_UNDONE) from exc
        raise


def _check_open(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise Refused where no transaction is open, nor begins with the next statement, or it has failed."""
    status = connection.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise Refused(_FAILED)
    if connection.autocommit and status != TransactionStatus.INTRANS:
        raise outside(_BEGIN)


def _ask(connection: psycopg.Connection[Any], sql: str, values: Values) -> list[Row]:
    with psycopg.RawCursor(connection, row_factory=tuple_row) as cursor:
        cursor.execute(sql, values or None, prepare=False)
        return cursor.fetchall() if cursor.description is not None else []


def _asking_psycopg(connection: psycopg.AsyncConnection[Any]) -> Callable[[str, Values], Awaitable[list[Row]]]:
    async def ask(sql: str, values: Values) -> list[Row]:
        async with psycopg.AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql, values or None, prepare=False)
            return await cursor.fetchall() if cursor.description is not None else []

    return ask


def _of_asyncpg(connection: object) -> bool:
    return is_a(connection, "asyncpg", "Connection") or is_a(connection, "asyncpg.pool", "PoolConnectionProxy")


def _asking_asyncpg(connection: Any) -> Callable[[str, Values], Awaitable[list[Row]]]:  # noqa: ANN401 — its own type
    asyncpg = sys.modules["asyncpg"]

    async def ask(sql: str, values: Values) -> list[Row]:
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        except asyncpg.PostgresError as exc:
            # One table says what the server's errors mean.
            raise _named(exc.sqlstate)(str(exc)) from exc
        except asyncpg.InterfaceError as exc:
            raise psycopg.InterfaceError(str(exc)) from exc

    return ask


def _named(sqlstate: str | None) -> type[psycopg.Error]:
    try:
        return errors.lookup(sqlstate or "")
    except KeyError:
        return psycopg.DatabaseError
