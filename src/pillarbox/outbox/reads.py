"""What people and programs ask of an outbox beside sending: to look, and to intervene."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pillarbox.domain.channel_names import check_name
from pillarbox.domain.explain import explain
from pillarbox.domain.ids import MessageId, is_message_id
from pillarbox.domain.message import State
from pillarbox.domain.moments import budget_ms, moment_ms, span_ms
from pillarbox.domain.timeline import shifted
from pillarbox.domain.turn import TurnSummary, summarised
from pillarbox.engine.drain import DrainReport
from pillarbox.errors import InvalidMessage, NotFound, Refused
from pillarbox.outbox.filters import narrowed_by
from pillarbox.outbox.health import Health, examine, present
from pillarbox.outbox.message import Message
from pillarbox.outbox.orders import ACTOR, Interventions, Where
from pillarbox.store.base import Pause, Query, Resume

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Mapping

    from pillarbox.domain.explain.causes import Explanation
    from pillarbox.domain.message import MessageView
    from pillarbox.outbox.runtime import Runtime
    from pillarbox.store.base import Durability, Event, QueueInfo, Tally, WorkerInfo


class Operations(Interventions):
    """The operators' half of `Outbox`."""

    @abstractmethod
    def _live(self) -> Runtime:
        """Give what is open. Raises NotStarted."""

    async def get(self, id: str) -> Message | None:  # noqa: A002 — the field's name
        """Read one message whole; ``None`` if there is none of that id (any more)."""
        view = await (await self._opened()).store.get(MessageId(id)) if is_message_id(id) else None
        return None if view is None else self._message(view)

    async def find(self, text: str) -> Message:
        """
        Read the one message whose id begins or ends with *text*.

        Raises:
            NotFound: There is none.
            InvalidMessage: There are several.
        """
        store = (await self._opened()).store
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
        **filters: Any,  # noqa: ANN401 — see `Query`
    ) -> list[Message]:
        """
        Read messages, newest first, without their content.

        Args:
            where: A filter, or several that must all hold; see `pillarbox.outbox.filters`.
            filters: The fields of `Query`, ``limit`` among them, 50 without it.

        Raises:
            InvalidMessage: *where* cannot be read.
        """
        now_ms, ahead_ms = self._clock.wall_ms(), self._clock.ahead_ms()
        query = narrowed_by(_by_queue_time(query or Query(**filters), ahead_ms), where, now_ms=now_ms)
        return [self._message(view) for view in await (await self._opened()).store.list_messages(query)]

    async def history(self, id: str) -> builtins.list[Event]:  # noqa: A002 — the field's name
        """Tell a message's story, the acceptance first."""
        events = await (await self._opened()).store.history(MessageId(id))
        return [shifted(event, self._clock.ahead_ms()) for event in events]

    async def explain(self, id: str) -> Explanation:  # noqa: A002 — the field's name
        """
        Say why a message is not delivered yet, each reason with since when, until when and what would unblock it.

        What has ended is told with what became of it, and what can be done.

        Raises:
            NotFound: There is no such message (any more).
        """
        store, clock = (await self._opened()).store, self._clock
        facts = None
        if is_message_id(id):
            facts = await store.facts(MessageId(id), now_ms=clock.wall_ms())
        if facts is None:
            raise NotFound("message", id)
        facts = msgspec.structs.replace(shifted(facts, clock.ahead_ms()), parted_ms=clock.parted_ms())
        return explain(facts, held_retention_ms=self.settings.held_retention // timedelta(milliseconds=1))

    async def summary(self, turn: str, *, final_only: bool = False) -> TurnSummary:
        """
        Count what became of the messages of one turn: those sent with ``correlation_id=turn`` (contract DK2).

        Args:
            final_only: Leave out what was sent with kind ``block`` or ``tool``.
        """
        return summarised(await (await self._opened()).store.turn(turn, final_only=final_only))

    async def stats(self) -> builtins.list[Tally]:
        """Count messages and bytes by tenant, channel and state; from counters."""
        return await (await self._opened()).store.stats()

    async def workers(self) -> builtins.list[WorkerInfo]:
        """List the workers of this database, in whatever process."""
        workers = await (await self._opened()).store.workers()
        return [shifted(worker, self._clock.ahead_ms()) for worker in workers]

    async def queues(self) -> builtins.list[QueueInfo]:
        """List every (tenant, channel) that was ever used, with its pause. One that has run out is none any more."""
        now_ms, ahead_ms = self._clock.wall_ms(), self._clock.known_ahead_ms
        return [shifted(queue.judged(now_ms), ahead_ms) for queue in await (await self._opened()).store.queues()]

    async def check(self) -> builtins.list[str]:
        """
        Look for damage, and for what keeps messages from being stored or sent; empty when all is well.

        What is wrong with this process, and with the other workers of its database, is told too.
        """
        runtime = await self._opened()
        found = await runtime.store.check()
        return [*found, *(problem for problem in present(runtime) if problem not in found)]

    async def remarks(self) -> builtins.list[str]:
        """Tell what a person should know of how the database is kept, though nothing is wrong with it."""
        return (await self._opened()).store.remarks()

    async def backup(self, path: str | os.PathLike[str]) -> int:
        """
        Write a checked copy of this moment's content to the new file *path*, durable when this returns (contract SG7).

        Nothing waits for it: messages are accepted and sent meanwhile. The copy is one file, 0600, whole or not there;
        its bytes are returned.

        Raises:
            InvalidMessage: Something has that name already, or its directory is missing; nothing was written.
            StoreError: The database could not be read, the copy not written, or it is damaged; it was not kept.
            Refused: The queue is disabled: there is nothing to copy.
        """
        return await (await self._opened()).store.backup(Path(path))

    async def health(self) -> Health:
        """Tell whether it keeps what it promises: the database answers, nothing fell back to memory, channels work."""
        return await examine(await self._opened())

    @property
    def in_memory(self) -> bool:
        """Whether nothing outlives the process."""
        return self._live().store.in_memory

    @property
    def durability(self) -> Durability:
        """What an accepted message survives."""
        return self._live().store.durability

    @property
    def counts(self) -> Mapping[str, int]:
        """What this process has done since it started, by `Reporter`'s words; of a disabled queue the alarms alone."""
        counts = self._live().reporter.counts
        if self.settings.enabled:
            return counts
        return {word: count for word, count in counts.items() if word.startswith("alarm:")}

    def _message(self, view: MessageView) -> Message:
        view = shifted(view, self._clock.ahead_ms())
        return Message(self._wait, id=view.id, created=False, view=view)

    async def pause(
        self, channel: str, *, tenant: str | None = None, reason: str | None = None, span: timedelta | None = None,
        actor: str = ACTOR,
    ) -> None:  # fmt: skip
        """
        Send nothing more through *channel*, for *span* or until resumed. Messages wait, and expire as ever.

        Args:
            tenant: Only this tenant's messages; "" for those of none. ``None``: all, of tenants that come later too.

        Raises:
            Refused: The queue is disabled: nothing would wait.
        """
        check_name(channel)
        if not self.settings.enabled:
            msg = "the queue is disabled (enabled = false): nothing waits that could be paused"
            raise Refused(msg)
        until_ms = None if span is None else moment_ms("span", span, self._clock.wall_ms())
        act = Pause(tenant=tenant, channel=channel, actor=actor, reason=reason, until_ms=until_ms)
        await (await self._opened()).committer.act(act)

    async def resume(
        self, channel: str, *, tenant: str | None = None, reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """
        Send through *channel* again, of one *tenant* or of all; false where nothing was ever sent through it.

        A tenant that is resumed alone sends again although the channel is paused for the others.
        """
        check_name(channel)
        act = Resume(tenant=tenant, channel=channel, actor=actor, reason=reason)
        return (await (await self._opened()).committer.act(act)).applied

    async def drain(self, budget: float | None = None) -> DrainReport:
        """
        Wait until nothing is due or being sent, at most *budget* seconds (default: ``drain_budget_ms``).

        A disabled queue (``enabled = false``) has nothing to drain: its report is empty.

        Raises:
            InvalidMessage: *budget* is below 0, NaN or beyond the calendar.
            Refused: This outbox does not deliver.
        """
        most_ms = self.settings.drain_budget_ms if budget is None else budget_ms("budget", budget)
        worker = (await self._opened()).worker
        if not self.settings.enabled:
            return DrainReport()
        if worker is None:
            msg = "this outbox does not deliver"
            raise Refused(msg)
        return await self._live().until_closed(asyncio.ensure_future(worker.drain(most_ms)))

    async def drained(self) -> DrainReport:
        """
        Wait for the end of the drain that `start` began; of a disabled queue the report is empty.

        Raises:
            Refused: Nothing is drained at start.
        """
        runtime = await self._opened()
        drain = runtime.startup_drain
        if not self.settings.enabled:
            return DrainReport()
        if drain is None:
            msg = "nothing is drained at start: this outbox does not deliver, or drain_on_startup is off"
            raise Refused(msg)
        return await runtime.until_closed(asyncio.shield(drain))

    async def prune(self, age: float | timedelta) -> dict[State, int]:
        """
        Delete terminal messages that ended longer ago than *age* (seconds or a timedelta).

        Raises:
            InvalidMessage: *age* is below a millisecond, NaN or beyond the calendar; nothing was deleted.
        """
        age_ms = span_ms("age", age)
        runtime = await self._opened()
        total: dict[State, int] = {}
        more = True
        while more:
            gone, more = await runtime.pruner().once({state: age_ms for state in State if state.terminal})
            for state, count in gone.items():
                total[state] = total.get(state, 0) + count
        return total


def _by_queue_time(query: Query, ahead_ms: int) -> Query:
    """Give a caller's query with its times as the queue knows them."""
    if not ahead_ms:
        return query
    since, until = query.created_from_ms, query.created_to_ms
    return msgspec.structs.replace(
        query,
        created_from_ms=None if since is None else since - ahead_ms,
        created_to_ms=None if until is None else until - ahead_ms,
    )
