"""
How much of a message has arrived, and what is shown of a part that was not sent (contract PA4, PA5). Pure.

A part's row is written when its attempt ends it. Parts behind it have none to write: they share their message's end.
"""

from __future__ import annotations

from enum import StrEnum

from pillarbox.domain.message import MessageView, Part, State
from pillarbox.domain.transition import Reason


class Aggregate(StrEnum):
    """
    How much of a message the recipient has, all parts taken together.

    ``uncertain``: more may have arrived than is known; only the platform knows. It goes before
    ``partial``, which says that some parts arrived and the others surely did not; ``rejected`` says so of all of them,
    whether the platform refused it, its time was over, or a person cancelled it.
    """

    DELIVERED = "delivered"
    PARTIAL = "partial"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"


def aggregate(view: MessageView) -> Aggregate | None:
    """Take a message's parts together; ``None`` while it may still be sent."""
    if not view.state.terminal:
        held = view.state is State.HELD and view.terminal_reason == Reason.UNCERTAIN
        return Aggregate.UNCERTAIN if held else None
    if view.state is State.DELIVERED or _arrived_after_all(view):
        return Aggregate.DELIVERED
    if view.maybe_arrived or view.terminal_reason == Reason.SUPERSEDED_MAYBE_SENT:
        return Aggregate.UNCERTAIN
    return Aggregate.PARTIAL if view.parts_delivered else Aggregate.REJECTED


def _arrived_after_all(view: MessageView) -> bool:
    """Whether a late answer brought what was missing when the message had ended already."""
    if view.part_count > 1:
        return view.parts_delivered == view.part_count
    return view.also_arrived_ms is not None


def part_of(
    view: MessageView, number: int, state: State, *, receipt: str | None, reason: str | None, content: bytes | None
) -> Part:
    """
    Return a part as people see it: *state*, *receipt* and *reason* are those of its own row.

    The part that the message stands at is leased or held with it, and dead with it where no attempt ended it.
    """
    if not state.terminal:
        current = number == view.part_next
        if current and state is not view.state:
            reason = view.last_error or view.terminal_reason
        state = _unended(view.state, current=current)
    return Part(number=number, state=state, receipt=receipt, reason=reason, content=content)


def _unended(message: State, *, current: bool) -> State:
    if current or message in (State.DELIVERED, State.EXPIRED):
        return message
    return State.CANCELLED if message.terminal else State.SCHEDULED
