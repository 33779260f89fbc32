"""
Whole lives a second by how many producers await their sends at once, from 1 to 10 000.

What many of them gain over one is the commit that they share. As many lives for each number, but for the few of one
alone, which has a commit of its own for each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Point
from bench.programs.crowd import lives

if TYPE_CHECKING:
    from bench.harness.plan import Plan


def measure(plan: Plan) -> list[Figure]:
    numbers = plan.size(trial=(1, 10), quick=(1, 100, 1_000), usual=(1, 10, 100, 1_000, 10_000))
    most = plan.size(trial=20, quick=5_000, usual=20_000)
    samples: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(plan.rounds):
        for number, rates in samples.items():
            count = max(number, min(most, number * most // 20))
            with plan.folder() as folder:
                rates.append(asyncio.run(lives(folder / "ours.db", count, producers=number)).rate)
    return [
        Figure(
            name=f"{number} at once",
            unit="lives/s",
            samples=tuple(rates),
            peer="" if number == 1 else "one producer",
            peer_samples=() if number == 1 else tuple(samples[1]),
            point=Point(plot="producers", series="pillarbox", at=number),
        )
        for number, rates in samples.items()
    ]
