"""
Opens another program's SQLite database without touching it: copies it with its log, and reads the copy.

Opening the original, even read-only, could make files beside it; without its log, its newest changes would be missing.
The copy is read with a schema that is not trusted: no views, no triggers, no functions but harmless ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from pillarbox.errors import InvalidMessage, NotFound
from pillarbox.imports import documents
from pillarbox.imports.documents import Unreadable
from pillarbox.imports.entry import SourceEntry, left
from pillarbox.store import queries

PACKAGE: Final = "pillarbox.imports"
SOURCE_BYTES_MAX: Final = 8 << 30
_COPY: Final = "source.sqlite"
_BESIDE: Final = ("-wal", "-journal")
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MAGIC: Final = b"SQLite format 3\0"
_TRIES_MAX: Final = 5
_SQL: Final = queries.load_from(PACKAGE, "sql/source.sql")

Row = Mapping[str, object]
_Stamp = tuple[int, int, int, int]


class Table(NamedTuple):
    """
    The table that another system keeps its queue in.

    Attributes:
        columns: All that the statements name. One that the table of an earlier version lacks is NULL there.
        needed: Without these nothing can be said of an entry.
        file: Where the statements stand.
    """

    name: str
    columns: tuple[str, ...]
    needed: tuple[str, ...]
    file: str


class Source:
    """
    An opened table. Its reads raise apsw's errors, which `opened` translates.

    ``lacking``: which of the columns it does not have.
    """

    def __init__(self, connection: apsw.Connection, table: Table) -> None:
        self._connection = connection
        self.lacking = frozenset(table.columns) - _columns(connection, table.name)
        (without_rowid,) = next(iter(connection.execute(_SQL["without_rowid"], (table.name,))))
        known = _SQL["known"].format(
            number="row_number() OVER ()" if without_rowid else "rowid",
            columns=", ".join(f"NULL AS {name}" if name in self.lacking else name for name in table.columns),
            table=table.name,
        )
        self._sql = queries.load_from(PACKAGE, table.file, {"known": known})

    def rows(self, statement: str) -> Iterator[Row]:
        """Run a read, by its name. A longer text than `DOCUMENT_BYTES_MAX` is NULL."""
        cursor = self._connection.execute(self._sql[statement], (documents.DOCUMENT_BYTES_MAX,))
        for values in cursor:
            yield dict(zip((name for name, *_ in cursor.get_description()), values, strict=True))

    def entries(self, understood: Callable[[Row], SourceEntry], id_of: Callable[[Row], str]) -> Iterator[SourceEntry]:
        """Understand each row; one that cannot be read is left under its id, and does not stop the others."""
        for row in self.rows("entries"):
            try:
                entry = understood(row)
            except Unreadable as exc:
                entry = left(_readable_id(row, id_of), exc.reason)
            yield entry


def _readable_id(row: Row, id_of: Callable[[Row], str]) -> str:
    """Return a row's id, by which the report names it; where there is none, or it cannot be read, its number."""
    with contextlib.suppress(Unreadable):
        if found := id_of(row):
            return found
    return f"row {row['rowid']}"


@contextmanager
def opened(path: Path, table: Table) -> Iterator[Source]:
    """
    Open a copy of the database at *path*, which must have *table* with at least the columns that are needed.

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
                _check(connection, table)
                yield Source(connection, table)
            finally:
                connection.close()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except apsw.Error as exc:
        raise InvalidMessage("path", f"the database cannot be read ({type(exc).__name__}: {path})") from exc


def _columns(connection: apsw.Connection, table: str) -> set[str]:
    return {row[0] for row in connection.execute(_SQL["columns"], (table,))}


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


def _check(connection: apsw.Connection, table: Table) -> None:
    if connection.pragma("encoding") != "UTF-8":
        raise InvalidMessage("path", "expected a database in UTF-8")
    # A view or a virtual table of that name could compute whatever it likes.
    if not list(connection.execute(_SQL["plain_table"], (table.name,))):
        raise InvalidMessage("path", f"expected a database with a table {table.name}")
    present = _columns(connection, table.name)
    missing = [column for column in table.needed if column not in present]
    if missing:
        raise InvalidMessage("path", f"expected a table {table.name} with a column {missing[0]}")


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
    """Return a row's id. Raises Unreadable: ``missing_field:id``, or ``not_utf8``."""
    identity = text(row["id"])
    if not identity:
        raise Unreadable("missing_field:id")
    return identity


def row_key(row: Row, known: Collection[str]) -> tuple[str, str]:
    """
    Return the id and the status of a row.

    Raises:
        Unreadable: ``missing_field:id``; ``unknown_status``, where it is none of *known*; or ``not_utf8``.
    """
    status = text(row["status"]) or ""
    identity = row_id(row)
    if status not in known:
        raise Unreadable("unknown_status")
    return identity, status
