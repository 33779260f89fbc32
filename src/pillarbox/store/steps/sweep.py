"""Ends by time: messages past their TTL, and those whose process is gone."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.domain.message import State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import ABANDON_MAX, Batch, Ended
from pillarbox.store.steps.endings import Ending, ended
from pillarbox.store.steps.writing import Writing


def expire(tx: Writing, limit: int) -> list[Ended]:
    """End scheduled messages whose time is over, waiting ones too; never one under a live lease (EX3)."""
    rows = [Ending(*row) for row in tx.many("expire", (tx.now, max(0, limit)))]
    return ended(tx, rows, State.EXPIRED, Reason.EXPIRED)


def abandon(tx: Writing, acceptors: Sequence[bytes]) -> list[Ended]:
    """End what was accepted by processes that are gone, and must not be sent by another process (DK1)."""
    rows = [Ending(*row) for one in acceptors for row in tx.many("abandon", (one, ABANDON_MAX, tx.now))]
    return ended(tx, rows, State.DEAD, Reason.NON_FINAL)


def ended_before(tx: Writing, batch: Batch, state: State, reason: Reason) -> list[Ended]:
    """
    Return what an earlier try of *batch* ended so; its answer was lost.

    What another process ended in the same millisecond is returned too: reported twice is better than never.
    """
    attempted = {item.message.id for item in batch.settle}
    rows = [Ending(*row) for row in tx.many("ended_before", (state.code, tx.now, reason))]
    return ended(tx, [row for row in rows if row.id not in attempted], state, reason, before=None)
