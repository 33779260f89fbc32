"""Writes what people order and what time brings: cancel, retry, pause, resume, expiry, pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.domain.lifecycle import Reason
from pillarbox.domain.message import FIRST_TERMINAL, STATES, State
from pillarbox.store.base import Act, Acted, Bury, Cancel, Ended, Pause, Prune, Resume, Retry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.store.sqlite.session import Row, Session

_SCHEDULED, _LEASED, _HELD, _DEAD, _EXPIRED, _CANCELLED = (
    s.code for s in (State.SCHEDULED, State.LEASED, State.HELD, State.DEAD, State.EXPIRED, State.CANCELLED)
)


_WORDS: Final[dict[type[Act], set[str]]] = {
    Cancel: {"cancel", "cancel requested"},
    Retry: {"retry"},
    Bury: {"bury"},
}
"""What each act is called in the history."""


def act(tx: Session, acts: Sequence[Act], *, again: bool) -> list[Acted]:
    """
    Carry out each act whose message is in a state that allows it.

    Args:
        again: An earlier try may have been committed: what it did is told, not done twice.
    """
    return [(again and _done(tx, item)) or _act(tx, item) for item in acts]


def _done(tx: Session, item: Act) -> Acted | None:
    if isinstance(item, Pause | Resume):
        return None
    words = {row[0] for row in tx.run("act_of", (item.id, tx.now, item.actor))}
    row = tx.one("row_for_act", (item.id,))
    if row is None or not words & _WORDS[type(item)]:
        return None
    state, arrived = row[1], row[6]
    return Acted(applied=True, state=_shown(state, arrived), pending=state == _LEASED)


def _act(tx: Session, item: Act) -> Acted:
    match item:
        case Cancel():
            return _cancel(tx, item)
        case Retry():
            return _retry(tx, item)
        case Bury():
            return _bury(tx, item)
        case Pause():
            tx.queue(item.tenant, item.channel)
            bindings = (item.tenant, item.channel, tx.now, item.until_ms, item.reason, item.actor)
            tx.run("queue_pause", bindings)
            _audit(tx, item, "pause", item.channel)
            return Acted(applied=True)
        case Resume():
            rows = tx.run("queue_resume", (item.tenant, item.channel))
            tx.touched.update(row[0] for row in rows)
            _audit(tx, item, "resume", item.channel)
            return Acted(applied=bool(rows))


def _cancel(tx: Session, item: Cancel) -> Acted:
    row = tx.one("row_for_act", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, lane, _, size, arrived, _ = row
    if state == _LEASED and arrived is None:
        tx.run("cancel_request", (seq, tx.now))
        _record(tx, item, "cancel requested", row, state)
        return Acted(applied=True, state=State.LEASED, pending=True)
    if state not in (_SCHEDULED, _HELD):
        return Acted(applied=False, state=_shown(state, arrived))
    tx.run("cancel", (seq, Reason.REQUESTED, tx.now))
    tx.move(queue, state, _CANCELLED, size)
    tx.leave_lane(lane)
    _record(tx, item, "cancel", row, _CANCELLED)
    return Acted(applied=True, state=State.CANCELLED)


def _retry(tx: Session, item: Retry) -> Acted:
    row = tx.one("row_for_act", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, _, _, size, arrived, _ = row
    if state not in (_SCHEDULED, _HELD):
        return Acted(applied=False, state=_shown(state, arrived))
    tx.run("retry", (seq, tx.now))
    tx.move(queue, state, _SCHEDULED, size)
    tx.touched.add(queue)
    _record(tx, item, "retry", row, _SCHEDULED)
    return Acted(applied=True, state=State.SCHEDULED)


def _bury(tx: Session, item: Bury) -> Acted:
    row = tx.one("row_for_act", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, lane, _, size, arrived, _ = row
    if state != _HELD:
        return Acted(applied=False, state=_shown(state, arrived))
    tx.run("bury", (seq, item.reason, tx.now))
    tx.move(queue, state, _DEAD, size)
    tx.leave_lane(lane)
    _record(tx, item, "bury", row, _DEAD)
    return Acted(applied=True, state=State.DEAD)


def _shown(state: int, arrived: int | None) -> State:
    return State.DELIVERED if state == _LEASED and arrived is not None else STATES[state]


def _record(tx: Session, item: Cancel | Retry | Bury, word: str, row: Row, after: int) -> None:
    """Operators' acts are always stored (ST10)."""
    tx.run("history_add", (row[0], item.id, tx.now, word, item.actor, row[1], after, item.reason))
    _audit(tx, item, word, item.id)


def _audit(tx: Session, item: Act, word: str, subject: str) -> None:
    tx.run("audit_add", (tx.now, item.actor, word, subject, item.reason, None))


def expire(tx: Session, limit: int) -> list[Ended]:
    """End scheduled messages whose time is over, waiting ones too; never one under a live lease (EX3)."""
    ended: list[Ended] = []
    for identity, queue, origin, created, charged, size, lane, _ in tx.run("expire", (tx.now, limit)):
        tx.move(queue, _SCHEDULED, _EXPIRED, size)
        tx.leave_lane(lane)
        ended.append(
            Ended(
                id=identity,
                queue=queue,
                state=State.EXPIRED,
                reason=Reason.EXPIRED,
                channel=tx.queue_name(queue)[1],
                origin=origin,
                created_ms=created,
                charged=charged,
            )
        )
    return ended


def prune(tx: Session, request: Prune) -> tuple[dict[State, int], bool]:
    """Delete a bounded number of old terminal messages with all that hangs on them; says whether more are left."""
    counts: dict[State, int] = {}
    left = request.limit
    for state, before in request.before_ms.items():
        if not state.terminal:
            msg = f"{state} is not terminal"
            raise ValueError(msg)
        gone = sum(_delete(tx, row, state, before, request) for row in tx.run("prune_pick", (state.code, before, left)))
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
        more |= len(tx.run(name, bindings)) >= rest
    return counts, more


def _scrub(tx: Session, before: int, limit: int) -> bool:
    """Delete what ended messages said. A mark per state remembers how far this got, so that nothing is read twice."""
    more = False
    for code in range(FIRST_TERMINAL, len(STATES)):
        mark = f"scrubbed:{code}"
        found = tx.one("meta_value", (mark,))
        rows = tx.run("scrub_pick", (code, int(found[0]) if found else 0, before, limit))
        for seq, payload, size, queue, _ in rows:
            tx.run("scrub", (seq,))
            if payload is not None:
                tx.run("prune_payload", (payload,))
            tx.run("prune_parts", (seq,))
            tx.run("prune_blobs", (seq,))
            tx.count(queue, code, 0, -size)
        if rows:
            tx.run("meta_set", (mark, str(rows[-1][4])))
        more |= len(rows) >= limit
    return more


def _delete(tx: Session, row: Row, state: State, before: int, request: Prune) -> int:
    seq, tenant, key, payload, size, queue = row
    if not tx.run("prune_message", (seq, state.code, before)):
        return 0
    if payload is not None:
        tx.run("prune_payload", (payload,))
    tx.run("prune_parts", (seq,))
    tx.run("prune_attempts", (seq,))
    tx.run("prune_blobs", (seq,))
    if key is not None:
        tx.run("prune_key", (tenant, key, request.keys_until_ms))
    tx.count(queue, state.code, -1, -size)
    return 1
