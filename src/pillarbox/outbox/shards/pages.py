"""
`Page`: one page of the messages of several databases, in an order that the next page goes on with.

Each shard has an order of its own, that of storing, and times of acceptance do not always follow it: hooks take their
time, and clocks of machines differ. So a message stands in the list of all by the earliest acceptance among itself and
what was stored behind it on its shard. That never runs against the shard's own order, and any page can tell it of its
last message.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from pillarbox.errors import StoreError
from pillarbox.outbox.filters import Where
from pillarbox.outbox.message import BaseMessage, Message
from pillarbox.outbox.message_pages import Pages
from pillarbox.outbox.reads import view_of
from pillarbox.outbox.shards.shards import Shard, Shards
from pillarbox.store.base import Query

_Placed = tuple[int, Message]
"""A message, and the time by which it stands in the list."""


class Page:
    """The newest messages that a query picks, or the oldest, from the beginning or behind one of them."""

    def __init__(self, query: Query, where: Where) -> None:
        self._query = query
        self._where = where
        self._its: Shard | None = None
        self._seq = self._at_ms = 0

    async def begin(self, before: BaseMessage, its: Shard) -> None:
        """Begin behind the message *before*, which is on the shard *its*."""
        view = view_of(before)
        self._its, self._seq, self._at_ms = its, view.seq, view.created_ms
        seq = self._seq
        while earlier := await self._list(
            its, limit=1, oldest_first=True, after_seq=seq, created_to_ms=self._before(self._at_ms)
        ):
            first = view_of(earlier[0])
            self._at_ms, seq = first.created_ms, first.seq

    async def of(self, shard: Shard) -> list[_Placed]:
        """Return a shard's share, in its own order: as many as the whole page has."""
        if self._its is None:
            return [*self._placed(await self._list(shard))]
        if shard is self._its:
            return [*self._placed(await self._list(shard, before_seq=self._seq), self._at_ms)]
        # Of those at the same time, the shards' order decides.
        end = self._at_ms + (shard.place.number > self._its.place.number)
        newest = await self._list(shard, limit=1, oldest_first=False, created_to_ms=self._before(end))
        if not newest:
            return []
        return [*self._placed(await self._list(shard, before_seq=view_of(newest[0]).seq + 1))]

    def merged(self, shares: Iterable[tuple[Shard, list[_Placed]]]) -> list[Message]:
        """Return the page."""
        oldest_first, limit = self._query.oldest_first, self._query.limit
        merged = heapq.merge(*(share for _, share in shares), key=lambda placed: placed[0], reverse=not oldest_first)
        return [message for _, message in itertools.islice(merged, limit)]

    def _placed(self, found: list[Message], at_ms: int | None = None) -> Iterator[_Placed]:
        for message in found:
            created_ms = view_of(message).created_ms
            at_ms = created_ms if at_ms is None or self._query.oldest_first else min(at_ms, created_ms)
            yield at_ms, message

    def _before(self, end_ms: int) -> int:
        asked = self._query.created_to_ms
        return end_ms if asked is None else min(end_ms, asked)

    async def _list(self, shard: Shard, **changed: int | None) -> list[Message]:
        query = msgspec.structs.replace(self._query, **changed)
        return await shard.inside.reads.list(query, where=self._where)


class OfShards(Pages):
    """What *where* picks on some shards, one after the other. Those that do not answer are named at the end."""

    def __init__(self, shards: Shards, possible: Sequence[Shard], where: Where) -> None:
        self._shards = shards
        self._where = where
        self._left = deque(possible)
        self._read: list[Shard] = []
        self._silent: dict[str, str] = {}
        self._pages: Pages | None = None

    async def following(self) -> list[Message]:
        """See `Pages`. Raises ShardsUnavailable, unless that is only to be noted, when no other shard is left."""
        while self._left:
            shard = self._left[0]
            try:
                self._shards.must_be_up(shard)
                self._pages = self._pages or shard.inside.reads.pages(self._where)
                if page := await self._pages.following():
                    return page
                self._read.append(shard)
            except StoreError as exc:
                self._silent[shard.name] = str(exc)
            self._pages = None
            self._left.popleft()
        silent, self._silent = self._silent, {}
        self._shards.whole(self._read, lambda _: None, silent)
        return []
