"""
SQLite's statements by name, and the column lists that they share with the code that decodes their rows.

A statement with ``{given}`` in it may be run for many rows of bindings at once: then ``{given}`` is the table of these
rows, and ``?3`` a column of it. For one row there is no such table.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from pillarbox.store import queries
from pillarbox.store.steps.columns import DOUBTS, FRAGMENTS, LEASED, VIEW, column
from pillarbox.store.steps.endings import Ending
from pillarbox.store.steps.tables import statements, texts

_LEASED: Final = ", ".join(
    {
        # Only a message that was tried before has attempts.
        "first_claimed_ms": "iif(message.claims > 1, coalesce((SELECT a.claimed_at FROM attempt a "
        "WHERE a.message = message.seq ORDER BY a.number LIMIT 1), message.claimed_at), message.claimed_at)",
        "bounded_limits": "iif(message.claims > 1, (SELECT count(*) FROM attempt a WHERE a.message = message.seq "
        "AND a.part = message.part_next AND a.error_class = 'rate_limited_bounded'), 0)",
        **{name: f"iif(message.claims > 1, {doubt}, NULL)" for name, doubt in DOUBTS.items()},
    }.get(name, f"message.{column(name)}")
    for name in LEASED
)
_ENDED: Final = ", ".join(f"message.{column(name)}" for name in Ending._fields)

_MAYBE_ARRIVED: Final = (
    "EXISTS (SELECT 1 FROM attempt a WHERE a.message = message.seq "
    "AND a.error_class IN ('uncertain', 'worker_lost') AND a.arrived_at IS NULL AND NOT EXISTS "
    "(SELECT 1 FROM part p WHERE p.message = a.message AND p.number = a.part AND p.state = 3))"
)

_VIEW: Final = ", ".join(
    {
        # Delivered for everybody who looks, although another lease on it has not ended (ST6).
        "state": "iif(message.state = 1 AND message.arrived_at IS NOT NULL, 3, message.state)",
        "tenant": "queue.tenant",
        "channel": "queue.channel",
        "policy": "policy.spec",
        "content": "coalesce(message.content, (SELECT p.content FROM payload p WHERE p.id = message.payload))",
        "worker": "(SELECT w.id FROM worker w WHERE w.slot = message.worker)",
        "completed_ms": "coalesce(message.completed_at, message.arrived_at)",
        "parts_delivered": "(SELECT count(*) FROM part WHERE part.message = message.seq AND part.state = 3)",
        "maybe_arrived": _MAYBE_ARRIVED,
    }.get(name, f"message.{column(name)}")
    for name in VIEW
)
_VIEW_LIST: Final = _VIEW.replace(
    "coalesce(message.content, (SELECT p.content FROM payload p WHERE p.id = message.payload))", "NULL"
)


# As bytes, and made readable. The content may be bytes by right.
_TEXTS: Final = {name: f"CAST({name} AS BLOB)" for name in texts("message") if name != "content"}
_MESSAGE_TEXTS: Final = {
    "message_texts": ", ".join(_TEXTS.values()),
    "message_mended": ", ".join(f"{name} = as_text({octets})" for name, octets in _TEXTS.items()),
}


_PIECES: Final = queries.load("sqlite", "fragments.sql")
_FRAGMENTS: Final = {
    **FRAGMENTS,
    **queries.load("sqlite", "fragments.sql", _PIECES),
    "maybe_arrived": _MAYBE_ARRIVED,
    "ended": _ENDED,
    "ended_returned": _ENDED.replace("message.", ""),
    "view": _VIEW,
    "view_list": _VIEW_LIST,
}
# Without a table name, for RETURNING, which knows only the table that is written.
_WRITE: Final = queries.load("sqlite", "write.sql", {**_FRAGMENTS, "leased": _LEASED.replace("message.", "")})
_GIVEN: Final = "{given}"
_MARK: Final = re.compile(r"\?(\d+)")
_RETURNING: Final = re.compile(r"\sRETURNING .*\Z")
WRITE: Final = {name: sql.replace(_GIVEN, "") for name, sql in _WRITE.items()}
READ: Final = queries.load("sqlite", "read.sql", {**_FRAGMENTS, "leased": _LEASED})
SCHEMA: Final = queries.load("sqlite", "schema.sql", _FRAGMENTS)
DAMAGE: Final = queries.load("sqlite", "damage.sql", _FRAGMENTS | _MESSAGE_TEXTS)
DRIVER: Final = queries.load("sqlite", "driver.sql")
_COPY: Final = statements(queries.load("sqlite", "copy.sql"), "?{}".format, {"kept": "full"})
STATEMENTS: Final = WRITE | READ | DAMAGE | DRIVER | _COPY
FOR_MANY: Final = frozenset(name for name, sql in _WRITE.items() if _GIVEN in sql)
"""Statements that may be run for many rows at once."""


@functools.cache
def text(name: str, rows: int = 1, *, returning: bool = True) -> str:
    """
    Return a statement for so many rows of bindings, one after the other; more than one: see `FOR_MANY`.

    Args:
        returning: Whether it returns what it says; that costs SQLite a table of its own each time.
    """
    sql = STATEMENTS[name] if rows == 1 else _WRITE[name]
    sql = sql if returning else _RETURNING.sub("", sql)
    if rows == 1:
        return sql
    width = max(int(number) for number in _MARK.findall(sql))
    row = f"({', '.join('?' * width)})"
    # With the plus SQLite cannot look up given rows, and so goes from each of them to the table's.
    return _MARK.sub(r"+given.column\1", sql).replace(_GIVEN, f"FROM (VALUES {', '.join([row] * rows)}) given")
