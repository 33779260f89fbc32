"""
What a claim costs, by how many messages wait.

One commit that claims ten, at durability ``process``, so that no fsync hides the difference; on databases of several
sizes in turns. Between two of them, untimed, the ten are settled and replaced. Then the same behind a lane that is
blocked: its whole backlog is due before anything else, and has to be stepped over once.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of, Point
from bench.harness.filling import CHANNEL, draft, fill, store
from pillarbox.clock import SystemClock
from pillarbox.domain.ids import LeaseId
from pillarbox.domain.transition import Transition
from pillarbox.entropy import SystemEntropy
from pillarbox.store.base import Batch, BatchResult, Claim, Durability, Settlement, WorkerStart

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.domain.message import Leased
    from pillarbox.store.base import Store

_TEN = 10
_SMALL = 1_000
_LEASE_MS = 3_600_000
_BLOCKED = "\x1fblocked"


class Claimer:
    """One worker on one filled database."""

    def __init__(self, filled: Store, queue: int) -> None:
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
        claim = Claim(
            worker=self._worker,
            lease=LeaseId(self._entropy.token(16)),
            lease_ms=_LEASE_MS,
            capacity={self._queue: count},
        )
        batch = Batch(now_ms=self._clock.wall_ms(), claim=claim)
        began = time.perf_counter()
        result = await self._store.commit(batch)
        return time.perf_counter() - began, result.claimed

    async def replace(self, claimed: list[Leased]) -> BatchResult:
        """Settle what was claimed, and store as much again: as many wait as before."""
        now_ms = self._clock.wall_ms()
        self._number += len(claimed)
        return await self._store.commit(
            Batch(
                now_ms=now_ms,
                settle=[
                    Settlement(message=message, transition=Transition.deliver(None), began_ms=now_ms, ended_ms=now_ms)
                    for message in claimed
                ],
                enqueue=[[draft(f"new-{self._number + n}", now_ms=now_ms)] for n in range(len(claimed))],
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


def measure(plan: Plan) -> list[Figure]:
    sizes = plan.size(
        trial=(10 * _TEN, 20 * _TEN),
        quick=(_SMALL, 100_000),
        usual=(_SMALL, 10_000, 100_000, 1_000_000, 10_000_000),
    )
    blocked = plan.size(trial=200, quick=100_000, usual=1_000_000)
    with plan.folder() as folder:
        figures = asyncio.run(_by_size(folder, sizes, plan))
        figures += asyncio.run(_behind(folder, blocked, plan))
    return figures


async def _by_size(folder: Path, sizes: tuple[int, ...], plan: Plan) -> list[Figure]:
    claimers = [await _filled(folder / f"{size}.db", size) for size in sizes]
    turns = plan.size(trial=2, quick=20, usual=50)
    samples: list[list[float]] = [[] for _ in sizes]
    for _ in range(plan.rounds):
        for claimer, times in zip(claimers, samples, strict=True):
            times.append(await claimer.median(turns) * 1e6)
    for claimer in claimers:
        await claimer.close()
    small = tuple(samples[0])
    figures = [Figure(name=f"ten of {sizes[0]}", unit="µs", samples=small, point=_point(sizes[0]))]
    figures += [
        Figure(
            name=f"ten of {size}",
            unit="µs",
            samples=tuple(times),
            peer=f"of {sizes[0]}",
            peer_samples=small,
            goal=Goal(most=1.3),
            point=_point(size),
        )
        for size, times in zip(sizes[1:], samples[1:], strict=True)
    ]
    return figures


async def _behind(folder: Path, count: int, plan: Plan) -> list[Figure]:
    """Claim where *count* messages of one lane, which is blocked, are due before anything else."""
    turns = plan.size(trial=2, quick=20, usual=50)
    small = await _filled(folder / "small.db", _SMALL)
    path = folder / "blocked.db"
    now_ms = SystemClock().wall_ms()
    queue = await fill(path, count, now_ms=now_ms - 60_000, lane=_BLOCKED)
    await fill(path, _SMALL, now_ms=now_ms)
    claimer = Claimer(store(path, durability=Durability.PROCESS), queue)
    await claimer.open()
    steps = await claimer.step_over()
    ours, theirs = [], []
    for _ in range(plan.rounds):
        ours.append(await claimer.median(turns) * 1e6)
        theirs.append(await small.median(turns) * 1e6)
    await claimer.close()
    await small.close()
    return [
        Figure(
            name=f"ten behind {count} of a blocked lane",
            unit="µs",
            samples=tuple(ours),
            peer=f"of {_SMALL}",
            peer_samples=tuple(theirs),
            goal=Goal(most=1.3),
        ),
        Figure(
            name="stepping over them, once",
            unit="ms",
            samples=(sum(steps) * 1e3,),
            note=f"{len(steps)} claims",
        ),
        Figure(
            name="the longest claim among them",
            unit="ms",
            samples=(max(steps) * 1e3,),
            goal=Goal(of=Of.VALUE, most=50),
            note="so long nobody else can write",
        ),
    ]


def _point(size: int) -> Point:
    return Point(plot="growth", series="claim ten", at=size)


async def _filled(path: Path, size: int) -> Claimer:
    queue = await fill(path, size, now_ms=SystemClock().wall_ms() - 60_000)
    claimer = Claimer(store(path, durability=Durability.PROCESS), queue)
    await claimer.open()
    return claimer
