"""
One transaction each of a copy: what pauses the database that is copied, and what fills the one that it is copied into.

How far a copy came is written by the transaction that came so far. So one that was ended goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from pillarbox.errors import Refused
from pillarbox.store.steps import labels
from pillarbox.store.steps.kept import hand_on
from pillarbox.store.steps.tables import TABLES
from pillarbox.store.steps.tx import Row, Tx

ACTOR: Final = "pillarbox db copy"
_REASON: Final = "copied to another database, which goes on with it"
_PROGRESS: Final = "copy"
_PAUSES: Final = "copy_pauses"
_HEIR: Final = "copied_to"
_QUEUES_MAX: Final = 1_000_000
_LOWEST: Final[dict[str, Any]] = {"bigint": -1, "text": "", "bytea": b""}
_AT: Final = list(TABLES["queue"].columns).index("paused_at")


class Pause(NamedTuple):
    """How a queue was paused, in the order of its columns."""

    at_ms: int | None
    until_ms: int | None
    reason: str | None
    by: str | None


Pauses = dict[int, Pause]
"""How each queue was paused before a copy paused it."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """
    How far the copy of a database came.

    Attributes:
        source: That database's own key, by which it is known.
        table: All before it is copied. After the last one everything is.
        after: The key of this table's last row that is.
    """

    source: str
    table: str
    after: tuple[Any, ...]
    done: bool = False


def key_of_database(tx: Tx) -> str:
    """Return by what a database is known, wherever it is."""
    ((key,),) = tx.many("meta_value", ("log_key",))
    return str(key)


def pause(tx: Tx, now_ms: int, target: str) -> tuple[Pauses, bool]:
    """
    Pause every queue, and return how each was before, and whether something is being sent all the same.

    Raises:
        Refused: Another database than *target* goes on with what is in this one.
    """
    row = tx.one("meta_value", (_PAUSES,))
    before = msgspec.json.decode(row[0], type=Pauses) if row else {}
    found = {row[0]: Pause(*row[_AT : _AT + 4]) for row in tx.many("copy_rows_queue", (-1, _QUEUES_MAX))}
    others = {number: how for number, how in found.items() if how.by != ACTOR}
    heir = tx.one("meta_value", (_HEIR,))
    if heir is not None and heir[0] != target and len(others) < len(found):
        raise Refused(
            "it was copied to another database, which goes on with it: copy that one. Where that one is gone and sent"
            " nothing, resume every channel of this one first"
        )
    if others:
        before |= others
        tx.many("meta_set", (_PAUSES, msgspec.json.encode(before).decode()))
        tx.each("copy_pause", [(number, now_ms, None, _REASON, ACTOR) for number in others])
    return before, bool(tx.many("leased_workers"))


def hand_over(tx: Tx, target: str) -> None:
    """Note which database goes on, before it does."""
    tx.many("meta_set", (_HEIR, target))


def begin(tx: Tx, source: str) -> Progress:
    """
    Return how far the copy of *source* came.

    Raises:
        Refused: Something else is in this database, or it is *source* itself.
    """
    row = tx.one("meta_value", (_PROGRESS,))
    if row is not None:
        progress = msgspec.json.decode(row[0], type=Progress)
        if progress.source != source:
            raise Refused("another database was copied there; name one that is empty")
        return progress
    full = [name for name in TABLES if rows(tx, name, first(name), limit=1)]
    if full:
        raise Refused(f"there is something in it already ({', '.join(full)}); name a database that is empty")
    if key_of_database(tx) == source:
        raise Refused("this is one and the same database; name another one, which is empty")
    table = next(iter(TABLES))
    progress = Progress(source=source, table=table, after=_stored(first(table)))
    _note(tx, progress)
    return progress


def first(table: str) -> Row:
    """Return a key that is below all of a table's."""
    key, columns = TABLES[table]
    return tuple(_LOWEST[columns[name]] for name in key)


def after(progress: Progress) -> Row:
    """Return the key behind which a copy goes on."""
    key, columns = TABLES[progress.table]
    kinds = [columns[name] for name in key]
    return tuple(
        bytes.fromhex(value) if kind == "bytea" else value for value, kind in zip(progress.after, kinds, strict=True)
    )


def rows(tx: Tx, table: str, behind: Row, *, limit: int) -> list[Row]:
    """Return a table's next rows; of files one at a time, since each may be as large as a message's files together."""
    limit = 1 if table == "blob" else limit
    return [
        tuple(int(value) if isinstance(value, bool) else value for value in row)
        for row in tx.many(f"copy_rows_{table}", (*behind, limit))
    ]


def key_of(table: str, row: Row) -> Row:
    """Return the key of a table's row."""
    key, columns = TABLES[table]
    names = list(columns)
    return tuple(row[names.index(name)] for name in key)


def put(tx: Tx, progress: Progress, given: Sequence[Row]) -> Progress:
    """
    Write the next rows, and how far that is; none are left where none are given.

    Raises:
        Refused: Somebody else brought this copy further meanwhile.
    """
    row = tx.one("meta_value", (_PROGRESS,))
    if row is None or msgspec.json.decode(row[0], type=Progress) != progress:
        raise Refused("somebody else copies into it at the same time")
    if given:
        tx.each(f"copy_put_{progress.table}", given)
        further = msgspec.structs.replace(progress, after=_stored(key_of(progress.table, given[-1])))
    else:
        tables = list(TABLES)
        place = tables.index(progress.table) + 1
        if place == len(tables):
            return progress
        further = msgspec.structs.replace(progress, table=tables[place], after=_stored(first(tables[place])))
    _note(tx, further)
    return further


def finish(tx: Tx, progress: Progress, pauses: Pauses, label: str | None, kept: list[tuple[str, str]]) -> None:
    """Count what was copied, and let its queues go on as they were before they were paused for that."""
    labels.hand_on(tx, label)
    hand_on(tx, kept)
    tx.each("tally_add", tx.many("check_tally"))
    tx.many("copy_sequences")
    tx.each("copy_pause", [(number, *how) for number, how in sorted(pauses.items())])
    tx.many("meta_set", ("log_key", progress.source))
    _note(tx, msgspec.structs.replace(progress, done=True))


def _note(tx: Tx, progress: Progress) -> None:
    tx.many("meta_set", (_PROGRESS, msgspec.json.encode(progress).decode()))


def _stored(key: Row) -> Row:
    return tuple(value.hex() if isinstance(value, bytes) else value for value in key)
