"""Deletes what was kept long enough: messages with all that hangs on them, what they said, keys, audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import STATES, State
from pillarbox.store.base import Prune
from pillarbox.store.steps import blobs, mirror, payloads
from pillarbox.store.steps.subject import Subject
from pillarbox.store.steps.writing import Writing


class Gone(NamedTuple):
    """
    A message whose row is deleted.

    ``delivered_ms``: when it was delivered; ``None``: it was not. ``keys_until_ms``: how long its key stays taken.
    """

    seq: int
    id: MessageId
    tenant: str
    key: str | None
    payload: int | None
    delivered_ms: int | None
    keys_until_ms: int

    @classmethod
    def of(cls, identity: MessageId, row: _Old | Subject, state: State, keys_until_ms: int) -> Gone:
        """Return what hangs on the message of a row, which has ended in *state*."""
        delivered_ms = row.completed_ms if state is State.DELIVERED else None
        return cls(row.seq, identity, row.tenant, row.key, row.payload, delivered_ms, keys_until_ms)


class _Old(NamedTuple):
    """The columns of ``prune_pick``, in their order."""

    seq: int
    tenant: str
    key: str | None
    payload: int | None
    content_size: int
    queue: int
    id: MessageId
    completed_ms: int


class _Said(NamedTuple):
    """The columns of ``scrub_pick``, in their order."""

    seq: int
    payload: int | None
    content_size: int
    queue: int
    completed_ms: int


def prune(tx: Writing, request: Prune) -> tuple[dict[State, int], bool]:
    """Delete a bounded number of old terminal messages with all that hangs on them; return whether more are left."""
    counts: dict[State, int] = {}
    left = request.limit
    for state, before in request.before_ms.items():
        if not state.terminal:
            msg = f"{state} is not terminal"
            raise ValueError(msg)
        gone = _delete(tx, state, before, left, request.keys_until_ms)
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


def _delete(tx: Writing, state: State, before: int, limit: int, keys_until_ms: int) -> int:
    picked = [_Old(*row) for row in tx.many("prune_pick", (state.code, before, limit))]
    done = tx.each("prune_message", [(old.seq, state.code, before) for old in picked])
    gone = [old for old, rows in zip(picked, done, strict=True) if rows]
    tx.each("prune_attempts", [(old.seq,) for old in gone])
    delete_belongings(tx, [Gone.of(old.id, old, state, keys_until_ms) for old in gone])
    for old in gone:
        tx.count(old.queue, state.code, -1, -old.content_size)
    return len(gone)


def _scrub(tx: Writing, before: int, limit: int) -> bool:
    """Delete what ended messages said. A mark per state remembers how far this got, so that nothing is read twice."""
    more = False
    for state in (state for state in STATES if state.terminal):
        mark = f"scrubbed:{state.code}"
        found = tx.one("meta_value", (mark,))
        start = int(found[0]) if found else 0
        picked = [_Said(*row) for row in tx.many("scrub_pick", (state.code, start, before, limit))]
        tx.each("scrub", [(said.seq,) for said in picked])
        payloads.release(tx, [said.payload for said in picked])
        tx.each("scrub_parts", [(said.seq,) for said in picked])
        blobs.release(tx, [said.seq for said in picked])
        for said in picked:
            tx.count(said.queue, state.code, 0, -said.content_size)
        if picked:
            tx.many("meta_set", (mark, str(picked[-1].completed_ms)))
        more |= len(picked) >= limit
    return more


def delete_belongings(tx: Writing, gone: Sequence[Gone]) -> None:
    """
    Delete what hung on messages that are gone: parts, files, and content that no other message of a fan-out has.

    Their keys stay taken for a while. A mirror entry outlives its message, or goes with one that was not delivered.
    """
    payloads.release(tx, [one.payload for one in gone])
    seqs = [(one.seq,) for one in gone]
    tx.each("prune_parts", seqs)
    blobs.release(tx, [one.seq for one in gone])
    tx.each("prune_key", [(one.key, one.tenant, one.keys_until_ms) for one in gone if one.key is not None])
    tx.each("mirror_outlives", [(one.id, one.delivered_ms) for one in gone if one.delivered_ms is not None])
    tx.each("mirror_delete", [(one.id,) for one in gone if one.delivered_ms is None])
