"""Applies a batch, one step after the other; `ORDER` says in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import ABANDON_MAX, Batch, BatchResult
from pillarbox.store.steps import (
    admit,
    claim,
    enqueue,
    imports,
    ledger,
    mirror,
    orders,
    prune,
    redirects,
    settle,
    suppression,
    sweep,
)
from pillarbox.store.steps.at_once import Starting
from pillarbox.store.steps.numbers import Numbers
from pillarbox.store.steps.tx import Tx
from pillarbox.store.steps.writing import Writing

Step = Callable[[Writing, Batch, BatchResult], None]
"""Writes its part of a batch, and notes in the result what it did."""


def apply(tx: Tx, numbers: Numbers, batch: Batch, *, limits: Limits, lease_now: int) -> BatchResult:
    """
    Write everything that *batch* asks for. The caller opened the transaction, and ends it.

    Args:
        numbers: Those known on the connection of *tx*.
        lease_now: The time of the clock by which this database judges leases, in milliseconds.
    """
    writing = Writing(tx, numbers, now_ms=batch.now_ms, lease_now=lease_now, limits=limits)
    result = BatchResult(touched=writing.touched, later_ms=writing.later)
    if batch.again:
        _tell_again(writing, batch, result)
    for step in ORDER.values():
        step(writing, batch, result)
    writing.counters.write()
    return result


def _settle(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.settle:
        result.settled = settle.settle(tx, batch.settle, again=batch.again)


def _admit(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.admit:
        result.admitted = admit.admit(tx, batch.admit)


def _tell_again(tx: Writing, batch: Batch, result: BatchResult) -> None:
    """Repeat the lost answer of an earlier try: what it ended, and where it may have made something claimable."""
    if batch.expire:
        result.expired = sweep.ended_before(tx, batch, State.EXPIRED, Reason.EXPIRED)
    elif batch.claim is not None:
        result.overdue = sweep.ended_before(tx, batch, State.EXPIRED, Reason.EXPIRED)
    if batch.claim is not None:
        result.unreadable = sweep.ended_before(tx, batch, State.DEAD, Reason.UNREADABLE)
    if batch.abandon:
        result.abandoned = sweep.ended_before(tx, batch, State.DEAD, Reason.NON_FINAL)
    if batch.acts:
        tx.touched.update(row[0] for row in tx.many("queues"))
    tx.touched.update(item.message.queue for item in batch.settle)
    tx.touched.update(tx.queue(draft.tenant, draft.channel) for group in batch.enqueue for draft in group)
    tx.touched.update(tx.queue(item.draft.tenant, item.draft.channel) for item in batch.imports)


def _renew(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if not batch.renew:
        return
    rows = [(message.seq, message.lease, tx.lease_now + batch.renew_ms) for message in batch.renew]
    for message, renewed in zip(batch.renew, tx.each("renew", rows), strict=True):
        if not renewed:
            result.lost.append(message)
        elif any(asked is not None for _, asked in renewed):
            result.cancelling.append(message.id)


def _act(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.acts:
        result.acted = orders.act(tx, batch.acts, again=batch.again)


def _expire(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.expire:
        result.expired += sweep.expire(tx, batch.expire - len(result.expired))
        result.more |= len(result.expired) >= batch.expire
    if batch.abandon:
        result.abandoned += sweep.abandon(tx, batch.abandon)
        result.more |= len(result.abandoned) >= ABANDON_MAX


def _acknowledge(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.acknowledge:
        result.acknowledged = mirror.acknowledge(tx, batch.acknowledge)


def _enqueue(tx: Writing, batch: Batch, result: BatchResult) -> None:
    tx.free_lanes()
    if batch.enqueue:
        result.enqueued = enqueue.enqueue(tx, batch.enqueue, result, again=batch.again, starting=_starting(tx, batch))
        # What a newer message took the place of has left its lane.
        tx.free_lanes()


def _starting(tx: Writing, batch: Batch) -> Starting | None:
    """Return what picks the new messages that start at once, or ``None`` where that is left to the claim."""
    if batch.claim is None or batch.again or batch.imports:
        return None
    return None if batch.claim.suspect or batch.claim.only is not None else Starting(tx, batch.claim)


def _import(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.imports:
        result.imported = imports.import_all(tx, batch.imports, again=batch.again)
    if batch.sync or batch.again:
        # What an earlier try wrote is recognised, and nothing more is written for it: yet nobody was told that it is
        # on disk, or on the standby.
        tx.many("sync")


def _claim(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.claim is not None:
        claim.claim(tx, batch.claim, result, again=batch.again)
        if tx.overview.redirected:
            redirects.lead(tx, result.claimed)
        if tx.overview.suppressed:
            suppression.mark(tx, result.claimed)
    elif tx.rests:
        ledger.ledgers(tx, (), {})


def _prune(tx: Writing, batch: Batch, result: BatchResult) -> None:
    if batch.prune is not None:
        result.pruned, more = prune.prune(tx, batch.prune)
        result.more |= more


def _presence(tx: Writing, batch: Batch, _: BatchResult) -> None:
    if batch.presence is not None:
        tx.many("worker_seen", (batch.presence.worker, batch.now_ms, ",".join(batch.presence.channels)))
    if batch.mark is not None:
        tx.many("meta_set", ("clock", msgspec.json.encode(batch.mark).decode()))


ORDER: Final[Mapping[str, Step]] = {
    "settle": _settle,
    "admit": _admit,
    "renew": _renew,
    "act": _act,
    "expire": _expire,
    "acknowledge": _acknowledge,
    "enqueue": _enqueue,
    "import": _import,
    "claim": _claim,
    "prune": _prune,
    "presence": _presence,
}
"""What a batch does, in this order: settling the head of a lane leases its successor in the same transaction."""
