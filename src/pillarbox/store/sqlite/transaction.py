"""Applies a batch in its fixed order: settle, admit, renew, act, expire, enqueue, import, claim, prune, presence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pillarbox.store.base import ABANDON_MAX, Batch, BatchResult
from pillarbox.store.sqlite import acting, claiming, enqueueing, importing, mirroring, settling, sweeping

if TYPE_CHECKING:
    from pillarbox.store.sqlite.session import Session


def apply(tx: Session, batch: Batch, *, again: bool = False) -> BatchResult:
    """
    Write everything *batch* asks for in one transaction.

    Args:
        again: An earlier try of the same batch may have been committed although its answer was lost. Each step then
            recognises its own work: ids and leases were made before the first try.
    """
    tx.begin(now=batch.now_ms)
    try:
        result = _steps(tx, batch, again=again)
        if batch.mark is not None:
            tx.run("meta_set", ("clock", msgspec.json.encode(batch.mark).decode()))
        tx.commit()
    except BaseException:
        tx.rollback()
        raise
    return result


def _steps(tx: Session, batch: Batch, *, again: bool) -> BatchResult:
    result = BatchResult()
    if batch.settle:
        result.settled = settling.settle(tx, batch.settle, again=again)
    if batch.admit:
        result.admitted = settling.admit(tx, batch.admit)
    if batch.renew:
        _renew(tx, batch, result)
    if batch.acts:
        result.acted = acting.act(tx, batch.acts, again=again)
    if batch.expire:
        result.expired = sweeping.expire(tx, batch.expire)
        result.more = len(result.expired) >= batch.expire
    if batch.abandon:
        result.abandoned = sweeping.abandon(tx, batch.abandon)
        result.more |= len(result.abandoned) >= ABANDON_MAX
    if batch.acknowledge:
        result.acknowledged = mirroring.acknowledge(tx, batch.acknowledge)
    tx.free_lanes()
    result.enqueued = enqueueing.enqueue(tx, batch.enqueue, again=again)
    # What a newer message took the place of has left its lane.
    tx.free_lanes()
    result.imported = importing.import_all(tx, batch.imports, again=again)
    if batch.sync:
        tx.run("sync")
    result.touched, result.later_ms = tx.touched, tx.later
    if batch.claim is not None:
        claiming.claim(tx, batch.claim, result, again=again)
    if batch.prune is not None:
        result.pruned, more = sweeping.prune(tx, batch.prune)
        result.more |= more
    if batch.presence is not None:
        tx.run("worker_seen", (batch.presence.worker, batch.now_ms, ",".join(batch.presence.channels)))
    return result


def _renew(tx: Session, batch: Batch, result: BatchResult) -> None:
    for message in batch.renew:
        rows = tx.run("renew", (message.seq, message.lease, tx.lease_now + batch.renew_ms))
        if not rows:
            result.lost.append(message)
        elif rows[0][0] is not None:
            result.cancelling.append(message.id)
