"""
Opens another program's SQLite database without touching it: copies it with its log, and reads the copy.

Opening the original, even read-only, could make files beside it; without its log, its newest changes would be missing.
The copy is read with a schema that is not trusted: no views, no triggers, no functions but harmless ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw

from pillarbox.errors import InvalidMessage, NotFound
from pillarbox.imports import documents
from pillarbox.imports.documents import Unreadable
from pillarbox.store import queries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

PACKAGE: Final = "pillarbox.imports"
SOURCE_BYTES_MAX: Final = 8 << 30
_COPY: Final = "source.sqlite"
_BESIDE: Final = ("-wal", "-journal")
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MAGIC: Final = b"SQLite format 3\0"
_TRIES_MAX: Final = 5
_SQL: Final = queries.load_from(PACKAGE, "sql/source.sql")

Row = tuple[object, ...]
_Stamp = tuple[int, int, int, int]


@contextmanager
def opened(path: Path, *, table: str, needed: Sequence[str]) -> Iterator[apsw.Connection]:
    """
    Open a copy of the database at *path*, which must have *table* with at least the columns *needed*.

    Raises:
        NotFound: There is no such file.
        InvalidMessage: ``path``: a link, another user's, no database, damaged, or without that table.
    """
    with tempfile.TemporaryDirectory(prefix="pillarbox-import-") as directory:
        copy = Path(directory) / _COPY
        _copy_all(path, copy)
        with _readable(path):
            connection = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                _distrust(connection)
                _check(connection, table, needed)
                yield connection
            finally:
                connection.close()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except apsw.Error as exc:
        raise InvalidMessage("path", f"the database cannot be read ({type(exc).__name__}: {path})") from exc


def rows(connection: apsw.Connection, statement: str, bindings: Sequence[object] = ()) -> Iterator[Row]:
    """Run a read; raises apsw's errors, which `opened` translates."""
    yield from connection.execute(statement, tuple(bindings))


def _columns(connection: apsw.Connection, table: str) -> set[str]:
    return {row[0] for row in connection.execute(_SQL["columns"], (table,))}


def lacking(connection: apsw.Connection, *, table: str, columns: Sequence[str]) -> frozenset[str]:
    """Return which of *columns* a table does not have."""
    return frozenset(columns) - _columns(connection, table)


def statements(connection: apsw.Connection, file: str, *, table: str, columns: Sequence[str]) -> dict[str, str]:
    """
    Read a source's statements, with what its table has in the place of ``{known}``.

    Args:
        columns: All that the statements name. One that the table of an earlier version lacks is NULL there.
    """
    missing = lacking(connection, table=table, columns=columns)
    (without_rowid,) = next(iter(connection.execute(_SQL["without_rowid"], (table,))))
    known = _SQL["known"].format(
        number="row_number() OVER ()" if without_rowid else "rowid",
        columns=", ".join(f"NULL AS {name}" if name in missing else name for name in columns),
        table=table,
    )
    return queries.load_from(PACKAGE, file, {"known": known})


def _distrust(connection: apsw.Connection) -> None:
    for option, value in (
        (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
        (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0),
    ):
        connection.config(option, value)
    connection.pragma("cell_size_check", 1)
    connection.pragma("mmap_size", 0)


def _check(connection: apsw.Connection, table: str, needed: Sequence[str]) -> None:
    if connection.pragma("encoding") != "UTF-8":
        raise InvalidMessage("path", "expected a database in UTF-8")
    # A view or a virtual table of that name could compute whatever it likes.
    if not list(connection.execute(_SQL["plain_table"], (table,))):
        raise InvalidMessage("path", f"expected a database with a table {table}")
    present = _columns(connection, table)
    missing = [column for column in needed if column not in present]
    if missing:
        raise InvalidMessage("path", f"expected a table {table} with a column {missing[0]}")


def _copy_all(path: Path, copy: Path) -> None:
    """
    Copy the database and its log, both of one moment.

    A program that has it open may move pages from the log into the database meanwhile; then it is copied again.
    """
    for _ in range(_TRIES_MAX):
        before = _stamps(path)
        _copy_one(path, copy)
        for ending in _BESIDE:
            beside = Path(f"{copy}{ending}")
            beside.unlink(missing_ok=True)
            if before[ending] is not None:
                _copy_one(Path(f"{path}{ending}"), beside)
        if _stamps(path) == before:
            return
    raise InvalidMessage("path", f"expected a database that nobody writes to; stop the program it belongs to ({path})")


def _stamps(path: Path) -> dict[str, _Stamp | None]:
    return {ending: _stamp(Path(f"{path}{ending}")) for ending in ("", *_BESIDE)}


def _stamp(path: Path) -> _Stamp | None:
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InvalidMessage("path", f"may not be looked at ({exc.strerror}: {path})") from exc
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _copy_one(path: Path, copy: Path) -> None:
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError as exc:
        if path.name.endswith(_BESIDE):
            return
        raise NotFound("file", str(path)) from exc
    except OSError as exc:
        raise InvalidMessage("path", f"expected a database file, not a link ({exc.strerror}: {path})") from exc
    try:
        documents.check_regular(os.fstat(descriptor), bytes_max=SOURCE_BYTES_MAX)
        with os.fdopen(descriptor, "rb", closefd=False) as source, copy.open("wb") as target:
            if not path.name.endswith(_BESIDE) and source.read(len(_MAGIC)) != _MAGIC:
                raise InvalidMessage("path", f"expected a SQLite database ({path})")
            source.seek(0)
            shutil.copyfileobj(source, target, 1 << 20)
    except Unreadable as exc:
        raise InvalidMessage("path", f"expected a database file of this user's own ({exc.reason}: {path})") from exc
    finally:
        os.close(descriptor)


def text(value: object) -> str | None:
    """
    Read a text column, which the statements give as bytes: one bad text must not stop the others.

    Raises:
        Unreadable: ``not_utf8``.
    """
    if not isinstance(value, bytes):
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Unreadable("not_utf8") from exc


def document(value: object) -> dict[str, documents.Json]:
    """Read a column of JSON. Raises Unreadable: ``too_large`` where the statement gave none, or what is wrong."""
    if not isinstance(value, bytes):
        raise Unreadable("too_large")
    return documents.parse_object(value)


def row_id(row: Row) -> str:
    """Return the id in a row's second column, by which the report names it; where it cannot be read, its number."""
    try:
        return text(row[1]) or f"row {row[0]}"
    except Unreadable:
        return f"row {row[0]}"


def row_key(row: Row, known: Collection[str]) -> tuple[str, str]:
    """
    Return the id and the status of a row, from its second and third column.

    Raises:
        Unreadable: ``missing_field:id``; ``unknown_status``, where it is none of *known*; or ``not_utf8``.
    """
    identity, status = text(row[1]), text(row[2]) or ""
    if not identity:
        raise Unreadable("missing_field:id")
    if status not in known:
        raise Unreadable("unknown_status")
    return identity, status
