"""`Orders`: what people order of one message, of all that a filter picks, or of a channel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypedDict, Unpack

import msgspec

from pillarbox.domain.channel_names import check_name
from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.ids import MessageId
from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.moments import moment_ms, span_ms
from pillarbox.domain.orders import Order
from pillarbox.domain.plain_values import choice_of, flag_of, word_of
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
from pillarbox.store.base import (
    Acted,
    ActOnMessage,
    Cancel,
    ClearRecipient,
    ForgetRedirect,
    Pause,
    Purge,
    Replay,
    Resolve,
    Resume,
    Retry,
)

ACTOR: Final = "application"
OnItem = Callable[[BulkItem], object]

_MS: Final = timedelta(milliseconds=1)
_TEXT_MAX: Final = 1000


class ToMany(TypedDict, total=False):
    """
    How an order is given to all that a filter picks.

    Attributes:
        every: All messages that this can be done to, in place of a filter.
        dry_run: Only count what it would be given to.
        on_item: Called for each message as it is done.
        reason: Why; kept in the history.
        actor: Who; kept in the history.
    """

    every: bool
    dry_run: bool
    on_item: OnItem | None
    reason: str | None
    actor: str


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
        return (await self._act(id, Cancel, actor, reason)).applied

    async def retry(
        self, id: str, *, ttl: float | timedelta | str | None = None, reason: str | None = None, actor: str = ACTOR  # noqa: A002
    ) -> bool:  # fmt: skip
        """
        Make a scheduled or held message due now. Returns and raises as `cancel`.

        Args:
            ttl: Its new time to live from now on, in seconds, as a timedelta or as text such as ``"10m"``.

        Raises:
            Refused: It is held, and its time is over: it needs a new *ttl*.
        """
        return (await self._act(id, functools.partial(Retry, ttl_ms=new_ttl_ms(ttl)), actor, reason)).applied

    async def resolve(
        self,
        id: str,  # noqa: A002 — the field's name
        verdict: Verdict | str,
        *,
        force_copy: bool = False,
        receipt: str | None = None,
        ttl: float | timedelta | str | None = None,
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
            ttl: Its new time to live from now on, in seconds, as a timedelta or as text such as ``"10m"``.

        Returns:
            False where it is not held; nothing changed then.

        Raises:
            NotFound: There is no such message.
            Refused: Its time is over: it needs a new *ttl*. Or it was copied on purpose too often.
            InvalidMessage: The arguments do not go together.
        """
        make = resolving(verdict, force_copy=force_copy, receipt=receipt, ttl=ttl)
        return (await self._act(id, make, actor, reason)).applied

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
        new_id = new_message_id(self._clock, self._lifetime.entropy)
        acted = await self._act(
            id, functools.partial(Replay, new_id=new_id, fresh=flag_of("fresh", fresh)), actor, reason
        )
        if not acted.applied:
            raise Refused(f"it is {acted.state}: only what has ended is replayed")
        view = await runtime.store.get(new_id)
        view = None if view is None else shifted(view, self._clock.ahead_ms())
        return Message(self._lifetime, id=new_id, durability=runtime.store.durability, view=view)

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
        return (await self._act(id, self._purging(), actor, reason)).applied

    async def _act(self, id: object, make: MakeAct, actor: object, reason: object) -> Acted:  # noqa: A002 — its name
        act = make(**ordered(id, actor, reason))
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

    async def cancel_many(self, where: Where | None = None, **how: Unpack[ToMany]) -> BulkReport:
        """Withdraw all that *where* picks of what is not delivered yet. See `cancel`."""
        return await self._many(Cancel, Order.CANCEL, where, **how)

    async def retry_many(
        self, where: Where | None = None, *, ttl: float | timedelta | str | None = None, **how: Unpack[ToMany]
    ) -> BulkReport:
        """Make all that *where* picks of what is scheduled or held due now. See `retry`."""
        return await self._many(functools.partial(Retry, ttl_ms=new_ttl_ms(ttl)), Order.RETRY, where, **how)

    async def resolve_many(
        self, verdict: Verdict | str, where: Where | None = None, *, force_copy: bool = False,
        ttl: float | timedelta | str | None = None, **how: Unpack[ToMany],
    ) -> BulkReport:  # fmt: skip
        """Resolve all that *where* picks of what is held, with the same verdict. See `resolve`."""
        make = resolving(verdict, force_copy=force_copy, receipt=None, ttl=ttl)
        return await self._many(make, Order.RESOLVE, where, **how)

    async def replay_many(
        self, where: Where | None = None, *, fresh: bool = False, **how: Unpack[ToMany]
    ) -> BulkReport:
        """
        Replay all that *where* picks of what is dead, expired or cancelled, the oldest first. See `replay`.

        What was delivered is meant only where the filter names that state. A full queue ends it: see `BulkReport.full`.
        """
        flag_of("fresh", fresh)

        def make(**about: Any) -> Replay:  # noqa: ANN401 — the message, who orders it, and why
            return Replay(new_id=new_message_id(self._clock, self._lifetime.entropy), fresh=fresh, **about)

        return await self._many(make, Order.REPLAY, where, **how)

    async def purge_many(self, where: Where | None = None, **how: Unpack[ToMany]) -> BulkReport:
        """Delete all that *where* picks of what has ended. See `purge`."""
        return await self._many(self._purging(), Order.PURGE, where, **how)

    async def _many(
        self, make: MakeAct, order: Order, where: Where | None, *, every: bool = False, dry_run: bool = False,
        on_item: OnItem | None = None, actor: str = ACTOR, reason: str | None = None,
    ) -> BulkReport:  # fmt: skip
        make = functools.partial(make, **_by(actor, reason))
        flag_of("dry_run", dry_run)
        if on_item is not None and not callable(on_item):
            raise InvalidMessage("on_item", f"expected a function of a BulkItem, not {type(on_item).__name__}")
        query = bulk.picked(where, every=flag_of("every", every), order=order, now_ms=self._clock.wall_ms())
        runtime = await self._lifetime.opened()
        on_page = functools.partial(_tell_all, at_ms=self._clock.wall_ms())
        return await bulk.carry_out(runtime, query, make, dry_run=dry_run, on_item=on_item, on_page=on_page)

    def _purging(self) -> MakeAct:
        keys_until_ms = self._clock.wall_ms() + self._routes.settings.key_retention // _MS
        return functools.partial(Purge, keys_until_ms=keys_until_ms)

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
        act = Pause(tenant=_tenant(tenant), channel=channel, until_ms=until_ms, **_by(actor, reason))
        await (await self._lifetime.opened()).committer.act(act)

    async def resume(
        self, channel: str, *, tenant: str | None = None, reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """
        Send through *channel* again, of one *tenant* or of all; false where nothing was ever sent through it.

        A tenant that is resumed alone sends again although the channel is paused for the others.
        """
        check_name(channel)
        act = Resume(tenant=_tenant(tenant), channel=channel, **_by(actor, reason))
        return (await (await self._lifetime.opened()).committer.act(act)).applied

    async def forget_redirect(
        self, channel: str, recipient: str, *, tenant: str = "", reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """
        Send to *recipient* itself again, which *channel* said had another address; false where it said no such thing.

        Messages that were led there already stay so.
        """
        check_name(channel)
        act = ForgetRedirect(
            tenant=_tenant(tenant) or "",
            channel=channel,
            recipient=word_of("recipient", recipient),
            **_by(actor, reason),
        )
        return (await (await self._lifetime.opened()).committer.act(act)).applied

    async def clear_recipient(
        self, channel: str, recipient: str | None, *, tenant: str = "", reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """
        Send to *recipient* again, which *channel* refused for good; false where it did not, or was cleared already.

        What has ended meanwhile stays so; a replay sends it.

        Args:
            recipient: ``None`` for all that were refused.
        """
        check_name(channel)
        act = ClearRecipient(
            tenant=_tenant(tenant) or "",
            channel=channel,
            recipient=None if recipient is None else word_of("recipient", recipient),
            **_by(actor, reason),
        )
        return (await (await self._lifetime.opened()).committer.act(act)).applied


# Arguments, judged before a database is asked


def ordered(id: object, actor: object, reason: object) -> dict[str, Any]:  # noqa: A002 — the field's name
    """Return which message an order is for, who gives it and why, as the fields of an act."""
    return {"id": MessageId(word_of("id", id)), **_by(actor, reason)}


def resolving(
    verdict: Verdict | str, *, force_copy: bool, receipt: str | None, ttl: float | timedelta | str | None
) -> MakeAct:
    """Return what makes a `Resolve` of what is known."""
    said = choice_of("verdict", Verdict, verdict)
    if flag_of("force_copy", force_copy) and said is not Verdict.RESEND:
        raise InvalidMessage("force_copy", "goes with the verdict resend")
    if receipt is not None and said is not Verdict.DELIVERED:
        raise InvalidMessage("receipt", "goes with the verdict delivered")
    token, ttl_ms = _text("receipt", receipt), new_ttl_ms(ttl)
    return functools.partial(Resolve, verdict=said, force_copy=force_copy, receipt=token, ttl_ms=ttl_ms)


def _text(field: str, value: object) -> str | None:
    """Check what a person wrote, before anything is stored."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise InvalidMessage(field, f"expected text of at most {_TEXT_MAX} characters")
    return word_of(field, value) or None


def _by(actor: object, reason: object) -> dict[str, Any]:
    """Check who gives an order, and why; return both as the fields of an act."""
    return {"actor": word_of("actor", actor), "reason": _text("reason", reason)}


def _tenant(tenant: object) -> str | None:
    return None if tenant is None else word_of("tenant", tenant)


def new_ttl_ms(ttl: float | timedelta | str | None) -> int | None:
    """Return a new time to live; ``None`` where the message keeps its own."""
    return None if ttl is None else span_ms("ttl", ttl)


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
