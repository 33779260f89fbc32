"""
What may be ordered when: for each order, the states that a message may be in. One table.

The stores' guards (`store.steps`), the bulk verbs, the advice of `explain` and what a refusal says are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from pillarbox.domain.message import State


class Order(StrEnum):
    """What a person, or the reaper for one, may want of a message. The CLI's commands have these names."""

    CANCEL = "cancel"
    RETRY = "retry"
    BURY = "bury"
    RESOLVE = "resolve"
    REPLAY = "replay"
    PURGE = "purge"


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which states an order is for.

    Attributes:
        states: In which it is carried out.
        marks: In which it is noted, and carried out when the attempt ends that is under way.
        on_demand: Of ``states``, those that a filter must name; it does not mean them by itself.
    """

    states: frozenset[State]
    marks: frozenset[State] = frozenset()
    on_demand: frozenset[State] = frozenset()

    @property
    def possible(self) -> tuple[State, ...]:
        """The states that a filter may name, in their order."""
        return tuple(state for state in State if state in self.states | self.marks)

    @property
    def usual(self) -> tuple[State, ...]:
        """The states that are meant where a filter names none."""
        return tuple(state for state in self.possible if state not in self.on_demand)


_WAITS: Final = frozenset({State.SCHEDULED, State.HELD})
_ENDED: Final = frozenset(state for state in State if state.terminal)

ORDERS: Final[Mapping[Order, Scope]] = {
    Order.CANCEL: Scope(states=_WAITS, marks=frozenset({State.LEASED})),
    Order.RETRY: Scope(states=_WAITS),
    Order.BURY: Scope(states=frozenset({State.HELD})),
    Order.RESOLVE: Scope(states=frozenset({State.HELD})),
    # What was delivered is sent again only where somebody says so.
    Order.REPLAY: Scope(states=_ENDED, on_demand=frozenset({State.DELIVERED})),
    Order.PURGE: Scope(states=_ENDED),
}


class Answer(StrEnum):
    """What an order comes to."""

    DONE = "done"
    MARKED = "marked"
    """It is being sent: what was ordered happens when its attempt ends."""
    REFUSED = "refused"


def shown(state: State, *, arrived: bool) -> State:
    """Return a state as every reader sees it: what arrived while it was leased is delivered (contract ST6)."""
    return State.DELIVERED if arrived and state is State.LEASED else state


def answer(order: Order, state: State, *, arrived: bool = False) -> Answer:
    """
    Judge an order by the state that its message is in.

    Args:
        arrived: The platform has it, although a later lease on it has not ended: nothing can be ordered of it until
            that has.
    """
    scope = ORDERS[order]
    if arrived and state is State.LEASED:
        return Answer.REFUSED
    if state in scope.states:
        return Answer.DONE
    return Answer.MARKED if state in scope.marks else Answer.REFUSED


def allowed(order: Order, state: State) -> bool:
    """Whether the order is worth giving to a message that is seen in *state*."""
    return answer(order, state) is not Answer.REFUSED
