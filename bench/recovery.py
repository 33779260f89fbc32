"""
How long until what a killed worker was sending is taken over.

A worker is killed with many messages leased. Another one starts at once; the time runs from the kill until it has
settled every lease of the dead one. It does not have to wait for leases to run out: the dead one's lock is gone.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of
from bench.harness.filling import CHANNEL, fill
from bench.harness.processes import Program
from pillarbox import Outbox
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.channels.base import Attempt

_SLOTS_MAX = 10_000


def measure(plan: Plan) -> list[Figure]:
    leased = plan.size(trial=50, quick=500, usual=2_000, full=_SLOTS_MAX)
    samples: list[float] = []
    with plan.folder() as folder:
        samples += [asyncio.run(_round(folder / f"{number}.db", leased)) for number in range(plan.rounds)]
    return [
        Figure(
            name=f"{leased} leased by a killed worker",
            unit="s",
            samples=tuple(samples),
            aim=Goal(of=Of.VALUE, most=61),
            note="the aim is the lease and one second",
        )
    ]


async def _round(db: Path, leased: int) -> float:
    await fill(db, leased, now_ms=SystemClock().wall_ms())
    with Program("worker", db, "--concurrency", leased) as program:
        while program.hear().get("event") != "full":
            pass
        program.kill()
    killed = time.monotonic()

    async def accept(_: Attempt) -> None:
        """Take it at once."""

    async with Outbox(db, channels={CHANNEL: accept}) as box:
        async with asyncio.timeout(120):
            while box.counts["uncertain"] < leased:  # noqa: ASYNC110 — there is nothing to wait for but the count
                await asyncio.sleep(0.005)
        return time.monotonic() - killed
