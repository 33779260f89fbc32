"""`explain`: from what is known of a message to every reason why it is not delivered yet, in order (contract OP2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.domain.explain.causes import Explanation
from pillarbox.domain.explain.ended import of_ended, of_held
from pillarbox.domain.explain.leased import of_leased
from pillarbox.domain.explain.scheduled import of_scheduled
from pillarbox.domain.message import State

if TYPE_CHECKING:
    from pillarbox.domain.explain.causes import Cause
    from pillarbox.domain.explain.facts import Facts

__all__ = ["explain"]


def explain(facts: Facts, *, held_retention_ms: int | None = None) -> Explanation:
    """
    Return why a message is not delivered yet, or what became of it.

    What blocks it stands in the order in which it goes away by itself; then what has no known end, in the order in
    which a claim asks: a worker, the channel, the lane, a slot. What is only worth knowing stands last.

    Args:
        held_retention_ms: How long held messages are kept for a person; ``None`` where that is not known.
    """
    view = facts.subject.view
    match view.state:
        case State.SCHEDULED:
            causes = of_scheduled(facts)
        case State.LEASED:
            causes = of_leased(facts)
        case State.HELD:
            causes = of_held(facts, retention_ms=held_retention_ms)
        case _:
            causes = of_ended(facts)
    return Explanation(
        message=view.id,
        state=view.state,
        at_ms=facts.now_ms,
        earliest_ms=_earliest_ms(facts.now_ms, causes) if view.state is State.SCHEDULED else None,
        causes=tuple(causes),
    )


def _earliest_ms(now_ms: int, causes: list[Cause]) -> int | None:
    ends = [cause.until_ms for cause in causes if cause.blocking]
    known = [end for end in ends if end is not None]
    return max(known, default=now_ms) if len(known) == len(ends) else None
