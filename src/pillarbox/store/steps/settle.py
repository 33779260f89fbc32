"""Writes the ends of attempts: guarded updates first, then what hangs on them. What a guard refused: `late_answer`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from pillarbox.domain.message import State
from pillarbox.domain.transition import (
    OURSELVES,
    OURSELVES_FOR_CREDENTIALS,
    OURSELVES_FOR_READINESS,
    OUT_OF_ORDER,
    ErrorClass,
)
from pillarbox.store.base import Settled, Settlement
from pillarbox.store.steps import late_answer, ledger, redirects, suppression
from pillarbox.store.steps.attempt import arrives, attempt_row, over_by, writable
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_LEASED: Final = State.LEASED.code


def settle(tx: Writing, settlements: Sequence[Settlement], *, again: bool) -> list[Settled]:
    """
    Apply each settlement whose lease still holds; explain the others.

    Args:
        again: An earlier try may have been committed: what it wrote is recognised, not taken for another's.
    """
    results = [settled for run in _runs(settlements) for settled in _settle(tx, run, again=again)]
    if tx.overview.gated:
        # One that was unavailable is probed with one message at a time: the next may go when that has ended.
        probed = {queue for queue, *_ in tx.many("gates", (tx.now,))}
        tx.touched.update(item.message.queue for item in settlements if item.message.queue in probed)
        _reopen(tx, settlements)
    return results


def _runs(settlements: Sequence[Settlement]) -> Iterator[Sequence[Settlement]]:
    """Yield what can be settled together: an old lease's and the current one's end of one message come apart."""
    if len({item.message.seq for item in settlements}) == len(settlements):
        yield settlements
        return
    for item in settlements:
        yield [item]


def _settle(tx: Writing, run: Sequence[Settlement], *, again: bool) -> list[Settled]:
    plain = [item for item in run if _is_plain(item)]
    others = [] if len(plain) == len(run) else [item for item in run if not _is_plain(item)]
    delivered = _applied(plain, tx.each("deliver", [_deliver_bindings(item) for item in plain]))
    settled = _applied(others, tx.each("settle", [_settle_bindings(tx, item) for item in others]))
    _count(tx, delivered + settled)
    if settled:
        _after(tx, settled)
    if len(delivered) + len(settled) == len(run):
        return [Settled.APPLIED] * len(run)
    done = {item.message.seq for item in (*delivered, *settled)}
    missed = [item for item in run if item.message.seq not in done]
    explained = iter(late_answer.explained(tx, missed, [_is_plain(item) for item in missed], again=again))
    return [Settled.APPLIED if item.message.seq in done else next(explained) for item in run]


def _applied(asked: Sequence[Settlement], found: Sequence[Sequence[Row]]) -> list[Settlement]:
    return [item for item, rows in zip(asked, found, strict=True) if rows]


def _reopen(tx: Writing, settlements: Sequence[Settlement]) -> None:
    """Reopen a channel that took a message: it is not unavailable any more, unless it was again since."""
    answered: set[int] = set()
    for item in settlements:
        if item.transition.to is State.DELIVERED:
            answered.add(item.message.queue)
        elif item.transition.error_class in OUT_OF_ORDER:
            answered.discard(item.message.queue)
    tx.each("gate_clear", [(queue, tx.now) for queue in answered])


def _is_plain(item: Settlement) -> bool:
    """Whether it is a plain success, that leaves no attempt row and says nothing of other messages."""
    t, whole = item.transition, item.message.part_count == 1
    return whole and t.to is State.DELIVERED and t.rest_ms is None and not item.keep_attempt and item.lapsed is None


def _steps_out(item: Settlement) -> bool:
    transition = item.transition
    return transition.steps_aside or (transition.to is State.HELD and not transition.keeps_turn)


def _deliver_bindings(item: Settlement) -> Row:
    return item.message.seq, item.message.lease, writable(item.transition.receipt), item.ended_ms


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
        writable(t.receipt),
        t.reason,
        t.error_class,
        writable(t.error),
        writable(t.recipient),
        item.ended_ms,
        _steps_out(item),
        over_by(tx, item),
        t.advance,
    )


def _count(tx: Writing, applied: Sequence[Settlement]) -> None:
    """Count what was settled, and free its lanes."""
    moved: defaultdict[tuple[int, State], list[int]] = defaultdict(list)
    for item in applied:
        message, to = item.message, item.transition.to
        moved[message.queue, to].append(message.content_size)
        if to is State.DELIVERED or to.terminal or _steps_out(item):
            tx.leave_lane(message.lane)
    for (queue, to), sizes in moved.items():
        tx.counters.move(queue, _LEASED, to.code, sizes)


def _after(tx: Writing, applied: Sequence[Settlement]) -> None:
    """Write the parts and attempts of what was settled, and what it says of others; a plain success has none of it."""
    parts: list[Row] = []
    attempts: list[Row] = []
    for item in applied:
        message, transition = item.message, item.transition
        if transition.to is State.SCHEDULED:
            tx.put_off(message.queue, transition.due_ms or 0)
        if message.part_count > 1:
            parts += _part_ends(item)
        if item.keep_attempt or not arrives(item):
            attempts.append(attempt_row(item, to=transition.to))
    tx.each("part_end", parts)
    tx.each("attempt", attempts)
    _tell_others(tx, applied)


def _tell_others(tx: Writing, applied: Sequence[Settlement]) -> None:
    """Write what answers say of other messages: of their recipients, their channels, and of what takes their place."""
    pauses: list[Row] = []
    addresses: list[redirects.Moved] = []
    waits: list[Row] = []
    rests: list[tuple[str, str, int, str | None]] = []
    for item in applied:
        message, transition = item.message, item.transition
        if transition.recipient is not None:
            addresses.append(redirects.Moved(message.queue, message.recipient, transition.recipient))
        if transition.to is State.CANCELLED and transition.due_ms is not None:
            waits.append((message.seq, transition.due_ms))
        if transition.pause_ms is not None:
            pauses.append(_pause(tx, item))
        elif transition.rest_ms is not None:
            rests.append((message.channel, message.recipient, transition.rest_ms, "so many went there lately"))
        elif transition.error_class == ErrorClass.RATE_LIMITED and transition.due_ms is not None:
            rests.append((message.channel, message.recipient, transition.due_ms, writable(transition.error)))
    redirects.remember(tx, addresses)
    suppression.remember(tx, [item for item in applied if item.transition.suppress])
    tx.each("keep_wait", waits)
    if pauses:
        tx.each("gate_pause", pauses)
        tx.overview.gated = True
    if rests:
        ledger.rest(tx, rests)


def _part_ends(item: Settlement) -> list[Row]:
    """Record what became of the part that was sent. Those behind it share their message's end, so none is written."""
    m, t = item.message, item.transition
    part = t.part or (t.to if t.to.terminal else None)
    if part is None:
        return []
    error = None if part is State.DELIVERED else writable(t.part_error or t.error)
    return [(m.seq, m.part_next, part.code, writable(t.receipt), error, item.ended_ms)]


def _pause(tx: Writing, item: Settlement) -> Row:
    transition = item.transition
    out_of_order = transition.error_class in OUT_OF_ORDER
    until = transition.pause_ms or None
    by = OURSELVES_FOR_CREDENTIALS if out_of_order and until is None else OURSELVES
    if transition.error_class is ErrorClass.RELEASED:
        by = OURSELVES_FOR_READINESS
    return item.message.queue, tx.now, until, writable(transition.error), by, int(out_of_order)
