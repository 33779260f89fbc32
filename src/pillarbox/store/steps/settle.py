"""Writes the ends of attempts: guarded updates first, then what hangs on them. What a guard refused: `late_answer`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from pillarbox.domain.message import State
from pillarbox.domain.transition import OUT_OF_ORDER, ErrorClass
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
        probed = {queue for queue, *_ in tx.many("gates")}
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
    plain = [_is_plain(item) for item in run]
    delivered = iter(
        tx.each("deliver", [_deliver_bindings(item) for item, simple in zip(run, plain, strict=True) if simple])
    )
    settled = iter(
        tx.each("settle", [_settle_bindings(tx, item) for item, simple in zip(run, plain, strict=True) if not simple])
    )
    done = [bool(next(delivered if simple else settled)) for simple in plain]
    _after(tx, [item for item, applied in zip(run, done, strict=True) if applied])
    if all(done):
        return [Settled.APPLIED] * len(run)
    missed = [item for item, applied in zip(run, done, strict=True) if not applied]
    explained = iter(late_answer.explained(tx, missed, [_is_plain(item) for item in missed], again=again))
    return [Settled.APPLIED if applied else next(explained) for applied in done]


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
    """Whether it is a plain success, the only settlement that leaves no attempt row."""
    whole = item.message.part_count == 1
    return whole and item.transition.to is State.DELIVERED and not item.keep_attempt and item.lapsed is None


def _steps_out(item: Settlement) -> bool:
    return item.transition.to is State.HELD and not item.transition.keeps_turn


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


def _after(tx: Writing, applied: Sequence[Settlement]) -> None:
    """Count what was settled, free its lanes, and write its parts, attempts and what it says of others."""
    parts: list[Row] = []
    attempts: list[Row] = []
    moved: defaultdict[tuple[int, State], list[int]] = defaultdict(list)
    for item in applied:
        message, transition = item.message, item.transition
        moved[message.queue, transition.to].append(message.content_size)
        if transition.to.terminal or _steps_out(item):
            tx.leave_lane(message.lane)
        if transition.to is State.SCHEDULED:
            tx.put_off(message.queue, transition.due_ms or 0)
        if message.part_count > 1:
            parts += _part_ends(item)
        if item.keep_attempt or not arrives(item):
            attempts.append(attempt_row(item, to=transition.to))
    for (queue, to), sizes in moved.items():
        tx.counters.move(queue, _LEASED, to.code, sizes)
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
    strike = 1 if transition.error_class in OUT_OF_ORDER else 0
    until = transition.pause_ms or None
    return item.message.queue, tx.now, until, writable(transition.error), "pillarbox", strike
