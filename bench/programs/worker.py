"""
A worker with a function channel and a webhook channel; what it sends, it never finishes.

It says when it began to start, when it had started, and when its channel was first called (all in seconds of the
monotonic clock, which every process shares); at its end, how often its loop woke up.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import sys
import time
from pathlib import Path
from typing import Any

from bench.programs.speech import say
from pillarbox import Attempt, Outbox


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the loop slept and woke up."""

    wakes = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as ever."""
        if timeout is None or timeout > 0:
            self.wakes += 1
        return super().select(timeout)


async def work(db: Path, concurrency: int | None, stopped: asyncio.Event) -> None:
    """Start, report how that went, and wait for the end."""
    sent = 0
    never = asyncio.Event()

    async def hang(_: Attempt) -> None:
        nonlocal sent
        sent += 1
        if sent == 1:
            say(event="sent", at=time.monotonic())
        if sent == concurrency:
            say(event="full", at=time.monotonic())
        await never.wait()

    settings: dict[str, Any] = {} if concurrency is None else {"concurrency": concurrency}
    box = Outbox(db, channels={"hooks": "http://127.0.0.1:9/"}, **settings)
    box.channel("ops", hang, **settings)
    began = time.monotonic()
    async with box:
        say(event="started", began=began, at=time.monotonic())
        await stopped.wait()
        await box.stop(0)


def main() -> None:
    """Work until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", type=Path)
    parser.add_argument("--concurrency", type=int)
    options = parser.parse_args()
    selector = CountingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        loop = runner.get_loop()
        stopped = asyncio.Event()
        loop.add_reader(sys.stdin, lambda: stopped.set() if not sys.stdin.readline() else say(wakes=selector.wakes))
        runner.run(work(options.db, options.concurrency, stopped))


if __name__ == "__main__":
    main()
