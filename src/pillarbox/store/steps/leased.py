"""Reads the rows of leased messages: everything that a send needs, with the content that goes out next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pillarbox.domain.message import Leased, State
from pillarbox.domain.retry import Policy
from pillarbox.store.base import Lapsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.store.base import LapsedBy
    from pillarbox.store.steps.numbers import Numbers
    from pillarbox.store.steps.tx import Reader, Row

_DEAD = State.DEAD.code


def leased(tx: Reader, numbers: Numbers, row: Row) -> Leased:
    """
    Decode a row of the ``LEASED`` columns.

    Raises:
        ValueError, TypeError, msgspec.MsgspecError: Its content is missing, or a value is not what it must be.
    """
    content, payload, part_count, part_next = row[32], row[33], row[21], row[22]
    parts: list[Row] = []
    if part_count > 1:
        content = _first(tx, "part_content", (row[0], part_next))
        parts = tx.many("parts_before", (row[0], part_next))
    elif payload is not None:
        content = _first(tx, "payload_content", (payload,))
    if content is None:
        raise ValueError("its content is missing")
    return _leased(numbers, row, numbers.policy_by_id(row[19]), _octets(content), parts)


def _leased_as_is(tx: Reader, numbers: Numbers, row: Row) -> Leased:
    """Decode a row as far as it can be read: whose lease was lost must be settled even if nobody can send it."""
    try:
        return leased(tx, numbers, row)
    except (ValueError, TypeError, msgspec.MsgspecError):
        return _leased(numbers, row, Policy(), b"", [])


def lapsed(tx: Reader, numbers: Numbers, rows: Sequence[Row], by: LapsedBy, worker: int) -> list[Lapsed]:
    """Decode leases of one worker that nobody holds any more."""
    if not rows:
        return []
    suspect_ms = _first(tx, "last_suspect", (worker,))
    return [Lapsed(message=_leased_as_is(tx, numbers, row), by=by, suspect_ms=suspect_ms) for row in rows]


def _leased(numbers: Numbers, row: Row, policy: Policy, content: bytes, parts: Sequence[Row]) -> Leased:
    metadata = None if row[26] is None else _octets(row[26])
    receipts = tuple(receipt for receipt, _ in parts)
    dead = sum(state == _DEAD for _, state in parts)
    values = (
        *row[:19], policy, row[20] == 1, *row[21:26], metadata, *row[27:32], content, *numbers.queue_name(row[2]),
        receipts, dead, *row[34:36],
    )  # fmt: skip
    return Leased(*values)


def _first(tx: Reader, name: str, bindings: Row) -> Any:  # noqa: ANN401 — a column's value
    row = tx.one(name, bindings)
    return None if row is None else row[0]


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
