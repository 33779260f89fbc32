"""Accepts messages in a process that does not deliver, at random moments; each carries the time its send began."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from pathlib import Path

from bench.programs.speech import say
from pillarbox import Outbox


async def send(db: Path, count: int, seed: int) -> None:
    """Send *count* messages, 10–40 ms apart."""
    moments = random.Random(seed)
    async with Outbox(db, deliver=False) as box:
        for number in range(count):
            await asyncio.sleep(moments.uniform(0.01, 0.04))
            await box.send("ops", to=f"recipient-{number}", text=str(time.monotonic_ns()))
    say(event="done")


def main() -> None:
    """Send, and end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    asyncio.run(send(options.db, options.count, options.seed))


if __name__ == "__main__":
    main()
