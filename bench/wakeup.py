"""
From another process's `send()` to the channel's.

A worker idles; another process, which does not deliver, sends at random moments, 10–40 ms apart, and writes into each
message when it began. At least two commits stand in between: the sender's, and the claim. Beside them, what one commit
of one row took before each round.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of, Statistic
from bench.harness.filling import CHANNEL
from bench.harness.processes import Program
from bench.harness.raw import RawCommits
from pillarbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.channels.base import Attempt

_MS = 1e6
_SECOND_MS = 1e3


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=5, quick=30, usual=100)
    latencies: list[float] = []
    raw: list[float] = []
    with plan.folder() as folder:
        commits = RawCommits(folder / "raw.db")
        for number in range(plan.rounds):
            raw += [commits.commit() * _SECOND_MS for _ in range(count)]
            latencies += asyncio.run(_round(folder / f"{number}.db", count, seed=number))
        commits.close()
    samples, commit = tuple(latencies), tuple(raw)
    return [
        Figure(name="p50", unit="ms", samples=samples, peer="raw commit", peer_samples=commit),
        Figure(name="p99", unit="ms", samples=samples, statistic=Statistic.P99, goal=Goal(of=Of.VALUE, most=20)),
        Figure(name="worst", unit="ms", samples=samples, statistic=Statistic.MOST),
    ]


async def _round(path: Path, count: int, *, seed: int) -> list[float]:
    latencies: list[float] = []
    everything = asyncio.Event()

    async def note(attempt: Attempt) -> None:
        latencies.append((time.monotonic_ns() - int(attempt.text)) / _MS)
        if len(latencies) == count:
            everything.set()

    async with Outbox(path, channels={CHANNEL: note}) as box:
        # So that the queue is there: the first message of all takes a look at the list of queues.
        await box.send(CHANNEL, to="nobody", text=str(time.monotonic_ns()))
        await box.drain(10)
        latencies.clear()
        with Program("sender", path, count, seed) as sender:
            async with asyncio.timeout(60):
                await everything.wait()
            await asyncio.to_thread(sender.stop)
    return latencies
