"""
A worker in a process of its own: ``worker_process.py DB URL SETTINGS``, the last as JSON of `Outbox`'s arguments.

With ``ahead_ms`` it is on another machine, whose wall clock is that far ahead.

Says "ready" when it delivers, and "stopping" when SIGTERM made it stop in order. Whatever else ends it ends it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from pillarbox import Outbox
from pillarbox.clock import SystemClock


class _Elsewhere(SystemClock):
    def __init__(self, ahead_ms: int) -> None:
        super().__init__()
        self._ahead_ms = ahead_ms

    def wall_ms(self) -> int:
        return super().wall_ms() + self._ahead_ms

    def boot_id(self) -> str:
        return "elsewhere"


async def work(db: str, url: str, settings: dict[str, Any]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    channel = settings.pop("channel", {})
    if ahead_ms := settings.pop("ahead_ms", 0):
        settings["clock"] = _Elsewhere(ahead_ms)
    outbox = Outbox(db, drain_on_startup=False, **settings)
    outbox.channel("hooks", url, **channel)
    async with outbox:
        say("ready")
        await stop.wait()
        say("stopping")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
