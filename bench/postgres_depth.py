"""
PostgreSQL: what grows with how many messages wait, and with how many workers there are.

A claim of ten on databases of several sizes in turns, at durability ``process``, so that no fsync hides the difference;
the same behind a lane that is blocked, whose whole backlog is due before anything else. Then one, two and four worker
processes on each database, with fsync: each claims a hundred, and settles and replaces them with its next claim, so
that as many wait as before.

Databases are filled by the server, a row made out of one that pillarbox stored. From a million rows on, indexes that
are no constraint are made after them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bench.harness.claimer import BLOCKED_LANE, Claimer, beside_few, medians, stepping
from bench.harness.figure import Figure
from bench.harness.processes import Program, programs
from bench.harness.server import Server, fill, size, store, tidy
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_BEFORE_MS: Final = 60_000
_FEW: Final = 1_000


def measure(plan: Plan) -> list[Figure]:
    with plan.folder() as folder, Server(folder) as server:
        figures = asyncio.run(_behind(server, plan))
        figures += asyncio.run(_by_size(server, plan))
    return figures


async def _by_size(server: Server, plan: Plan) -> list[Figure]:
    sizes = plan.size(
        trial=(300, 600),
        quick=(1_000, 10_000, 100_000),
        usual=(1_000, 10_000, 100_000, 1_000_000),
        full=(1_000, 10_000, 100_000, 10_000_000),
    )
    base = sizes[min(1, len(sizes) - 1)]
    claimers: dict[int, Claimer] = {}
    workers: dict[tuple[int, int], list[float]] = {}
    bytes_each: dict[int, float] = {}
    with server.databases(sizes) as urls:
        for count, url in urls.items():
            queue = await fill(url, count, now_ms=SystemClock().wall_ms() - _BEFORE_MS)
            bytes_each[count] = size(url) / count
            claimers[count] = Claimer(store(url), queue)
            await claimers[count].open()
        samples = dict(zip(claimers, await medians(tuple(claimers.values()), plan), strict=True))
        for claimer in claimers.values():
            await claimer.close()
        for _ in range(plan.size(trial=1, quick=1, usual=3)):
            for count, url in urls.items():
                for number in plan.size(trial=(1,), quick=(1, 2, 4), usual=(1, 2, 4)):
                    workers.setdefault((count, number), []).append(_rate(url, number, plan))
    figures = [Figure(name=f"claim of ten of {base}", unit="µs", samples=samples[base])]
    figures += [
        beside_few(f"claim of ten of {count}", times, base, samples[base])
        for count, times in samples.items()
        if count != base
    ]
    figures += [
        Figure(
            name=f"{count} waiting, {number} worker{'s' if number > 1 else ''}",
            unit="lives/s",
            samples=tuple(rates),
            peer=f"{base} waiting, one worker",
            peer_samples=tuple(workers[base, 1]),
        )
        for (count, number), rates in workers.items()
    ]
    return [
        *figures,
        *(Figure(name=f"one of {count} on the disk", unit="B", samples=(one,)) for count, one in bytes_each.items()),
    ]


def _rate(url: str, workers: int, plan: Plan) -> float:
    """Return the lives a second of so many worker processes together."""
    seconds = plan.size(trial=0.5, quick=3.0, usual=5.0)
    with programs(*(Program("turner", url, number, seconds) for number in range(workers))) as started:
        for program in started:
            program.hear()
        for program in started:
            program.say("go")
        said = [program.hear() for program in started]
    return float(sum(one["lives"] for one in said) / max(one["seconds"] for one in said))


async def _behind(server: Server, plan: Plan) -> list[Figure]:
    """Claim where a lane that is blocked has its whole backlog due before anything else."""
    few = plan.size(trial=50, quick=10_000, usual=10_000)
    blocked = plan.size(trial=200, quick=20_000, usual=1_000_000)
    turns = plan.size(trial=2, quick=20, usual=50)
    now_ms = SystemClock().wall_ms()
    with server.database() as small, server.database() as behind:
        short = Claimer(store(small), await fill(small, few, now_ms=now_ms - _BEFORE_MS))
        queue = await fill(behind, blocked, now_ms=now_ms - _BEFORE_MS, lane=BLOCKED_LANE)
        await fill(behind, _FEW, now_ms=now_ms)
        waiting = Claimer(store(behind), queue)
        for claimer in (short, waiting):
            await claimer.open()
        steps = await waiting.step_over()
        at_once = await waiting.median(turns) * 1e6
        # As the server does by itself within a minute: what was stepped over stands dead at the front of an index.
        tidy(behind)
        base, stepped = await medians((short, waiting), plan)
        for claimer in (short, waiting):
            await claimer.close()
    return [
        beside_few(f"claim of ten behind {blocked} of a blocked lane", stepped, few, base),
        stepping("stepping over that lane, once", steps),
        Figure(
            name="claim of ten right after that",
            unit="µs",
            samples=(at_once,),
            peer=f"of {few}",
            peer_samples=base,
            note="until the server tidies up what was stepped over, which it does within a minute",
        ),
    ]
