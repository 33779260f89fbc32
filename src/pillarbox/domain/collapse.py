"""What a newer message of a collapse key does to the older ones, and which place it takes (contract FL4). Pure."""

from __future__ import annotations

import msgspec

from pillarbox.domain.message import State
from pillarbox.domain.retry import Policy
from pillarbox.domain.transition import Reason


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a newer message takes over.

    Attributes:
        due_ms: When it may go.
        limited: Its platform asked to wait until then.
        position: The lowest position that an older one had in its lane; ``None``: it stands where it came.
    """

    due_ms: int
    limited: bool = False
    position: int | None = None


def reason(state: State, *, maybe_arrived: bool) -> Reason | None:
    """Return why an older message ends now; ``None`` for one that is being sent: it stays, and the newer one queues."""
    if state is State.LEASED:
        return None
    return Reason.SUPERSEDED_MAYBE_SENT if maybe_arrived else Reason.SUPERSEDED


def takes_position(policy: Policy, *, claims: int) -> bool:
    """
    Whether a newer message of *policy* takes the position of an older one that was claimed so often.

    Where it is bounded how long a message that fails may hold up its lane (LA5), one that was tried leaves no position:
    with each newer message its time would begin anew, and those behind would wait for ever.
    """
    return policy.lane_block_seconds is None or not claims


def taken_over(place: Place, *, due_ms: int, limited: bool, position: int | None) -> Place:
    """
    Return the place after one more older message has ended for the newer one.

    Args:
        due_ms: When that one was due.
        limited: Its platform asked to wait until then. That time is not cut short by saying something newer (contract
            RE4).
        position: That it had in the newer one's lane; ``None``: it had none there.
    """
    lowest = [known for known in (place.position, position) if known is not None]
    earlier_ms = place.due_ms if place.limited else min(place.due_ms, due_ms)
    due_ms = max(place.due_ms, due_ms) if limited else earlier_ms
    return Place(due_ms=due_ms, limited=place.limited or limited, position=min(lowest, default=None))
