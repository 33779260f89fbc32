"""
A worker in a process of its own: ``worker_process.py DB URL SETTINGS``, the last as JSON of `Outbox`'s arguments.

Says "ready" when it delivers, and "stopping" when SIGTERM made it stop in order. Whatever else ends it ends it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from pillarbox import Outbox


async def work(db: str, url: str, settings: dict[str, Any]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    channel = settings.pop("channel", {})
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
