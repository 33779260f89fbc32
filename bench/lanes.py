"""
What order costs: lives a second by how many lanes they are in.

Within a lane a message waits until the one before it has ended, so one lane is two commits a message at best, unless
each settlement leases the next. One lane of 100 000 that wait, beside the raw commits of the same disk; then as many
messages as are sent in a second or two, spread over 1 to 10 000 lanes. They are stored as `Outbox.send` stores them:
its channel has admitted them, so no claim needs a commit for that. Default settings; a channel that accepts at once;
the time runs from the first send until enough were delivered, and what is left stays for the next round.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Point
from bench.harness.filling import CHANNEL, fill
from bench.harness.raw import RawCommits
from pillarbox import Outbox
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.channels.base import Attempt


def measure(plan: Plan) -> list[Figure]:
    waiting = plan.size(trial=100, quick=20_000, usual=100_000)
    enough = plan.size(trial=20, quick=500, usual=1_500)
    numbers = plan.size(trial=(1, 10), quick=(1, 1_000), usual=(1, 10, 100, 1_000, 10_000))
    ordered: list[float] = []
    raw: list[float] = []
    samples: dict[int, list[float]] = {number: [] for number in numbers}
    with plan.folder() as folder:
        asyncio.run(fill(folder / "one.db", waiting, now_ms=SystemClock().wall_ms(), lanes=1))
        commits = RawCommits(folder / "raw.db")
        for turn in range(plan.rounds):
            raw.append(commits.rate(enough))
            ordered.append(asyncio.run(_rate(folder / "one.db", enough)))
            for number, rates in samples.items():
                path = folder / f"{number}-{turn}.db"
                count = min(number * enough, 10 * enough)
                asyncio.run(fill(path, count, now_ms=SystemClock().wall_ms(), lanes=number))
                rates.append(asyncio.run(_rate(path, count)))
        commits.close()
    return [
        Figure(
            name=f"one lane of {waiting}",
            unit="lives/s",
            samples=tuple(ordered),
            peer="raw commits/s",
            peer_samples=tuple(raw),
            goal=Goal(least=0.5),
            note=f"the first {enough} of each round; what is left goes on waiting behind them",
        )
    ] + [
        Figure(
            name=f"{number} lane{'' if number == 1 else 's'}",
            unit="lives/s",
            samples=tuple(rates),
            point=Point(plot="lanes", series="pillarbox", at=number),
        )
        for number, rates in samples.items()
    ]


async def _rate(path: Path, count: int) -> float:
    """Deliver *count* of what waits; return how many that is a second."""
    sent = 0
    began = 0.0
    enough = asyncio.Event()

    async def accept(_: Attempt) -> None:
        nonlocal sent, began
        began = began or time.perf_counter()
        sent += 1
        if sent == count:
            enough.set()

    async with Outbox(path, channels={CHANNEL: accept}):
        async with asyncio.timeout(300):
            await enough.wait()
        return count / (time.perf_counter() - began)
