"""
One worker that claims ten messages at a time on a filled database, and several of those in turns.

Between two claims, untimed, what was claimed is settled and replaced: as many wait as before.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Point
from bench.harness.filling import CHANNEL, draft
from pillarbox.clock import SystemClock
from pillarbox.domain.ids import LeaseId
from pillarbox.domain.transition import Transition
from pillarbox.entropy import SystemEntropy
from pillarbox.store.base import Batch, BatchResult, Claim, Settlement, WorkerStart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.harness.plan import Plan
    from pillarbox.domain.message import Leased
    from pillarbox.store.base import Store

BLOCKED_LANE = "\x1fblocked"
_TEN = 10
_LEASE_MS = 3_600_000
_MICROSECONDS = 1e6


class Claimer:
    """
    One worker on one filled database.

    Args:
        name: Of what it stores anew, so that several of them store it in lanes of their own.
    """

    def __init__(self, filled: Store, queue: int, name: str = "") -> None:
        self._name = name
        self._store = filled
        self._queue = queue
        self._clock = SystemClock()
        self._entropy = SystemEntropy()
        self._worker = 0
        self._number = 0

    async def open(self) -> None:
        """Register."""
        await self._store.open()
        self._worker = await self._store.register(
            WorkerStart(
                id=self._entropy.token(16),
                host="bench",
                pid=1,
                version="0",
                channels=(CHANNEL,),
                now_ms=self._clock.wall_ms(),
            )
        )

    async def close(self) -> None:
        """Leave."""
        await self._store.deregister(self._worker)
        await self._store.close()

    async def claim(self, count: int = _TEN) -> tuple[float, list[Leased]]:
        """Claim; return the seconds that this took and what was leased."""
        batch = Batch(now_ms=self._clock.wall_ms(), claim=self._claim(count))
        began = time.perf_counter()
        result = await self._store.commit(batch)
        return time.perf_counter() - began, result.claimed

    def _claim(self, count: int) -> Claim:
        return Claim(
            worker=self._worker,
            lease=LeaseId(self._entropy.token(16)),
            lease_ms=_LEASE_MS,
            capacity={self._queue: count},
        )

    async def replace(self, claimed: list[Leased]) -> BatchResult:
        """Settle what was claimed, and store as much again: as many wait as before."""
        return await self._turn(claimed, None)

    async def turn(self, claimed: list[Leased], count: int) -> list[Leased]:
        """Do the same, and claim *count* others in one commit; return those."""
        return (await self._turn(claimed, self._claim(count))).claimed

    async def _turn(self, claimed: list[Leased], claim: Claim | None) -> BatchResult:
        now_ms = self._clock.wall_ms()
        self._number += len(claimed)
        return await self._store.commit(
            Batch(
                claim=claim,
                now_ms=now_ms,
                settle=[
                    Settlement(message=message, transition=Transition.deliver(None), began_ms=now_ms, ended_ms=now_ms)
                    for message in claimed
                ],
                enqueue=[[draft(f"new{self._name}-{self._number + n}", now_ms=now_ms)] for n in range(len(claimed))],
            )
        )

    async def step_over(self) -> list[float]:
        """
        Step over a lane whose messages are due before all others, once. Return the seconds that each claim took.

        The lane's head is leased and stays so. The claims that follow step over the rest, until they reach the others.
        """
        seconds, claimed = await self.claim(1)
        steps = [seconds]
        while len(claimed) < _TEN:
            seconds, more = await self.claim(_TEN - len(claimed))
            steps.append(seconds)
            claimed += more
        await self.replace(claimed[1:])
        return steps

    async def median(self, turns: int) -> float:
        """Claim ten *turns* times; return the median in seconds."""
        times = []
        for _ in range(turns):
            seconds, claimed = await self.claim()
            assert len(claimed) == _TEN
            times.append(seconds)
            await self.replace(claimed)
        return statistics.median(times)


async def medians(claimers: Sequence[Claimer], plan: Plan) -> list[tuple[float, ...]]:
    """Return what a claim of ten takes each of them, in microseconds, once a round; they take turns."""
    turns = plan.size(trial=2, quick=20, usual=50)
    samples: list[list[float]] = [[] for _ in claimers]
    for _ in range(plan.rounds):
        for claimer, times in zip(claimers, samples, strict=True):
            times.append(await claimer.median(turns) * _MICROSECONDS)
    return [tuple(times) for times in samples]


def stepping(name: str, steps: Sequence[float]) -> Figure:
    """Return how long it took to step over a blocked lane, from the seconds of each claim that it took."""
    return Figure(name=name, unit="ms", samples=(sum(steps) * 1e3,), note=f"{len(steps)} claims")


def beside_few(
    name: str, samples: tuple[float, ...], few: int, base: tuple[float, ...], *, point: Point | None = None
) -> Figure:
    """Return the figure of claims that should cost what they cost where only *few* messages wait."""
    return Figure(
        name=name,
        unit="µs",
        samples=samples,
        peer=f"of {few}",
        peer_samples=base,
        goal=Goal(most=1.3),
        point=point,
    )
