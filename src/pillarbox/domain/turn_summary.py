"""What became of one turn: the messages that an application sent under one correlation id (contract DK2)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pillarbox.domain.message import State


class TurnSummary(msgspec.Struct, frozen=True, kw_only=True):
    """
    How many messages of a turn are where.

    Attributes:
        queued: Active: scheduled, being sent, or held.
        failed: Dead or expired.
        cancelled: Withdrawn; neither a success nor a failure.
    """

    queued: int = 0
    delivered: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def complete(self) -> bool:
        """Whether the turn was delivered: nothing is active, at least one message arrived, and none failed."""
        return self.queued == 0 and self.delivered > 0 and self.failed == 0


def summarised(counts: Mapping[State, int]) -> TurnSummary:
    """Sum up counts by state."""
    return TurnSummary(
        queued=sum(count for state, count in counts.items() if not state.terminal),
        delivered=counts.get(State.DELIVERED, 0),
        failed=counts.get(State.DEAD, 0) + counts.get(State.EXPIRED, 0),
        cancelled=counts.get(State.CANCELLED, 0),
    )
