"""PostgreSQL's statements by name, and the column lists that they share with the code that decodes their rows."""

from __future__ import annotations

import re
from typing import Final

from pillarbox.store import queries
from pillarbox.store.steps.columns import CARRIED_KINDS, DOUBTS, FRAGMENTS, LEASED, NEW, VIEW, column
from pillarbox.store.steps.endings import Ending
from pillarbox.store.steps.tables import statements

_LEASED: Final = ", ".join(
    {
        # Only a message that was tried before has attempts.
        "first_claimed_ms": "CASE WHEN message.claims > 1 THEN coalesce((SELECT a.claimed_at FROM attempt a"
        " WHERE a.message = message.seq ORDER BY a.number LIMIT 1), message.claimed_at) ELSE message.claimed_at END",
        "bounded_limits": "CASE WHEN message.claims > 1 THEN (SELECT count(*) FROM attempt a"
        " WHERE a.message = message.seq AND a.part = message.part_next AND a.error_class = 'rate_limited_bounded')"
        " ELSE 0 END",
        **{name: f"CASE WHEN message.claims > 1 THEN {doubt} END" for name, doubt in DOUBTS.items()},
    }.get(name, f"message.{column(name)}")
    for name in LEASED
)
_MAYBE_ARRIVED: Final = (
    "EXISTS (SELECT 1 FROM attempt a WHERE a.message = message.seq "
    "AND a.error_class IN ('uncertain', 'worker_lost') AND a.arrived_at IS NULL AND NOT EXISTS "
    "(SELECT 1 FROM part p WHERE p.message = a.message AND p.number = a.part AND p.state = 3))"
)
_CONTENT: Final = "coalesce(message.content, (SELECT p.content FROM payload p WHERE p.id = message.payload))"
_VIEW: Final = {name: f"message.{column(name)}" for name in VIEW} | {
    # Delivered for everybody who looks, although another lease on it has not ended (ST6).
    "state": "CASE WHEN message.state = 1 AND message.arrived_at IS NOT NULL THEN 3 ELSE message.state END",
    "tenant": "queue.tenant",
    "channel": "queue.channel",
    "policy": "policy.spec",
    "content": _CONTENT,
    "worker": "(SELECT w.id FROM worker w WHERE w.slot = message.worker)",
    "completed_ms": "coalesce(message.completed_at, message.arrived_at)",
    "parts_delivered": "(SELECT count(*) FROM part WHERE part.message = message.seq AND part.state = 3)",
    "maybe_arrived": _MAYBE_ARRIVED,
}
_KINDS: Final = {
    **dict.fromkeys(
        ("queue", "policy", "created_ms", "max_attempts", "due_ms", "not_before_ms", "expires_ms"), "bigint"
    ),
    **dict.fromkeys(("part_count", "payload", "content_size", "lease_until", "worker", "claimed_ms"), "bigint"),
    **dict.fromkeys(("kind", "op", "state"), "smallint"),
    **dict.fromkeys(("token_epoch", "claims"), "integer"),
    **dict.fromkeys(("floating", "prepared"), "boolean"),
    **dict.fromkeys(("accepted_by", "lease"), "bytea"),
    **CARRIED_KINDS,
}
"""What the columns of a new message hold; all others hold text."""
_PIECES: Final = FRAGMENTS | {
    "new_types": ", ".join(f"{column(name)} {_KINDS.get(name, 'text')}" for name in NEW),
    "maybe_arrived": _MAYBE_ARRIVED,
    "leased": _LEASED,
    "ended": ", ".join(f"message.{column(name)}" for name in Ending._fields),
    "view": ", ".join(_VIEW.values()),
    "view_list": ", ".join((_VIEW | {"content": "NULL"}).values()),
}
_EACH: Final = re.compile(r"\{each ([^}]+)\}")
_ASKED: Final = re.compile(r"\b(\w+\.(?:seq|id|message|key)) = (asked\.\w+)")


def _columns(asked: re.Match[str]) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind in map(str.split, asked[1].split(","))]


def _arrays(asked: re.Match[str]) -> str:
    """Return what stands for the rows that a statement is run for: one array a column, and their order."""
    columns = _columns(asked)
    arrays = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(columns, 1))
    return f"unnest({arrays}) WITH ORDINALITY AS asked ({', '.join(name for name, _ in columns)}, ord)"


def _load(file: str) -> dict[str, str]:
    pieces = queries.load("postgres", "fragments.sql", _PIECES)
    # Pieces name others, and those name some again.
    for _ in range(2):
        pieces = queries.load("postgres", "fragments.sql", _PIECES | pieces)
    return queries.load("postgres", file, _PIECES | pieces)


_COPY: Final = statements(_load("copy.sql"), "${}".format, {})
_LOADED: Final = _load("write.sql") | _load("read.sql") | _load("driver.sql") | _COPY
# Said so, the planner has only one way: to look up each row in an index. With a plain equality it may go over the whole
# index of a table that was empty when it was last counted, because that costs the same there.
STATEMENTS: Final = {
    name: _ASKED.sub(r"\1 = ANY (ARRAY[\2])", _EACH.sub(_arrays, sql)) for name, sql in _LOADED.items()
}
SETS: Final = {
    name: tuple(kind for _, kind in _columns(asked))
    for name, sql in _LOADED.items()
    if (asked := _EACH.search(sql)) is not None
}
"""Statements that are run for many rows at once: what each of their columns holds."""
ONE_ROW_EACH: Final = frozenset(
    name for name in SETS if STATEMENTS[name].startswith(("UPDATE", "DELETE")) and "GROUP BY" not in STATEMENTS[name]
)
"""Those among them that change a row once, however often it is asked for."""
SCHEMA: Final = queries.load("postgres", "schema.sql")
