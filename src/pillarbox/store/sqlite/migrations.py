"""
The schema's versions. Forward only; each step runs inside the transaction that records it.

``version`` is the newest step applied; ``usable_from`` the oldest code that may still work on the file, so that
machines can be upgraded one by one: code older than that refuses, code between works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import apsw

from pillarbox.errors import StoreCorrupt, StoreTooNew, StoreTooOld
from pillarbox.store.sqlite.statements import READ, SCHEMA

Step = Callable[[apsw.Connection], None]

VERSION: Final = 2
USABLE_FROM: Final = 1


def _to_version_2(connection: apsw.Connection) -> None:
    connection.execute(SCHEMA["version_2"])


# Step n brings a file from version n to n + 1.
STEPS: Final[Mapping[int, Step]] = {1: _to_version_2}


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
        StoreTooNew: The file's ``usable_from`` is above what this code knows.
        StoreTooOld: It is older, and *forward* is false.
        StoreCorrupt: The file does not say what it is.
    """
    try:
        meta: dict[Any, Any] = {row[0]: row[1] for row in connection.execute(READ["meta"])}
        found, needed = int(meta["version"]), int(meta["usable_from"])
    except (KeyError, ValueError, TypeError, apsw.SQLError) as exc:
        raise StoreCorrupt("the database does not say which schema it has") from exc
    if needed > version:
        raise StoreTooNew(
            f"the database has schema {found}, usable from {needed}; this pillarbox knows {version}: upgrade it"
        )
    if found >= version:
        return
    if not forward:
        raise StoreTooOld(
            f"the database has schema {found}, this pillarbox works on {version}: start a worker or your application"
            " once, which brings it up to date"
        )
    for step in range(found, version):
        steps[step](connection)
    _record(connection, version, max(needed, usable_from))


def _record(connection: apsw.Connection, version: int, usable_from: int) -> None:
    connection.executemany(SCHEMA["record"], [("version", str(version)), ("usable_from", str(usable_from))])
