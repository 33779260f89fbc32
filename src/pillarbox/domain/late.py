"""
What an answer does that comes when its lease is gone, and the platform has what was sent (contract ST6). Pure.

A delivery is never thrown away, whatever happened to its message meanwhile; what was sent twice is counted.
"""

from __future__ import annotations

from enum import StrEnum

from pillarbox.domain.message import State


class Late(StrEnum):
    """What becomes of the message."""

    DELIVERS = "delivers"
    """It waited for another attempt: it is delivered now; of a split one, the part at which it stands."""
    FORESTALLS = "forestalls"
    """Another attempt is under way: delivered for everybody who looks, but its lane opens when that lease ends."""
    COPY = "copy"
    """The recipient has it once more: the state stays, receipt and time are added, the copy is counted."""


def speaks_first(to_state: State, outcome: str) -> bool:
    """
    Whether a late answer brings anything new about its attempt: not where that is known to have delivered already.

    Args:
        to_state: To which the attempt brought its message when its lease was lost, or ended.
        outcome: The word for what it came to.
    """
    return State.DELIVERED not in {to_state, outcome}


def late(state: State, *, arrived: bool) -> Late:
    """
    Return what a late answer does to a message that goes out whole.

    Args:
        state: That it is in now.
        arrived: An earlier late answer has already shown that it is delivered.
    """
    if state in _WAITS:
        return Late.DELIVERS
    return Late.FORESTALLS if state is State.LEASED and not arrived else Late.COPY


def late_part(state: State, *, part_next: int, part: int) -> Late:
    """
    Return what a late answer about one part does to its message.

    Args:
        part_next: The part at which the message stands now.
        part: The one that was sent.
    """
    return Late.DELIVERS if state in _WAITS and part_next == part else Late.COPY


def ends_part(state: State, *, part_next: int, part: int) -> bool:
    """
    Whether a late answer about a part ends the part itself.

    Not where another attempt is sending that very part: that attempt will say.
    """
    return state is not State.LEASED or part_next != part


_WAITS = frozenset({State.SCHEDULED, State.HELD})
