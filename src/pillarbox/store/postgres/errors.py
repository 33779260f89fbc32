"""What the server's errors mean to us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import errors

from pillarbox.errors import (
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
