"""
Lets a newer message take the place of the unsent ones of its collapse key (contract FL4).

The place is their position in the lane, and their time in the queue. What is being sent stays: the newer one queues
behind it, and it ends as superseded where the platform does not take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pillarbox.domain.message import STATES, State
from pillarbox.domain.transition import Reason
from pillarbox.store.steps.endings import Ending, ended

if TYPE_CHECKING:
    from pillarbox.domain.message import Draft
    from pillarbox.store.base import Ended
    from pillarbox.store.steps.writing import Writing

_DONE, _ASKED = "superseded", "supersede requested"


class _Older(NamedTuple):
    """What ``collapsible`` returns behind the ``ended`` columns, in its order."""

    state: int
    position: int | None
    due_ms: int
    limited: int
    arrived: int
    asked_ms: int | None
    maybe_arrived: int


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


def make_way(tx: Writing, draft: Draft, queue: int, recipient: str) -> Place:
    """End the unsent messages that *draft* supersedes. What is being sent is asked to end if it is not taken."""
    place = Place(draft.due_ms)
    width = len(Ending._fields)
    rows = tx.many("collapsible", (queue, draft.collapse_key, recipient, draft.account, draft.thread))
    for about, older in ((Ending(*row[:width]), _Older(*row[width:])) for row in rows):
        _supersede(tx, draft, about, older, place)
    return place


def _supersede(tx: Writing, draft: Draft, about: Ending, older: _Older, place: Place) -> None:
    before = STATES[older.state]
    told = (about.seq, about.id, tx.now)
    if before is State.LEASED:
        if not older.arrived and older.asked_ms is None:
            tx.many("cancel_request", (about.seq, tx.now))
            tx.many("history_add", (*told, _ASKED, _actor(draft), before.code, before.code, None))
        return
    reason = Reason.SUPERSEDED_MAYBE_SENT if older.maybe_arrived else Reason.SUPERSEDED
    tx.many("supersede", (about.seq, reason, tx.now))
    tx.many("history_add", (*told, _DONE, _actor(draft), before.code, State.CANCELLED.code, None))
    place.superseded += ended(tx, [about], State.CANCELLED, reason, before=before)
    if draft.not_before_ms is not None:
        # It is for later: it enters its lane when it is due, as every such message does.
        return
    # The time that a platform asked to wait is not cut short by saying something newer (contract RE4).
    place.due_ms = (max if older.limited else min)(place.due_ms, older.due_ms)
    if older.position is not None and about.lane == draft.lane:
        place.position = older.position if place.position is None else min(place.position, older.position)


def superseded_before(tx: Writing, draft: Draft) -> list[Ended]:
    """Return whose place a message took in a commit whose answer was lost."""
    if draft.collapse_key is None:
        return []
    rows = tx.many("superseded_by", (tx.now, _actor(draft)))
    return [
        one
        for *about, reason in rows
        for one in ended(tx, [Ending(*about)], State.CANCELLED, Reason(reason), before=None)
    ]


def _actor(draft: Draft) -> str:
    return f"message {draft.id}"
