"""Applies a batch in its fixed order: settle, admit, renew, act, expire, enqueue, import, claim, prune, presence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pillarbox.store.base import ABANDON_MAX, Batch, BatchResult
from pillarbox.store.steps import admit, claim, enqueue, imports, mirror, orders, prune, settle, sweep
from pillarbox.store.steps.writing import Writing

if TYPE_CHECKING:
    from pillarbox.domain.limits import Limits
    from pillarbox.store.steps.numbers import Numbers
    from pillarbox.store.steps.tx import Tx


def apply(tx: Tx, numbers: Numbers, batch: Batch, *, limits: Limits, lease_now: int) -> BatchResult:
    """
    Write everything *batch* asks for. Who calls it opened the transaction, and ends it.

    Args:
        numbers: Those known on the connection of *tx*.
        lease_now: The time of the clock by which this database judges leases, in milliseconds.
    """
    writing = Writing(tx, numbers, now_ms=batch.now_ms, lease_now=lease_now, limits=limits)
    result = _steps(writing, batch)
    if batch.mark is not None:
        tx.one("meta_set", ("clock", msgspec.json.encode(batch.mark).decode()))
    writing.counters.write()
    return result


def _steps(tx: Writing, batch: Batch) -> BatchResult:
    result = BatchResult()
    if batch.settle:
        result.settled = settle.settle(tx, batch.settle, again=batch.again)
    if batch.admit:
        result.admitted = admit.admit(tx, batch.admit)
    if batch.renew:
        _renew(tx, batch, result)
    if batch.acts:
        result.acted = orders.act(tx, batch.acts, again=batch.again)
    if batch.expire:
        result.expired = sweep.expire(tx, batch.expire)
        result.more = len(result.expired) >= batch.expire
    if batch.abandon:
        result.abandoned = sweep.abandon(tx, batch.abandon)
        result.more |= len(result.abandoned) >= ABANDON_MAX
    if batch.acknowledge:
        result.acknowledged = mirror.acknowledge(tx, batch.acknowledge)
    tx.free_lanes()
    result.enqueued = enqueue.enqueue(tx, batch.enqueue, again=batch.again)
    # What a newer message took the place of has left its lane.
    tx.free_lanes()
    result.imported = imports.import_all(tx, batch.imports, again=batch.again)
    if batch.sync:
        tx.many("sync")
    result.touched, result.later_ms = tx.touched, tx.later
    if batch.claim is not None:
        claim.claim(tx, batch.claim, result, again=batch.again)
    if batch.prune is not None:
        result.pruned, more = prune.prune(tx, batch.prune)
        result.more |= more
    if batch.presence is not None:
        tx.many("worker_seen", (batch.presence.worker, batch.now_ms, ",".join(batch.presence.channels)))
    return result


def _renew(tx: Writing, batch: Batch, result: BatchResult) -> None:
    rows = [(message.seq, message.lease, tx.lease_now + batch.renew_ms) for message in batch.renew]
    for message, renewed in zip(batch.renew, tx.each("renew", rows), strict=True):
        if not renewed:
            result.lost.append(message)
        elif any(asked is not None for _, asked in renewed):
            result.cancelling.append(message.id)
