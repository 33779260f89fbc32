"""
Lets an outbox that runs take over new settings: all that can be, at once, or nothing.

What a message was accepted with stays with it; a send under way ends through the channel in which it began.
"""

from __future__ import annotations

from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.routes import Routes
from pillarbox.settings.changes import Changes
from pillarbox.settings.model import Settings


async def reload(lifetime: Lifetime, routes: Routes, settings: Settings) -> Changes:
    """Work by *settings* from now on, as far as an open outbox can. See `pillarbox.Outbox.reload`."""
    await lifetime.opened()
    async with lifetime.turn():
        runtime = lifetime.live()
        wanted, changes = routes.adopted(settings)
        if changes.reload:
            made = routes.under(wanted)
            await runtime.reload(wanted, routes.replaced_by(made))
            routes.take_over(wanted, made)
        return changes
