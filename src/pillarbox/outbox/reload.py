"""
`Reload`: lets an outbox that runs take over new settings: all that can be, at once, or nothing.

What a message was accepted with stays with it; a send under way ends through the channel in which it began.
"""

from __future__ import annotations

from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.routes import Routes
from pillarbox.settings.changes import Changes
from pillarbox.settings.derived import at_shard
from pillarbox.settings.model import Settings


class Reload:
    """Takes over settings for one outbox."""

    def __init__(self, lifetime: Lifetime, routes: Routes) -> None:
        self._lifetime = lifetime
        self._routes = routes

    async def reload(self, settings: Settings) -> Changes:
        """
        Work by *settings* from now on, as far as an open outbox can.

        At once: the policies of messages that are accepted from now on, the largest content, the deadline of a stop,
        how recipients are logged; and the URL, the options and the timeout of each channel that the settings have
        configured before and still do. ``log_level`` and ``log_format`` are the program's own affair. What the
        program itself says of its own channels stays, unless *settings* name them.

        Returns:
            The keys that changed, by whether they took effect; ``settings`` says what holds now. What takes a restart
            is named again each time.

        Raises:
            ConfigError: A channel is wrong, or a timeout is not shorter than the worker's lease; nothing changed.
            NotStarted: The outbox is not open.
            Refused: The queue is disabled, and a channel would have to change; nothing changed.
        """
        await self._lifetime.opened()
        async with self._lifetime.turn():
            runtime = self._lifetime.live()
            wanted, changes = self._routes.adopted(at_shard(settings))
            if changes.reload:
                made = self._routes.under(wanted)
                await runtime.reload(wanted, self._routes.replaced_by(made))
                self._routes.take_over(wanted, made)
            return changes
