"""SQLite's statements by name, and the column lists that they share with the code that decodes their rows."""

from __future__ import annotations

from typing import Final

from pillarbox.store import queries
from pillarbox.store.steps.columns import FRAGMENTS, LEASED, VIEW, column
from pillarbox.store.steps.endings import Ending

_LEASED: Final = ", ".join(
    {
        # Only a message that was tried before has attempts.
        "bounded_limits": "iif(message.claims > 1, (SELECT count(*) FROM attempt a WHERE a.message = message.seq "
        "AND a.part = message.part_next AND a.error_class = 'rate_limited_bounded'), 0)",
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
WRITE: Final = queries.load("sqlite", "write.sql", {**_FRAGMENTS, "leased": _LEASED.replace("message.", "")})
READ: Final = queries.load("sqlite", "read.sql", {**_FRAGMENTS, "leased": _LEASED})
SCHEMA: Final = queries.load("sqlite", "schema.sql")
DAMAGE: Final = queries.load("sqlite", "damage.sql")
STATEMENTS: Final = WRITE | READ | DAMAGE
