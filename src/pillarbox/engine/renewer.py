"""Extends the leases of what is still being sent, at a third of the lease."""

from __future__ import annotations

from pillarbox.clock import Clock
from pillarbox.engine.committer import Committer
from pillarbox.engine.executor import Executor
from pillarbox.engine.flight import Flight


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
        wanting = self._wanting(boot_ms + self._lease_ms * 2 // 3)
        if wanting:
            result = await self._committer.renew([flight.message for flight in wanting], self._lease_ms)
            lost = {message.seq for message in result.lost}
            for flight in wanting:
                if not self._executor.holds(flight.message):
                    continue
                if flight.message.seq in lost:
                    self._executor.lose(flight)
                else:
                    # From before the commit: we give up before the store can give the lease to somebody else.
                    flight.until_ms = boot_ms + self._lease_ms
        return self._lease_ms / 3000

    def _wanting(self, until_ms: int) -> list[Flight]:
        """Return the sends whose lease ends before boot time *until_ms*."""
        return [
            flight
            for flight in self._executor.flights.values()
            if flight.until_ms < until_ms and not flight.lease_lost and not flight.written_off
        ]
