"""
What a claim costs, by how many messages wait.

One commit that claims ten, at durability ``process``, so that no fsync hides the difference; on databases of several
sizes in turns. Between two of them, untimed, the ten are settled and replaced. Then the same behind a lane that is
blocked: its whole backlog is due before anything else, and has to be stepped over once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.harness.claimer import BLOCKED_LANE, Claimer, beside_few, medians, stepping
from bench.harness.figure import Figure, Goal, Of, Point
from bench.harness.filling import fill, store
from pillarbox.clock import SystemClock
from pillarbox.store.base import Durability

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan

_SMALL = 1_000


def measure(plan: Plan) -> list[Figure]:
    sizes = plan.size(
        trial=(100, 200),
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
    samples = await medians(claimers, plan)
    for claimer in claimers:
        await claimer.close()
    few, small = sizes[0], samples[0]
    figures = [Figure(name=f"ten of {few}", unit="µs", samples=small, point=_point(few))]
    figures += [
        beside_few(f"ten of {size}", times, few, small, point=_point(size))
        for size, times in zip(sizes[1:], samples[1:], strict=True)
    ]
    return figures


async def _behind(folder: Path, count: int, plan: Plan) -> list[Figure]:
    """Claim where *count* messages of one lane, which is blocked, are due before anything else."""
    small = await _filled(folder / "small.db", _SMALL)
    path = folder / "blocked.db"
    now_ms = SystemClock().wall_ms()
    queue = await fill(path, count, now_ms=now_ms - 60_000, lane=BLOCKED_LANE)
    await fill(path, _SMALL, now_ms=now_ms)
    claimer = Claimer(store(path, durability=Durability.PROCESS), queue)
    await claimer.open()
    steps = await claimer.step_over()
    ours, theirs = await medians((claimer, small), plan)
    await claimer.close()
    await small.close()
    return [
        beside_few(f"ten behind {count} of a blocked lane", ours, _SMALL, theirs),
        stepping("stepping over them, once", steps),
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
