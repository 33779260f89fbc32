"""
From the call of `send()` to the channel's, in an outbox that is idle.

One commit stands in between, which stores and claims the message at once. Beside us: one row in one commit of the raw
database, taken in turns, message by message.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of, Point, Statistic
from bench.harness.raw import RawCommits
from bench.harness.stopwatch import Timed

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan

_MS = 1000.0


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=10, quick=100, usual=200)
    ours: list[list[float]] = []
    raw: list[list[float]] = []
    with plan.folder() as folder:
        for number in range(plan.rounds):
            one, other = asyncio.run(_round(folder, number, count))
            ours.append(one)
            raw.append(other)
    everything = tuple(sample for one in ours for sample in one)
    medians = tuple(statistics.median(one) for one in ours)
    return [
        Figure(
            name="p50",
            unit="ms",
            samples=medians,
            peer="raw commit",
            peer_samples=tuple(statistics.median(one) for one in raw),
            goal=Goal(of=Of.EXCESS, most=0.3),
        ),
        Figure(
            name="p99",
            unit="ms",
            samples=everything,
            peer="p50",
            peer_samples=(statistics.median(everything),),
            statistic=Statistic.P99,
            goal=Goal(most=3),
        ),
        Figure(
            name="p99 beside raw",
            unit="ms",
            samples=everything,
            peer="raw commit",
            peer_samples=tuple(sample for one in raw for sample in one),
            statistic=Statistic.P99,
            note="how much of the p99 is the disk's own",
            point=Point(plot="latency", series="send() to channel"),
        ),
    ]


async def _round(folder: Path, number: int, count: int) -> tuple[list[float], list[float]]:
    """Return *count* latencies and as many raw commits, in ms."""
    commits = RawCommits(folder / f"raw-{number}.db")
    ours, raw = [], []
    async with Timed(folder / f"ours-{number}.db") as timed:
        # The first ones make the queue's row and fill the caches.
        for warming in range(10):
            await timed.seconds(warming)
            commits.commit()
        for turn in range(count):
            ours.append(await timed.seconds(turn) * _MS)
            raw.append(commits.commit() * _MS)
    commits.close()
    return ours, raw
