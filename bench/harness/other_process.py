"""How long another process's messages take to the channel of a worker that idles here."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.harness.filling import CHANNEL
from bench.harness.processes import Program
from pillarbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox import Attempt

_MS = 1e6
_SECONDS = 120


async def latencies(db: str | Path, count: int, *, seed: int, knows: bool = False) -> list[float]:
    """
    Return how long each of *count* messages took from another process's `send()` to the channel's, in milliseconds.

    Args:
        knows: Whether the other process has the channel, too.
    """
    taken: list[float] = []
    everything = asyncio.Event()

    async def note(attempt: Attempt) -> None:
        taken.append((time.monotonic_ns() - int(attempt.text)) / _MS)
        if len(taken) == count:
            everything.set()

    async with Outbox(db, channels={CHANNEL: note}) as box:
        # So that the queue is there: the first message of all takes a look at the list of queues.
        await box.send(CHANNEL, to="nobody", text=str(time.monotonic_ns()))
        await box.drain(10)
        taken.clear()
        with Program("sender", db, count, seed, *(("--knows",) if knows else ())) as sender:
            async with asyncio.timeout(_SECONDS):
                await everything.wait()
            await asyncio.to_thread(sender.stop)
    return taken
