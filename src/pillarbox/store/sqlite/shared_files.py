"""
Makes shared files: those that applications open with a SQLite library of their own, beside tables of their own.

Such a file is marked (its application_id), stays in rollback journal mode, which is safe with every library, and has a
view for programs in any language.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

from pillarbox.errors import StoreBusy, StoreNotFound, StoreUnsafe
from pillarbox.store.sqlite import migrations, opening, shared_guard
from pillarbox.store.sqlite.callers_connection import OURS
from pillarbox.store.sqlite.shared_guard import SHARED_ID
from pillarbox.store.sqlite.statements import DRIVER, SCHEMA

_IN_USE: Final = "{path} is in use: stop every program that has it open, and try again"


def share(path: Path) -> bool:
    """
    Make a shared file: a new one, of an application's own database, or of an outbox; what is in it stays.

    Only where no other program has it open. What was a shared file is put into its journal mode again.

    Returns:
        Whether it was none before.

    Raises:
        StoreUnsafe: It is another kind of file, or a table in it has a name that ours needs.
        StoreBusy: Something has it open.
        StoreError: As `opening.prepare_file` and `opening.prepare_schema`.
    """
    opening.check_library()
    opening.prepare_file(path, create=True)
    place = os.path.abspath(path)  # noqa: PTH100 — `Path.resolve` would follow links
    shared_guard.refuse_others(place)
    with opening.translated("making a shared file", path=place):
        connection = apsw.Connection(place, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(opening.BUSY_MS)
            return _share(connection, path)
        finally:
            connection.close()


def _share(connection: apsw.Connection, path: Path) -> bool:
    owner: int = connection.pragma("application_id")
    if owner not in {0, opening.APPLICATION_ID, SHARED_ID}:
        raise StoreUnsafe(
            f"{path} is marked as a file of another program (application_id {owner}): name a file of your own"
        )
    encoding: str = connection.pragma("encoding")
    if encoding != "UTF-8":
        # What is counted and compared as bytes would be other bytes, and the view of others would refuse everything.
        raise StoreUnsafe(f"{path} keeps its text as {encoding}, and the outbox needs UTF-8: share another file")
    if connection.pragma("journal_mode", "delete") != "delete":
        raise StoreBusy(_IN_USE.format(path=path))
    connection.pragma("synchronous", "extra")
    connection.execute(DRIVER["begin_alone"])
    try:
        if owner == 0:
            _check_names(connection, path)
            migrations.create(connection)
        else:
            migrations.migrate(connection)
        if owner != SHARED_ID:
            connection.execute(SCHEMA["sharing"])
            connection.pragma("application_id", SHARED_ID)
        connection.execute(DRIVER["commit"])
    except BaseException:
        if connection.in_transaction:
            connection.execute(DRIVER["rollback"])
        raise
    return owner != SHARED_ID


def _check_names(connection: apsw.Connection, path: Path) -> None:
    taken = [name for (name,) in connection.execute(SCHEMA["taken_names"], (OURS,))]
    if taken:
        raise StoreUnsafe(
            f"{path} has tables, indexes or views of its own that are named {', '.join(taken)}, which the outbox needs:"
            " rename them, or share another file"
        )


def check_exists(path: Path) -> None:
    """Raise StoreNotFound where there is no such file: whoever opens a shared one does not make it."""
    if not path.exists():
        raise StoreNotFound(f"no database at {path}: make it with `pillarbox db init --shared {path}`")
