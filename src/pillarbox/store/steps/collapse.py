"""
Lets a newer message take the place of the unsent ones of its collapse key (contract FL4).

The place is their position in the lane, and their time in the queue. What is being sent stays: the newer one queues
behind it, and it ends as superseded where the platform does not take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pillarbox.domain.collapse import Place, reason, taken_over
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


def make_way(tx: Writing, draft: Draft, queue: int, recipient: str) -> tuple[Place, list[Ended]]:
    """
    End the unsent messages that *draft* supersedes. What is being sent is asked to end if it is not taken.

    Returns:
        The place that the draft takes, and those that ended for it.
    """
    place, superseded = Place(due_ms=draft.due_ms), []
    width = len(Ending._fields)
    rows = tx.many("collapsible", (queue, draft.collapse_key, recipient, draft.account, draft.thread))
    for about, older in ((Ending(*row[:width]), _Older(*row[width:])) for row in rows):
        ends = _supersede(tx, draft, about, older)
        superseded += ends
        # One that is for later enters its lane when it is due, as every such message does.
        if ends and draft.not_before_ms is None:
            position = older.position if about.lane == draft.lane else None
            place = taken_over(place, due_ms=older.due_ms, limited=bool(older.limited), position=position)
    return place, superseded


def _supersede(tx: Writing, draft: Draft, about: Ending, older: _Older) -> list[Ended]:
    before = STATES[older.state]
    told = (about.seq, about.id, tx.now)
    why = reason(before, maybe_arrived=bool(older.maybe_arrived))
    if why is None:
        if not older.arrived and older.asked_ms is None:
            tx.many("cancel_request", (about.seq, tx.now))
            tx.many("history_add", (*told, _ASKED, _actor(draft), before.code, before.code, None))
        return []
    tx.many("supersede", (about.seq, why, tx.now))
    tx.many("history_add", (*told, _DONE, _actor(draft), before.code, State.CANCELLED.code, None))
    return ended(tx, [about], State.CANCELLED, why, before=before)


def superseded_before(tx: Writing, draft: Draft) -> list[Ended]:
    """Return whose place a message took in a commit whose answer was lost."""
    if draft.collapse_key is None:
        return []
    rows = tx.many("superseded_by", (tx.now, _actor(draft)))
    return [
        one for *about, why in rows for one in ended(tx, [Ending(*about)], State.CANCELLED, Reason(why), before=None)
    ]


def _actor(draft: Draft) -> str:
    return f"message {draft.id}"
