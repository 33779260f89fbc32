"""Deletes old terminal messages in small batches, by timer and by call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pillarbox.clock import Clock
from pillarbox.domain.message import State
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.committer import Committer
from pillarbox.store.base import Prune

LIMIT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """
    How long things are kept, and how often a worker looks for what is too old. Spans in milliseconds.

    Attributes:
        ended_ms: How long each terminal state is kept after its completion.
        keys_ms: How long an idempotency key outlives its message.
        audit_ms: How long full attempts and acts outlive their message.
        content_ms: How long what ended messages said is kept; ``None`` as long as they are.
        mirror_ms: How long a mirror entry is kept after its delivery or acknowledgement.
    """

    ended_ms: Mapping[State, int]
    keys_ms: int
    audit_ms: int
    content_ms: int | None
    mirror_ms: int
    interval_ms: int


class Pruner:
    """One `tick` deletes at most 500 messages. Its ``retention`` may be replaced between two."""

    def __init__(self, committer: Committer, guard: ClockGuard, clock: Clock, retention: Retention) -> None:
        self._committer = committer
        self._guard = guard
        self._clock = clock
        self.retention = retention

    async def tick(self) -> float | None:
        """Prune once. Wanted again after the interval, or at once where more is left."""
        if not self._guard.trusted():
            return self.retention.interval_ms / 1000
        _, more = await self.once(self.retention.ended_ms)
        return 0 if more else self.retention.interval_ms / 1000

    async def once(self, retention_ms: Mapping[State, int]) -> tuple[dict[State, int], bool]:
        """Delete up to 500 terminal messages older than *retention_ms* per state; return whether more are left."""
        now_ms, keep = self._clock.wall_ms(), self.retention
        request = Prune(
            before_ms={state: now_ms - age for state, age in retention_ms.items()},
            keys_until_ms=now_ms + keep.keys_ms,
            audit_before_ms=now_ms - keep.audit_ms,
            scrub_before_ms=None if keep.content_ms is None else now_ms - keep.content_ms,
            mirror_before_ms=now_ms - keep.mirror_ms,
            limit=LIMIT,
        )
        result = await self._committer.prune(request)
        return result.pruned, result.more
