"""How a message gets in where there are shards: each part asks that of the tenant's home, or of the message's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Unpack

from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import MessageId
from pillarbox.domain.outgoing import Outgoing, several_of
from pillarbox.outbox.checks import Options
from pillarbox.outbox.edits import ChangeOptions, EditOptions, Edits, Place, target_of
from pillarbox.outbox.joins import Joins, ReadyToWrite
from pillarbox.outbox.message import BaseMessage, Message
from pillarbox.outbox.sending import Sending
from pillarbox.outbox.shards.shards import Shard, Shards
from pillarbox.outbox.stream import EVERY_SECONDS, Every, Stream, Streams

Messages = Iterable[Outgoing | Mapping[str, Any]]


class ShardedSending(Sending):
    """See `Sending`."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def send(self, channel: str, *, to: str, ephemeral: bool = False, **options: Unpack[Options]) -> Message:
        """See `Sending`."""
        home = self._shards.home(options.get("tenant", ""))
        return await home.asked(home.inside.sending.send(channel, to=to, ephemeral=ephemeral, **options))

    async def send_many(self, messages: Messages) -> list[Message]:
        """See `Sending`. Raises InvalidMessage where they are not at home on one shard."""
        messages = [*several_of(messages)]
        home = _home(self._shards, messages)
        return await home.asked(home.inside.sending.send_many(messages))


class ShardedJoins(Joins):
    """See `Joins`. The connection is to the database of the tenant's home."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def ready(
        self, channel: str, *, to: str, ephemeral: bool = False, **options: Unpack[Options]
    ) -> ReadyToWrite[Message]:
        """See `Joins`."""
        home = self._shards.home(options.get("tenant", ""))
        return await home.asked(home.inside.joins.ready(channel, to=to, ephemeral=ephemeral, **options))

    async def ready_many(self, messages: Messages) -> ReadyToWrite[list[Message]]:
        """See `Joins`. Raises InvalidMessage where they are not at home on one shard."""
        messages = [*several_of(messages)]
        home = _home(self._shards, messages)
        return await home.asked(home.inside.joins.ready_many(messages))


class ShardedEdits(Edits):
    """See `Edits`."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def edit(self, id: str | BaseMessage | None = None, **options: Unpack[EditOptions]) -> Message:  # noqa: A002
        """See `Edits`."""
        target = target_of(Op.EDIT, id, options, EditOptions)
        return await self._on(target, options, lambda edits: edits.edit(id, **options))

    async def delete(self, id: str | BaseMessage | None = None, **options: Unpack[ChangeOptions]) -> Message:  # noqa: A002
        """See `Edits`."""
        target = target_of(Op.DELETE, id, options, ChangeOptions)
        return await self._on(target, options, lambda edits: edits.delete(id, **options))

    async def _on(
        self, target: MessageId | None, options: Place, change: Callable[[Edits], Awaitable[Message]]
    ) -> Message:
        if target is None:
            return await self._shards.ask_home(options.get("tenant", ""), lambda inside: change(inside.edits))
        shard = await self._shards.holding(target)
        return await shard.asked(change(shard.inside.edits))


class ShardedStreams(Streams):
    """See `Streams`."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def stream(self, channel: str, *, to: str, every: Every = EVERY_SECONDS, **options: Unpack[Options]) -> Stream:
        """See `Streams`."""
        home = self._shards.home(options.get("tenant", ""))
        return home.inside.streams.stream(channel, to=to, every=every, **options)


def _home(shards: Shards, messages: list[Outgoing | Mapping[str, Any]]) -> Shard:
    return shards.home_of_all(map(_tenant, messages))


def _tenant(message: object) -> object:
    """Return whose message it is; what is no message is refused by whoever takes it."""
    if isinstance(message, Outgoing):
        return message.tenant
    return message.get("tenant", "") if isinstance(message, Mapping) else ""
