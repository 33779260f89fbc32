"""Writes what people order, each order by a function of its own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pillarbox.domain.message import State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import (
    Act,
    Acted,
    ActOnMessage,
    Bury,
    Cancel,
    Pause,
    Purge,
    Replay,
    Resolve,
    Resume,
    Retry,
)
from pillarbox.store.steps.audit import audit, record, shown
from pillarbox.store.steps.replay import purge, replay
from pillarbox.store.steps.resolve import resolve, retry, word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.store.steps.writing import Writing

_SCHEDULED, _LEASED, _HELD, _DEAD, _CANCELLED = (
    s.code for s in (State.SCHEDULED, State.LEASED, State.HELD, State.DEAD, State.CANCELLED)
)


def act(tx: Writing, acts: Sequence[Act], *, again: bool) -> list[Acted]:
    """
    Carry out each act whose message is in a state that allows it.

    Args:
        again: An earlier try may have been committed: what it did is told, not done twice.
    """
    acted: list[Acted] = []
    purged: Counter[tuple[str, str | None]] = Counter()
    for item in acts:
        known = _done(tx, item) if again else None
        done = known or _act(tx, item)
        if known is None and done.applied and isinstance(item, Purge):
            purged[item.actor, item.reason] += 1
        acted.append(done)
    # Of what is deleted by the thousand the audit has one line a transaction; the histories say which it was.
    for (actor, reason), count in purged.items():
        tx.many("audit_add", (tx.now, actor, "purge", "messages", reason, str(count)))
    return acted


def _done(tx: Writing, item: Act) -> Acted | None:
    if isinstance(item, Pause | Resume):
        return None
    if not {row[0] for row in tx.many("act_of", (item.id, tx.now, item.actor))} & _words(item):
        return None
    row = tx.one("row_for_act", (item.id,))
    if row is None:
        return Acted(applied=True) if isinstance(item, Purge) else None
    if isinstance(item, Replay) and tx.one("seq_of", (item.new_id,)) is None:
        return None
    state, arrived = row[1], row[6]
    return Acted(applied=True, state=shown(state, arrived), pending=state == _LEASED)


def _words(item: ActOnMessage) -> set[str]:
    """What an act is called in the history."""
    match item:
        case Cancel():
            return {"cancel", "cancel requested"}
        case Resolve():
            return {word(item)}
        case _:
            return {type(item).__name__.lower()}


def _act(tx: Writing, item: Act) -> Acted:
    match item:
        case Cancel():
            return _cancel(tx, item)
        case Retry():
            return retry(tx, item)
        case Bury():
            return _bury(tx, item)
        case Resolve():
            return resolve(tx, item)
        case Replay():
            return replay(tx, item)
        case Purge():
            return purge(tx, item)
        case Pause():
            # Also before its first message, so that whoever looks sees the pause.
            tx.queue(item.tenant or "", item.channel)
            how = (tx.now, item.until_ms, item.reason, item.actor)
            tx.many("queue_pause", (item.tenant, item.channel, *how))
            if item.tenant is None:
                tx.many("channel_pause", (item.channel, *how))
            audit(tx, item, "pause", item.channel, detail=_whose(item))
            return Acted(applied=True)
        case Resume():
            rows = tx.many("queue_resume", (item.tenant, item.channel))
            if item.tenant is None:
                tx.many("channel_resume", (item.channel,))
            tx.touched.update(row[0] for row in rows)
            audit(tx, item, "resume", item.channel, detail=_whose(item))
            return Acted(applied=bool(rows))


def _whose(item: Pause | Resume) -> str:
    return "every tenant" if item.tenant is None else f"tenant {item.tenant!r}"


def _cancel(tx: Writing, item: Cancel) -> Acted:
    row = tx.one("row_for_act", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, lane, _, size, arrived, _ = row
    if state == _LEASED and arrived is None:
        tx.many("cancel_request", (seq, tx.now))
        record(tx, item, "cancel requested", row, state)
        return Acted(applied=True, state=State.LEASED, pending=True)
    if state not in (_SCHEDULED, _HELD):
        return Acted(applied=False, state=shown(state, arrived))
    tx.many("cancel", (seq, Reason.REQUESTED, tx.now))
    tx.move(queue, state, _CANCELLED, size)
    tx.leave_lane(lane)
    record(tx, item, "cancel", row, _CANCELLED)
    return Acted(applied=True, state=State.CANCELLED)


def _bury(tx: Writing, item: Bury) -> Acted:
    row = tx.one("row_for_act", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, lane, _, size, arrived, _ = row
    if state != _HELD:
        return Acted(applied=False, state=shown(state, arrived))
    tx.many("bury", (seq, item.reason, tx.now))
    tx.move(queue, state, _DEAD, size)
    tx.leave_lane(lane)
    record(tx, item, "bury", row, _DEAD)
    return Acted(applied=True, state=State.DEAD)
