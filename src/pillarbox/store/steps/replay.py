"""Writes what people want of messages that have ended: a replay as a new message, or their deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pillarbox.domain.lifecycle import new_expiry_ms
from pillarbox.domain.message import FIRST_TERMINAL, State
from pillarbox.errors import QueueFull, Refused
from pillarbox.store.base import Acted, Purge, Replay
from pillarbox.store.steps.audit import audit, shown, tell
from pillarbox.store.steps.enqueue import check_limits
from pillarbox.store.steps.sweep import delete_belongings, leave_mirror

if TYPE_CHECKING:
    from pillarbox.store.steps.tx import Row
    from pillarbox.store.steps.writing import Writing

_SCHEDULED, _DELIVERED = State.SCHEDULED.code, State.DELIVERED.code
_NO_CONTENT = "what it says was deleted: there is nothing left to send"
_UNREADABLE = "its retry policy cannot be read"
_ALL_PARTS = "every part of it was delivered: only a fresh replay, which sends all of them again, has something to send"


def replay(tx: Writing, item: Replay) -> Acted:
    """Store a new message out of one that has ended (contract ST2)."""
    row = tx.one("row_to_replay", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, arrived, size, _, _, part_count, _ = row
    told = shown(state, arrived)
    if state < FIRST_TERMINAL:
        return Acted(applied=False, state=told)
    anew = item.fresh or state == _DELIVERED
    try:
        expires = _judged(tx, item, row)
        done, moved = (0, False) if anew or part_count == 1 else _progress(tx, seq, part_count)
    except (Refused, QueueFull) as exc:
        return Acted(applied=False, state=told, refused=exc)
    ((new_seq,),) = tx.many("replay", (seq, item.new_id, tx.now, anew or moved, expires, done))
    if part_count > 1:
        tx.many("replay_parts", (seq, new_seq, anew))
    tx.many("replay_blobs", (seq, new_seq))
    if state != _DELIVERED:
        tx.many("replay_mirror", (item.id, item.new_id))
    tx.count(queue, _SCHEDULED, 1, size)
    tx.touched.add(queue)
    _record_replay(tx, item, row, new_seq)
    return Acted(applied=True, state=told)


def _judged(tx: Writing, item: Replay, row: Row) -> int | None:
    """Give when the new message expires. Raises Refused or QueueFull where there must be none."""
    _, _, queue, _, size, recipient, policy, _, has_content = row
    if not has_content:
        raise Refused(_NO_CONTENT)
    earlier = None if item.fresh else tx.one("replays", (item.id,))
    if earlier is not None:
        msg = f"it was replayed already, as {earlier[0]}; a fresh replay is a copy on purpose"
        raise Refused(msg)
    try:
        expires = new_expiry_ms(tx.numbers.policy_by_id(policy), tx.now)
    except (ValueError, msgspec.MsgspecError):
        raise Refused(_UNREADABLE) from None
    tenant, channel = tx.numbers.queue_name(queue)
    check_limits(tx, queue=queue, tenant=tenant, channel=channel, recipient=recipient, size=size)
    return expires


def _progress(tx: Writing, seq: int, part_count: int) -> tuple[int, bool]:
    """
    Say how many parts need not go again, and whether that gives others new numbers.

    A dedupe token names its part by number: where numbers change, the old tokens would name the wrong ones.

    Raises:
        Refused: All are delivered.
    """
    done, behind = tx.one("part_progress", (seq,)) or (0, 0)
    if done >= part_count:
        raise Refused(_ALL_PARTS)
    return done, behind != done


def _record_replay(tx: Writing, item: Replay, row: Row, new_seq: int) -> None:
    """Tell it in the history of both; neither line is a move."""
    seq, state = row[:2]
    why = "" if item.reason is None else f": {item.reason}"
    tell(tx, item, "replay", seq, item.id, before=state, after=state, reason=f"as {item.new_id}{why}")
    now = _SCHEDULED
    tell(tx, item, "replay", new_seq, item.new_id, before=now, after=now, reason=f"of {item.id}{why}")
    audit(tx, item, "replay", item.id, detail=msgspec.json.encode({"as": item.new_id, "fresh": item.fresh}).decode())


def purge(tx: Writing, item: Purge) -> Acted:
    """Delete a terminal message with all that hangs on it."""
    row = tx.one("row_to_purge", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, tenant, key, payload, size, queue, arrived, completed = row
    if not tx.many("purge", (seq,)):
        return Acted(applied=False, state=shown(state, arrived))
    tx.many("purge_attempts", (seq,))
    delete_belongings(tx, seq, payload)
    if key is not None:
        tx.many("prune_key", (tenant, key, item.keys_until_ms))
    leave_mirror(tx, item.id, delivered_at=completed if state == _DELIVERED else None)
    tx.count(queue, state, -1, -size)
    tell(tx, item, "purge", seq, item.id, before=state, after=state, reason=item.reason)
    return Acted(applied=True)
