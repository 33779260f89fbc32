"""
Lets a newer message take the place of the unsent ones of its collapse key (contract FL4).

The place is their position in the lane, and their time in the queue. What is being sent stays: the newer one queues
behind it, and it ends as superseded where the platform does not take it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.domain.collapse import Place, reason, taken_over, takes_position
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import STATES, Draft, State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Ended
from pillarbox.store.steps.at_once import New
from pillarbox.store.steps.endings import Ending, ended
from pillarbox.store.steps.tx import Row
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
    claims: int


class Way(NamedTuple):
    """The place that a newer message takes, and those that ended for it."""

    place: Place
    superseded: list[Ended]


def make_way(tx: Writing, new: Sequence[New]) -> dict[MessageId, Way]:
    """
    End the unsent messages that *new* ones supersede. What is being sent is asked to end if it is not taken.

    Args:
        new: No two of one collapse key.

    Returns:
        What is made for each of them that has a collapse key.
    """
    asked = [(d.id, one.queue, d.collapse_key, one.recipient, d.account, d.thread) for one in new for d in (one.draft,)]
    found = [_older(rows) for rows in tx.each("collapsible", asked)]
    superseded = _supersede(tx, [(one.draft, *older) for one, rows in zip(new, found, strict=True) for older in rows])
    return {
        one.draft.id: Way(
            _place(one.draft, [(about, older) for about, older in rows if about.id in superseded]),
            [superseded[about.id] for about, _ in rows if about.id in superseded],
        )
        for one, rows in zip(new, found, strict=True)
    }


def _older(rows: Sequence[Row]) -> list[tuple[Ending, _Older]]:
    behind = 1 + len(Ending._fields)
    return [(Ending(*row[1:behind]), _Older(*row[behind:])) for row in rows]


def _place(draft: Draft, ended_for_it: Sequence[tuple[Ending, _Older]]) -> Place:
    place = Place(due_ms=draft.due_ms)
    for about, older in ended_for_it:
        # One that is for later enters its lane when it is due, as every such message does.
        if draft.not_before_ms is None:
            takes = about.lane == draft.lane and takes_position(draft.policy, claims=older.claims)
            position = older.position if takes else None
            place = taken_over(place, due_ms=older.due_ms, limited=bool(older.limited), position=position)
    return place


def _supersede(tx: Writing, pairs: Sequence[tuple[Draft, Ending, _Older]]) -> dict[MessageId, Ended]:
    """End what is not being sent; return what has ended."""
    lines: list[Row] = []
    asked: list[Row] = []
    ends: defaultdict[tuple[Reason, State], list[Ending]] = defaultdict(list)
    told = tx.each("may_have_arrived", [(about.seq,) for _, about, _ in pairs])
    for (draft, about, older), ((_, maybe_arrived),) in zip(pairs, told, strict=True):
        before = STATES[older.state]
        why = reason(before, maybe_arrived=bool(maybe_arrived))
        if why is not None:
            ends[why, before].append(about)
            said, after = _DONE, State.CANCELLED
        elif older.arrived or older.asked_ms is not None:
            continue
        else:
            asked.append((about.seq, tx.now))
            said, after = _ASKED, before
        lines.append((about.seq, about.id, tx.now, said, _actor(draft), before.code, after.code, None))
    tx.each("cancel_request", asked)
    tx.each("supersede", [(about.seq, why, tx.now) for (why, _), rows in ends.items() for about in rows])
    tx.each("history_add", lines)
    return {
        one.id: one
        for (why, before), rows in ends.items()
        for one in ended(tx, rows, State.CANCELLED, why, before=before)
    }


def superseded_before(tx: Writing, drafts: Sequence[Draft]) -> dict[MessageId, list[Ended]]:
    """Return whose places messages took in a commit whose answer was lost."""
    took = [draft for draft in drafts if draft.collapse_key is not None]
    found = tx.each("superseded_by", [(_actor(draft), tx.now) for draft in took])
    return {
        draft.id: [
            one
            for _, *about, why in rows
            for one in ended(tx, [Ending(*about)], State.CANCELLED, Reason(why), before=None)
        ]
        for draft, rows in zip(took, found, strict=True)
    }


def _actor(draft: Draft) -> str:
    return f"message {draft.id}"
