"""`Pages`: all messages that a filter picks, page by page, each message once, whatever is written meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from pillarbox.domain.message import MessageView
from pillarbox.outbox.message import Message
from pillarbox.store.base import Query, Store

PAGE: Final = 200
PAGE_BYTES: Final = 4 << 20
"""How much content a page holds at most, unless a single message has more."""


class Pages(ABC):
    """
    Reads the next page when it is asked for it, on whatever event loop.

    Between two pages nothing is held: whoever takes its time keeps nobody waiting.
    """

    @abstractmethod
    async def following(self) -> list[Message]:
        """Return the next page; an empty one when there is no more. Raises StoreError, NotStarted."""

    async def messages(self) -> AsyncIterator[Message]:
        """Read them one by one."""
        while page := await self.following():
            for message in page:
                yield message


class OfOne(Pages):
    """What *query* picks of one database, the oldest first, and nothing that is stored after the first page."""

    def __init__(
        self, store: Callable[[], Awaitable[Store]], query: Query, message: Callable[[MessageView], Message]
    ) -> None:
        self._store = store
        self._query = msgspec.structs.replace(query, oldest_first=True, limit=PAGE)
        self._message = message

    async def following(self) -> list[Message]:
        """See `Pages`."""
        store = await self._store()
        if self._query.before_seq is None:
            # Of all messages, for which nothing is looked through.
            newest = await store.list_messages(Query(limit=1))
            self._query = msgspec.structs.replace(self._query, before_seq=newest[0].seq + 1 if newest else 0)
        page = await store.read_messages(self._query, bytes_max=PAGE_BYTES)
        if page:
            self._query = msgspec.structs.replace(self._query, after_seq=page[-1].seq)
        return [self._message(view) for view in page]
