"""
A worker at the store: claims a hundred that are due, settles and replaces them with its next claim, for some seconds.

So as many wait as before, however long it runs. No channel and no event loop is in between: what is measured is the
database.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from bench.harness.claimer import Claimer
from bench.harness.filling import CHANNEL
from bench.harness.server import store
from bench.programs.speech import heard, say
from pillarbox.store.base import Durability

_HUNDRED = 100


async def turn(url: str, seconds: float, name: str) -> None:
    """Claim, settle and replace until the time is over; report how many lives that were."""
    one = store(url, durability=Durability.POWER)
    await one.open()
    queue = next(info.id for info in await one.queues() if info.channel == CHANNEL)
    claimer = Claimer(one, queue, name=name)
    await claimer.open()
    # What its first statements cost is no matter of how many wait.
    _, claimed = await claimer.claim(_HUNDRED)
    say(event="ready")
    await heard()
    began, lives = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        lives += len(claimed)
        claimed = await claimer.turn(claimed, _HUNDRED)
    ended = time.monotonic()
    await claimer.replace(claimed)
    await claimer.close()
    say(lives=lives, seconds=ended - began)


def main() -> None:
    """Turn, and end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("name")
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    asyncio.run(turn(options.url, options.seconds, options.name))


if __name__ == "__main__":
    main()
