"""
Notices what other processes wrote, and learns of queues it has never seen.

The store reports when another process wrote, perhaps late or not at all: so we look now and then in any case. What is
due in the queues that are known is claimed at once; only a queue that was made just now waits for the list of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pillarbox.clock import Clock
from pillarbox.engine.capacity import Feed
from pillarbox.store.base import Store

NOTICE_SECONDS: Final = 0.3
"""How late a notice may be where the store has to look for what was written."""
UNTOLD_SECONDS: Final = 5.0
"""How long nothing may be heard before one looks in any case."""


class Watcher:
    """
    One `tick` looks for new queues where there is a reason to.

    Args:
        wake: Called when something may be due that another process wrote.
    """

    def __init__(self, store: Store, feed: Feed, wake: Callable[[], None], clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._wake = wake
        self._clock = clock
        self._changed = True
        # Whether that which is due was looked for since the list of queues was last asked for.
        self._woken = False
        self._looked = clock.mono()

    def on_change(self) -> None:
        """Called when another process wrote."""
        self._changed = self._woken = True
        self._wake()

    async def tick(self) -> float | None:
        """Look once, if there is a reason to. Wanted again when nothing was heard for long."""
        now = self._clock.mono()
        if self._changed or self._feed.unknown or now >= self._looked + UNTOLD_SECONDS:
            woken, self._woken = self._woken, False
            self._changed = False
            sighted = self._feed.sighted
            try:
                found = self._feed.learn(await self._store.queues(), sighted)
            except BaseException:
                self._changed = True
                raise
            self._looked = now
            if found or not woken:
                self._wake()
        return self._looked + UNTOLD_SECONDS - self._clock.mono()
