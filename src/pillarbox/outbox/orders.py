"""`Orders`: what people order of one message, of all that a filter picks, or of a channel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from pillarbox.domain.channel_names import check_name
from pillarbox.domain.ids import MessageId
from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.moments import moment_ms, span_ms
from pillarbox.domain.orders import Order
from pillarbox.domain.plain_json import text_of
from pillarbox.domain.timeline import shifted
from pillarbox.domain.transition import Reason
from pillarbox.entropy import new_message_id
from pillarbox.errors import InvalidMessage, NotFound, Refused
from pillarbox.events.events import MessageEnqueued
from pillarbox.outbox import bulk
from pillarbox.outbox.bulk import BulkItem, BulkReport, MakeAct
from pillarbox.outbox.filters import Where
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.message import Message
from pillarbox.outbox.routes import Routes
from pillarbox.outbox.runtime import Runtime
from pillarbox.store.base import Acted, ActOnMessage, Cancel, Pause, Purge, Replay, Resolve, Resume, Retry

ACTOR: Final = "application"
OnItem = Callable[[BulkItem], object]

_MS: Final = timedelta(milliseconds=1)
_TEXT_MAX: Final = 1000


class Orders:
    """
    The orders that an outbox takes. All of them are kept in the message's history, with actor and reason.

    Those that end in ``_many`` are for every message that a filter picks (`outbox.filters`), or with ``every=True``
    for all of them, in the states that the verb is for. With ``dry_run=True`` nothing is changed; ``on_item`` is called
    with the `BulkItem` of every message, in order. They raise InvalidMessage for a filter that cannot be read.
    """

    def __init__(self, lifetime: Lifetime, routes: Routes) -> None:
        self._lifetime = lifetime
        self._routes = routes
        self._clock = lifetime.clock

    # One message

    async def cancel(self, id: str, *, reason: str | None = None, actor: str = ACTOR) -> bool:  # noqa: A002 — its name
        """
        Withdraw a message that is not delivered yet.

        One that is being sent ends as cancelled if its attempt fails; it may still be delivered.

        Returns:
            False where it was terminal already; nothing changed then.

        Raises:
            NotFound: There is no such message.
        """
        return (await self._act(_cancelling(reason, actor)(_identity(id)))).applied

    async def retry(
        self, id: str, *, ttl: float | timedelta | None = None, reason: str | None = None, actor: str = ACTOR  # noqa: A002
    ) -> bool:  # fmt: skip
        """
        Make a scheduled or held message due now. Returns and raises as `cancel`.

        Args:
            ttl: Its new time to live from now on, in seconds or as a timedelta.

        Raises:
            Refused: It is held, and its time is over: it needs a new *ttl*.
        """
        return (await self._act(_retrying(ttl, reason, actor)(_identity(id)))).applied

    async def resolve(
        self,
        id: str,  # noqa: A002 — the field's name
        verdict: Verdict | str,
        *,
        force_copy: bool = False,
        receipt: str | None = None,
        ttl: float | timedelta | None = None,
        reason: str | None = None,
        actor: str = ACTOR,
    ) -> bool:
        """
        Record what is known of a held message; of its first unsent part, where it was split.

        Args:
            verdict: ``delivered`` ends it, or goes on with the next part. ``not_delivered`` and ``resend`` send it, at
                the tail of its lane; ``resend`` whatever became of the last attempt.
            force_copy: With ``resend``: under a new dedupe token, so that a platform that has it takes it again.
            receipt: With ``delivered``: the platform's id for it.
            ttl: Its new time to live from now on, in seconds or as a timedelta.

        Returns:
            False where it is not held; nothing changed then.

        Raises:
            NotFound: There is no such message.
            Refused: Its time is over: it needs a new *ttl*. Or it was copied on purpose too often.
            InvalidMessage: The arguments do not go together.
        """
        order = _resolving(verdict, force_copy=force_copy, receipt=receipt, ttl=ttl, reason=reason, actor=actor)
        return (await self._act(order(_identity(id)))).applied

    async def replay(
        self, id: str, *, fresh: bool = False, reason: str | None = None, actor: str = ACTOR  # noqa: A002
    ) -> Message:  # fmt: skip
        """
        Send what has ended once more, as a new message with the same content, route and options; its key stays behind.

        It is due now, at the tail of its lane, and has its policy's whole time to live. It carries the original's
        dedupe token, and parts that were delivered are not sent again; where the original was delivered, it is all new.

        Args:
            fresh: Everything anew all the same, and even where an earlier replay is on its way or delivered.

        Returns:
            The new message.

        Raises:
            NotFound: There is no such message.
            Refused: It has not ended; it was replayed already; what it said was deleted.
            QueueFull: A limit is reached. Nothing was written.
        """
        runtime = await self._lifetime.opened()
        order = self._replaying(fresh=fresh, reason=reason, actor=actor)(_identity(id))
        acted = await self._act(order)
        if not acted.applied:
            raise Refused(f"it is {acted.state}: only what has ended is replayed")
        view = await runtime.store.get(order.new_id)
        view = None if view is None else shifted(view, self._clock.ahead_ms())
        return Message(self._lifetime, id=order.new_id, durability=runtime.store.durability, view=view)

    async def purge(self, id: str, *, reason: str | None = None, actor: str = ACTOR) -> bool:  # noqa: A002
        """
        Delete a message that has ended, now: what it said, its parts and its attempts.

        That it was there, and what people did to it, stays in the history for ``audit_retention``; its key keeps others
        from using it for ``key_retention``.

        Returns:
            False where it has not ended; nothing changed then.

        Raises:
            NotFound: There is no such message.
        """
        return (await self._act(self._purging(reason, actor)(_identity(id)))).applied

    async def _act(self, act: ActOnMessage) -> Acted:
        runtime = await self._lifetime.opened()
        acted = await runtime.committer.act(act)
        if acted.refused is not None:
            raise acted.refused
        if not acted.applied and acted.state is None:
            raise NotFound("message", act.id)
        if acted.pending:
            runtime.reporter.on_asked(act.id, act.reason)
        if acted.applied:
            view = await runtime.store.get(act.new_id if isinstance(act, Replay) else act.id)
            if view is not None:
                _tell(runtime, act, acted, view)
        return acted

    # All that a filter picks

    async def cancel_many(
        self, where: Where | None = None, *, every: bool = False, dry_run: bool = False, on_item: OnItem | None = None,
        reason: str | None = None, actor: str = ACTOR,
    ) -> BulkReport:  # fmt: skip
        """Withdraw all that *where* picks of what is not delivered yet. See `cancel`."""
        make = _cancelling(reason, actor)
        return await self._many(make, Order.CANCEL, where, every=every, dry_run=dry_run, on_item=on_item)

    async def retry_many(
        self, where: Where | None = None, *, every: bool = False, dry_run: bool = False, on_item: OnItem | None = None,
        ttl: float | timedelta | None = None, reason: str | None = None, actor: str = ACTOR,
    ) -> BulkReport:  # fmt: skip
        """Make all that *where* picks of what is scheduled or held due now. See `retry`."""
        make = _retrying(ttl, reason, actor)
        return await self._many(make, Order.RETRY, where, every=every, dry_run=dry_run, on_item=on_item)

    async def resolve_many(
        self, verdict: Verdict | str, where: Where | None = None, *, every: bool = False, dry_run: bool = False,
        on_item: OnItem | None = None, force_copy: bool = False, ttl: float | timedelta | None = None,
        reason: str | None = None, actor: str = ACTOR,
    ) -> BulkReport:  # fmt: skip
        """Resolve all that *where* picks of what is held, with the same verdict. See `resolve`."""
        make = _resolving(verdict, force_copy=force_copy, receipt=None, ttl=ttl, reason=reason, actor=actor)
        return await self._many(make, Order.RESOLVE, where, every=every, dry_run=dry_run, on_item=on_item)

    async def replay_many(
        self, where: Where | None = None, *, every: bool = False, dry_run: bool = False, on_item: OnItem | None = None,
        fresh: bool = False, reason: str | None = None, actor: str = ACTOR,
    ) -> BulkReport:  # fmt: skip
        """
        Replay all that *where* picks of what is dead, expired or cancelled, the oldest first. See `replay`.

        What was delivered is meant only where the filter names that state. A full queue ends it: see `BulkReport.full`.
        """
        make = self._replaying(fresh=fresh, reason=reason, actor=actor)
        return await self._many(make, Order.REPLAY, where, every=every, dry_run=dry_run, on_item=on_item)

    async def purge_many(
        self, where: Where | None = None, *, every: bool = False, dry_run: bool = False, on_item: OnItem | None = None,
        reason: str | None = None, actor: str = ACTOR,
    ) -> BulkReport:  # fmt: skip
        """Delete all that *where* picks of what has ended. See `purge`."""
        make = self._purging(reason, actor)
        return await self._many(make, Order.PURGE, where, every=every, dry_run=dry_run, on_item=on_item)

    async def _many(
        self, make: MakeAct, order: Order, where: Where | None, *, every: bool, dry_run: bool, on_item: OnItem | None
    ) -> BulkReport:
        query = bulk.picked(where, every=every, order=order, now_ms=self._clock.wall_ms())
        runtime = await self._lifetime.opened()
        on_page = functools.partial(_tell_all, at_ms=self._clock.wall_ms())
        return await bulk.carry_out(runtime, query, make, dry_run=dry_run, on_item=on_item, on_page=on_page)

    # A channel

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
        if not self._routes.settings.enabled:
            raise Refused("the queue is disabled (enabled = false): nothing waits that could be paused")
        until_ms = None if span is None else moment_ms("span", span, self._clock.wall_ms())
        who, why = _said(actor, reason)
        act = Pause(tenant=_tenant(tenant), channel=channel, actor=who, reason=why, until_ms=until_ms)
        await (await self._lifetime.opened()).committer.act(act)

    async def resume(
        self, channel: str, *, tenant: str | None = None, reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """
        Send through *channel* again, of one *tenant* or of all; false where nothing was ever sent through it.

        A tenant that is resumed alone sends again although the channel is paused for the others.
        """
        check_name(channel)
        who, why = _said(actor, reason)
        act = Resume(tenant=_tenant(tenant), channel=channel, actor=who, reason=why)
        return (await (await self._lifetime.opened()).committer.act(act)).applied

    # Orders with an id of their own

    def _replaying(self, *, fresh: bool, reason: str | None, actor: str) -> Callable[[MessageId], Replay]:
        who, why = _said(actor, reason)

        def order(message: MessageId) -> Replay:
            new_id = new_message_id(self._clock, self._lifetime.entropy)
            return Replay(id=message, new_id=new_id, actor=who, fresh=fresh, reason=why)

        return order

    def _purging(self, reason: str | None, actor: str) -> MakeAct:
        who, why = _said(actor, reason)
        keys_until_ms = self._clock.wall_ms() + self._routes.settings.key_retention // _MS
        return lambda message: Purge(id=message, actor=who, keys_until_ms=keys_until_ms, reason=why)


def _cancelling(reason: str | None, actor: str) -> MakeAct:
    who, why = _said(actor, reason)
    return lambda message: Cancel(id=message, actor=who, reason=why)


def _retrying(ttl: float | timedelta | None, reason: str | None, actor: str) -> MakeAct:
    (who, why), ttl_ms = _said(actor, reason), _ttl_ms(ttl)
    return lambda message: Retry(id=message, actor=who, reason=why, ttl_ms=ttl_ms)


def _resolving(
    verdict: Verdict | str,
    *,
    force_copy: bool,
    receipt: str | None,
    ttl: float | timedelta | None,
    reason: str | None,
    actor: str,
) -> MakeAct:
    try:
        said = Verdict(verdict)
    except ValueError:
        known = ", ".join(Verdict)
        raise InvalidMessage("verdict", f"expected one of {known}, not {verdict!r}") from None
    if force_copy and said is not Verdict.RESEND:
        raise InvalidMessage("force_copy", "goes with the verdict resend")
    if receipt is not None and said is not Verdict.DELIVERED:
        raise InvalidMessage("receipt", "goes with the verdict delivered")
    (who, why), token, ttl_ms = _said(actor, reason), _text("receipt", receipt), _ttl_ms(ttl)
    return lambda message: Resolve(
        id=message, actor=who, verdict=said, force_copy=force_copy, receipt=token, ttl_ms=ttl_ms, reason=why
    )


def _text(field: str, value: object) -> str | None:
    """Check what a person wrote, before anything is stored."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise InvalidMessage(field, f"expected text of at most {_TEXT_MAX} characters")
    return text_of(field, value) or None


def _said(actor: object, reason: object) -> tuple[str, str | None]:
    """Check who gives an order, and why."""
    return text_of("actor", actor), _text("reason", reason)


def _tenant(tenant: object) -> str | None:
    return None if tenant is None else text_of("tenant", tenant)


def _identity(id: object) -> MessageId:  # noqa: A002 — the field's name
    return MessageId(text_of("id", id))


def _ttl_ms(ttl: float | timedelta | None) -> int | None:
    if ttl is None:
        return None
    return span_ms("ttl", ttl)


# What was done, told


def _tell(runtime: Runtime, act: ActOnMessage, acted: Acted, view: MessageView) -> None:
    """Publish what an order did; *view* is how its message stands now, or the message that a replay made."""
    if isinstance(act, Replay):
        runtime.reporter.publish(
            MessageEnqueued(
                at_ms=view.created_ms,
                id=view.id,
                channel=view.channel,
                to=view.recipient,
                tenant=view.tenant,
                origin=view.origin,
                correlation_id=view.correlation_id,
                part_count=view.part_count,
            )
        )
    elif acted.state is not None and acted.state.terminal:
        runtime.reporter.on_acted(view, said=act.reason)


def _tell_all(
    runtime: Runtime, before: Mapping[MessageId, MessageView], done: Sequence[tuple[ActOnMessage, Acted]], *, at_ms: int
) -> None:
    """Report a page; its messages are not read again, for what changed is known."""
    for act, acted in done:
        if acted.pending:
            runtime.reporter.on_asked(act.id, act.reason)
        if not acted.applied or isinstance(act, Purge):
            continue
        view = before[act.id]
        if isinstance(act, Replay):
            view = msgspec.structs.replace(view, id=act.new_id, created_ms=at_ms)
        elif acted.state is not None:
            reason = Reason.REQUESTED if acted.state is State.CANCELLED else None
            reason = Reason.PARTIAL if acted.state is State.DEAD else reason
            view = msgspec.structs.replace(view, state=acted.state, terminal_reason=reason, completed_ms=at_ms)
        _tell(runtime, act, acted, view)
