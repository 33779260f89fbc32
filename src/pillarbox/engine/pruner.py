"""Deletes old terminal messages in small batches, by timer and by call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.store.base import Prune

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillarbox.clock import Clock
    from pillarbox.domain.message import State
    from pillarbox.engine.clock_guard import ClockGuard
    from pillarbox.engine.committer import Committer

LIMIT: Final = 500


class Pruner:
    """
    One `tick` deletes at most 500 messages.

    Args:
        retention_ms: How long each terminal state is kept after its completion.
        key_retention_ms: How long an idempotency key outlives its message.
        content_retention_ms: How long what ended messages said is kept; ``None`` as long as they are.
        audit_retention_ms: How long full attempts and acts outlive their message.
        mirror_retention_ms: How long a mirror entry is kept after its delivery or acknowledgement.
    """

    def __init__(
        self,
        committer: Committer,
        guard: ClockGuard,
        clock: Clock,
        *,
        retention_ms: Mapping[State, int],
        key_retention_ms: int,
        audit_retention_ms: int,
        content_retention_ms: int | None,
        mirror_retention_ms: int,
        interval_ms: int,
    ) -> None:
        self._committer = committer
        self._guard = guard
        self._clock = clock
        self._retention_ms = dict(retention_ms)
        self._key_retention_ms = key_retention_ms
        self._audit_retention_ms = audit_retention_ms
        self._content_retention_ms = content_retention_ms
        self._mirror_retention_ms = mirror_retention_ms
        self._interval_ms = interval_ms

    async def tick(self) -> float | None:
        """Prune once. Wanted again after the interval, or at once where more is left."""
        if not self._guard.trusted():
            return self._interval_ms / 1000
        _, more = await self.once(self._retention_ms)
        return 0 if more else self._interval_ms / 1000

    async def once(self, retention_ms: Mapping[State, int]) -> tuple[dict[State, int], bool]:
        """Delete up to 500 terminal messages older than *retention_ms* per state; return whether more are left."""
        now_ms = self._clock.wall_ms()
        request = Prune(
            before_ms={state: now_ms - age for state, age in retention_ms.items()},
            keys_until_ms=now_ms + self._key_retention_ms,
            audit_before_ms=now_ms - self._audit_retention_ms,
            scrub_before_ms=None if self._content_retention_ms is None else now_ms - self._content_retention_ms,
            mirror_before_ms=now_ms - self._mirror_retention_ms,
            limit=LIMIT,
        )
        result = await self._committer.prune(request)
        return result.pruned, result.more
