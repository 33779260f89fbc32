"""What people and programs ask of an outbox beside sending: to look, and to intervene."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pillarbox.domain.ids import MessageId, is_message_id
from pillarbox.domain.message import State
from pillarbox.errors import InvalidMessage, NotFound, Refused
from pillarbox.message import BaseMessage, Message
from pillarbox.store.base import Cancel, Pause, Query, Resume, Retry

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping

    from pillarbox.clock import Clock
    from pillarbox.config import Settings
    from pillarbox.domain.message import MessageView
    from pillarbox.engine.worker import DrainReport
    from pillarbox.runtime import Runtime
    from pillarbox.store.base import Durability, Event, QueueInfo, Tally, WorkerInfo

_ACTOR: Final = "application"


class Operations(ABC):
    """The operators' half of `Outbox`."""

    settings: Settings
    _clock: Clock

    @abstractmethod
    def _live(self) -> Runtime:
        """Give what is open. Raises NotStarted."""

    @abstractmethod
    async def _opened(self) -> Runtime:
        """Give what is open; a forked child opens its own at first use."""

    @abstractmethod
    async def _wait(self, message: BaseMessage, timeout: float | None) -> None:
        """Wait for a message's end."""

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

    async def list(self, query: Query | None = None, /, **filters: Any) -> list[Message]:  # noqa: ANN401 — see `Query`
        """Read messages, newest first, without their content; *filters* are the fields of `Query`."""
        query = query or Query(**filters)
        return [self._message(view) for view in await (await self._opened()).store.list_messages(query)]

    async def history(self, id: str) -> builtins.list[Event]:  # noqa: A002 — the field's name
        """Tell a message's story, the acceptance first."""
        return await (await self._opened()).store.history(MessageId(id))

    async def stats(self) -> builtins.list[Tally]:
        """Count messages and bytes by tenant, channel and state; from counters."""
        return await (await self._opened()).store.stats()

    async def workers(self) -> builtins.list[WorkerInfo]:
        """List the workers of this database, in whatever process."""
        return await (await self._opened()).store.workers()

    async def queues(self) -> builtins.list[QueueInfo]:
        """List every (tenant, channel) that was ever used, with its pause."""
        return await (await self._opened()).store.queues()

    async def check(self) -> builtins.list[str]:
        """Look for damage; empty when all is well."""
        return await (await self._opened()).store.check()

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
        """What this process has done since it started, by `Reporter`'s words."""
        return self._live().reporter.counts

    def _message(self, view: MessageView) -> Message:
        return Message(self._wait, id=view.id, created=False, view=view)

    async def cancel(self, id: str, *, reason: str | None = None, actor: str = _ACTOR) -> bool:  # noqa: A002
        """
        Withdraw a message that is not delivered yet.

        One that is being sent ends as cancelled if its attempt fails; it may still be delivered.

        Returns:
            False where it was terminal already; nothing changed then.

        Raises:
            NotFound: There is no such message.
        """
        return await self._act(Cancel(id=MessageId(id), actor=actor, reason=reason), id)

    async def retry(self, id: str, *, reason: str | None = None, actor: str = _ACTOR) -> bool:  # noqa: A002
        """Make a scheduled or held message due now. Returns and raises as `cancel`."""
        return await self._act(Retry(id=MessageId(id), actor=actor, reason=reason), id)

    async def _act(self, act: Cancel | Retry, name: str) -> bool:
        runtime = await self._opened()
        acted = await runtime.committer.act(act)
        if not acted.applied and acted.state is None:
            raise NotFound("message", name)
        if acted.state is State.CANCELLED and acted.applied:
            runtime.reporter.cancelled(act.id, await runtime.store.get(act.id))
        return acted.applied

    async def pause(
        self, channel: str, *, tenant: str = "", reason: str | None = None, span: timedelta | None = None,
        actor: str = _ACTOR,
    ) -> None:  # fmt: skip
        """Send nothing more through *channel*, for *span* or until resumed. Messages wait, and expire as ever."""
        until_ms = None if span is None else self._clock.wall_ms() + span // timedelta(milliseconds=1)
        act = Pause(tenant=tenant, channel=channel, actor=actor, reason=reason, until_ms=until_ms)
        await (await self._opened()).committer.act(act)

    async def resume(self, channel: str, *, tenant: str = "", reason: str | None = None, actor: str = _ACTOR) -> bool:
        """Send through *channel* again; false where nothing was ever sent through it."""
        act = Resume(tenant=tenant, channel=channel, actor=actor, reason=reason)
        return (await (await self._opened()).committer.act(act)).applied

    async def drain(self, budget: float | None = None) -> DrainReport:
        """
        Wait until nothing is due or being sent, at most *budget* seconds (default: ``drain_budget_ms``).

        Raises:
            Refused: This outbox does not deliver.
        """
        worker = (await self._opened()).worker
        if worker is None:
            msg = "this outbox does not deliver"
            raise Refused(msg)
        return await worker.drain(self.settings.drain_budget_ms if budget is None else int(budget * 1000))

    async def drained(self) -> DrainReport:
        """Wait for the end of the drain that `start` began. Raises Refused where there is none."""
        drain = (await self._opened()).startup_drain
        if drain is None:
            msg = "nothing is drained at start: this outbox does not deliver, or drain_on_startup is off"
            raise Refused(msg)
        return await asyncio.shield(drain)

    async def prune(self, age: float | timedelta) -> dict[State, int]:
        """
        Delete terminal messages that ended longer ago than *age* (seconds or a timedelta).

        Raises:
            InvalidMessage: *age* is 0, negative, NaN or infinite; nothing was deleted.
        """
        seconds: object = age.total_seconds() if isinstance(age, timedelta) else age
        # NaN fails both comparisons.
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
            raise InvalidMessage("age", f"expected a span above 0 in seconds, or a timedelta, not {age!r}")
        runtime = await self._opened()
        age_ms = int(seconds * 1000)
        total: dict[State, int] = {}
        more = True
        while more:
            gone, more = await runtime.pruner().once({state: age_ms for state in State if state.terminal})
            for state, count in gone.items():
                total[state] = total.get(state, 0) + count
        return total
