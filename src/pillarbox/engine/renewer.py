"""Extends the leases of what is still being sent, at a third of the lease."""

from __future__ import annotations

from pillarbox.clock import Clock
from pillarbox.engine.committer import Committer
from pillarbox.engine.executor import Executor


class Renewer:
    """One `tick` renews every lease that has less than two thirds left."""

    def __init__(self, executor: Executor, committer: Committer, clock: Clock, *, lease_ms: int) -> None:
        self._executor = executor
        self._committer = committer
        self._clock = clock
        self._lease_ms = lease_ms

    async def tick(self) -> float | None:
        """Renew what needs it. Wanted again after a third of the lease."""
        boot_ms = self._clock.boot_ms()
        messages = self._executor.wanting_renewal(boot_ms, before_ms=self._lease_ms * 2 // 3)
        if messages:
            result = await self._committer.renew(messages, self._lease_ms)
            # From before the commit: we give up before the store can give the lease to somebody else.
            self._executor.renewed(messages, result, boot_ms + self._lease_ms)
        return self._lease_ms / 3000
