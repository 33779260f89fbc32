"""
Lives a second of one producer that awaits every send.

One commit a life: what stores a message also records the end of the one before, so at best what the disk's fsyncs
allow. Beside us: one row, one commit, on the raw database.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal
from bench.harness.filling import CHANNEL
from bench.harness.raw import RawCommits
from pillarbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.channels.base import Attempt


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=20, quick=300, usual=1_000)
    ours: list[float] = []
    raw: list[float] = []
    with plan.folder() as folder:
        commits = RawCommits(folder / "raw.db")
        for number in range(plan.rounds):
            raw.append(commits.rate(count))
            ours.append(asyncio.run(_lives(folder / f"ours-{number}.db", count)))
        commits.close()
    return [
        Figure(
            name="one producer",
            unit="lives/s",
            samples=tuple(ours),
            peer="raw commits/s",
            peer_samples=tuple(raw),
            goal=Goal(least=0.45),
            note="a commit stores a message, and records the end of the one before: one a life",
        )
    ]


async def _lives(path: Path, count: int) -> float:
    async def accept(_: Attempt) -> None:
        """Take it at once."""

    async with Outbox(path, channels={CHANNEL: accept}) as box:
        began = time.perf_counter()
        for number in range(count):
            await box.send(CHANNEL, to=f"recipient-{number}", text="Deploy done, all checks are green")
        await box.drain(60)
        seconds = time.perf_counter() - began
        assert box.counts["delivered"] == count
    return count / seconds
