"""What a channel keeps in the store."""

from __future__ import annotations

from dataclasses import replace

from pillarbox.channels.base import Seams
from pillarbox.store.base import Store


class KeptInStore:
    """What *channel* keeps in *store*: see `Keep`."""

    __slots__ = ("_channel", "_store")

    def __init__(self, store: Store, channel: str) -> None:
        self._store = store
        self._channel = channel

    @property
    def lasts(self) -> bool:
        """See `Keep`."""
        return not self._store.in_memory

    async def read(self) -> str | None:
        """See `Keep`."""
        return await self._store.kept(self._channel)

    async def replace(self, old: str | None, new: str) -> bool:
        """See `Keep`."""
        return await self._store.keep(self._channel, old=old, new=new)


def seams_of(channel: str, seams: Seams, store: Store) -> Seams:
    """Return *seams* as *channel* gets them, which keeps in *store* what it keeps."""
    return replace(seams, keep=KeptInStore(store, channel))
