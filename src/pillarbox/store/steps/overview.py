"""What a transaction must know of the whole database before it writes, read in one look."""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.store.steps.tx import Reader


@dataclass(slots=True)
class Overview:
    """
    The columns of ``overview``, in their order.

    Attributes:
        gated: A queue may be paused, or was unavailable. Whoever makes it so says so here.
        redirected: A recipient may have another address. Whoever learns of one says so here.
        suppressed: A recipient may be suppressed. Whoever suppresses one says so here.
        resting: A recipient may rest after a rate limit. Whoever lets one rest says so here.
        waiting: A message may wait behind the head of its lane. Whoever makes one wait says so here.
        messages, bytes: How many of them were active before this transaction wrote.
    """

    gated: int
    redirected: int
    suppressed: int
    resting: int
    waiting: int
    messages: int
    bytes: int


def overview(tx: Reader) -> Overview:
    """Look. Nobody else changes it while this transaction holds the lock."""
    row = tx.one("overview")
    return Overview(*row) if row else Overview(1, 1, 1, 1, 1, 0, 0)
