"""What a store does that is one statement or one step, the same for every database: the reads above all."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import MessageView
from pillarbox.domain.mirror import MirrorEntry
from pillarbox.store.base import (
    Backlog,
    Event,
    Flow,
    Query,
    QueueInfo,
    Redirect,
    Schema,
    StateCounts,
    Suppressed,
    Tally,
)
from pillarbox.store.steps import blobs, history, kept, labels, mirror, read, redirects, suppression
from pillarbox.store.steps.tx import Reader, Tx

T = TypeVar("T")


class Reads(ABC):
    """What a driver inherits that can read in one snapshot."""

    @abstractmethod
    async def _read(self, function: Callable[[Reader], T]) -> T:
        """Run *function* on one state of the database."""

    @abstractmethod
    async def moving(self, work: Callable[[Tx], T]) -> T:
        """See `Store`."""

    async def turn(self, correlation_id: str, *, final_only: bool) -> StateCounts:
        """See `Store`."""
        return await self._read(lambda tx: read.turn(tx, correlation_id, final_only=final_only))

    async def mirror_pending(self, session_key: str, *, limit: int) -> list[MirrorEntry]:
        """See `Store`."""
        return await self._read(lambda tx: mirror.pending(tx, session_key, limit))

    async def overdue_holds(self, *, before_ms: int, limit: int) -> list[MessageId]:
        """See `Store`."""
        rows = await self._read(lambda tx: tx.many("overdue_holds", (before_ms, limit)))
        return [MessageId(row[0]) for row in rows]

    async def get(self, message: MessageId) -> MessageView | None:
        """See `Store`."""
        return await self._read(lambda tx: read.get(tx, message))

    async def files(self, digests: Sequence[str]) -> dict[str, bytes]:
        """See `Store`."""
        return await self._read(lambda tx: blobs.read(tx, digests))

    async def ended(self, messages: Sequence[MessageId]) -> set[MessageId]:
        """See `Store`."""
        return {row[0] for row in await self._read(lambda tx: tx.many("ended", (json.dumps(messages),)))}

    async def resolve_id(self, text: str) -> list[MessageId]:
        """See `Store`."""
        return await self._read(lambda tx: read.resolve_id(tx, text))

    async def list_messages(self, query: Query) -> list[MessageView]:
        """See `Store`."""
        return await self._read(lambda tx: read.listing(tx, query))

    async def read_messages(self, query: Query, *, bytes_max: int) -> list[MessageView]:
        """See `Store`."""
        return await self._read(lambda tx: read.whole(tx, query, bytes_max))

    async def history(self, message: MessageId) -> list[Event]:
        """See `Store`."""
        return await self._read(lambda tx: history.history(tx, message))

    async def known_imports(self, system: str, source_ids: Sequence[str]) -> set[str]:
        """See `Store`."""
        bindings = (system, json.dumps(list(source_ids)))
        return {row[0] for row in await self._read(lambda tx: tx.many("known_imports", bindings))}

    async def stats(self) -> list[Tally]:
        """See `Store`."""
        return await self._read(read.stats)

    async def backlog(self, *, now_ms: int, channels: Sequence[str], worker: int) -> Backlog:
        """See `Store`."""
        return await self._read(lambda tx: read.backlog(tx, now_ms, channels, worker))

    async def schema(self) -> Schema:
        """See `Store`."""
        return await self._read(read.schema)

    async def label(self) -> str | None:
        """See `Store`."""
        return await self._read(labels.label)

    async def set_label(self, label: str) -> str | None:
        """See `Store`."""
        return await self.moving(lambda tx: labels.set_label(tx, label))

    async def kept(self, channel: str) -> str | None:
        """See `Store`."""
        # As of now: a snapshot for reading may be of a moment before.
        return await self.moving(lambda tx: kept.kept(tx, channel))

    async def keep(self, channel: str, *, old: str | None, new: str) -> bool:
        """See `Store`."""
        return await self.moving(lambda tx: kept.keep(tx, channel, old, new))

    async def flow(self, *, now_ms: int) -> list[Flow]:
        """See `Store`."""
        return await self._read(lambda tx: read.flow(tx, now_ms))

    async def redirects(self, *, limit: int) -> list[Redirect]:
        """See `Store`."""
        return await self._read(lambda tx: redirects.redirects(tx, limit))

    async def suppressed(self, *, limit: int) -> list[Suppressed]:
        """See `Store`."""
        return await self._read(lambda tx: suppression.suppressed(tx, limit))

    async def queues(self) -> list[QueueInfo]:
        """See `Store`."""
        return await self._read(read.queues)
