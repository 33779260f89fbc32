"""
Notices what other processes wrote: a datagram from those that know us, the file's version for those that do not.

Also learns of queues it has never seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.engine.capacity import Feed
    from pillarbox.store.base import Store

INTERVAL_SECONDS: Final = 0.25


class Watcher:
    """
    One `tick` looks once at the file's version.

    Args:
        wake: Told when something may be due that nobody here wrote.
    """

    def __init__(self, store: Store, feed: Feed, wake: Callable[[], None]) -> None:
        self._store = store
        self._feed = feed
        self._wake = wake
        self._told = True

    def told(self) -> None:
        """Another process said that it wrote."""
        self._told = True

    async def tick(self) -> float | None:
        """Look once. Wanted again in a quarter of a second."""
        wrote = self._store.foreign_write()
        if wrote or self._told or self._feed.unknown:
            self._told = False
            sighted = self._feed.sighted
            try:
                self._feed.learn(await self._store.queues(), sighted)
            except BaseException:
                self._told = True
                raise
            self._wake()
        return INTERVAL_SECONDS
