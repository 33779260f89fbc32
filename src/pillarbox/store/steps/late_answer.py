"""
Explains why a settlement's guard refused it, and keeps what it reports all the same; `domain.late` says what it does.

A delivery is never thrown away, whatever happened meanwhile (contract ST6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from pillarbox.domain.ids import LeaseId
from pillarbox.domain.late import Late, ends_part, late, late_part, speaks_first
from pillarbox.domain.message import STATES, State
from pillarbox.store.base import Settled, Settlement
from pillarbox.store.steps.attempt import arrives, attempt_row, outcome_word, over_by, writable
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_LEASED: Final = State.LEASED.code
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
    seqs = [(item.message.seq,) for item in missed]
    rows = [_Now(*found[0]) if found else None for found in tx.each("settle_row", seqs)]
    left = tx.each("attempt_by_lease", [(item.message.seq, item.message.lease) for item in missed])
    attempts = [_Attempt(*found[0]) if found else None for found in left]
    results = _recognised(tx, missed, plain, rows, attempts) if again else {}
    held: list[tuple[Settlement, _Now]] = []
    gone: list[tuple[Settlement, _Now, _Attempt]] = []
    for item, now, attempt in zip(missed, rows, attempts, strict=True):
        if now is None or now.seq in results:
            continue
        if (now.state, now.lease) == (_LEASED, item.message.lease):
            held.append((item, now))
        elif attempt is not None and _tells(item, attempt):
            gone.append((item, now, attempt))
    results |= _under_their_leases(tx, held)
    results |= _late(tx, gone)
    return [results.get(seq, Settled.STALE) for (seq,) in seqs]


def _recognised(
    tx: Writing,
    missed: Sequence[Settlement],
    plain: Sequence[bool],
    rows: Sequence[_Now | None],
    attempts: Sequence[_Attempt | None],
) -> dict[int, Settled]:
    """Return what an earlier try of these very settlements did; without those that were not committed."""
    asked = [
        (item.message.seq, item.message.part_next, item.ended_ms)
        for item, attempt in zip(missed, attempts, strict=True)
        if attempt is None and item.message.part_count > 1 and arrives(item)
    ]
    results = {seq: Settled.APPLIED for found in tx.each("part_ended", asked) for (seq,) in found}
    for item, simple, now, attempt in zip(missed, plain, rows, attempts, strict=True):
        message = item.message
        if attempt is not None:
            # The reaper may have ended the same attempt in the same millisecond, but it said something else of it.
            said = (item.ended_ms, item.transition.to.code, outcome_word(item.transition))
            if attempt.arrived_ms == item.ended_ms:
                results[message.seq] = Settled.LATE
            elif (attempt.ended_ms, attempt.to_state, attempt.outcome) == said:
                results[message.seq] = Settled.APPLIED
        elif now is None or not simple:
            continue
        elif (now.state, now.claims, now.completed_ms) == (_DELIVERED, message.claims, item.ended_ms):
            results[message.seq] = Settled.APPLIED
    return results


def _under_their_leases(tx: Writing, held: Sequence[tuple[Settlement, _Now]]) -> dict[int, Settled]:
    """Settle where the leases are their own, but have not lapsed, or the messages must end otherwise."""
    over = [(item, now) for item, now in held if item.lapsed != "time" or (now.lease_until or 0) <= tx.lease_now]
    results = _settle_arrived(tx, [item for item, now in over if now.arrived_ms is not None])
    asked = [(now.seq,) for _, now in over if now.arrived_ms is None and now.cancel_requested_ms is not None]
    for (seq,), found in zip(asked, tx.each("asked_to_supersede", asked), strict=True):
        superseded = Settled.SUPERSEDE_IN_DOUBT if found and found[0][1] else Settled.SUPERSEDE
        results[seq] = superseded if found else Settled.CANCEL
    return results


def _settle_arrived(tx: Writing, items: Sequence[Settlement]) -> dict[int, Settled]:
    """End the attempts that ran while the platform's answer to earlier ones came; their lanes open now."""
    rows = [
        (
            item.message.seq,
            item.message.lease,
            item.transition.to is State.DELIVERED,
            writable(item.transition.receipt),
            item.ended_ms,
            over_by(tx, item),
            item.transition.charged,
        )
        for item in items
    ]
    settled = [item for item, done in zip(items, tx.each("settle_arrived", rows), strict=True) if done]
    for item in settled:
        tx.move(item.message.queue, _LEASED, _DELIVERED, item.message.content_size)
        tx.leave_lane(item.message.lane)
        tx.touched.add(item.message.queue)
    # A delivery by the attempt that ends now is one copy more.
    attempts = [
        attempt_row(item, to=State.DELIVERED, arrived_ms=item.ended_ms if arrives(item) else None) for item in settled
    ]
    tx.each("attempt", attempts)
    return {item.message.seq: Settled.LATE for item in settled}


def _tells(item: Settlement, attempt: _Attempt) -> bool:
    """Whether a lease that is gone brings a delivery that nobody knew of."""
    told_before = not speaks_first(STATES[attempt.to_state], attempt.outcome)
    return arrives(item) and item.lapsed is None and not told_before


def _late(tx: Writing, gone: Sequence[tuple[Settlement, _Now, _Attempt]]) -> dict[int, Settled]:
    """Record deliveries by leases that are gone."""
    rows = [(now.seq, attempt.number, writable(item.transition.receipt), item.ended_ms) for item, now, attempt in gone]
    news = tx.each("attempt_arrived", rows)
    results = {}
    writes: defaultdict[str, list[Row]] = defaultdict(list)
    for (item, now, attempt), new in zip(gone, news, strict=True):
        if not new:
            continue
        results[now.seq] = Settled.LATE
        state, whole = STATES[now.state], item.message.part_count == 1
        after = (_message_arrives if whole else _part_arrives)(writes, item, now)
        tx.touched.add(item.message.queue)
        if after is not state:
            tx.move(item.message.queue, state.code, after.code, now.content_size)
            if after.terminal:
                tx.leave_lane(now.lane)
        actor, why = f"worker {attempt.worker}", f"attempt {attempt.number} was accepted after its lease was lost"
        line = (now.seq, item.message.id, item.ended_ms, "late answer", actor, state.code, after.code, why)
        writes["history_add"].append(line)
    for name, bindings in writes.items():
        tx.each(name, bindings)
    return results


def _message_arrives(writes: dict[str, list[Row]], item: Settlement, now: _Now) -> State:
    """Write that a message was delivered; return the state that it is in then."""
    state = STATES[now.state]
    what = late(state, arrived=now.arrived_ms is not None)
    writes[_STATEMENTS[what]].append((now.seq, writable(item.transition.receipt), item.ended_ms))
    return State.DELIVERED if what is Late.DELIVERS else state


def _part_arrives(writes: dict[str, list[Row]], item: Settlement, now: _Now) -> State:
    """Write the same of a part: what stands at it goes on behind it; to what is past it, or is sent, it is a copy."""
    part, transition = item.message.part_next, item.transition
    state, receipt = STATES[now.state], writable(transition.receipt)
    if ends_part(state, part_next=now.part_next, part=part):
        writes["part_end"].append((now.seq, part, _DELIVERED, receipt, None, item.ended_ms))
    if late_part(state, part_next=now.part_next, part=part) is Late.COPY:
        writes["arrive_copy"].append((now.seq, item.ended_ms))
        return state
    after = transition.to
    bindings = (now.seq, after.code, transition.advance, receipt, item.ended_ms, transition.reason)
    writes["arrive_part"].append(bindings)
    return after
