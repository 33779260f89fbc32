"""
A worker whose webhook takes little text at a time: ``parts_worker.py DB URL SETTINGS``, as `worker_process` is called.

``settings["die"]`` is ``[part, moment]``: it ends itself with SIGKILL at that part of a message, ``before`` anything of
it was written, or ``after`` the receiver's answer was read and before it was recorded.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from pillarbox import Outbox
from pillarbox.channels.base import Attempt, Capabilities
from pillarbox.channels.webhook import WebhookChannel

if TYPE_CHECKING:
    from pillarbox.domain.outcome import AnyOutcome

LIMIT: Final = 8


class NarrowWebhook(WebhookChannel):
    """A webhook that takes eight characters a request, in order."""

    ordered = True

    def __init__(self, url: str, *, die: tuple[int, str] | None) -> None:
        super().__init__(url)
        self.capabilities = Capabilities(text_limit=LIMIT)
        self._die = die
        self.ready = asyncio.Event()

    async def send(self, attempt: Attempt) -> AnyOutcome:
        await self.ready.wait()
        self._perhaps_die(attempt, "before")
        outcome = await super().send(attempt)
        self._perhaps_die(attempt, "after")
        return outcome

    def _perhaps_die(self, attempt: Attempt, moment: str) -> None:
        if self._die == (attempt.part, moment):
            os.kill(os.getpid(), signal.SIGKILL)


async def work(db: str, url: str, settings: dict[str, Any]) -> None:
    settings.pop("channel", None)  # what is accepted elsewhere brings its own schedule
    die = settings.pop("die", None)
    channel = NarrowWebhook(url, die=tuple(die) if die else None)
    async with Outbox(db, channels={"hooks": channel}, drain_on_startup=False, **settings):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        channel.ready.set()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
