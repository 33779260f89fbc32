"""
The schema's versions. Forward only; each step runs inside the transaction that records it.

A step is a block of ``schema.sql``, named for the version that it brings a file to; which version this code knows
follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Final

import apsw

from pillarbox.store.schema_version import steps_in, steps_to
from pillarbox.store.sqlite.statements import READ, SCHEMA

Step = Callable[[apsw.Connection], object]

USABLE_FROM: Final = 1
# Step n brings a file from version n to n + 1.
STEPS: Final[Mapping[int, Step]] = {n: methodcaller("execute", sql) for n, sql in steps_in(SCHEMA).items()}
VERSION: Final = len(STEPS) + 1


def create(connection: apsw.Connection) -> None:
    """Make every table in an empty file."""
    connection.execute(SCHEMA["tables"])
    _record(connection, VERSION, USABLE_FROM)


def migrate(
    connection: apsw.Connection,
    *,
    version: int = VERSION,
    usable_from: int = USABLE_FROM,
    steps: Mapping[int, Step] = STEPS,
    forward: bool = True,
) -> None:
    """
    Bring an older file up to date; leave a newer one that still allows this code as it is.

    Args:
        version: What this code knows.
        usable_from: The oldest code that may work on a file that was brought to *version*.
        steps: Step n brings a file from version n to n + 1.
        forward: Whether an older file is brought up to date; commands that look or order leave that to who starts to
            work (contract SG2).

    Raises:
        StoreTooNew, StoreTooOld, StoreCorrupt: As `schema_version.steps_to`.
    """
    try:
        meta: dict[str, str] = {row[0]: row[1] for row in connection.execute(READ["meta"])}
    except apsw.SQLError:
        meta = {}
    due, needed = steps_to(version, meta, forward=forward, who="start a worker or your application once")
    if not due:
        return
    for step in due:
        steps[step](connection)
    _record(connection, version, max(needed, usable_from))


def _record(connection: apsw.Connection, version: int, usable_from: int) -> None:
    connection.executemany(SCHEMA["record"], [("version", str(version)), ("usable_from", str(usable_from))])
