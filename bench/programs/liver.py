"""Produces and delivers on one file, beside others that do the same: waits for a word, then says when it was done."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from bench.programs.speech import heard, say
from pillarbox import Attempt, Outbox

_PRODUCERS = 1000
_SLOTS = 1000


async def live(db: Path, count: int, name: str) -> None:
    """Produce *count* messages and deliver whatever is due, until nothing is."""

    async def accept(_: Attempt) -> None:
        """Take it at once."""

    async def produce(recipient: str) -> None:
        for _ in range(count // producers):
            await box.send("ops", to=recipient, text="Deploy done, all checks are green")

    producers = min(count, _PRODUCERS)
    box = Outbox(db, concurrency=_SLOTS)
    box.channel("ops", accept, concurrency=_SLOTS)
    async with box:
        say(event="ready")
        await heard()
        began = time.monotonic()
        await asyncio.gather(*(produce(f"{name}-{number}") for number in range(producers)))
        await box.drain(600)
        say(event="done", began=began, ended=time.monotonic(), delivered=box.counts["delivered"])
        # What others still produce is delivered here too, until they are done as well.
        await heard()
        say(event="closed", delivered=box.counts["delivered"])


def main() -> None:
    """Live until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("name")
    options = parser.parse_args()
    asyncio.run(live(options.db, options.count, options.name))


if __name__ == "__main__":
    main()
