"""Writes a worker's sign of life, and notices channels that have messages but no worker."""

from __future__ import annotations

from typing import Final

from pillarbox.clock import Clock
from pillarbox.domain.message import State
from pillarbox.engine.committer import Committer
from pillarbox.events.reporter import Reporter
from pillarbox.store.base import Presence, Store

INTERVAL_SECONDS: Final = 15.0
ORPHAN_SECONDS: Final = 60.0


class PresenceKeeper:
    """One `tick` writes the worker's row, and looks for orphaned channels (contract CL7) and missing files (SG9)."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        reporter: Reporter,
        clock: Clock,
        *,
        slot: int,
        channels: tuple[str, ...],
    ) -> None:
        self._store = store
        self._committer = committer
        self._reporter = reporter
        self._clock = clock
        self._presence = Presence(worker=slot, channels=channels)
        self._orphaned_since: dict[str, float] = {}
        self._alarmed: set[str] = set()
        self._told: set[str] = set()

    async def tick(self) -> float | None:
        """Write this worker's sign of life. Wanted again in 15 s."""
        self._look_after_files()
        await self._committer.presence(self._presence)
        await self._look_for_orphans()
        return INTERVAL_SECONDS

    def _look_after_files(self) -> None:
        for problem in self._store.problems():
            if problem not in self._told:
                self._told.add(problem)
                self._reporter.alarm("store_problem", problem)

    async def _look_for_orphans(self) -> None:
        waiting = {tally.channel for tally in await self._store.stats() if tally.state is State.SCHEDULED}
        served = {
            name for worker in await self._store.workers() if worker.alive is not False for name in worker.channels
        }
        now = self._clock.mono()
        orphaned = waiting - served
        self._orphaned_since = {name: self._orphaned_since.get(name, now) for name in orphaned}
        self._alarmed &= orphaned
        for name, since in self._orphaned_since.items():
            if now - since >= ORPHAN_SECONDS and name not in self._alarmed:
                self._alarmed.add(name)
                self._reporter.alarm("channel_unserved", f"messages wait for channel {name}, and no worker has it")
