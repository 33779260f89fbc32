"""`Reads`: what people and programs ask of an outbox: of one message, of many, of the database, of itself."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from pillarbox.channels.base import Channel, Guarantee, Seams
from pillarbox.domain.channel_names import check_name
from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.explain import explain
from pillarbox.domain.explain.causes import Explanation
from pillarbox.domain.ids import MessageId, is_message_id
from pillarbox.domain.message import MessageView
from pillarbox.domain.plain_values import count_of, flag_of, word_of
from pillarbox.domain.retry import Policy
from pillarbox.domain.turn_summary import TurnSummary, summarised
from pillarbox.engine.doubts import what_follows
from pillarbox.engine.kept import seams_of
from pillarbox.errors import InvalidMessage, NotFound, UnknownChannel
from pillarbox.outbox.filters import Where, narrowed_by
from pillarbox.outbox.health import Health, examine
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.message import BaseMessage, Message
from pillarbox.outbox.message_pages import OfOne, Pages
from pillarbox.outbox.routes import Routes, make_route
from pillarbox.store.base import (
    Durability,
    Event,
    Flow,
    Query,
    QueueInfo,
    Redirect,
    Store,
    Suppressed,
    Tally,
    WorkerInfo,
)


class Promise(NamedTuple):
    """
    What a channel does with a second copy, and for how long a message is tried.

    Attributes:
        looks_up: The channel can ask its platform whether it has a message.
        in_doubt: One sentence for people: what becomes of a message of which no answer came.
    """

    guarantee: Guarantee
    policy: Policy
    looks_up: bool
    in_doubt: str


async def _promised(channel: Channel, policy: Policy) -> Promise:
    found = await channel.guarantee()  # first: it may learn what the channel recognises
    return Promise(found, policy, channel.capabilities.looks_up, what_follows(channel, policy))


class Reads:
    """Looks, and changes nothing."""

    def __init__(self, lifetime: Lifetime, routes: Routes) -> None:
        self._lifetime = lifetime
        self._routes = routes
        self._clock = lifetime.clock

    async def get(self, id: str) -> Message | None:  # noqa: A002 — the field's name
        """Read one message whole; ``None`` if there is none of that id (any more)."""
        view = await (await self._store()).get(MessageId(id)) if is_message_id(id) else None
        return None if view is None else self._message(view)

    async def find(self, text: str) -> Message:
        """
        Read the one message whose id begins or ends with *text*.

        Raises:
            NotFound: There is none.
            InvalidMessage: There are several.
        """
        store = await self._store()
        found = [MessageId(text)] if is_message_id(text) else await store.resolve_id(text)
        if len(found) > 1:
            raise InvalidMessage("id", f"{text!r} could be {len(found)} messages; give more of it")
        view = await store.get(found[0]) if found else None
        if view is None:
            raise NotFound("message", text)
        return self._message(view)

    async def list(
        self,
        query: Query | None = None,
        /,
        *,
        where: Where = (),
        before: BaseMessage | None = None,
        **filters: Any,  # noqa: ANN401 — see `Query`
    ) -> list[Message]:
        """
        Read messages, newest first, without their content.

        Args:
            where: A filter, or several that must all hold; see `pillarbox.outbox.filters`.
            before: Only older ones than this, which was read: the next page, if it was the last of one.
            filters: The fields of `Query`, ``limit`` among them, 50 without it; none beside a *query*.

        Raises:
            InvalidMessage: *where* cannot be read, or a filter stands beside a *query*. Names the argument.
        """
        now_ms, ahead_ms = self._clock.wall_ms(), self._clock.ahead_ms()
        query = narrowed_by(_by_queue_time(query_of(query, filters), ahead_ms), where, now_ms=now_ms)
        if before is not None:
            query = msgspec.structs.replace(query, before_seq=view_of(before).seq)
        return [self._message(view) for view in await (await self._store()).list_messages(query)]

    def export(self, where: Where = ()) -> AsyncIterator[Message]:
        """
        Read all messages that *where* picks, whole, one after the other, the oldest first.

        However many there are, a few are in memory at a time. Each comes once, as it was when its page was read. What
        is accepted after the beginning does not come, nor what is deleted before its turn. It is used in ``async for``.

        Args:
            where: A filter, or several that must all hold; see `pillarbox.outbox.filters`. None: all messages.

        Raises:
            InvalidMessage: *where* cannot be read.
            ShardsUnavailable: At the end: some shards did not answer.
        """
        return self.pages(where).messages()

    def pages(self, where: Where = ()) -> Pages:
        """Read as `export`, page by page."""
        query = narrowed_by(Query(), where, now_ms=self._clock.wall_ms())
        return OfOne(self._store, query, self._message)

    async def history(self, id: str) -> builtins.list[Event]:  # noqa: A002 — the field's name
        """Return a message's story, the acceptance first."""
        events = await (await self._store()).history(MessageId(word_of("id", id)))
        return [shifted(event, self._clock.ahead_ms()) for event in events]

    async def explain(self, id: str) -> Explanation:  # noqa: A002 — the field's name
        """
        Return why a message is not delivered yet, each reason with since when, until when and what would unblock it.

        Of what has ended, it returns what became of it, and what can be done.

        Raises:
            NotFound: There is no such message (any more).
        """
        store, clock = (await self._store()), self._clock
        facts = None
        if is_message_id(id):
            facts = await store.facts(MessageId(id), now_ms=clock.wall_ms())
        if facts is None:
            raise NotFound("message", id)
        facts = msgspec.structs.replace(shifted(facts, clock.ahead_ms()), parted_ms=clock.parted_ms())
        return explain(facts, held_retention_ms=self._routes.settings.held_retention // timedelta(milliseconds=1))

    async def summary(self, turn: str, *, final_only: bool = False) -> TurnSummary:
        """
        Count what became of the messages of one turn: those sent with ``correlation_id=turn`` (contract DK2).

        Args:
            final_only: Leave out what was sent with kind ``block`` or ``tool``.
        """
        return summarised(
            await (await self._store()).turn(word_of("turn", turn), final_only=flag_of("final_only", final_only))
        )

    async def stats(self) -> builtins.list[Tally]:
        """Count messages and bytes by tenant, channel and state; from counters."""
        return await (await self._store()).stats()

    async def workers(self) -> builtins.list[WorkerInfo]:
        """List the workers of this database, in whatever process."""
        workers = await (await self._store()).workers()
        return [shifted(worker, self._clock.ahead_ms()) for worker in workers]

    async def queues(self) -> builtins.list[QueueInfo]:
        """List every (tenant, channel) that was ever used, with its pause. One that has run out is none any more."""
        now_ms, ahead_ms = self._clock.wall_ms(), self._clock.known_ahead_ms
        return [shifted(queue.judged(now_ms), ahead_ms) for queue in await (await self._store()).queues()]

    async def flow(self) -> builtins.list[Flow]:
        """List every (tenant, channel) that was ever used: whether messages go through it, and what keeps them back."""
        ahead_ms = self._clock.known_ahead_ms
        return [shifted(one, ahead_ms) for one in await (await self._store()).flow(now_ms=self._clock.wall_ms())]

    async def redirects(self, *, limit: int = 1000) -> builtins.list[Redirect]:
        """List recipients that have another address now, as their platforms said, the newest first."""
        known_ahead_ms = self._clock.known_ahead_ms
        return [
            shifted(one, known_ahead_ms)
            for one in await (await self._store()).redirects(limit=count_of("limit", limit))
        ]

    async def suppressed(self, *, limit: int = 1000) -> builtins.list[Suppressed]:
        """List recipients that get no more messages because they were refused for good, the newest first."""
        known_ahead_ms = self._clock.known_ahead_ms
        return [
            shifted(one, known_ahead_ms)
            for one in await (await self._store()).suppressed(limit=count_of("limit", limit))
        ]

    async def guarantee(self, channel: str) -> Promise:
        """
        Return what *channel* gives a message that is sent now: it may ask the platform.

        Raises:
            UnknownChannel: This process does not have it.
        """
        check_name(channel)
        route = self._routes.of(channel)
        if route.channel is None:
            raise UnknownChannel(channel, self._routes.names)
        if route.url is None:
            return await _promised(route.channel, route.policy)
        # One of its own: that of a worker may not be open here, or closes meanwhile.
        asked = make_route(self._routes.settings, channel, route.url).channel or route.channel
        seams = Seams(clock=self._clock)
        if self._lifetime.started and self._routes.settings.enabled:
            seams = seams_of(channel, seams, await self._store())
        await asked.start(seams)
        try:
            return await _promised(asked, route.policy)
        finally:
            await asked.close()

    async def health(self) -> Health:
        """Return whether all is well: the database answers, nothing fell back to memory, channels work."""
        return await examine(await self._lifetime.opened())

    @property
    def counts(self) -> Mapping[str, int]:
        """What this process has done since it started, by `Reporter`'s words; of a disabled queue the alarms alone."""
        counts = self._lifetime.live().reporter.counts
        if self._routes.settings.enabled:
            return counts
        return {word: count for word, count in counts.items() if word.startswith("alarm:")}

    @property
    def in_memory(self) -> bool:
        """Whether nothing outlives the process."""
        return self._lifetime.live().store.in_memory

    @property
    def durability(self) -> Durability:
        """What an accepted message survives."""
        return self._lifetime.live().store.durability

    async def served(self, channel: str) -> bool:
        """Return whether a live worker has *channel*, in whatever process."""
        return any(worker.alive is not False and channel in worker.channels for worker in await self.workers())

    async def _store(self) -> Store:
        return (await self._lifetime.opened()).store

    def _message(self, view: MessageView) -> Message:
        view = shifted(view, self._clock.ahead_ms())
        return Message(self._lifetime, id=view.id, created=False, view=view)


def view_of(message: BaseMessage) -> MessageView:
    """Return what was read of a message. Raises InvalidMessage where nothing was."""
    given: object = message
    view = given.view if isinstance(given, BaseMessage) else None
    if view is None:
        raise InvalidMessage("before", "expected a message that was read, by get() or list()")
    return view


def query_of(query: object, filters: Mapping[str, Any]) -> Query:
    """Return a query whose fields come from anybody. Raises InvalidMessage, which names the one that will not do."""
    if query is None:
        query, filters = Query(**filters), {}
    if not isinstance(query, Query):
        raise InvalidMessage(
            "query", f"expected a Query, not {type(query).__name__}; a filter goes with its name, where="
        )
    if filters:
        raise InvalidMessage(next(iter(filters)), "stands beside a Query, which has fields of its own: say it there")
    values = msgspec.structs.asdict(query)
    for field, value in values.items():
        if isinstance(value, str):
            word_of(field, value)
    try:
        return msgspec.convert(values, Query)
    except msgspec.ValidationError as exc:
        expected, _, field = str(exc).rstrip("`").partition(" - at `$.")
        raise InvalidMessage(field, expected.lower()) from None


def _by_queue_time(query: Query, ahead_ms: int) -> Query:
    """Return a caller's query with its times as the queue knows them."""
    if not ahead_ms:
        return query
    since, until = query.created_from_ms, query.created_to_ms
    return msgspec.structs.replace(
        query,
        created_from_ms=None if since is None else since - ahead_ms,
        created_to_ms=None if until is None else until - ahead_ms,
    )
