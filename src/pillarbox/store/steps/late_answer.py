"""
Explains why a settlement's guard refused it, and keeps what it reports all the same; `domain.late` says what it does.

A delivery is never thrown away, whatever happened meanwhile (contract ST6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pillarbox.domain.late import Late, ends_part, late, late_part, speaks_first
from pillarbox.domain.message import STATES, State
from pillarbox.store.base import Settled
from pillarbox.store.steps.attempt import arrives, attempt_row, outcome_word, over_by, writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.domain.ids import LeaseId
    from pillarbox.store.base import Settlement
    from pillarbox.store.steps.writing import Writing

_DELIVERED: Final = State.DELIVERED.code
_STATEMENTS: Final = {
    Late.DELIVERS: "arrive_late",
    Late.FORESTALLS: "arrive_while_leased",
    Late.COPY: "arrive_again",
}


class _Now(NamedTuple):
    """The columns of ``settle_row``, in their order: how the message stands."""

    seq: int
    state: int
    lease: LeaseId | None
    lease_until: int | None
    claims: int
    arrived_ms: int | None
    cancel_requested_ms: int | None
    completed_ms: int | None
    content_size: int
    lane: str | None
    part_next: int


class _Attempt(NamedTuple):
    """The columns of ``attempt_by_lease``, in their order: what the attempt of the old lease left."""

    message: int
    number: int
    worker: int | None
    ended_ms: int
    to_state: int
    arrived_ms: int | None
    outcome: str


def explained(tx: Writing, missed: Sequence[Settlement], plain: Sequence[bool], *, again: bool) -> list[Settled]:
    """
    Return what became of each settlement whose guard refused; no message is among them twice.

    Args:
        plain: Of each, whether it would have left no attempt row.
        again: An earlier try of these very settlements may have been committed.
    """
    rows = tx.each("settle_row", [(item.message.seq,) for item in missed])
    attempts = tx.each("attempt_by_lease", [(item.message.seq, item.message.lease) for item in missed])
    results = []
    for item, simple, found, left in zip(missed, plain, rows, attempts, strict=True):
        now = _Now(*found[0]) if found else None
        attempt = _Attempt(*left[0]) if left else None
        known = _recognised(tx, item, now, attempt, plain=simple) if again else None
        results.append(known or _refused(tx, item, now, attempt))
    return results


def _recognised(
    tx: Writing, item: Settlement, now: _Now | None, attempt: _Attempt | None, *, plain: bool
) -> Settled | None:
    """Return what an earlier try of this very settlement did, or ``None`` if it was not committed."""
    message = item.message
    if attempt is not None:
        if attempt.arrived_ms == item.ended_ms:
            return Settled.LATE
        # The reaper may have ended the same attempt in the same millisecond, but it said something else of it.
        said = (item.ended_ms, item.transition.to.code, outcome_word(item.transition))
        return Settled.APPLIED if (attempt.ended_ms, attempt.to_state, attempt.outcome) == said else None
    if message.part_count > 1:
        ended_so = tx.many("part_ended", (message.seq, message.part_next, item.ended_ms))
        return Settled.APPLIED if ended_so and arrives(item) else None
    if now is None or not plain:
        return None
    mine = (now.state, now.claims, now.completed_ms) == (_DELIVERED, message.claims, item.ended_ms)
    return Settled.APPLIED if mine else None


def _refused(tx: Writing, item: Settlement, now: _Now | None, attempt: _Attempt | None) -> Settled:
    if now is None:
        return Settled.STALE
    if now.state == State.LEASED.code and now.lease == item.message.lease:
        return _under_its_lease(tx, item, now)
    if not arrives(item) or item.lapsed is not None:
        return Settled.STALE
    if attempt is None or not speaks_first(STATES[attempt.to_state], attempt.outcome):
        return Settled.STALE
    receipt = writable(item.transition.receipt)
    if not tx.many("attempt_arrived", (item.message.seq, attempt.number, receipt, item.ended_ms)):
        return Settled.STALE
    after = _arrive_late(tx, item, now) if item.message.part_count == 1 else _part_arrives_late(tx, item, now)
    actor, why = f"worker {attempt.worker}", f"attempt {attempt.number} was accepted after its lease was lost"
    line = (item.message.seq, item.message.id, item.ended_ms, "late answer", actor, now.state, after.code, why)
    tx.many("history_add", line)
    return Settled.LATE


def _under_its_lease(tx: Writing, item: Settlement, now: _Now) -> Settled:
    """The lease is its own, but it has not lapsed, or the message must end otherwise."""
    if item.lapsed == "time" and now.lease_until is not None and now.lease_until > tx.lease_now:
        return Settled.STALE
    if now.arrived_ms is not None:
        return _settle_arrived(tx, item)
    if now.cancel_requested_ms is None:
        return Settled.STALE
    superseded = tx.one("asked_to_supersede", (item.message.seq,))
    if superseded is None:
        return Settled.CANCEL
    return Settled.SUPERSEDE_IN_DOUBT if superseded[0] else Settled.SUPERSEDE


def _settle_arrived(tx: Writing, item: Settlement) -> Settled:
    """The attempt that ran while the platform's answer to an earlier one came is over; its lane opens now."""
    message, transition = item.message, item.transition
    twice = transition.to is State.DELIVERED
    bindings = (
        message.seq,
        message.lease,
        twice,
        writable(transition.receipt),
        item.ended_ms,
        over_by(tx, item),
        transition.charged,
    )
    if not tx.many("settle_arrived", bindings):
        return Settled.STALE
    tx.move(message.queue, State.LEASED.code, _DELIVERED, message.content_size)
    tx.leave_lane(message.lane)
    tx.touched.add(message.queue)
    tx.many("attempt", attempt_row(item, to=State.DELIVERED, arrived_ms=item.ended_ms if twice else None))
    return Settled.LATE


def _arrive_late(tx: Writing, item: Settlement, now: _Now) -> State:
    """Record a delivery by a lease that is gone; returns the state that the message is in then."""
    message, state = item.message, STATES[now.state]
    what = late(state, arrived=now.arrived_ms is not None)
    tx.many(_STATEMENTS[what], (message.seq, writable(item.transition.receipt), item.ended_ms))
    tx.touched.add(message.queue)
    if what is not Late.DELIVERS:
        return state
    tx.move(message.queue, now.state, _DELIVERED, now.content_size)
    tx.leave_lane(now.lane)
    return State.DELIVERED


def _part_arrives_late(tx: Writing, item: Settlement, now: _Now) -> State:
    """The same for a part: what stands at it goes on behind it; to what has gone on, or is being sent, it is a copy."""
    message, transition = item.message, item.transition
    state, receipt = STATES[now.state], writable(transition.receipt)
    tx.touched.add(message.queue)
    if ends_part(state, part_next=now.part_next, part=message.part_next):
        tx.many("part_end", (message.seq, message.part_next, _DELIVERED, receipt, None, item.ended_ms))
    if late_part(state, part_next=now.part_next, part=message.part_next) is Late.COPY:
        tx.many("arrive_copy", (message.seq, item.ended_ms))
        return state
    after = transition.to
    bindings = (message.seq, after.code, transition.advance, receipt, item.ended_ms, transition.reason)
    tx.many("arrive_part", bindings)
    tx.move(message.queue, now.state, after.code, now.content_size)
    if after.terminal:
        tx.leave_lane(now.lane)
    return after
