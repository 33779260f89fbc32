"""Reads the rows of leased messages: everything that a send needs, with the content that goes out next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pillarbox.domain.envelope import KINDS, OPS
from pillarbox.domain.ids import LeaseId
from pillarbox.domain.message import Admission, Draft, Leased, State
from pillarbox.domain.retry import Policy
from pillarbox.store.base import Lapsed, LapsedBy
from pillarbox.store.steps.columns import LEASED, envelope
from pillarbox.store.steps.endings import Ending
from pillarbox.store.steps.numbers import Numbers
from pillarbox.store.steps.tx import Reader, Row

_DEAD = State.DEAD.code


def leased(tx: Reader, numbers: Numbers, row: Row, *, as_is: bool = False) -> Leased:
    """
    Decode a row of the ``LEASED`` columns.

    Args:
        as_is: As far as it can be read.

    Raises:
        ValueError, TypeError, IndexError, msgspec.MsgspecError: Its content is missing, or a value is not what it must
            be.
    """
    (
        identity, queue, recipient, policy, created_ms, max_attempts, kind, op, metadata, seq, lease, due_ms,
        expires_ms, claims, charged, lost, prepared, part_count, part_next, token_id, token_epoch, claimed_ms,
        first_claimed_ms, content_size, free_returns, accepted_by, bounded_limits, maybe_sent_ms, undecided_ms, content,
        payload, _, *carried,
    ) = row  # fmt: skip
    receipts: tuple[str | None, ...] = ()
    parts_dead = 0
    if as_is:
        content, spec = b"", Policy()
    else:
        if part_count > 1:
            content = _first(tx, "part_content", (seq, part_next))
            before = tx.many("parts_before", (seq, part_next))
            receipts = tuple(receipt for receipt, _ in before)
            parts_dead = sum(state == _DEAD for _, state in before)
        elif payload is not None:
            content = _first(tx, "payload_content", (payload,))
        if content is None:
            raise ValueError("its content is missing")
        spec = numbers.policy_by_id(policy)
    tenant, channel = numbers.queue_name(queue)
    values = (
        identity, tenant, channel, recipient, spec, created_ms, max_attempts, KINDS[kind], OPS[op],
        None if metadata is None else _octets(metadata), *carried, seq, queue, lease, due_ms, expires_ms, claims,
        charged, lost, prepared == 1, part_count, part_next, token_id, token_epoch, claimed_ms, first_claimed_ms,
        content_size, free_returns, accepted_by, bounded_limits, maybe_sent_ms, undecided_ms, _octets(content),
        receipts, parts_dead,
    )  # fmt: skip
    return Leased(*values)


def as_stored(
    d: Draft,
    lease: LeaseId,
    *,
    seq: int,
    queue: int,
    recipient: str,
    size: int,
    admission: Admission | None,
    claimed_ms: int,
) -> Leased:
    """Return what `leased` would read of a message that was stored with its first lease."""
    parts = () if admission is None else admission.parts
    identity, tenant, channel, _, *more = envelope(d)
    values = (
        identity, tenant, channel, recipient, *more, seq, queue, lease, d.due_ms, d.expires_ms, 1, 0, 0,
        admission is not None, len(parts) or 1, 0, d.token_id, d.token_epoch, claimed_ms, claimed_ms, size, 0,
        d.accepted_by, 0, None, None, parts[0] if len(parts) > 1 else d.content,
    )  # fmt: skip
    return Leased(*values)


def in_order(message: Leased) -> tuple[int, int, int]:
    """Return the key to sort by what was claimed."""
    return -message.priority, message.due_ms, message.seq


def ending(row: Row, *, charged: int) -> Ending:
    """Return what is reported of a message that ended, from a row of the ``LEASED`` columns; *charged* is added."""
    values = dict(zip(LEASED, row, strict=True))
    told = {name: values[name] for name in Ending._fields}
    return Ending(**told | {"charged": values["charged"] + charged})


def lapsed(tx: Reader, numbers: Numbers, *, gone: Callable[[int], bool], lease_now: int, limit: int) -> list[Lapsed]:
    """
    Read leases that have lost their holder, in one snapshot.

    Args:
        gone: Whether a worker surely runs no more; then its leases have lost their holder.
        lease_now: The time of the clock by which leases are judged.
    """
    found: list[Lapsed] = []
    for (worker,) in tx.many("leased_workers"):
        left = limit - len(found)
        if left <= 0:
            break
        by: LapsedBy = "owner" if gone(worker) else "time"
        if by == "owner":
            rows = tx.many("lapsed_by_owner", (worker, left, 0))
            rows += tx.many("lapsed_by_owner", (worker, left - len(rows), 1))
        else:
            rows = tx.many("lapsed_by_time", (worker, lease_now, left))
        suspect_ms = _first(tx, "last_suspect", (worker,)) if rows else None
        found += [Lapsed(message=_as_far_as_it_goes(tx, numbers, row), by=by, suspect_ms=suspect_ms) for row in rows]
    return found


def _as_far_as_it_goes(tx: Reader, numbers: Numbers, row: Row) -> Leased:
    """Decode a row: a message whose lease was lost must be settled even if it cannot be sent."""
    try:
        return leased(tx, numbers, row)
    except (ValueError, TypeError, IndexError, msgspec.MsgspecError):
        return leased(tx, numbers, row, as_is=True)


def _first(tx: Reader, name: str, bindings: Row) -> Any:  # noqa: ANN401 — a column's value
    row = tx.one(name, bindings)
    return None if row is None else row[0]


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
