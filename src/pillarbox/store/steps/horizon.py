"""When something in a queue is due next."""

from __future__ import annotations

import math
from typing import NamedTuple

from pillarbox.store.steps.tx import Reader


class Horizon(NamedTuple):
    """The columns of ``horizon``, in their order: the next message, suspects aside; the next suspect."""

    due_ms: int | None
    suspect_ms: int | None

    def first_ms(self) -> float:
        """Return when the first of the two is due; infinity for never."""
        return min(math.inf if due_ms is None else due_ms for due_ms in self)


def horizon(tx: Reader, queue: int) -> Horizon:
    """Look when something in *queue* is due next; ``None`` for nothing."""
    return Horizon(*(tx.one("horizon", (queue,)) or (None, None)))
