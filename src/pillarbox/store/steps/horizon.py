"""When something in a queue is due next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pillarbox.store.steps.writing import Writing


class Horizon(NamedTuple):
    """When the next message is due, suspects aside; and the next suspect."""

    due_ms: int | None
    suspect_ms: int | None

    def first_ms(self) -> float:
        """Return when the first of the two is due; infinity for never."""
        return min(math.inf if due_ms is None else due_ms for due_ms in self)


class _Look(NamedTuple):
    """The columns of ``horizon``, in their order."""

    due_ms: int | None
    suspect_ms: int | None
    redirected: int
    suppressed: int


def horizon(tx: Writing, queue: int) -> Horizon:
    """
    Look when something in *queue* is due next; ``None`` for nothing.

    It is looked again, too, whether a recipient may have another address, or be suppressed: see the statement.
    """
    look = _Look(*(tx.one("horizon", (queue,)) or (None, None, 1, 1)))
    overview = tx.overview
    overview.redirected = overview.redirected or look.redirected
    overview.suppressed = overview.suppressed or look.suppressed
    return Horizon(look.due_ms, look.suspect_ms)
