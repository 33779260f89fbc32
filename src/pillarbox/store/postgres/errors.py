"""What the server's errors mean to us."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import errors

from pillarbox.errors import (
    ConfigError,
    PillarboxError,
    StoreBusy,
    StoreCorrupt,
    StoreDiskFull,
    StoreNotFound,
    StoreReadOnly,
    StoreUnavailable,
    ValueRefused,
)

CONFLICTS: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
"""Another transaction was first: nothing was written, and the next try sees what that one did."""
OUTDATED: Final = (errors.FeatureNotSupported,)
"""A plan returns another type than a table that was altered: nothing was written, and a new connection plans anew."""
REFUSALS: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    # An index takes no value over a third of a page.
    errors.ProgramLimitExceeded,
    TypeError,
    ValueError,
    OverflowError,
)
"""A value that no column takes, or that cannot be sent: the next try would end no other way."""

STANDBY: Final = "the server is a standby: connect to the primary, or name both (postgresql://USER@A,B/DATABASE)"
_CONNECTING: Final = "connecting to the server"
# The library gives no code for what keeps a connection from coming about: only these words. What a server says in
# another language is shown as it is.
_WHY: Final = (
    ("password authentication failed", "it does not take this password"),
    ("no password supplied", "it asks for a password: say one in the URL, in ~/.pgpass or in PGPASSFILE"),
    ("server does not support SSL", "it has no TLS, which the URL asks for (sslmode)"),
    ("certificate", "one of both does not trust the other's certificate"),
    ("pg_hba.conf", "it does not let this role in from here, or not that way"),
    ("does not exist", "it knows no such role or database"),
    ("timeout expired", "it did not answer in time (connect_timeout)"),
    ("Connection refused", "nothing listens there"),
    ("No such file or directory", "nothing listens there"),
    ("resolve host", "no machine has that name"),
    ("translate host name", "no machine has that name"),
    ("too many c", "it has no connection left for us"),
    ("connection slots are reserved", "it has no connection left for us"),
    ("the database system is", "it is starting, or ending"),
    ("received invalid response", "what answers there is no PostgreSQL server"),
    ("expected authentication request", "what answers there is no PostgreSQL server"),
    ("closed the connection", "it ended the connection before it had answered"),
)
# Nothing was dialled: the library does not know what a name in the URL says.
_NOT_DIALLED: Final = re.compile(r"invalid (?:\w+ value|port number|integer value|connection option|URI)\b.*")


def refusal(error: psycopg.OperationalError) -> PillarboxError:
    """Return why no connection came about. Of several tries the library tells each in lines of its own."""
    said = " ".join(str(error).split())
    if "read-only" in said or "hot standby" in said:
        return StoreReadOnly(f"{_CONNECTING}: {STANDBY} ({said})")
    if found := _NOT_DIALLED.search(said):
        return ConfigError("db", found[0])
    why = next((why for words, why in _WHY if words in said), None)
    return StoreUnavailable(f"{_CONNECTING}: {said}" if why is None else f"{_CONNECTING}: {why} ({said})")


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn psycopg's errors into ours. The text says *what* was tried and what the server said, never a value."""
    try:
        yield
    except psycopg.Error as exc:
        raise translation(what, exc) from exc


def translation(what: str, error: psycopg.Error) -> PillarboxError:
    """Return our error for one of the server's, or of the way to it."""
    said = _said(error)
    match error:
        case psycopg.DataError() | psycopg.IntegrityError() | errors.ProgramLimitExceeded():
            # No outage: the same value is refused at every try. What the server says of it names the value.
            return ValueRefused(f"{what}: the database refused a value ({type(error).__name__})")
        case errors.QueryCanceled() | errors.LockNotAvailable():
            return StoreBusy(f"{what}: the server did not get to it in time ({said})")
        case errors.SerializationFailure() | errors.DeadlockDetected():
            return StoreBusy(f"{what}: others were first again and again ({said})")
        case errors.DiskFull():
            return StoreDiskFull(f"{what}: the server's disk is full ({said})")
        case errors.ReadOnlySqlTransaction():
            return StoreReadOnly(f"{what}: the server is a standby, or set read-only; connect to the primary ({said})")
        case errors.InsufficientPrivilege():
            return StoreReadOnly(f"{what}: this database role may not do that ({said})")
        case errors.InvalidPassword() | errors.InvalidAuthorizationSpecification():
            return StoreUnavailable(f"{what}: the server does not let this role in ({said})")
        case errors.InvalidCatalogName() | errors.UndefinedTable() | errors.InvalidSchemaName():
            return StoreNotFound(f"{what}: {said}")
        case errors.DataCorrupted() | errors.IndexCorrupted():
            return StoreCorrupt(f"{what}: the server found damage ({said})")
        case _:
            return StoreUnavailable(f"{what}: {type(error).__name__}: {said}")


def _said(error: psycopg.Error) -> str:
    """Return the first line of what was said: those after it may quote a statement or a value."""
    return (error.diag.message_primary or str(error).strip().partition("\n")[0]).removesuffix("\n")
