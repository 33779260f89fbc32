"""`ShardedReads`: what is asked of several databases, and their answers made one."""

from __future__ import annotations

import builtins
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

from pillarbox.domain.explain.causes import Explanation
from pillarbox.domain.ids import is_message_id
from pillarbox.domain.plain_values import word_of
from pillarbox.domain.turn_summary import TurnSummary
from pillarbox.errors import InvalidMessage, NotFound
from pillarbox.outbox.filters import Where, narrowed_by
from pillarbox.outbox.health import Health
from pillarbox.outbox.message import BaseMessage, Message
from pillarbox.outbox.message_pages import Pages
from pillarbox.outbox.reads import Promise, Reads, query_of, view_of
from pillarbox.outbox.shards.pages import OfShards, Page
from pillarbox.outbox.shards.shards import Shard, Shards
from pillarbox.store.base import (
    Durability,
    Event,
    Flow,
    Query,
    QueueInfo,
    Redirect,
    Suppressed,
    Tally,
    WorkerInfo,
)

T = TypeVar("T")
N = TypeVar("N", Redirect, Suppressed)
Q = TypeVar("Q", bound=QueueInfo)


class ShardedReads(Reads):
    """
    See `Reads`.

    What is asked of all raises ShardsUnavailable where some do not answer; its ``partial`` is what the others said.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    # One message: the shard that has it answers

    async def get(self, id: str) -> Message | None:  # noqa: A002 — the field's name
        """See `Reads`."""
        if not is_message_id(id):
            return None
        try:
            return await self._shards.first(
                lambda inside: inside.reads.get(id), found=_answer, missing=NotFound("message", id)
            )
        except NotFound:
            return None

    async def find(self, text: str) -> Message:
        """See `Reads`. A shortened id is looked for on all shards, whole ones are found on one."""
        if is_message_id(text):
            found = await self.get(text)
            if found is None:
                raise NotFound("message", text)
            return found
        found_on = await self._shards.ask_surely(lambda inside: _found(inside.reads, text), _joined)
        if len(found_on) > 1:
            raise InvalidMessage("id", f"{text!r} could be {len(found_on)} messages; give more of it")
        if not found_on:
            raise NotFound("message", text)
        return found_on[0]

    async def history(self, id: str) -> builtins.list[Event]:  # noqa: A002 — the field's name
        """See `Reads`."""
        try:
            return await self._shards.first(
                lambda inside: inside.reads.history(id), found=_answer, missing=NotFound("message", word_of("id", id))
            )
        except NotFound:
            return []

    async def explain(self, id: str) -> Explanation:  # noqa: A002 — the field's name
        """See `Reads`."""
        if not is_message_id(id):
            raise NotFound("message", id)
        shard = await self._shards.holding(id)
        return await shard.asked(shard.inside.reads.explain(id))

    # Many

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
        See `Reads`. Of several shards the newest is who was accepted last; within each, who was stored last.

        Raises:
            InvalidMessage: ``before_seq`` and ``after_seq`` count within one shard: *before* makes pages of all.
        """
        query = query_of(query, filters)
        if query.before_seq is not None or query.after_seq is not None:
            field = "after_seq" if query.before_seq is None else "before_seq"
            raise InvalidMessage(field, "counts within one shard: expected before, or times of acceptance")
        possible = self._shards.possible(narrowed_by(query, where, now_ms=0))
        page = Page(query, where)
        if before is not None:
            its = await self._shards.holding(view_of(before).id)
            await its.asked(page.begin(before, its))
        return await self._shards.ask_each(page.of, page.merged, of=possible)

    def export(self, where: Where = ()) -> AsyncIterator[Message]:
        """See `Reads`. One shard after the other."""
        return self.pages(where).messages()

    def pages(self, where: Where = ()) -> Pages:
        """See `Reads`. One shard after the other; those that do not answer are named when all others were read."""
        return OfShards(self._shards, self._shards.possible(narrowed_by(Query(), where, now_ms=0)), where)

    async def summary(self, turn: str, *, final_only: bool = False) -> TurnSummary:
        """See `Reads`. A turn may be of several tenants."""
        return await self._shards.ask_all(lambda inside: inside.reads.summary(turn, final_only=final_only), _added)

    async def stats(self) -> builtins.list[Tally]:
        """See `Reads`."""
        return await self._shards.ask_all(lambda inside: inside.reads.stats(), _joined)

    async def workers(self) -> builtins.list[WorkerInfo]:
        """See `Reads`. A process that serves several shards is a worker of each."""
        return await self._shards.ask_all(lambda inside: inside.reads.workers(), _joined)

    async def queues(self) -> builtins.list[QueueInfo]:
        """See `Reads`."""
        return await self._shards.ask_each(lambda shard: shard.inside.reads.queues(), _at_home)

    async def flow(self) -> builtins.list[Flow]:
        """See `Reads`."""
        return await self._shards.ask_each(lambda shard: shard.inside.reads.flow(), _at_home)

    async def redirects(self, *, limit: int = 1000) -> builtins.list[Redirect]:
        """See `Reads`."""
        return await self._shards.ask_all(
            lambda inside: inside.reads.redirects(limit=limit), functools.partial(_newest, limit=limit)
        )

    async def suppressed(self, *, limit: int = 1000) -> builtins.list[Suppressed]:
        """See `Reads`."""
        return await self._shards.ask_all(
            lambda inside: inside.reads.suppressed(limit=limit), functools.partial(_newest, limit=limit)
        )

    # The outbox itself

    async def guarantee(self, channel: str) -> Promise:
        """See `Reads`. It is the same on every shard."""
        return await self._shards.each[0].inside.reads.guarantee(channel)

    async def health(self) -> Health:
        """See `Reads`. Shards that do not answer are among the problems."""
        found: builtins.list[tuple[Shard, Health]] = []
        problems: builtins.list[str] = []
        for shard in self._shards:
            if (why := self._shards.down.get(shard.place.number)) is not None:
                problems.append(f"{shard.name} does not answer: {why}")
            else:
                found.append((shard, await shard.inside.reads.health()))
        problems += [f"{shard.name}: {problem}" for shard, health in found for problem in health.problems]
        return Health(
            problems=tuple(problems),
            durability=self.durability,
            in_memory=self.in_memory,
            fell_back=False,
            delivers=any(health.delivers for _, health in found),
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reads`."""
        return sum((Counter(shard.inside.reads.counts) for shard in self._up()), Counter[str]())

    @property
    def in_memory(self) -> bool:
        """See `Reads`."""
        return any(shard.inside.reads.in_memory for shard in self._up())

    @property
    def durability(self) -> Durability:
        """See `Reads`."""
        return self._up()[0].inside.reads.durability

    async def served(self, channel: str) -> bool:
        """Return whether a live worker of some shard has *channel*."""
        return any(worker.alive is not False and channel in worker.channels for worker in await self.workers())

    def _up(self) -> builtins.list[Shard]:
        return [shard for shard in self._shards if shard.place.number not in self._shards.down]


async def _found(reads: Reads, text: str) -> builtins.list[Message]:
    try:
        return [await reads.find(text)]
    except NotFound:
        return []


def _answer(_: Shard, answer: T | None) -> T:
    """Return an answer that is not empty."""
    if answer is None:
        raise LookupError
    return answer


def _joined(answers: builtins.list[builtins.list[T]]) -> builtins.list[T]:
    return [*itertools.chain.from_iterable(answers)]


def _newest(answers: builtins.list[builtins.list[N]], *, limit: int) -> builtins.list[N]:
    return sorted(itertools.chain.from_iterable(answers), key=lambda one: one.at_ms, reverse=True)[:limit]


def _added(answers: builtins.list[TurnSummary]) -> TurnSummary:
    names = TurnSummary.__struct_fields__
    return TurnSummary(**{name: sum(getattr(one, name) for one in answers) for name in names})


def _at_home(answers: builtins.list[tuple[Shard, builtins.list[Q]]]) -> builtins.list[Q]:
    """
    Return each (tenant, channel) once, by what its home says.

    Workers make the queues of no tenant on every shard, though their home is one; while that does not answer, another
    speaks for it.
    """
    found: dict[tuple[str, str], Q] = {}
    for shard, queues in answers:
        for queue in queues:
            name = queue.tenant, queue.channel
            if name not in found or shard.place.has(queue.tenant):
                found[name] = queue
    return _sorted(found.values())


def _sorted(queues: Iterable[Q]) -> builtins.list[Q]:
    return sorted(queues, key=lambda queue: (queue.channel, queue.tenant))
