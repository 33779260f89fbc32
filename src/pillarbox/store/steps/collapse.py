"""
Lets a newer message take the place of the unsent ones of its collapse key (contract FL4).

The place is their position in the lane, and their time in the queue. What is being sent stays: the newer one queues
behind it, and it ends as superseded where the platform does not take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.domain.message import State
from pillarbox.domain.transition import Reason
from pillarbox.store.steps.sweep import ended

if TYPE_CHECKING:
    from pillarbox.domain.message import Draft
    from pillarbox.store.base import Ended
    from pillarbox.store.steps.tx import Row
    from pillarbox.store.steps.writing import Writing

_LEASED, _CANCELLED = State.LEASED.code, State.CANCELLED.code
_DONE, _ASKED = "superseded", "supersede requested"


class Place:
    """
    What a newer message takes over.

    Attributes:
        superseded: The messages that ended for it.
        position: The lowest position that one of them had in the newer message's lane.
        due_ms: When the newer message may go.
    """

    __slots__ = ("due_ms", "position", "superseded")

    def __init__(self, due_ms: int) -> None:
        self.superseded: list[Ended] = []
        self.position: int | None = None
        self.due_ms = due_ms

    def take(self, tx: Writing, seq: int) -> None:
        """Put a message that was just stored there."""
        if self.superseded:
            tx.many("take_place", (seq, self.position, self.due_ms))


def make_way(tx: Writing, draft: Draft, queue: int, recipient: str) -> Place:
    """End the unsent messages that *draft* supersedes. What is being sent is asked to end if it is not taken."""
    place = Place(draft.due_ms)
    bindings = (queue, draft.collapse_key, recipient, draft.account, draft.thread)
    for row in tx.many("collapsible", bindings):
        _supersede(tx, draft, row, place)
    return place


def _supersede(tx: Writing, draft: Draft, row: Row, place: Place) -> None:
    about, (state, position, due, limited, arrived, asked, maybe) = row[:12], row[12:]

    def tell(act: str, after: int) -> None:
        tx.many("history_add", (row[0], row[1], tx.now, act, _actor(draft), state, after, None))

    if state == _LEASED:
        if not arrived and asked is None:
            tx.many("cancel_request", (row[0], tx.now))
            tell(_ASKED, state)
        return
    reason = Reason.SUPERSEDED_MAYBE_SENT if maybe else Reason.SUPERSEDED
    tx.many("supersede", (row[0], reason, tx.now))
    tell(_DONE, _CANCELLED)
    place.superseded.append(ended(tx, about, State.CANCELLED, reason, before=state))
    if draft.not_before_ms is not None:
        # It is for later: it enters its lane when it is due, as every such message does.
        return
    # The time that a platform asked to wait is not cut short by saying something newer (contract RE4).
    place.due_ms = max(place.due_ms, due) if limited else min(place.due_ms, due)
    if position is not None and about[10] == draft.lane:
        place.position = position if place.position is None else min(place.position, position)


def superseded_before(tx: Writing, draft: Draft) -> tuple[Ended, ...]:
    """Return whose place a message took in a commit whose answer was lost."""
    if draft.collapse_key is None:
        return ()
    rows = tx.many("superseded_by", (tx.now, _actor(draft)))
    return tuple(ended(tx, row[:12], State.CANCELLED, Reason(row[12]), before=None) for row in rows)


def _actor(draft: Draft) -> str:
    return f"message {draft.id}"
