"""
What is looked at of a caller's connection before rows are written through it, and just after.

What it commits must survive, be in the outbox's own tables, and keep nobody else out for longer than the transaction.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pillarbox.errors import Refused, StoreBusy
from pillarbox.store.base import Durability
from pillarbox.store.script import Script
from pillarbox.store.sqlite import opening, shared_guard
from pillarbox.store.sqlite.statements import SCHEMA, STATEMENTS

_NAMED: Final = re.compile(r"^CREATE (?:UNIQUE )?(?:TABLE|INDEX|VIEW|TRIGGER) (\w+)", re.MULTILINE)
OURS: Final = json.dumps(_NAMED.findall(SCHEMA["tables"] + SCHEMA["recipient_counting"] + SCHEMA["sharing"]))
"""The names of what is ours in a file, as JSON."""

_SETTING: Final = "execute `PRAGMA {what}` on each connection when it is made"
_BUSY: Final = (
    "writing in your transaction: another connection holds the database's write lock, and yours does not stand in the"
    " line of those who wait for it: roll back, and do the transaction again from its beginning. Begin with BEGIN"
    " IMMEDIATE, and where many write give the connection a longer timeout (sqlite3.connect(…, timeout=60))"
)
# Of PRAGMA synchronous, by what the outbox promises. With less, a power cut can undo a commit, or damage a shared file,
# which has no write-ahead log.
_FULL: Final = 2  # where a write-ahead log is synced at each commit
_SYNCHRONOUS: Final = {Durability.POWER: (3, "EXTRA"), Durability.PROCESS: (1, "NORMAL")}


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn apsw's errors into ours. Raises StoreError."""
    try:
        with opening.translated("writing in your transaction"):
            yield
    except StoreBusy as exc:
        raise StoreBusy(_BUSY) from exc


def check_names() -> Script[None]:
    """Raise Refused where what is temporary has the name of a table of ours: SQLite would write there, and lose it."""
    hidden = yield STATEMENTS["hidden_names"], (OURS,)
    if hidden:
        names = ", ".join(str(name) for (name,) in hidden)
        raise Refused(
            f"this connection has temporary tables or views named {names}, as tables of the outbox are, and what is"
            " written would go there: drop them, or name them otherwise"
        )


def check_shared(path: Path, durability: Durability) -> Script[None]:
    """Raise Refused for a connection to a shared file whose commits are not safe, or that keeps others out."""
    files = yield STATEMENTS["callers_files"], ()
    others = [name for name, file in files if file and name != "main"]
    if others:
        raise Refused(
            f"another file is attached to this connection ({', '.join(others)}): a transaction over several files"
            " is not safe in every mode of theirs; detach it"
        )
    ((owner, journal, synchronous, locking),) = yield STATEMENTS["callers_pragmas"], ()
    if owner != shared_guard.SHARED_ID:
        raise Refused(f"{path} is no shared file: run `pillarbox db init --shared {path}`")
    if journal != "delete":
        raise Refused(f"this connection's journal mode is {journal}: {_SETTING.format(what='journal_mode = DELETE')}")
    if locking != "normal":
        raise Refused(
            "this connection keeps the file locked between its transactions, and nobody could send: set"
            " PRAGMA locking_mode = NORMAL, and read something"
        )
    least, name = _SYNCHRONOUS[durability]
    if synchronous < least:
        raise Refused(
            "this connection's commits do not wait for the disk as the outbox promises:"
            f" {_SETTING.format(what=f'synchronous = {name}')}"
        )


def check_private(durability: Durability) -> Script[None]:
    """Raise Refused for a connection to the outbox's own file whose commits a power cut can undo."""
    ((_, _, synchronous, _),) = yield STATEMENTS["callers_pragmas"], ()
    if durability is Durability.POWER and synchronous < _FULL:
        raise Refused(
            "this connection's commits do not wait for the disk: set PRAGMA synchronous = FULL before the transaction"
        )


def check_lock(path: Path) -> None:
    """Raise Refused where somebody else could write although a transaction has written to a shared file."""
    if not shared_guard.writes(str(path)):
        raise Refused(
            "this transaction does not have the file's write lock: the connection was opened without locks"
            " (nolock, immutable, another VFS), or something in this process has opened and closed the file"
        )
