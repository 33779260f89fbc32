"""
Which tables, and which of their columns, are copied from one database into another.

Not copied are counters, which are counted anew; workers, of which none may be left; and times of the lease clock, which
another database does not share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pillarbox.store.steps.columns import CARRIED_KINDS


class Table(NamedTuple):
    """A table: the columns of its key, in which order it is read, and what each of its columns holds."""

    key: tuple[str, ...]
    columns: Mapping[str, str]


def _table(key: str, columns: str) -> Table:
    return Table(tuple(key.split(", ")), dict(map(str.split, columns.split(","))))


_CARRIED: Final = ", ".join(f"{name} {kind}" for name, kind in CARRIED_KINDS.items())

TABLES: Final[Mapping[str, Table]] = {
    "queue": _table(
        "id",
        "id bigint, tenant text, channel text, paused_at bigint, paused_until bigint, pause_reason text,"
        "paused_by text, strikes integer, reopened_at bigint",
    ),
    "channel_pause": _table(
        "channel", "channel text, paused_at bigint, paused_until bigint, pause_reason text, paused_by text"
    ),
    "pace": _table(
        "channel, recipient", "channel text, recipient text, over_at bigint, rests_until bigint, reason text"
    ),
    "policy": _table("id", "id bigint, spec text"),
    "payload": _table("id", "id bigint, content text, key_id text"),
    "message": _table(
        "seq",
        "seq bigint, id text, queue bigint, state smallint, waiting boolean, due_at bigint,"
        "floating boolean, admitted_seq bigint, claims integer, charged integer, lost integer,"
        "free_returns integer, max_attempts bigint, policy bigint, recipient text,"
        "kind smallint, op smallint, created_at bigint, not_before bigint, expires_at bigint,"
        "claimed_at bigint, completed_at bigint, prepared boolean, part_count bigint, part_next bigint, splitter text,"
        "content text, payload bigint, content_size bigint, receipt text, arrived_at bigint, also_arrived_at bigint,"
        "extra_copies integer, terminal_reason text, error_class text, last_error text, cancel_requested_at bigint,"
        "key text, collapse_key text, group_id text, metadata text,"
        f"replay_of text, token_id text, token_epoch integer, accepted_by bytea, {_CARRIED}",
    ),
    "part": _table(
        "message, number",
        "message bigint, number bigint, state smallint, content text, receipt text, reason text, delivered_at bigint",
    ),
    "blob": _table("digest", "digest bytea, size bigint, content bytea, key_id text"),
    "message_blob": _table("message, digest", "message bigint, digest bytea"),
    "message_key": _table("tenant, key", "tenant text, key text, digest bytea, message_id text, expires_at bigint"),
    "attempt": _table(
        "message, number",
        "message bigint, number bigint, message_id text, part bigint, lease bytea, outcome text, error_class text,"
        "reason text, receipt text, answer text, charged integer, claimed_at bigint, began_at bigint, ended_at bigint,"
        "to_state smallint, due_at bigint, kept boolean, arrived_at bigint",
    ),
    "history": _table(
        "id",
        "id bigint, message bigint, message_id text, at bigint, act text, actor text, from_state smallint,"
        "to_state smallint, reason text",
    ),
    "audit": _table("id", "id bigint, at bigint, actor text, act text, subject text, reason text, detail text"),
    "import_ledger": _table(
        "system, source_id", "system text, source_id text, message_id text, outcome text, at bigint"
    ),
    "recipient_alias": _table("queue, recipient", "queue bigint, recipient text, address text, at bigint"),
    "suppression": _table("queue, recipient", "queue bigint, recipient text, at bigint, reason text"),
    "mirror": _table(
        "id",
        "id bigint, key text, session_key text, text text, media text, message_id text, created_at bigint,"
        "delivered_at bigint, acknowledged_at bigint",
    ),
}
"""In the order in which they are copied: queues first, so that all are paused before anything is in them."""


def statements(named: Mapping[str, str], mark: Callable[[int], str], spelt: Mapping[str, str]) -> dict[str, str]:
    """
    Return the statements that move databases: those that stand for one of each table, and the others as they are.

    Args:
        mark: Makes the placeholder of a number.
        spelt: Columns that this database calls otherwise.
    """
    made = {name: sql for name, sql in named.items() if "{table}" not in sql}
    for table, (key, columns) in TABLES.items():
        names = [spelt.get(name, name) for name in columns]
        pieces = {
            "table": table,
            "key": ", ".join(key),
            "columns": ", ".join(names),
            "typed": ", ".join(f"{name} {kind}" for name, kind in columns.items()),
            "values": ", ".join(mark(number) for number, _ in enumerate(names, start=1)),
            "after": ", ".join(mark(number) for number, _ in enumerate(key, start=1)),
            "limit": mark(len(key) + 1),
        }
        for name, sql in named.items():
            if "{table}" in sql:
                made[f"{name}_{table}"] = _filled(sql, pieces)
    return made


def texts(table: str) -> list[str]:
    """Return which of a table's columns hold text."""
    return [name for name, kind in TABLES[table].columns.items() if kind == "text"]


def _filled(sql: str, pieces: Mapping[str, str]) -> str:
    for name, text in pieces.items():
        sql = sql.replace(f"{{{name}}}", text)
    return sql
