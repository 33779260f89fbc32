"""`Joins`: messages that join the caller's own transaction: they are stored when it commits, or never."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, Unpack

from pillarbox.domain.envelope import Kind
from pillarbox.domain.message import Draft
from pillarbox.domain.outgoing import Outgoing
from pillarbox.domain.plain_values import flag_of
from pillarbox.errors import InvalidMessage, Refused
from pillarbox.outbox.checks import Options, Skipped
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.message import Message
from pillarbox.outbox.runtime import Runtime
from pillarbox.outbox.sending import Sending
from pillarbox.store.base import Enqueued, Ready

T = TypeVar("T")


class ReadyToWrite(Generic[T]):
    """Messages that are judged; `write` and `write_awaited` store them on a connection. See `store.base.Ready`."""

    def __init__(self, ready: Ready | None, shown: Callable[[Sequence[Enqueued]], T]) -> None:
        self.ready = ready
        self.shown = shown

    def write(self, connection: object) -> T:
        """Store them on a connection that blocks."""
        return self.shown(self.ready.write(connection) if self.ready else ())

    async def write_awaited(self, connection: object) -> T:
        """Store them on a connection that may be awaited."""
        return self.shown(await self.ready.write_awaited(connection) if self.ready else ())


class Joins:
    """Accepts messages into transactions of callers of one outbox."""

    def __init__(self, lifetime: Lifetime, sending: Sending) -> None:
        self._lifetime = lifetime
        self._sending = sending

    async def enqueue(
        self, connection: object, channel: str, *, to: str, ephemeral: bool = False, **options: Unpack[Options]
    ) -> Message:
        """
        Accept one message into the transaction that is open on *connection*: its commit leaves it, a rollback does not.

        Nothing is sent before the commit, which wakes the workers. Until then nobody sees the message: do not wait for
        it. No event tells of it, because only the caller knows of the commit.

        Args:
            connection: To the outbox's own database. Of psycopg, asyncpg, SQLAlchemy (a session too) or Django; on a
                file of apsw, on a shared one of sqlite3 or aiosqlite. One that blocks is used on this thread.
            to: As in `send`, with *ephemeral* and *options*, of which ``abort`` and ``collapse`` are refused.

        Returns:
            The message, whose id is known at once. ``durability`` is ``None``: the commit is the caller's.

        Raises:
            InvalidMessage, KeyConflict, QueueFull, StoreError: Nothing was written; the transaction stands as before.
            Refused: No transaction is open on *connection*, it has failed, or this is no connection to that database.
            UnknownChannel, NotStarted, TypeError: As `send`.
        """
        return await (await self.ready(channel, to=to, ephemeral=ephemeral, **options)).write_awaited(connection)

    async def enqueue_many(self, connection: object, messages: Iterable[Outgoing | Mapping[str, Any]]) -> list[Message]:
        """
        Accept several messages into the transaction that is open on *connection*: all or none.

        *messages* are as in `send_many`, everything else is as in `enqueue`.
        """
        return await (await self.ready_many(messages)).write_awaited(connection)

    async def ready(
        self, channel: str, *, to: str, ephemeral: bool = False, **options: Unpack[Options]
    ) -> ReadyToWrite[Message]:
        """Judge one message: all of `enqueue` that its connection is not needed for."""
        if flag_of("ephemeral", ephemeral):
            options["kind"] = Kind.BLOCK
        outgoing = Outgoing(channel=channel, to=to, **options)
        _check(outgoing)
        runtime, draft = await self._sending.draft(outgoing)
        several = await self._judged(runtime, [draft])
        return ReadyToWrite(several.ready, lambda stored: several.shown(stored)[0])

    async def ready_many(self, messages: Iterable[Outgoing | Mapping[str, Any]]) -> ReadyToWrite[list[Message]]:
        """Judge several messages: all of `enqueue_many` that its connection is not needed for."""
        runtime, drafts = await self._sending.drafts(messages, check=_check)
        return await self._judged(runtime, [draft for _, draft in drafts])

    async def _judged(self, runtime: Runtime, drafts: Sequence[Draft | Skipped]) -> ReadyToWrite[list[Message]]:
        if runtime.direct is not None:
            raise Refused("the queue is disabled (enabled = false): nothing can be stored in a transaction")
        wanted = [draft for draft in drafts if isinstance(draft, Draft)]
        ready = await runtime.store.ready(wanted, now_ms=runtime.clock.wall_ms()) if wanted else None

        def shown(stored: Sequence[Enqueued]) -> list[Message]:
            done = iter(stored)
            return [
                self._message(next(done)) if isinstance(draft, Draft) else self._sending.skipped(draft)
                for draft in drafts
            ]

        return ReadyToWrite(ready, shown)

    def _message(self, done: Enqueued) -> Message:
        return Message(self._lifetime, id=done.id, created=done.created)


def _check(outgoing: Outgoing) -> None:
    """Raise InvalidMessage for what would have others wait for the caller's commit, or needs to know of it."""
    if outgoing.collapse is not None:
        raise InvalidMessage(
            "collapse", "is for send(): a transaction of yours would lock what a worker may be sending"
        )
    if outgoing.abort is not None:
        raise InvalidMessage("abort", "is for send(): roll the transaction back, or cancel() after the commit")
