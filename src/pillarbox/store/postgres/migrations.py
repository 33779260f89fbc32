"""
Makes the schema, and brings it up to date. Forward only; each step runs inside the transaction that records it.

A step is a block of ``schema.sql``, named for the version that it brings a schema to; which version this code knows
follows from them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from operator import methodcaller
from typing import Any, Final

import psycopg
from psycopg import errors

from pillarbox.errors import StoreCorrupt, StoreNotFound, StoreReadOnly, StoreUnsafe
from pillarbox.store.postgres.connection import ServerConnection, Session
from pillarbox.store.postgres.errors import STANDBY
from pillarbox.store.postgres.statements import SCHEMA, STATEMENTS
from pillarbox.store.schema_version import steps_in, steps_to

Step = Callable[["psycopg.Connection[Any]"], object]

USABLE_FROM: Final = 3
# Step n brings a schema from version n to n + 1.
STEPS: Final[Mapping[int, Step]] = {n: methodcaller("execute", sql) for n, sql in steps_in(SCHEMA).items()}
VERSION: Final = len(STEPS) + 1
_STEP_SECONDS: Final = 3600.0
"""How long a step may take: it may read all of a table, and make indexes of it."""
_TAKEN: Final = (errors.DuplicateTable, errors.DuplicateFunction, errors.DuplicateObject)


def prepare(
    session: Session,
    schema: str,
    *,
    create: bool,
    forward: bool = False,
    version: int = VERSION,
    usable_from: int = USABLE_FROM,
    steps: Mapping[int, Step] = STEPS,
) -> None:
    """
    Make or migrate the schema.

    Args:
        create: Whether a missing one is made; commands that look or order say no.
        forward: Whether an older one is brought up to date: only where somebody orders that (contract SG2). Whoever
            restarts one program of many would change the tables of all of them.
        version: What this code knows.
        usable_from: The oldest code that may work on a schema that was brought to *version*.
        steps: Step n brings a schema from version n to n + 1.

    Raises:
        StoreNotFound: It is missing, and *create* is false.
        StoreReadOnly: The server is a standby, sessions are read-only, or this role may not make it.
        StoreUnsafe: The database does not hold every text.
        StoreTooNew, StoreTooOld, StoreCorrupt: As `schema_version.steps_to`; or the schema is another program's.
    """
    connection = session.connection
    # In transactions, what only looks too: behind a pooler nothing says outside of one in which schema we are.
    with session.transaction():
        there = _there(connection, schema, create=create)
        if there and not _steps(connection, version, forward=forward)[0]:
            return
    if not there:
        try:
            with session.transaction():
                _make(connection, schema, version, usable_from)
        except StoreCorrupt:
            # What has our tables' names may be ours: somebody else has just made them.
            with session.transaction():
                if not _there(connection, schema, create=create):
                    raise
    with session.transaction(), _patience(connection):
        connection.execute(SCHEMA["schema_lock"])
        due, needed = _steps(connection, version, forward=forward)
        for step in due:
            steps[step](connection)
        if due:
            _record(connection, version, max(needed, usable_from))


@contextlib.contextmanager
def _patience(connection: ServerConnection) -> Iterator[None]:
    before, connection.answer_seconds = connection.answer_seconds, _STEP_SECONDS
    try:
        yield
    finally:
        connection.answer_seconds = before


def _steps(connection: psycopg.Connection[Any], version: int, *, forward: bool) -> tuple[range, int]:
    return steps_to(version, _meta(connection), forward=forward, who="let its owner run `pillarbox db migrate`")


def _there(connection: psycopg.Connection[Any], schema: str, *, create: bool) -> bool:
    """Whether our tables are there."""
    ((_, meta, message, encoding, standby, read_only),) = connection.execute(SCHEMA["schema_known"], (schema,))
    if encoding != "UTF8":
        raise StoreUnsafe(f"the database is encoded in {encoding}, which does not hold every text: make one in UTF8")
    if standby:
        raise StoreReadOnly(STANDBY)
    if read_only == "on":
        raise StoreReadOnly(
            "sessions here are set read-only (default_transaction_read_only), by the server, the database, the role or"
            " the URL"
        )
    if message and not meta:
        raise _foreign(schema)
    if not meta and not create:
        raise StoreNotFound(
            f"the database has no schema {schema} of pillarbox's: start a worker or your application once, which makes"
            " it"
        )
    return bool(meta)


def _foreign(schema: str) -> StoreCorrupt:
    return StoreCorrupt(f"the schema {schema} is another program's; choose a name of its own (?schema=NAME)")


def _make(connection: psycopg.Connection[Any], schema: str, version: int, usable_from: int) -> None:
    try:
        connection.execute(SCHEMA["schema_make"].replace("{schema}", schema))
        connection.execute(SCHEMA["tables"])
    except errors.InsufficientPrivilege as exc:
        raise StoreReadOnly(f"this database role may not make the schema {schema}, nor tables in it") from exc
    except _TAKEN as exc:
        raise _foreign(schema) from exc
    _record(connection, version, usable_from)


def _meta(connection: psycopg.Connection[Any]) -> dict[str, str]:
    try:
        return dict(connection.execute(STATEMENTS["meta"]).fetchall())
    except errors.UndefinedColumn as exc:
        raise StoreCorrupt("the schema is another program's") from exc


def _record(connection: psycopg.Connection[Any], version: int, usable_from: int) -> None:
    for name, value in (("version", version), ("usable_from", usable_from)):
        connection.execute(SCHEMA["record"], (name, str(value)))


def script(schema: str) -> str:
    """Return the SQL that makes the schema and the roles for it, in one transaction."""
    pieces = {"version": str(VERSION), "usable_from": str(USABLE_FROM), "schema": schema}
    sql = SCHEMA["script"].replace("{tables}", SCHEMA["tables"]).replace("{roles}", SCHEMA["roles"])
    for name, text in pieces.items():
        sql = sql.replace(f"{{{name}}}", text)
    return sql


def count_recipients(session: Session) -> None:
    """Count each recipient's messages from now on, if nobody asked for that before."""
    connection = session.connection
    with session.transaction():
        if connection.execute(STATEMENTS["recipients_counted"]).fetchall():
            return
        connection.execute(SCHEMA["schema_lock"])
        if not connection.execute(STATEMENTS["recipients_counted"]).fetchall():
            connection.execute(SCHEMA["recipient_counting"])
