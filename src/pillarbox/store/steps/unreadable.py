"""Buries messages that a database cannot read as they stand, so that they keep no other one back (ST9, LE7)."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.domain.message import State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Ended
from pillarbox.store.steps.endings import Ending, ended
from pillarbox.store.steps.writing import Writing

_BURIED = (State.SCHEDULED, State.HELD)


def bury(tx: Writing, found: Sequence[tuple[int, int]], why: str) -> list[Ended]:
    """
    End what nobody is sending and what has not ended; whoever sends one of the others settles it.

    Args:
        found: The messages' numbers, each with its state.
    """
    told: list[Ended] = []
    for before in _BURIED:
        rows = [(seq, state, why, tx.now) for seq, state in found if state == before.code]
        endings = [Ending(*row) for (row,) in filter(None, tx.each("bury_damaged", rows))]
        told += ended(tx, endings, State.DEAD, Reason.UNREADABLE, before=before)
    tx.free_lanes()
    tx.counters.write()
    return told
