"""
A connection that writes: its transactions, and the named statements that the steps run in them.

Nothing here knows what a statement is for.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import apsw

from pillarbox.errors import PillarboxError, ValueRefused
from pillarbox.store.sqlite.statements import FOR_MANY, STATEMENTS, text
from pillarbox.store.steps.numbers import Numbers
from pillarbox.store.steps.tx import Row

# A value that no column takes, or that SQLite has no type for: the next try would end no other way.
_REFUSALS: Final = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    TypeError,
    ValueError,
    OverflowError,
)
_SILENT: Final = frozenset(
    name for name, sql in STATEMENTS.items() if not sql.startswith(("SELECT", "WITH")) and "RETURNING" not in sql
)
"""Statements that return no rows."""
_CHANGES: Final = re.compile(r"(UPDATE|DELETE)\b.*\sRETURNING \w+\Z", re.DOTALL)
_GUARDED: Final = frozenset(name for name, sql in STATEMENTS.items() if _CHANGES.match(sql))
"""Statements that return their first binding where they changed its row: how many rows they change says as much."""
_NUMBERED: Final = frozenset(name for name in FOR_MANY if STATEMENTS[name].endswith("RETURNING id, seq"))
"""Inserts that return their first binding and the number of the row."""
_SIZES: Final = (64, 16, 4, 1)


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    """
    Cut so many rows; yields where each piece begins, and its size.

    Of few sizes, so that few texts serve all numbers of rows; a piece that is at least half full is filled up.
    """
    start = 0
    while start < count:
        size = next(size for size in _SIZES if size <= 2 * (count - start))
        yield start, size
        start += size


class Keeper(Protocol):
    """Keeps SQLite's write lock from being dropped by others, and looks after the files; see `guarding`."""

    def turn(self, seconds_max: float) -> AbstractContextManager[Callable[[], bytes | None]]:
        """
        Entered before a transaction, left when it has the lock. Calls of what it yields wait for the lock.

        They return what is passed on to `hold_write_lock`; ``None`` where SQLite itself must wait.
        """

    def hold_write_lock(self, before: bytes) -> bool:
        """Called when a transaction has taken it. False: begin anew."""

    def begin(self) -> None:
        """Called when it is held, before anything is written."""

    def look(self) -> None:
        """Called when everything is written, while it is held."""

    def end(self) -> None:
        """Called at the transaction's end: it is dropped."""


class Statements:
    """Runs named statements on a connection; see `Tx`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def many(self, name: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """See `Reader`."""
        return self.connection.execute(STATEMENTS[name], bindings).fetchall()

    def one(self, name: str, bindings: Sequence[Any] = ()) -> Row | None:
        """See `Reader`."""
        rows = self.connection.execute(STATEMENTS[name], bindings).fetchall()
        return rows[0] if rows else None

    def each(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Row]]:
        """See `Tx`."""
        if not rows:
            return []
        if len(rows) == 1:
            return [self._alone(name, rows[0])]
        if name in _SILENT:
            return [[] for piece, _ in self._at_once(name, rows) for _ in piece]
        asked = [bindings[0] for bindings in rows]
        if len(set(asked)) < len(rows):
            # Of two with one first value, nobody could tell whose a row is.
            return [self.many(name, bindings) for bindings in rows]
        if name in _GUARDED:
            return self._guarded(name, rows)
        if name in _NUMBERED:
            return self._numbered(name, rows)
        returned = [row for _, found in self._at_once(name, rows) for row in found]
        if asked == [row[0] for row in returned]:
            return [[row] for row in returned]
        found: dict[Any, list[Row]] = {first: [] for first in asked}
        for row in returned:
            found[row[0]].append(row)
        return list(found.values())

    def _alone(self, name: str, bindings: Sequence[Any]) -> list[Row]:
        """Run for one row."""
        if name in _GUARDED:
            self.connection.execute(text(name, returning=False), bindings)
            return [(bindings[0],)] if self.connection.changes() else []
        if name in _NUMBERED:
            self.connection.execute(text(name, returning=False), bindings)
            return [(bindings[0], self.connection.last_insert_rowid())]
        return self.connection.execute(STATEMENTS[name], bindings).fetchall()

    def _guarded(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Row]]:
        """Run for all at once; where a guard refused one of them nothing of that counts, and each is run alone."""
        if name in FOR_MANY:
            self.many("try_rows")
            changed = sum(self.connection.changes() for _ in self._at_once(name, rows, returning=False))
            if changed < len(rows):
                self.many("undo_rows")
            self.many("keep_rows")
            if changed == len(rows):
                return [[(bindings[0],)] for bindings in rows]
        return [self._alone(name, bindings) for bindings in rows]

    def _numbered(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Row]]:
        """Insert rows, which SQLite numbers one after the other, because nobody else writes meanwhile."""
        done: list[list[Row]] = []
        for piece, _ in self._at_once(name, rows, returning=False):
            first = self.connection.last_insert_rowid() - len(piece) + 1
            done += [[(bindings[0], seq)] for seq, bindings in enumerate(piece, start=first)]
        return done

    def _at_once(
        self, name: str, rows: Sequence[Sequence[Any]], *, returning: bool = True
    ) -> Iterator[tuple[Sequence[Sequence[Any]], list[Row]]]:
        """
        Run a statement for many rows of bindings at a time, where it can: each call costs the interpreter's lock.

        Yields each piece of *rows* when it was run, and what that returned.
        """
        if name not in FOR_MANY:
            yield rows, self.connection.executemany(text(name, returning=returning), rows).fetchall()
            return
        for start, size in _pieces(len(rows)):
            piece = rows[start : start + size]
            bindings = list(itertools.chain.from_iterable(piece))
            bindings += [None] * ((size - len(piece)) * len(rows[0]))
            yield piece, self.connection.execute(text(name, size, returning=returning), bindings).fetchall()

    def savepoint(self) -> AbstractContextManager[None]:
        """See `Tx`."""
        return _Savepoint(self)


class _Savepoint(AbstractContextManager[None]):
    """Undoes what is done inside where an error of ours, or a value that the database refuses, leaves it."""

    def __init__(self, statements: Statements) -> None:
        self._many = statements.many

    def __enter__(self) -> None:
        self._many("savepoint")

    def __exit__(self, _: type[BaseException] | None, exc: BaseException | None, traceback: object) -> None:
        if exc is not None:
            if not isinstance(exc, (PillarboxError, *_REFUSALS)):
                return
            self._many("rollback_item")
        self._many("release_item")
        if isinstance(exc, _REFUSALS):
            raise ValueRefused(f"the database refused a value ({type(exc).__name__})") from exc


class Session(Statements):
    """
    A connection that writes, and the numbers that are known on it. Used on the writer thread only.

    Args:
        lease_clock: Milliseconds by which leases are judged; read once the transaction holds the write lock, so that a
            lease never begins before its caller began to wait.

    Attributes:
        committing: From then on only the file shows whether the transaction was written.
        lease_now: What the lease clock showed when the transaction began.
    """

    def __init__(self, connection: apsw.Connection, keeper: Keeper, lease_clock: Callable[[], int]) -> None:
        super().__init__(connection)
        self.numbers = Numbers(self)
        self.committing = False
        self.lease_now = 0
        self._keeper = keeper
        self._lease_clock = lease_clock
        self._held = False
        self._busy_ms: int = connection.pragma("busy_timeout")

    def begin(self) -> None:
        """Open a transaction that holds the write lock."""
        self.committing = False
        with self._keeper.turn(self._busy_ms / 1000) as come:
            while not self._took_lock(come()):
                pass
        self._held = True
        self.lease_now = self._lease_clock()
        try:
            # Before anything is written: what was cut short looks whole again when more is written behind the gap.
            self._keeper.begin()
        except BaseException:
            self.rollback()
            raise

    def _took_lock(self, before: bytes | None) -> bool:
        if before is None:
            self.many("begin")
            return True
        # SQLite would wait ever longer between its tries, and what it waited for would not be ours all the same.
        self.connection.set_busy_timeout(0)
        try:
            self.many("begin")
        except apsw.BusyError:
            return False
        finally:
            self.connection.set_busy_timeout(self._busy_ms)
        if self._keeper.hold_write_lock(before):
            return True
        # Nothing was written, so this only ends it. A rollback would tidy up the log's index, where somebody else
        # may be writing by now.
        self.many("commit")
        return False

    def commit(self) -> None:
        """Make everything durable."""
        self.committing = True
        self.many("commit")
        self._keeper.look()
        self._let_write()

    def rollback(self) -> None:
        """Undo, if a transaction is still open."""
        # Rows that they name were undone.
        self.numbers.forget()
        try:
            if self.connection.in_transaction:
                self.many("rollback")
        finally:
            self._let_write()

    def transaction(self) -> AbstractContextManager[None]:
        """Write what is done inside, or nothing of it where an error leaves it."""
        return _Transaction(self)

    def _let_write(self) -> None:
        if self._held:
            self._held = False
            self._keeper.end()


class _Transaction(AbstractContextManager[None]):
    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._session.begin()

    def __exit__(self, _: type[BaseException] | None, exc: BaseException | None, traceback: object) -> None:
        if exc is not None:
            self._session.rollback()
            return
        try:
            self._session.commit()
        except BaseException:
            self._session.rollback()
            raise
