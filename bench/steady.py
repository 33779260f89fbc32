"""
How large the file and its log become where messages come steadily, and what has ended is deleted in time.

Messages come at a fixed rate, and are kept for an "hour" of a few seconds, so that several of them pass within the run.
After the second one as much is deleted as comes, and the file must not grow any more: its size at the end is compared
with what it was then. The log's worst size counts, looked at every tenth of a second.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Final

from bench.harness.figure import Figure, Goal, Of
from bench.harness.filling import CHANNEL
from pillarbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.channels.base import Attempt

_HOURS: Final = 5
_TICK_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 60.0
_MB: Final = 1e6


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=1_000, quick=40_000, usual=200_000, full=1_000_000)
    rate = plan.size(trial=1_000, quick=4_000, usual=5_000)
    hour_seconds = max(1, count // rate // _HOURS)
    with plan.folder() as folder:
        sizes, log = asyncio.run(_run(folder / "steady.db", count, rate, hour_seconds))
    span = len(sizes) * _LOOK_SECONDS
    second, end = sizes[min(len(sizes) - 1, int(len(sizes) * 2 / _HOURS))], sizes[-1]
    note = f"{count} lives at {rate}/s asked for, {count / span:.0f}/s done; kept for {hour_seconds} s"
    return [
        Figure(
            name="file after the fifth hour's worth",
            unit="MB",
            samples=(end,),
            peer="after the second",
            peer_samples=(second,),
            goal=Goal(most=1.2),
            note=note,
        ),
        Figure(name="log at worst", unit="MB", samples=(max(log),), goal=Goal(of=Of.VALUE, most=64)),
    ]


async def _run(path: Path, count: int, rate: int, hour_seconds: int) -> tuple[list[float], list[float]]:
    """Send, and return the sizes of the file and of its log in MB, one every tenth of a second."""
    sizes: list[float] = []
    log: list[float] = []

    async def accept(_: Attempt) -> None:
        """Take it at once."""

    async def look() -> None:
        while True:
            sizes.append(_megabytes(path))
            log.append(_megabytes(path.with_name(f"{path.name}-wal")))
            await asyncio.sleep(_LOOK_SECONDS)

    box = Outbox(
        path,
        channels={CHANNEL: accept},
        retention={"delivered": f"{hour_seconds}s"},
        prune_interval_ms=100 * hour_seconds,
    )
    async with box:
        looking = asyncio.create_task(look())
        began = time.monotonic()
        sent = 0
        for tick in itertools.count(1):
            batch = min(count - sent, round(tick * _TICK_SECONDS * rate) - sent)
            # No more may wait than one tick's worth: a file that grows because sends are slow is not steady.
            accepted = await asyncio.gather(*(box.send(CHANNEL, to=f"r-{n}", text="Deploy done") for n in range(batch)))
            await asyncio.gather(*(message.wait(timeout=_PATIENCE_SECONDS) for message in accepted))
            sent += batch
            if sent == count:
                break
            await asyncio.sleep(max(0.0, began + tick * _TICK_SECONDS - time.monotonic()))
        await box.drain(60)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    return sizes, log


def _megabytes(path: Path) -> float:
    return path.stat().st_size / _MB if path.exists() else 0.0
