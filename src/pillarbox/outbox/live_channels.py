"""`LiveChannels`: what an open outbox sends through; a channel can be replaced while messages are sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from pillarbox.channels.base import Channel, Seams
from pillarbox.deadline import ended_within
from pillarbox.engine.kept import seams_of
from pillarbox.engine.resources import close_channel, start_channel
from pillarbox.engine.worker import Worker
from pillarbox.errors import ConfigError
from pillarbox.settings.derived import lease_seconds
from pillarbox.settings.model import Settings
from pillarbox.store.base import Store

RETIRING_SECONDS_MAX: Final = 5.0


class LiveChannels:
    """
    The channels of one worker.

    Attributes:
        by_name: Looked up for each message, so that another can take a channel's place.
    """

    def __init__(self, channels: Mapping[str, Channel], *, lease_ms: int, seams: Seams, store: Store) -> None:
        self.by_name = dict(channels)
        self._lease_ms = lease_ms
        self._seams = seams
        self._clock = seams.clock
        self._store = store
        self._retiring: set[asyncio.Task[None]] = set()

    async def replace(self, channels: Mapping[str, Channel], settings: Settings, worker: Worker) -> None:
        """
        Send through *channels* in the place of those of the same names.

        Sends under way end through the channel in which they began; it is closed after the last of them.

        Raises:
            ConfigError: A send may take as long as the worker's lease; nothing changed.
        """
        lease_seconds(settings, (channel.send_timeout_seconds for channel in channels.values()))
        for name, channel in channels.items():
            if channel.send_timeout_seconds * 1000 >= self._lease_ms:
                raise ConfigError(
                    f"channels.{name}.timeout",
                    f"expected less than {self._lease_ms / 1000:g}s, the lease of the worker that runs; a restart makes"
                    " it longer",
                )
        begun = contextlib.AsyncExitStack()
        async with begun:
            for name, channel in channels.items():
                begun.push_async_callback(close_channel, name, channel, self._clock)
                await start_channel(name, channel, seams_of(name, self._seams, self._store))
            begun.pop_all()
        for name, channel in channels.items():
            before, self.by_name[name] = self.by_name[name], channel
            task = asyncio.get_running_loop().create_task(self._retire(name, before, worker))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def retired(self) -> None:
        """Wait until those that were replaced are closed, for a bounded time."""
        if self._retiring:
            await ended_within(tuple(self._retiring), RETIRING_SECONDS_MAX, clock=self._clock)

    async def salvage(self) -> None:
        """Close what an event loop that has ended left open, each in a bounded time."""
        for name, channel in self.by_name.items():
            await close_channel(name, channel, self._clock)

    async def _retire(self, name: str, channel: Channel, worker: Worker) -> None:
        """Close a channel after the last send that began in it."""
        flights = worker.executor.flights.values()
        under_way = [flight for flight in flights if flight.message.channel == name and flight.task is not None]
        for flight in under_way:
            flight.left = flight.left or asyncio.get_running_loop().create_future()
        if under_way:
            await asyncio.wait([flight.left for flight in under_way if flight.left is not None])
        await close_channel(name, channel, self._clock)
