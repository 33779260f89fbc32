"""Opens a database file safely: who owns it, what it is, which library reads it, which schema it has."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from pillarbox.clock import pause_thread
from pillarbox.errors import (
    PillarboxError,
    StoreBusy,
    StoreCorrupt,
    StoreDiskFull,
    StoreNotFound,
    StoreReadOnly,
    StoreReplaced,
    StoreTooOld,
    StoreUnavailable,
    StoreUnsafe,
    ValueRefused,
)
from pillarbox.store.base import Durability
from pillarbox.store.sqlite import io_errors, migrations
from pillarbox.store.sqlite.shared_guard import IN_LOG_MODE, SHARED_ID
from pillarbox.store.sqlite.statements import DRIVER, READ, SCHEMA

# https://sqlite.org/wal.html#walresetbug: two connections checkpointing at once can lose or corrupt committed pages.
_WAL_RESET_BUG: Final = ((3, 7, 0), (3, 51, 2))
_LOG_TRIES: Final = 1000
_LOG_PAUSE_SECONDS: Final = 0.01
APPLICATION_ID: Final = 0x50424F58  # "PBOX"
BUSY_MS: Final = 10_000
_FILE_BYTES_MIN: Final = 512  # the smallest page; SQLite takes some shorter files for empty ones
MEMORY: Final = ":memory:"
BESIDE: Final = ("-wal", "-shm", "-journal", "-workers")
"""What may lie beside a database file, by the ending of its name."""
_JOURNAL_BYTES_MAX: Final = 32 << 20
_STATEMENTS_KEPT: Final = 200  # of some there is a text for each of a few numbers of rows
# By whether the file is shared, and whether commits survive a power cut. With a rollback journal, a deletion of the
# journal that did not reach the disk undoes the commit: EXTRA waits for that.
_SYNCHRONOUS: Final = {(False, True): "full", (False, False): "normal", (True, True): "extra", (True, False): "full"}
UNGUARDED: Final = (
    "{why}: if anything else in a process that has the database open opens and closes the file, its locks fall; what"
    " that would cost is noticed, not prevented"
)


@contextmanager
def translated(what: str, connection: apsw.Connection | None = None, *, path: str | None = None) -> Iterator[None]:
    """
    Turn apsw's errors into ours. The text says *what* was tried and what the library said, never a value.

    *connection* and *path* tell the causes of I/O errors apart: see `causes`.
    """
    try:
        yield
    except (apsw.Error, OSError) as exc:
        raise io_errors.named(what, exc, connection, path) or _translation(what, exc) from exc


def _translation(what: str, error: apsw.Error | OSError) -> PillarboxError:
    match error:
        case apsw.ConstraintError() | apsw.MismatchError() | apsw.TooBigError():
            # No outage: the same value is refused at every try.
            return ValueRefused(f"{what}: the database refused a value ({type(error).__name__}: {error})")
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusy(f"{what}: another process holds the database's write lock")
        case apsw.FullError():
            return StoreDiskFull(f"{what}: the disk is full, or the file may not grow")
        case apsw.ReadOnlyError() if getattr(error, "extendedresult", None) == apsw.SQLITE_READONLY_DBMOVED:
            return StoreReplaced(f"{what}: the database was deleted, moved or replaced while it was open")
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return StoreReadOnly(f"{what}: the database cannot be written ({error})")
        case apsw.CorruptError() | apsw.NotADBError() | apsw.FormatError():
            return StoreCorrupt(f"{what}: the database is damaged, or no database ({error})")
        case apsw.CantOpenError():
            return StoreNotFound(f"{what}: the database file cannot be opened ({error})")
        case _:
            return StoreUnavailable(f"{what}: {type(error).__name__}: {error}")


@contextlib.contextmanager
def snapshot(connection: apsw.Connection) -> Iterator[None]:
    """Show all reads inside one state of the database."""
    connection.execute(DRIVER["snapshot"])
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute(DRIVER["snapshot_end"])


def check_library(version: tuple[int, int, int] | None = None) -> None:
    """Refuse a SQLite library that can lose committed pages. Raises StoreUnsafe."""
    major, minor, patch = version or _split(apsw.sqlite_lib_version())
    first, last = _WAL_RESET_BUG
    if first <= (major, minor, patch) <= last:
        msg = (
            f"SQLite {major}.{minor}.{patch} can lose committed messages when two processes checkpoint at once; "
            "install apsw from its wheel, which brings a later SQLite (pip install --force-reinstall apsw)"
        )
        raise StoreUnsafe(msg)


def _split(version: str) -> tuple[int, int, int]:
    major, minor, patch = (int(piece) for piece in version.split(".")[:3])
    return major, minor, patch


def prepare_file(path: Path, *, create: bool, make_parents: bool = False) -> None:
    """
    Make sure that *path* is a regular file of our own, made 0600 where it is missing; a directory made for it is 0700.

    Args:
        create: Whether a missing file is made.
        make_parents: Whether its directory is made too: only for the default place (contract SG10). A
            path that was mistyped must not become a second queue.

    Raises:
        StoreNotFound: It is a directory; it is missing or empty and *create* is false; or its directory is missing.
        StoreCorrupt: Too short for a database.
        StoreUnsafe: A symlink, not a regular file, or another user's; or a file beside it is.
        StoreReadOnly: It cannot be made or written.
    """
    info = _look(path)
    if info is None:
        if not create:
            raise StoreNotFound(f"no database at {path}")
        _check_beside(path)
        _check_no_remains(path)
        _make(path, make_parents=make_parents)
        return
    if stat.S_ISDIR(info.st_mode):
        raise StoreNotFound(f"{path} is a directory; expected a database file")
    _check_ours(path, info)
    if info.st_size == 0 and not create:
        raise StoreNotFound(f"{path} is empty: no database was made there yet")
    if 0 < info.st_size < _FILE_BYTES_MIN and _look(path.with_name(path.name + "-journal")) is None:
        raise StoreCorrupt(f"{path} is too short for a database")
    _check_beside(path)
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise StoreReadOnly(f"{path} or its directory is read-only")


def _check_beside(path: Path) -> None:
    for ending in BESIDE:
        beside = path.with_name(path.name + ending)
        found = _look(beside)
        if found is not None:
            _check_ours(beside, found)


def _check_no_remains(path: Path) -> None:
    """Refuse to make a database where one was, whose log is still there: it would become the new one's."""
    for ending in ("-wal", "-journal"):
        beside = path.with_name(path.name + ending)
        found = _look(beside)
        # Looked at again: if it is there by now, another process made it this instant, and the log is its own.
        if found is not None and found.st_size and _look(path) is None:
            raise StoreUnsafe(
                f"{beside} is there, but not the database that it belongs to: put {path.name} back, or move what is"
                " left of it away"
            )


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
    except NotADirectoryError as exc:
        raise StoreNotFound(f"{path.parent} is not a directory") from exc
    except OSError as exc:
        raise StoreReadOnly(f"{path} may not be looked at: {exc.strerror}") from exc


def _check_ours(path: Path, info: os.stat_result) -> None:
    if stat.S_ISLNK(info.st_mode):
        raise StoreUnsafe(f"{path} is a symbolic link; name the file itself")
    if not stat.S_ISREG(info.st_mode):
        raise StoreUnsafe(f"{path} is not a regular file")
    if info.st_uid != os.geteuid():
        raise StoreUnsafe(
            f"{path} belongs to user {info.st_uid}, this process is user {os.geteuid()}: run it as the former"
        )


def _make(path: Path, *, make_parents: bool) -> None:
    try:
        if make_parents:
            _make_directory(path.parent)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        os.close(descriptor)
        sync_directory(path.parent)
    except FileExistsError:
        # Another process made it this instant; now it must pass like any other.
        prepare_file(path, create=True)
    except FileNotFoundError as exc:
        msg = f"there is no directory {path.parent}: make it first, or name the database that you meant"
        raise StoreNotFound(msg) from exc
    except NotADirectoryError as exc:
        raise StoreNotFound(f"{path.parent} is not a directory") from exc
    except PermissionError as exc:
        raise StoreReadOnly(f"{path.parent} is read-only: the database cannot be made there") from exc
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise StoreDiskFull(f"{path}: the disk is full") from exc
        raise StoreReadOnly(f"{path} cannot be made: {exc.strerror}") from exc


def _make_directory(directory: Path) -> None:
    """Make it and what is missing above it, each durable in its parent: a power cut must not take a directory away."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    # A database's neighbours hold what it holds, so nobody else may look there.
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(path: str, durability: Durability) -> apsw.Connection:
    """
    Open a connection with every pragma that durable work needs.

    Raises:
        StoreError: A subclass; another program's database is left as it is.
    """
    with translated("opening the database", path=path):
        # Never made here: `prepare_file` does that, and a file that vanished must not come back empty.
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if path == MEMORY else 0)
        connection = apsw.Connection(path, flags=flags, statementcachesize=_STATEMENTS_KEPT)
        try:
            configure(connection, durability)
        except BaseException:
            connection.close()
            raise
    return connection


def configure(connection: apsw.Connection, durability: Durability) -> None:
    """Set what every connection needs; what must not be touched is refused first, so that it stays as it was."""
    connection.set_busy_timeout(BUSY_MS)
    # With statistics compiled in (STAT4), SQLite plans a statement anew whenever a bound value could change its plan,
    # which is at nearly every claim; measured, that cost four times the claim itself. The guarantee keeps the plans.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    with snapshot(connection):
        # In one look: another process may be making its tables this instant.
        _check_owner(connection)
    connection.pragma("temp_store", 2)
    shared = connection.pragma("application_id") == SHARED_ID
    if shared:
        use_rollback_journal(connection)
    elif connection.filename:
        _use_log(connection)
        # Opens the log and its index, whose identity is remembered from now on (`guarding`).
        connection.pragma("schema_version")
    connection.pragma("synchronous", _SYNCHRONOUS[shared, durability is Durability.POWER])
    connection.pragma("journal_size_limit", _JOURNAL_BYTES_MAX)
    connection.pragma("cache_size", -8192)
    if sys.platform == "darwin" and durability is Durability.POWER:
        connection.pragma("fullfsync", 1)
        connection.pragma("checkpoint_fullfsync", 1)


def use_rollback_journal(connection: apsw.Connection) -> None:
    """Make sure that a shared file is in the one mode that is safe with every library. Raises StoreUnsafe."""
    # Where it is in another one and somebody has it open, SQLite leaves it so, or says that it is busy.
    with contextlib.suppress(apsw.BusyError):
        if connection.pragma("journal_mode", "delete") == "delete":
            return
    raise StoreUnsafe(IN_LOG_MODE.format(path=connection.filename))


def _use_log(connection: apsw.Connection) -> None:
    # Otherwise some of the tries would wait for long.
    connection.set_busy_timeout(0)
    for tries_left in reversed(range(_LOG_TRIES)):
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            # Another process opens the new file this instant; for this lock SQLite does not wait by itself.
            if not tries_left:
                raise
            pause_thread(_LOG_PAUSE_SECONDS)
        else:
            if mode != "wal":
                raise StoreUnsafe(f"the file system allows no write-ahead log (journal mode {mode}); use a local disk")
            connection.set_busy_timeout(BUSY_MS)
            return


def _check_owner(connection: apsw.Connection) -> bool:
    """Whether the file has tables already. Raises StoreCorrupt for a database of another program."""
    owner = connection.pragma("application_id")
    tables = connection.execute(SCHEMA["count_tables"]).fetchall()[0][0]
    if owner not in {APPLICATION_ID, SHARED_ID} and (owner != 0 or tables):
        raise StoreCorrupt(
            "the file is a database of another program: name another file, or share it by"
            " `pillarbox db init --shared FILE`"
        )
    return bool(tables)


def prepare_schema(connection: apsw.Connection, *, create: bool = True, forward: bool = True) -> None:
    """
    Make or migrate the schema.

    Args:
        create: Whether an empty file becomes a database.
        forward: Whether an older one is brought up to date. Commands say no to both.

    Raises:
        StoreCorrupt: Not ours, or it does not say which schema it has.
        StoreTooNew: Made by a newer version that this one must not work on.
        StoreTooOld: Made by an older version, and *forward* is false.
        StoreNotFound: An empty file, and *create* is false.
    """
    with translated("reading the schema", connection):
        # Usually nothing is to be done. To see that, nobody must wait for those who write.
        try:
            with snapshot(connection):
                _make_or_migrate(connection, create=False)
        except StoreNotFound:
            if not create:
                raise
        except StoreTooOld:
            if not forward:
                raise
        else:
            return
        connection.execute(DRIVER["begin"])
        try:
            _make_or_migrate(connection, create=True)
            connection.execute(DRIVER["commit"])
        except BaseException:
            if connection.in_transaction:
                connection.execute(DRIVER["rollback"])
            raise


def _make_or_migrate(connection: apsw.Connection, *, create: bool) -> None:
    if _check_owner(connection):
        migrations.migrate(connection, forward=create)
    elif create:
        migrations.create(connection)
        connection.pragma("application_id", APPLICATION_ID)
    else:
        raise StoreNotFound("the file is empty: no database was made there yet")


def count_recipients(connection: apsw.Connection) -> None:
    """Begin to count per recipient: from then on triggers do, in every process, whatever its settings."""
    with translated("preparing the count per recipient", connection):
        if connection.execute(READ["recipients_counted"]).fetchall():
            return
        connection.execute(DRIVER["begin"])
        try:
            if not connection.execute(READ["recipients_counted"]).fetchall():
                connection.execute(SCHEMA["recipient_counting"])
                connection.execute(SCHEMA["recipient_counting_fill"])
            connection.execute(DRIVER["commit"])
        except BaseException:
            if connection.in_transaction:
                connection.execute(DRIVER["rollback"])
            raise
