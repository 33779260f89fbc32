"""
Ends what time has ended: messages past their TTL, leases whose worker is gone, holds without a verdict.

It looks every second as long as there is something that can end so. Where nothing waits and no other process sends,
only what somebody writes can change that: it rests then until it is told of a write.

A lost lease is an outcome too: it goes through `lifecycle.lost_worker`, so limits and policies hold for crashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from pillarbox.clock import Clock
from pillarbox.domain import lifecycle
from pillarbox.domain.message import Leased, State
from pillarbox.domain.transition import Reason
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.committer import Committer
from pillarbox.entropy import Entropy
from pillarbox.errors import PillarboxError, StoreError
from pillarbox.events.reporter import Reporter
from pillarbox.store import lost_answers
from pillarbox.store.base import CANCELLED_FOR, Batch, Bury, Lapsed, Settled, Settlement, Store

LIMIT: Final = 500
INTERVAL_SECONDS: Final = 1.0
REST_SECONDS: Final = 15.0
"""How long it rests at most: a lease of its own worker may have been given up."""
HOLDS_SECONDS: Final = 60.0
ABANDON_SECONDS: Final = 5.0
_MAY_END: Final = frozenset({State.SCHEDULED, State.HELD})


class Reaper:
    """
    One `tick` ends at most 500 of each kind.

    Args:
        worker: The id of its own worker.
        ours: Whether a message is being sent by this very worker, which then renews its lease, however late.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        reporter: Reporter,
        guard: ClockGuard,
        *,
        clock: Clock,
        entropy: Entropy,
        worker: bytes,
        ours: Callable[[Leased], bool],
        held_retention_ms: int,
    ) -> None:
        self._store = store
        self._committer = committer
        self._reporter = reporter
        self._guard = guard
        self._clock = clock
        self._entropy = entropy
        self._worker = worker
        self._ours = ours
        self.held_retention_ms = held_retention_ms
        self._holds_from = 0.0
        self._abandon_from = 0.0
        self._written = True
        self._rests = False

    def on_write(self) -> None:
        """Called when this process or another one wrote: there may be something to end from now on."""
        self._written, self._rests = True, False

    async def tick(self) -> float | None:
        """Reap once. Wanted again in a second; at once where more is left, later where nothing can come to an end."""
        more = await self.reap() >= LIMIT
        if self._rests and await self._nothing_can_end():
            return REST_SECONDS
        self._rests = self._written = False
        more = await self._end() or more
        if more or self._written:
            return 0 if more else INTERVAL_SECONDS
        nothing = await self._nothing_can_end()
        # Unless somebody wrote while that was found out.
        self._rests = nothing and not self._written
        return REST_SECONDS if self._rests else INTERVAL_SECONDS

    async def _end(self) -> bool:
        """End what has no lease; return whether more is left."""
        more = False
        if self._clock.mono() >= self._abandon_from:
            self._abandon_from = self._clock.mono() + ABANDON_SECONDS
            more = await self.abandon()
        if self._guard.trusted():
            result = await self._committer.expire(LIMIT)
            self._reporter.on_ended(result.expired)
            more = more or len(result.expired) >= LIMIT
            if self._clock.mono() >= self._holds_from:
                # Its retention is counted in days: no need to look every second.
                self._holds_from = self._clock.mono() + HOLDS_SECONDS
                if await self._holds():
                    self._holds_from = 0.0
                    more = True
        return more

    async def _nothing_can_end(self) -> bool:
        """Whether no message waits or is held, and no other process could die that sends one."""
        there = {tally.state for tally in await self._store.stats() if tally.messages}
        if there & _MAY_END:
            return False
        return State.LEASED not in there or all(worker.id == self._worker for worker in await self._store.workers())

    async def abandon(self) -> bool:
        """End the messages of processes that are gone, where no other may send them; return whether more are left."""
        gone = await self._store.gone_acceptors()
        if not gone:
            return False
        result = await self._committer.abandon(gone)
        self._reporter.on_ended(result.abandoned)
        return bool(result.abandoned)

    async def take_back(self) -> None:
        """
        Take back every lease that has lost its holder: before the first claim of a start, when nothing else is sent.

        In batches, each of them a commit: what dies in between has taken back what it has. Not through the committer,
        which would try for as long as the store fails: a start that cannot do it fails.

        Raises:
            StoreError: What was taken back until then stays so.
        """
        seen: set[tuple[int, bytes]] = set()
        while True:
            lapsed = await self._find()
            new = [item for item in lapsed if (item.message.seq, item.message.lease) not in seen]
            if not new:
                return
            seen.update((item.message.seq, item.message.lease) for item in new)
            await self._write(await self._write([self._settlement(item) for item in new]))

    async def _write(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Write them in one batch; return what ends those that are not to be sent again, to be written next."""
        if not settlements:
            return []
        batch = Batch(now_ms=self._clock.wall_ms(), settle=settlements)
        try:
            result = await lost_answers.commit(self._store, batch)
        except StoreError:
            raise
        except Exception as exc:  # noqa: BLE001 — one bad message must not keep the others, or the start (LE7)
            half = len(settlements) // 2
            if half:
                return await self._write(settlements[:half]) + await self._write(settlements[half:])
            detail = f"message {settlements[0].message.id}: {type(exc).__name__}"
            self._reporter.alarm("recording_failed", detail)
            return []
        told = list(zip(settlements, result.settled, strict=True))
        for settlement, settled in told:
            self._tell(settlement, settled)
        return [_cancelled(settlement, settled) for settlement, settled in told if settled in CANCELLED_FOR]

    async def reap(self) -> int:
        """Take back, once, at most `LIMIT` leases that have lost their holder; return how many it found."""
        lapsed = await self._find()
        ends = (self._settle(self._settlement(item)) for item in lapsed)
        for end in await asyncio.gather(*ends, return_exceptions=True):
            # What cannot be written the committer has told of, and it keeps nobody else from being taken back (LE7).
            if isinstance(end, PillarboxError) or (end is not None and not isinstance(end, Exception)):
                raise end
        return len(lapsed)

    async def _find(self) -> list[Lapsed]:
        lapsed = await self._store.lapsed(limit=LIMIT)
        # By time, after a suspend or an outage of the store: we are still sending it.
        return [item for item in lapsed if not self._ours(item.message)]

    async def _settle(self, settlement: Settlement) -> None:
        settled = await self._committer.settled(settlement)
        if settled in CANCELLED_FOR:
            settlement = _cancelled(settlement, settled)
            settled = await self._committer.settled(settlement)
        self._tell(settlement, settled)

    def _tell(self, settlement: Settlement, settled: Settled) -> None:
        # Stale means that its holder or another reaper was quicker: nothing happened, nothing to tell.
        if settled in {Settled.APPLIED, Settled.LATE}:
            self._reporter.on_settled(settlement, settled)

    def _settlement(self, lapsed: Lapsed) -> Settlement:
        now_ms = self._clock.wall_ms()
        message = lapsed.message
        return Settlement(
            message=message,
            transition=lifecycle.lost_worker(
                message, now_ms=now_ms, fraction=self._entropy.fraction(), suspect_ms=lapsed.suspect_ms
            ),
            began_ms=None,
            ended_ms=now_ms,
            lapsed=lapsed.by,
        )

    async def _holds(self) -> bool:
        before_ms = self._clock.wall_ms() - self.held_retention_ms
        overdue = await self._store.overdue_holds(before_ms=before_ms, limit=LIMIT)
        reason = Reason.UNRESOLVED
        acts = [Bury(id=message, actor="reaper", reason=reason, held_before_ms=before_ms) for message in overdue]
        done = await asyncio.gather(*map(self._committer.act, acts))
        for message, acted in zip(overdue, done, strict=True):
            view = await self._store.get(message) if acted.applied else None
            if view is not None:
                self._reporter.on_acted(view)
        return len(overdue) >= LIMIT


def _cancelled(settlement: Settlement, settled: Settled) -> Settlement:
    """Return the settlement that ends the message instead of sending it again."""
    cancel = lifecycle.cancelled(settlement.transition, CANCELLED_FOR[settled])
    return msgspec.structs.replace(settlement, transition=cancel)
