"""Leases what can start now, and parks the backlogs of lanes in bounded steps; lanes.md says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pillarbox.domain import ramp
from pillarbox.domain.message import Leased, State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import BatchResult, Claim, Ended
from pillarbox.store.steps import endings, leased
from pillarbox.store.steps.columns import LEASED
from pillarbox.store.steps.horizon import horizon
from pillarbox.store.steps.ledger import Ledger, ledgers
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_SCHEDULED, _LEASED, _EXPIRED = (s.code for s in (State.SCHEDULED, State.LEASED, State.EXPIRED))
_PRIORITIES = (3, 2, 1, 0)
_LATER_MAX = 1000
_PARK_MAX = 250
_STEPS_MAX = 1000
_STATE, _PRIORITY = LEASED.index("state"), LEASED.index("priority")


class _Gate(NamedTuple):
    """The columns of ``gates``, in their order: a queue that is paused, or was out of order, or is opened again."""

    queue: int
    paused_ms: int | None
    until_ms: int | None
    strikes: int
    reopened_ms: int | None


class _Steps:
    """Bounds how many rows one transaction steps over, because it holds the write lock meanwhile; the next goes on."""

    def __init__(self) -> None:
        self._left = _STEPS_MAX

    def over(self, rows: int) -> bool:
        """Note that rows were stepped over. Returns whether that is enough."""
        self._left -= rows
        return self._left <= 0


def claim(tx: Writing, request: Claim, result: BatchResult, *, again: bool) -> None:
    """
    Lease up to each queue's capacity.

    A queue is not looked at while it is paused. One that was out of order is probed with one message at a time; when
    that was delivered, it is opened step by step.

    Args:
        again: First return what a commit whose answer was lost has leased under the same lease id.
    """
    gated = tx.many("gates", (tx.now,)) if tx.overview.gated else []
    gates = {gate.queue: gate for gate in (_Gate(*row) for row in gated)}
    if again:
        _tell_again(tx, request, result)
        _mark_probes(result, 0, gates)
    # What was stored already leased takes its slots too.
    taken = [message.queue for message in result.claimed]
    steps = _Steps()
    asked = ledgers(tx, request.capacity, request.paces)
    for queue, capacity in request.capacity.items():
        if queue in tx.horizons:
            result.next_due_ms[queue], result.suspects_ms[queue] = tx.horizons[queue]
            continue
        room = capacity - taken.count(queue)
        gate = gates.get(queue)
        if gate is not None:
            most, again_ms = _most_more(tx, gate)
            if most is not None:
                room = min(room, most)
                if room <= 0:
                    result.next_due_ms[queue] = result.suspects_ms[queue] = again_ms
                    continue
        if room > 0:
            before = len(result.claimed)
            ledger = asked.get(queue)
            if queue in asked and ledger is None:
                result.next_due_ms[queue], result.suspects_ms[queue] = horizon(tx, queue)
            elif ledger is None:
                _claim_queue(tx, request, result, queue, room=room, steps=steps)
            else:
                _claim_paced(tx, request, result, queue, room=room, steps=steps, ledger=ledger)
            if gate is not None and gate.strikes:
                _mark_probes(result, before, gates)


def _mark_probes(result: BatchResult, since: int, gates: Mapping[int, _Gate]) -> None:
    """Note on what was leased from a queue that is out of order for how long it is."""
    for place, message in enumerate(result.claimed[since:], since):
        gate = gates.get(message.queue)
        if gate is not None and gate.strikes:
            result.claimed[place] = msgspec.structs.replace(message, strikes=gate.strikes)


def _most_more(tx: Writing, gate: _Gate) -> tuple[int | None, int | None]:
    """Return how many messages of a queue may be leased now, ``None`` for any number, and when that changes."""
    if gate.paused_ms is not None and (gate.until_ms is None or gate.until_ms > tx.now):
        return 0, gate.until_ms
    most, again_ms = _most_at_once(tx, gate)
    if most is None:
        return None, None
    if not tx.many("gate_hold", (gate.queue,)):
        # Somebody else has it, who may be about to send as many; nobody waits for that.
        return 0, tx.now + ramp.STEP_MS
    return most - _leased_count(tx, gate.queue), again_ms


def _most_at_once(tx: Writing, gate: _Gate) -> tuple[int | None, int | None]:
    """Return how many messages of a queue may be under way, and when that changes; whoever ends one touches it."""
    if gate.strikes:
        return 1, None
    if gate.reopened_ms is None:
        return None, None
    most = ramp.most_at_once(gate.reopened_ms, tx.now)
    if most is None:
        tx.many("gate_open", (gate.queue, tx.now))
    return most, tx.now + ramp.STEP_MS


def _tell_again(tx: Writing, request: Claim, result: BatchResult) -> None:
    """Return what the lost commit leased."""
    for row in tx.many("claim_again", (request.lease, request.worker)):
        result.claimed.append(leased.leased(tx, tx.numbers, row))


def _leased_count(tx: Writing, queue: int) -> int:
    row = tx.one("leased_in_queue", (queue,)) or (0,)
    return int(row[0]) + tx.counters.pending(queue, _LEASED)


def _claim_queue(tx: Writing, request: Claim, result: BatchResult, queue: int, *, room: int, steps: _Steps) -> None:
    _give_positions(tx, result, queue)
    if request.only is not None:
        if not result.claimed:
            _claim_rows(tx, request, result, name="claim_only", where=(queue, request.only), room=1, steps=steps)
        result.next_due_ms[queue] = horizon(tx, queue).due_ms
        return
    if request.suspect:
        if not result.claimed:
            _claim_rows(tx, request, result, name="claim_suspect", where=(queue,), room=1, steps=steps)
            result.suspects_ms[queue] = horizon(tx, queue).suspect_ms
        return
    levels = _by_age(tx, queue) if request.oldest_first else _PRIORITIES
    room -= _claim_rows(tx, request, result, name="claim", where=(queue, *levels), room=room, steps=steps)
    due, suspect = horizon(tx, queue)
    result.suspects_ms[queue] = suspect
    if suspect is not None and suspect <= tx.now:
        result.suspect_due = True
    if room > 0:
        result.next_due_ms[queue] = due


def _claim_paced(
    tx: Writing, request: Claim, result: BatchResult, queue: int, *, room: int, steps: _Steps, ledger: Ledger
) -> None:
    """Claim from a queue whose platform takes only so much in a time: what is not to go yet is put off first."""
    free = left = ledger.free(room)
    before = len(result.claimed)
    if free > 0:
        _give_positions(tx, result, queue)
    if request.only is not None or request.suspect:
        name, where = ("due_one", (queue, request.only)) if request.only is not None else ("suspect_rows", (queue,))
        if free > 0 and _may_go(ledger, result, [(name, where)], wanted=1, steps=steps):
            _claim_queue(tx, request, result, queue, room=1, steps=steps)
    else:
        levels = _by_age(tx, queue) if request.oldest_first else _PRIORITIES
        due = [("due_rows", (queue, priority)) for priority in levels]
        # Only the head of a lane is given a time: those behind it would be given earlier ones.
        while left > 0 and _parked(tx, queue, levels, result, steps=steps):
            ready = _may_go(ledger, result, due, wanted=left, steps=steps)
            if not ready:
                break
            rows, started, _ = _pass(tx, request, result, name="claim", where=(queue, *levels), limit=min(left, ready))
            left -= started
            if not rows or steps.over(len(rows)):
                result.more = bool(rows)
                break
    ledger.took(result.claimed[before:])
    due_ms, result.suspects_ms[queue] = horizon(tx, queue)
    if due_ms is not None and ledger.free(1) <= 0:
        due_ms = max(due_ms, ledger.next_ms())
    result.next_due_ms[queue] = due_ms
    result.suspect_due = result.suspect_due or (result.suspects_ms[queue] or tx.now + 1) <= tx.now


def _parked(tx: Writing, queue: int, levels: Sequence[int], result: BatchResult, *, steps: _Steps) -> bool:
    """Let everything that is due wait behind the head of its lane; return whether that was all."""
    for priority in levels:
        while parked := tx.many("park", (queue, priority, tx.now, _PARK_MAX)):
            tx.overview.waiting = True
            if steps.over(len(parked)):
                result.more = True
                return False
    return True


def _may_go(
    ledger: Ledger,
    result: BatchResult,
    due: Sequence[tuple[str, tuple[object, ...]]],
    *,
    wanted: int,
    steps: _Steps,
) -> int:
    """Put off what stands before *wanted* messages that may go; return how many of those there are, or more."""
    ready = 0
    for name, where in due:
        late = 1
        found = 0
        while late and found < wanted - ready:
            found, late = ledger.put_off(name, where, wanted - ready)
            if steps.over(late):
                result.more = True
                return ready + found
        ready += found
        if ready >= wanted:
            break
    return ready


def _by_age(tx: Writing, queue: int) -> list[int]:
    """Order the priorities by their oldest due message, so that a low one is not starved for ever."""
    heads = [(due is None, due, priority) for due, priority in tx.many("heads", (queue,))]
    return [priority for *_, priority in sorted(heads)]


def _claim_rows(
    tx: Writing,
    request: Claim,
    result: BatchResult,
    *,
    name: str,
    where: tuple[object, ...],
    room: int,
    steps: _Steps,
) -> int:
    """
    Run one of the claims until *room* is used up or nothing more can start.

    Args:
        steps: What this transaction has stepped over.

    Returns:
        How many were leased.
    """
    taken = 0
    while True:
        limit = room - taken
        rows, started, ended = _pass(tx, request, result, name=name, where=where, limit=limit)
        taken += started
        # Whatever ended made room, and may have freed its successor. Without that: all leased, or that was all.
        if not rows or taken >= room or (not ended and (started == len(rows) or len(rows) < limit)):
            return taken
        if steps.over(len(rows)):
            result.more = True
            return taken
        _park(tx, rows, queue=where[0], steps=steps)


def _pass(
    tx: Writing, request: Claim, result: BatchResult, *, name: str, where: tuple[object, ...], limit: int
) -> tuple[list[Row], int, int]:
    """Run one of the claims once. Returns the rows that it moved, how many were leased, and how many ended."""
    until = tx.lease_now + request.lease_ms
    judged_by = tx.now if request.judge_expiry else None
    bindings: tuple[object, ...] = (request.lease, until, request.worker, tx.now, judged_by, *where)
    rows = tx.many(name, (*bindings, limit) if name == "claim" else bindings)
    return rows, *_take(tx, request, result, rows)


def _park(tx: Writing, rows: list[Row], *, queue: object, steps: _Steps) -> None:
    for priority in {row[_PRIORITY] for row in rows if row[_STATE] == _SCHEDULED}:
        steps.over(_PARK_MAX)
        tx.many("park", (queue, priority, tx.now, _PARK_MAX))


def _take(tx: Writing, request: Claim, result: BatchResult, rows: list[Row]) -> tuple[int, int]:
    """
    Decode what was leased, in their order; returns how many were, and how many ended instead.

    What is past its time has expired; an unreadable row is buried here and now, and the others go on (ST9, LE7).
    """
    started: list[Leased] = []
    ended = 0
    for row in rows:
        state = row[_STATE]
        if state == _LEASED:
            try:
                message = leased.leased(tx, tx.numbers, row)
            except (ValueError, TypeError, IndexError, msgspec.MsgspecError) as exc:
                result.unreadable += _bury(tx, request, row, f"cannot be read: {exc}")
                ended += 1
            else:
                started.append(message)
        elif state == _EXPIRED:
            result.overdue += endings.ended(tx, [leased.ending(row, charged=0)], State.EXPIRED, Reason.EXPIRED)
            ended += 1
        else:
            tx.overview.waiting = True
    if ended:
        tx.free_lanes()
    if started:
        # A claim is of one queue.
        tx.counters.move(started[0].queue, _SCHEDULED, _LEASED, [message.content_size for message in started])
    started.sort(key=leased.in_order)
    result.claimed.extend(started)
    return len(started), ended


def _bury(tx: Writing, request: Claim, row: Row, why: str) -> list[Ended]:
    ending = leased.ending(row, charged=1)
    tx.many("bury_unreadable", (ending.seq, request.lease, why, tx.now))
    return endings.ended(tx, [ending], State.DEAD, Reason.UNREADABLE)


def _give_positions(tx: Writing, result: BatchResult, queue: int) -> None:
    """Append messages for later to the tail of their lanes, in the order in which they became due (lanes.md)."""
    rows = tx.many("later", (queue, tx.now, _LATER_MAX))
    if not rows:
        return
    last = tx.one("sequence") or (0,)
    first = int(last[0]) + 1
    tx.each("take_position", [(seq, first + step) for step, (seq,) in enumerate(rows)])
    tx.many("sequence_set", (first + len(rows) - 1,))
    if len(rows) == _LATER_MAX:
        result.more = True
