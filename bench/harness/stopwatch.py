"""A channel that notes when it was called, and an outbox whose messages can be timed one by one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self

from bench.harness.filling import CHANNEL
from pillarbox import Outbox
from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.outcome import Delivered
from pillarbox.events import BusEvent, MessageDelivered

if TYPE_CHECKING:
    from pathlib import Path


class Noting(Channel):
    """Accepts at once; ``called_at`` is when it was last called, in seconds of `time.perf_counter`."""

    kind = "noting"

    def __init__(self) -> None:
        self.called_at = 0.0

    async def send(self, attempt: Attempt) -> Delivered:  # noqa: ARG002 — what it is does not matter
        """Note the time."""
        self.called_at = time.perf_counter()
        return Delivered()


class Timed:
    """One outbox, to be used as an async context manager. One message is under way at a time."""

    def __init__(self, path: Path, **settings: Any) -> None:  # noqa: ANN401 — passed on as they are
        self._channel = Noting()
        self._settled = asyncio.Event()
        self.box = Outbox(path, channels={CHANNEL: self._channel}, **settings)
        self.box.subscribe(self._note, MessageDelivered)

    def _note(self, _: BusEvent) -> None:
        self._settled.set()

    async def seconds(self, number: int) -> float:
        """Send one message; return the time from the call of `send` to that of the channel. Ends when it is settled."""
        self._settled.clear()
        began = time.perf_counter()
        await self.box.send(CHANNEL, to=f"recipient-{number}", text="Deploy done, all checks are green")
        await self._settled.wait()
        return self._channel.called_at - began

    async def __aenter__(self) -> Self:
        await self.box.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.box.close()
