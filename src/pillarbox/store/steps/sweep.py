"""Ends and deletes by time: messages past their TTL, those whose process is gone, and what was kept long enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.domain.message import FIRST_TERMINAL, STATES, State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import ABANDON_MAX, Ended, Prune
from pillarbox.store.steps import mirror

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.store.steps.tx import Row
    from pillarbox.store.steps.writing import Writing

_SCHEDULED = State.SCHEDULED.code


def expire(tx: Writing, limit: int) -> list[Ended]:
    """End scheduled messages whose time is over, waiting ones too; never one under a live lease (EX3)."""
    return [ended(tx, row, State.EXPIRED, Reason.EXPIRED) for row in tx.many("expire", (tx.now, limit))]


def abandon(tx: Writing, acceptors: Sequence[bytes]) -> list[Ended]:
    """End what was accepted by processes that are gone, and must not be sent by anybody else (DK1)."""
    return [
        ended(tx, row, State.DEAD, Reason.NON_FINAL)
        for acceptor in acceptors
        for row in tx.many("abandon", (acceptor, ABANDON_MAX, tx.now))
    ]


def ended(tx: Writing, row: Row, state: State, reason: Reason, *, before: int | None = _SCHEDULED) -> Ended:
    """
    Tell of a message that ended without an attempt, and count it into its end.

    Args:
        row: The ``ended`` columns.
        before: The state that it was in; ``None`` where it is counted already.
    """
    seq, identity, queue, recipient, origin, correlation_id, created, claims, charged, size, lane, part_count = row
    if before is not None:
        tx.move(queue, before, state.code, size)
        tx.leave_lane(lane)
    tenant, channel = tx.numbers.queue_name(queue)
    return Ended(
        id=identity,
        queue=queue,
        state=state,
        reason=reason,
        tenant=tenant,
        channel=channel,
        recipient=recipient,
        origin=origin,
        correlation_id=correlation_id,
        created_ms=created,
        claims=claims,
        charged=charged,
        part_count=part_count,
        parts_delivered=tx.parts_delivered(seq) if part_count > 1 else 0,
    )


def prune(tx: Writing, request: Prune) -> tuple[dict[State, int], bool]:
    """Delete a bounded number of old terminal messages with all that hangs on them; says whether more are left."""
    counts: dict[State, int] = {}
    left = request.limit
    for state, before in request.before_ms.items():
        if not state.terminal:
            msg = f"{state} is not terminal"
            raise ValueError(msg)
        gone = sum(
            _delete(tx, row, state, before, request) for row in tx.many("prune_pick", (state.code, before, left))
        )
        if gone:
            counts[state] = gone
        left -= gone
        if left <= 0:
            return counts, True
    rest = max(left, 1)
    more = request.scrub_before_ms is not None and _scrub(tx, request.scrub_before_ms, rest)
    for name, bindings in (
        ("prune_keys", (tx.now, rest)),
        ("prune_full_attempts", (request.audit_before_ms, rest)),
        ("prune_history", (request.audit_before_ms, rest)),
        ("prune_audit", (request.audit_before_ms, rest)),
    ):
        more |= len(tx.many(name, bindings)) >= rest
    more |= mirror.prune(tx, request.mirror_before_ms, rest) >= rest
    return counts, more


def _scrub(tx: Writing, before: int, limit: int) -> bool:
    """Delete what ended messages said. A mark per state remembers how far this got, so that nothing is read twice."""
    more = False
    for code in range(FIRST_TERMINAL, len(STATES)):
        mark = f"scrubbed:{code}"
        found = tx.one("meta_value", (mark,))
        rows = tx.many("scrub_pick", (code, int(found[0]) if found else 0, before, limit))
        for seq, payload, size, queue, _ in rows:
            tx.many("scrub", (seq,))
            if payload is not None:
                tx.many("prune_payload", (payload,))
            tx.many("scrub_parts", (seq,))
            tx.many("prune_blobs", (seq,))
            tx.count(queue, code, 0, -size)
        if rows:
            tx.many("meta_set", (mark, str(rows[-1][4])))
        more |= len(rows) >= limit
    return more


def _delete(tx: Writing, row: Row, state: State, before: int, request: Prune) -> int:
    seq, tenant, key, payload, size, queue, identity, completed = row
    if not tx.many("prune_message", (seq, state.code, before)):
        return 0
    tx.many("prune_attempts", (seq,))
    delete_belongings(tx, seq, payload)
    if key is not None:
        tx.many("prune_key", (tenant, key, request.keys_until_ms))
    leave_mirror(tx, identity, delivered_at=completed if state is State.DELIVERED else None)
    tx.count(queue, state.code, -1, -size)
    return 1


def delete_belongings(tx: Writing, seq: int, payload: int | None) -> None:
    """Delete the parts and files of a message that is gone, and its content unless others of its fan-out have it."""
    if payload is not None:
        tx.many("prune_payload", (payload,))
    tx.many("prune_parts", (seq,))
    tx.many("prune_blobs", (seq,))


def leave_mirror(tx: Writing, identity: str, *, delivered_at: int | None) -> None:
    """Let the mirror entry of a message that is gone outlive it, or go with it where it was not delivered."""
    if delivered_at is not None:
        tx.many("mirror_outlives", (identity, delivered_at))
    else:
        tx.many("mirror_delete", (identity,))
