"""
What an application's own connection is: the driver's connection in it, and whether its transaction is open.

No library is loaded here: a connection can only be of one that is loaded already.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from pillarbox.errors import Refused

_ALIVE: Final = "SELECT 1"


def is_a(thing: object, module: str, *names: str) -> bool:
    """Whether *thing* is of one of these classes of a module."""
    loaded = sys.modules.get(module)
    kinds = tuple(kind for name in names if isinstance(kind := getattr(loaded, name, None), type))
    return isinstance(thing, kinds)


def drivers(connection: Any) -> Any:  # noqa: ANN401 — of any library
    """
    Return the driver's connection inside one that blocks, with that library's transaction begun.

    Raises:
        Refused: A Django connection outside ``transaction.atomic()``.
    """
    if is_a(connection, "sqlalchemy.orm", "scoped_session"):
        connection = connection()
    if is_a(connection, "sqlalchemy.orm", "Session"):
        connection = connection.connection()
    if is_a(connection, "sqlalchemy", "Connection"):
        # Its own statement begins its transaction: it would not commit one of which it knows nothing.
        connection.exec_driver_sql(_ALIVE)
        return connection.connection.driver_connection
    if is_a(connection, "django.db.backends.base.base", "BaseDatabaseWrapper") or is_a(
        connection, "django.utils.connection", "ConnectionProxy"
    ):
        if not connection.in_atomic_block:
            raise Refused("no transaction is open on this connection: call it inside `with transaction.atomic():`")
        connection.validate_no_broken_transaction()
        connection.ensure_connection()
        return connection.connection
    return connection


async def awaited_drivers(connection: Any) -> Any:  # noqa: ANN401 — of any library
    """As `drivers`, of one that may be awaited."""
    if is_a(connection, "sqlalchemy.ext.asyncio", "async_scoped_session"):
        connection = connection()
    if is_a(connection, "sqlalchemy.ext.asyncio", "AsyncSession"):
        connection = await connection.connection()
    if is_a(connection, "sqlalchemy.ext.asyncio", "AsyncConnection"):
        await connection.exec_driver_sql(_ALIVE)
        return (await connection.get_raw_connection()).driver_connection
    return drivers(connection)


def unknown(connection: object, known: str) -> Refused:
    """Return the error for a connection of which nothing is known here."""
    kind = type(connection)
    return Refused(f"a {kind.__module__}.{kind.__qualname__} is no connection to this database: expected {known}")


def outside(begin: str) -> Refused:
    """Return the error for a connection that commits each statement by itself; *begin* opens a transaction there."""
    return Refused(
        "no transaction is open on this connection, and it would commit each statement by itself: open one before the"
        f" call, as with `{begin}`"
    )
