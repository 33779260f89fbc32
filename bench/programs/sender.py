"""Accepts messages in a process that does not deliver, at random moments; each carries the time its send began."""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from bench.programs.speech import say
from pillarbox import Attempt, Outbox


async def send(db: str, count: int, seed: int, *, knows: bool) -> None:
    """Send *count* messages, 10–40 ms apart. *knows*: through a channel that this process has, too."""
    moments = random.Random(seed)
    async with Outbox(db, deliver=False, channels={"ops": _never} if knows else {}) as box:
        for number in range(count):
            await asyncio.sleep(moments.uniform(0.01, 0.04))
            await box.send("ops", to=f"recipient-{number}", text=str(time.monotonic_ns()))
    say(event="done")


async def _never(_: Attempt) -> None:
    """Called by nobody: this process delivers nothing."""


def main() -> None:
    """Send, and end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db")
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--knows", action="store_true")
    options = parser.parse_args()
    asyncio.run(send(options.db, options.count, options.seed, knows=options.knows))


if __name__ == "__main__":
    main()
