"""When something in a queue is due next."""

from __future__ import annotations

from typing import NamedTuple

from pillarbox.store.steps.tx import Reader


class Horizon(NamedTuple):
    """The columns of ``horizon``, in their order: the next message, suspects aside; the next suspect."""

    due_ms: int | None
    suspect_ms: int | None


def horizon(tx: Reader, queue: int) -> Horizon:
    """Look when something in *queue* is due next; ``None`` for nothing."""
    return Horizon(*(tx.one("horizon", (queue,)) or (None, None)))
