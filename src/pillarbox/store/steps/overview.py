"""What a transaction must know of the whole database before it writes, read in one look."""

from __future__ import annotations

from typing import NamedTuple

from pillarbox.store.steps.tx import Reader


class Overview(NamedTuple):
    """
    The columns of ``overview``, in their order.

    Attributes:
        gated: A queue is paused, or was unavailable.
        waiting: A message waits behind the head of its lane.
        messages, bytes: How many of them are active.
    """

    gated: int
    waiting: int
    messages: int
    bytes: int


def overview(tx: Reader) -> Overview:
    """Look. Nobody else changes it while this transaction holds the lock."""
    row = tx.one("overview")
    return Overview(*row) if row else Overview(1, 1, 0, 0)
