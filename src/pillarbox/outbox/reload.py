"""
Lets an outbox that runs take over new settings: all that can be, at once, or nothing.

What a message was accepted with stays with it; a send under way ends through the channel in which it began.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pillarbox.outbox.checks import Acceptance
from pillarbox.outbox.routes import make_route
from pillarbox.settings.changes import adopt

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from pillarbox.channels.base import Channel
    from pillarbox.outbox.runtime import Route, Runtime
    from pillarbox.settings.load import Changes, Settings


class Reloading(ABC):
    """The part of `Outbox` that changes its settings while it is open."""

    settings: Settings
    _acceptance: Acceptance
    _routes: dict[str, Route]

    @abstractmethod
    async def _opened(self) -> Runtime:
        """Give what is open; a forked child opens its own at first use."""

    @abstractmethod
    def _live(self) -> Runtime:
        """Give what is open. Raises NotStarted."""

    @abstractmethod
    def _turn(self) -> asyncio.Lock:
        """Start, stop and reload go one after the other."""

    async def reload(self, settings: Settings) -> Changes:
        """
        Work by *settings* from now on, as far as an open outbox can.

        At once: the policies of messages that are accepted from now on, the largest content, the deadline of a stop,
        how recipients are logged; and the URL, the options and the timeout of each channel that the settings have
        configured before and still do. ``log_level`` and ``log_format`` are for whoever set the logging up. What the
        program itself says of its own channels stays, unless *settings* name them.

        Returns:
            The keys that changed, by whether they took effect; ``settings`` says what holds now. What takes a restart
            is named again each time.

        Raises:
            ConfigError: A channel is wrong, or a timeout is not shorter than the worker's lease; nothing changed.
            NotStarted: The outbox is not open.
            Refused: The queue is disabled, and a channel would have to change; nothing changed.
        """
        await self._opened()
        async with self._turn():
            runtime = self._live()
            # What the program says of channels of its own is in no file.
            own = {
                name: item for name, item in self.settings.channels.items() if name in self._routes and item.url is None
            }
            given = dataclasses.replace(settings, channels={**own, **settings.channels})
            wanted, changes = adopt(self.settings, given)
            if changes.reload:
                routes = {name: self._again(name, route, wanted) for name, route in self._routes.items()}
                await runtime.reload(wanted, self._replaced(routes))
                self.settings, self._routes = wanted, routes
                self._acceptance = Acceptance(content_bytes_max=wanted.content_bytes_max)
            return changes

    def _replaced(self, routes: Mapping[str, Route]) -> dict[str, Channel]:
        return {
            name: route.channel
            for name, route in routes.items()
            if route.channel is not None and route.channel is not self._routes[name].channel
        }

    def _again(self, name: str, route: Route, wanted: Settings) -> Route:
        """Make a route by new settings; its channel only where they made it, and something of it has changed."""
        before, after = self.settings.channels.get(name), wanted.channels.get(name)
        if route.channel is None:
            return route
        if before is None or after is None or before.url is None or after.url is None or route.url != before.url:
            return make_route(wanted, name, route.channel)
        same = (before.url, before.options, before.timeout, self.settings.egress) == (
            after.url, after.options, after.timeout, wanted.egress,
        )  # fmt: skip
        # How many sends its adapter takes at once is known only to a new one.
        same = same and (before.concurrency is None or after.concurrency is not None)
        made = make_route(wanted, name, route.channel if same else after.url)
        return dataclasses.replace(made, url=after.url)
