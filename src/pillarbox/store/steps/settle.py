"""Writes the ends of attempts: the guarded update first, then what explains why a guard refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.domain.message import State
from pillarbox.domain.transition import ErrorClass
from pillarbox.store.base import Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.domain.transition import Transition
    from pillarbox.store.base import AdmissionWrite, Settlement
    from pillarbox.store.steps.tx import Row
    from pillarbox.store.steps.writing import Writing

_SCHEDULED, _LEASED, _HELD, _DELIVERED = (s.code for s in (State.SCHEDULED, State.LEASED, State.HELD, State.DELIVERED))

_ANY_TIME: Final = 1 << 62


def settle(tx: Writing, settlements: Sequence[Settlement], *, again: bool) -> list[Settled]:
    """
    Apply each settlement whose lease still holds; explain the others.

    Args:
        again: An earlier try may have been committed: what it wrote is recognised, not taken for somebody else's.
    """
    # All plain successes in one go, unless a message is settled twice: an old lease's and the current one's end must
    # be told apart, and the rows that come back name only the message.
    at_once = len({item.message.seq for item in settlements}) == len(settlements)
    plain = [item for item in settlements if at_once and _is_plain(item)]
    ends = tx.each("deliver", [_deliver_bindings(item) for item in plain]) if plain else []
    delivered = {seq for rows in ends for (seq,) in rows}
    results = []
    for item in settlements:
        if not _is_plain(item):
            done = bool(tx.many("settle", _settle_bindings(tx, item)))
        elif at_once:
            done = item.message.seq in delivered
        else:
            done = bool(tx.many("deliver", _deliver_bindings(item)))
        if done:
            _after(tx, item)
            results.append(Settled.APPLIED)
        else:
            results.append((again and _recognised(tx, item)) or _refused(tx, item))
    if results:
        # One that was unavailable is probed with one message at a time: the next may go when that has ended.
        probed = {row[0] for row in tx.many("gates")}
        tx.touched.update(item.message.queue for item in settlements if item.message.queue in probed)
    _reopen(tx, settlements)
    return results


def _reopen(tx: Writing, settlements: Sequence[Settlement]) -> None:
    """A channel that took a message is not unavailable any more, unless it was again since."""
    answered: set[int] = set()
    for item in settlements:
        if item.transition.to is State.DELIVERED:
            answered.add(item.message.queue)
        elif item.transition.error_class == ErrorClass.UNAVAILABLE:
            answered.discard(item.message.queue)
    for queue in answered:
        tx.many("gate_clear", (queue,))


def _is_plain(item: Settlement) -> bool:
    whole = item.message.part_count == 1
    return whole and item.transition.to is State.DELIVERED and not item.keep_attempt and item.lapsed is None


def _arrives(item: Settlement) -> bool:
    """Whether the platform has what was sent: the message, or the part of it that went out."""
    return State.DELIVERED in {item.transition.to, item.transition.part}


def _steps_out(item: Settlement) -> bool:
    return item.transition.to is State.HELD and not item.transition.keeps_turn


def _writable(text: object) -> str | None:
    """Make a platform's words storable: half a surrogate pair, which JSON may hold, is no text. Raises TypeError."""
    if text is None:
        return None
    if not isinstance(text, str):
        msg = f"expected text, not {type(text).__name__}"
        raise TypeError(msg)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _deliver_bindings(item: Settlement) -> Row:
    return item.message.seq, item.message.lease, _writable(item.transition.receipt), item.ended_ms


def _settle_bindings(tx: Writing, item: Settlement) -> Row:
    t = item.transition
    return (
        item.message.seq,
        item.message.lease,
        t.to.code,
        t.due_ms,
        t.charged,
        t.free,
        t.lost,
        _writable(t.receipt),
        t.reason,
        t.error_class,
        _writable(t.error),
        _writable(t.recipient),
        item.ended_ms,
        _steps_out(item),
        _over_by(tx, item),
        t.advance,
    )


def _over_by(tx: Writing, item: Settlement) -> int | None:
    """By which time of the lease clock the lease must be over; ``None`` where it need not be."""
    if item.lapsed is None:
        return None
    return tx.lease_now if item.lapsed == "time" else _ANY_TIME


def _recognised(tx: Writing, item: Settlement) -> Settled | None:
    """Say what an earlier try of this very settlement did, or ``None`` if it was not committed."""
    message = item.message
    attempt = tx.one("attempt_by_lease", (message.seq, message.lease))
    if attempt is not None:
        _, _, ended, to_state, arrived, outcome = attempt
        if arrived == item.ended_ms:
            return Settled.LATE
        # The reaper may have ended the same attempt in the same millisecond, but it said something else of it.
        said = (item.ended_ms, item.transition.to.code, outcome_word(item.transition))
        return Settled.APPLIED if (ended, to_state, outcome) == said else None
    if message.part_count > 1:
        ended_so = tx.many("part_ended", (message.seq, message.part_next, item.ended_ms))
        return Settled.APPLIED if ended_so and _arrives(item) else None
    row = tx.one("settle_row", (message.seq,))
    if row is None or not _is_plain(item):
        return None
    state, _, _, claims, _, _, completed, *_ = row
    mine = (state, claims, completed) == (_DELIVERED, message.claims, item.ended_ms)
    return Settled.APPLIED if mine else None


def _after(tx: Writing, item: Settlement) -> None:
    message, transition = item.message, item.transition
    tx.move(message.queue, _LEASED, transition.to.code, message.content_size)
    if transition.to.terminal or _steps_out(item):
        tx.leave_lane(message.lane)
    if transition.to is State.SCHEDULED:
        tx.put_off(message.queue, transition.due_ms or 0)
    if message.part_count > 1:
        _end_part(tx, item)
    if item.keep_attempt or not _arrives(item):
        _record(tx, item, to=transition.to.code)
    if transition.pause_ms is not None:
        _pause(tx, message.queue, transition)


def _end_part(tx: Writing, item: Settlement) -> None:
    """Record what became of the part that was sent. Those behind it share their message's end, so none is written."""
    m, t = item.message, item.transition
    part = t.part or (t.to if t.to.terminal else None)
    if part is not None:
        error = None if part is State.DELIVERED else _writable(t.part_error or t.error)
        tx.many("part_end", (m.seq, m.part_next, part.code, _writable(t.receipt), error, item.ended_ms))


def _pause(tx: Writing, queue: int, transition: Transition) -> None:
    until = transition.pause_ms or None
    strike = 1 if transition.error_class == ErrorClass.UNAVAILABLE else 0
    tx.many("gate_pause", (queue, tx.now, until, _writable(transition.error), "pillarbox", strike))


def _record(tx: Writing, item: Settlement, *, to: int, arrived: int | None = None) -> None:
    m, t = item.message, item.transition
    tx.many(
        "attempt",
        (
            m.seq,
            m.claims,
            m.id,
            m.part_next,
            m.lease,
            outcome_word(t),
            t.error_class,
            _writable(t.part_error or t.error),
            _writable(t.receipt),
            _writable(t.answer),
            t.charged,
            m.claimed_ms,
            item.began_ms,
            item.ended_ms,
            to,
            t.due_ms,
            item.keep_attempt,
            arrived,
        ),
    )


def outcome_word(transition: Transition) -> str:
    """Name what an attempt came to, for its row."""
    if transition.error_class is not None and transition.part is not State.DELIVERED:
        return str(transition.error_class)
    return str(transition.part or transition.to)


def _refused(tx: Writing, item: Settlement) -> Settled:
    """Find out why a guard refused; a delivery is never thrown away, whatever happened meanwhile (ST6)."""
    row = tx.one("settle_row", (item.message.seq,))
    if row is None:
        return Settled.STALE
    state, lease, until, _, arrived, cancel, *_ = row
    if state == _LEASED and lease == item.message.lease:
        if item.lapsed == "time" and until > tx.lease_now:
            return Settled.STALE
        if arrived is not None:
            return _settle_arrived(tx, item)
        if cancel is None:
            return Settled.STALE
        superseded = tx.one("asked_to_supersede", (item.message.seq,))
        if superseded is None:
            return Settled.CANCEL
        return Settled.SUPERSEDE_IN_DOUBT if superseded[0] else Settled.SUPERSEDE
    if not _arrives(item) or item.lapsed is not None:
        return Settled.STALE
    attempt = tx.one("attempt_by_lease", (item.message.seq, item.message.lease))
    if attempt is None or attempt[3] == _DELIVERED or attempt[5] == State.DELIVERED:
        # An attempt that nobody knows, or that said so itself before.
        return Settled.STALE
    if not tx.many(
        "attempt_arrived", (item.message.seq, attempt[0], _writable(item.transition.receipt), item.ended_ms)
    ):
        return Settled.STALE
    after = _arrive_late(tx, item, row) if item.message.part_count == 1 else _part_arrives_late(tx, item, row)
    actor, reason = f"worker {attempt[1]}", f"attempt {attempt[0]} was accepted after its lease was lost"
    bindings = (item.message.seq, item.message.id, item.ended_ms, "late answer", actor, state, after, reason)
    tx.many("history_add", bindings)
    return Settled.LATE


def _settle_arrived(tx: Writing, item: Settlement) -> Settled:
    """The attempt that ran while the platform's answer to an earlier one came is over; its lane opens now."""
    message, transition = item.message, item.transition
    twice = transition.to is State.DELIVERED
    bindings = (
        message.seq,
        message.lease,
        twice,
        _writable(transition.receipt),
        item.ended_ms,
        _over_by(tx, item),
        transition.charged,
    )
    if not tx.many("settle_arrived", bindings):
        return Settled.STALE
    tx.move(message.queue, _LEASED, _DELIVERED, message.content_size)
    tx.leave_lane(message.lane)
    tx.touched.add(message.queue)
    _record(tx, item, to=_DELIVERED, arrived=item.ended_ms if twice else None)
    return Settled.LATE


def _arrive_late(tx: Writing, item: Settlement, row: Row) -> int:
    """Record a delivery by a lease that is gone; gives the state that the message is in then."""
    message = item.message
    state, _, _, _, arrived, _, _, size, lane, _ = row
    bindings = (message.seq, _writable(item.transition.receipt), item.ended_ms)
    tx.touched.add(message.queue)
    if state in {_SCHEDULED, _HELD}:
        tx.many("arrive_late", bindings)
        tx.move(message.queue, state, _DELIVERED, size)
        tx.leave_lane(lane)
        return _DELIVERED
    tx.many("arrive_while_leased" if state == _LEASED and arrived is None else "arrive_again", bindings)
    return int(state)


def _part_arrives_late(tx: Writing, item: Settlement, row: Row) -> int:
    """The same for a part: what stands at it goes on behind it; to what has gone on, or is being sent, it is a copy."""
    message, transition = item.message, item.transition
    state, size, lane, part_next = row[0], *row[7:]
    tx.touched.add(message.queue)
    receipt = _writable(transition.receipt)
    if state != _LEASED or part_next != message.part_next:
        # Whatever was thought of the part, it is there. Of one that another attempt sends, that attempt will say.
        tx.many("part_end", (message.seq, message.part_next, _DELIVERED, receipt, None, item.ended_ms))
    if state not in {_SCHEDULED, _HELD} or part_next != message.part_next:
        tx.many("arrive_copy", (message.seq, item.ended_ms))
        return int(state)
    after = transition.to.code
    tx.many("arrive_part", (message.seq, after, transition.advance, receipt, item.ended_ms, transition.reason))
    tx.move(message.queue, state, after, size)
    if transition.to.terminal:
        tx.leave_lane(lane)
    return after


def admit(tx: Writing, writes: Sequence[AdmissionWrite]) -> list[bool]:
    """Store what a channel made of its claimed messages; ``False`` where the lease is gone."""
    done = tx.each("admit", [_admit_bindings(write) for write in writes])
    admitted = [bool(rows) for rows in done]
    store_parts(tx, [(w.message.seq, w.admission.parts) for w, now in zip(writes, admitted, strict=True) if now])
    # What a commit wrote whose answer was lost is there already.
    before = tx.each("admitted", [(write.message.seq, write.message.lease) for write in writes])
    return [now or bool(rows) for now, rows in zip(admitted, before, strict=True)]


def _admit_bindings(write: AdmissionWrite) -> Row:
    message, admission = write.message, write.admission
    count = max(1, len(admission.parts))
    return message.seq, message.lease, admission.recipient, count, admission.splitter


def store_parts(tx: Writing, split: Sequence[tuple[int, Sequence[bytes]]]) -> None:
    """Write the pieces of split messages, by the messages' numbers; one piece is the message itself."""
    rows = [(seq, number, part.decode()) for seq, parts in split if len(parts) > 1 for number, part in enumerate(parts)]
    if rows:
        tx.each("part", rows)
