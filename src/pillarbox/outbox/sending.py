"""
How a message gets in: hooks, checks, then the commit, or straight to its channel where the queue is disabled.

The half of `Outbox` behind `send` and `send_many`.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import msgspec

from pillarbox.domain.channel_names import check_name
from pillarbox.domain.envelope import Kind
from pillarbox.domain.message import Draft
from pillarbox.domain.outgoing import Outgoing, is_empty
from pillarbox.domain.timeline import shifted
from pillarbox.engine.hooks import Hooks, cancelled_event
from pillarbox.entropy import new_message_id
from pillarbox.errors import InvalidMessage, KeyConflict, NotFound, PillarboxError, Refused, UnknownChannel
from pillarbox.events.events import MessageCancelled
from pillarbox.events.reporter import of_draft
from pillarbox.outbox.abort_watch import Followed, Following
from pillarbox.outbox.direct import refuse_what_needs_a_queue
from pillarbox.outbox.message import BaseMessage, Message
from pillarbox.outbox.routes import unserved_route
from pillarbox.store.base import Enqueued

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterator, Sequence

    from pillarbox.abort import AbortSignal
    from pillarbox.domain.ids import MessageId
    from pillarbox.entropy import Entropy
    from pillarbox.outbox.checks import Acceptance, Skipped
    from pillarbox.outbox.direct import Direct
    from pillarbox.outbox.runtime import Route, Runtime
    from pillarbox.queue_clock import QueueClock
    from pillarbox.settings.load import Settings


class Intake(ABC):
    """The accepting half of `Outbox`."""

    settings: Settings
    hooks: Hooks
    _acceptance: Acceptance
    _routes: dict[str, Route]
    _deliver: bool
    _clock: QueueClock
    _entropy: Entropy

    def __init__(self) -> None:
        self._cancelling: set[asyncio.Task[None]] = set()
        self._following = Following()

    @abstractmethod
    async def _opened(self) -> Runtime:
        """Give what is open; a forked child opens its own at first use."""

    @abstractmethod
    async def _wait(self, message: BaseMessage, timeout: float | None) -> None:
        """Wait for a message's end."""

    def _new_id(self) -> MessageId:
        return new_message_id(self._clock, self._entropy)

    @abstractmethod
    async def cancel(self, id: str, *, reason: str | None = None, actor: str = "") -> bool:  # noqa: A002 — its name
        """Withdraw a message: see `pillarbox.outbox.orders.Interventions`."""

    @abstractmethod
    def _alarm(self, what: str, detail: str) -> None:
        """Say what a person should look at."""

    async def _accept(self, outgoing: Outgoing) -> Message:
        runtime = await self._accepting()
        draft = await self._checked(runtime, outgoing)
        if not isinstance(draft, Draft):
            return self._skipped(draft)
        if runtime.direct is not None:
            return await self._pass_on(runtime, runtime.direct, draft, outgoing)
        runtime.expect(draft)
        # A caller that is cancelled here leaves the committer undisturbed: `get` tells what became of the message.
        (done,) = await runtime.committer.enqueue((draft,))
        if outgoing.abort is not None:
            self._follow(runtime, outgoing.abort, done.id)
        return Message(self._wait, id=done.id, created=done.created, durability=runtime.store.durability)

    async def _accept_all(self, items: Sequence[Outgoing]) -> list[Message]:
        """All or none, in one transaction."""
        runtime = await self._accepting()
        drafts: list[Draft | Skipped] = []
        for position, item in enumerate(items):
            with positioned(position):
                drafts.append(await self._checked(runtime, item))
        wanted = [draft for draft in drafts if isinstance(draft, Draft)]
        if runtime.direct is not None:
            direct = runtime.direct
            passing = [
                self._pass_on(runtime, direct, draft, item)
                for draft, item in zip(drafts, items, strict=True)
                if isinstance(draft, Draft)
            ]
            passed = iter(await asyncio.gather(*passing))
            return [next(passed) if isinstance(draft, Draft) else self._skipped(draft) for draft in drafts]
        for each in wanted:
            runtime.expect(each)
        durability = runtime.store.durability
        accepted = iter(await runtime.committer.enqueue(wanted) if wanted else ())
        messages = []
        for draft, item in zip(drafts, items, strict=True):
            if not isinstance(draft, Draft):
                messages.append(self._skipped(draft))
                continue
            done = next(accepted)
            if item.abort is not None:
                self._follow(runtime, item.abort, done.id)
            messages.append(Message(self._wait, id=done.id, created=done.created, durability=durability))
        return messages

    def _skipped(self, why: Skipped) -> Message:
        return Message(self._wait, id=None, created=False, skipped=why)

    async def _accepting(self) -> Runtime:
        runtime = await self._opened()
        if not self.settings.enabled and runtime.direct is None:
            msg = "the queue is disabled (enabled = false), and this outbox does not deliver: nobody would send it"
            raise Refused(msg)
        return runtime

    def expanded(self, outgoing: Outgoing) -> list[Outgoing]:
        """Several recipients are several messages that share content and correlation id (contract EN15)."""
        if isinstance(outgoing.to, str):
            return [outgoing]
        if not isinstance(outgoing.to, list | tuple) or not outgoing.to:
            raise InvalidMessage("to", "expected a recipient, or a list of at least one")
        if outgoing.key is not None and len(outgoing.to) > 1:
            raise InvalidMessage("key", "stands for one message; give each recipient one of its own")
        correlation_id = outgoing.correlation_id or self._new_id()
        group_id = self._new_id() if len(outgoing.to) > 1 else None
        return [
            msgspec.structs.replace(outgoing, to=to, correlation_id=correlation_id, group_id=group_id)
            for to in outgoing.to
        ]

    async def _checked(self, runtime: Runtime, outgoing: Outgoing) -> Draft | Skipped:
        """Give what is to be stored, or why nothing is."""
        now_ms = self._clock.wall_ms()
        if self.hooks.any_before:
            answer = await self.hooks.before(outgoing)
            if not isinstance(answer, Outgoing):
                runtime.reporter.publish(cancelled_event(outgoing, answer.reason, at_ms=now_ms))
                return "hook"
            outgoing = answer
        if is_empty(outgoing):
            return "empty"
        draft = self._draft(outgoing, now_ms)
        if outgoing.abort is not None and outgoing.abort.aborted:
            aborted = {"reason": "aborted", "said": outgoing.abort.reason, "duration_ms": 0}
            runtime.reporter.publish(MessageCancelled(**of_draft(draft, now_ms), **aborted))
            return "aborted"
        if runtime.direct is not None:
            refuse_what_needs_a_queue(
                draft, lane_said=isinstance(outgoing.lane, str), uncertain_said=outgoing.uncertain is not None
            )
        elif draft.kind is not Kind.FINAL:
            draft = msgspec.structs.replace(draft, accepted_by=await runtime.presence())
        return draft

    def _draft(self, outgoing: Outgoing, now_ms: int) -> Draft:
        route = self._route(outgoing.channel)
        return self._acceptance.draft(
            outgoing,
            message_id=self._new_id(),
            now_ms=now_ms,
            ahead_ms=self._clock.known_ahead_ms,
            policy=route.policy,
            channel=route.channel,
            ordered=route.ordered,
        )

    def _route(self, name: object) -> Route:
        if not isinstance(name, str):
            raise InvalidMessage("channel", f"expected the name of a channel, not {type(name).__name__}")
        route = self._routes.get(name)
        if route is not None:
            return route
        check_name(name)
        if self._deliver:
            raise UnknownChannel(name, tuple(self._routes))
        # Accepted without its channel: the store's defaults, and the first claim admits it (EN16).
        return unserved_route(self.settings, name)

    async def _pass_on(self, runtime: Runtime, direct: Direct, draft: Draft, outgoing: Outgoing) -> Message:
        """Send without a queue, and wait for it (contract EN12)."""
        runtime.reporter.accepted((draft,), (Enqueued(draft.id, created=True),))
        view = shifted(await direct.deliver(draft, outgoing.abort), self._clock.ahead_ms())
        return Message(self._wait, id=draft.id, created=True, durability=runtime.store.durability, view=view)

    def _follow(self, runtime: Runtime, abort: AbortSignal, identity: MessageId) -> None:
        """Cancel a stored message when its signal says so (contract PA5)."""
        loop = asyncio.get_running_loop()

        def aborted(messages: Collection[MessageId], reason: str) -> None:
            # A signal may be given on any thread, and after the loop of its message has ended.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(begin, messages, reason)

        def begin(messages: Collection[MessageId], reason: str) -> None:
            for message in messages:
                self._in_background(self._cancel_aborted(message, reason))

        followed = self._following.of(abort, aborted)
        many = followed.add(identity)
        if abort.aborted:
            # Just now, on another thread: its listeners may have been called before this message was one of theirs.
            begin((identity,), abort.reason)
            return
        if runtime.worker is not None:
            known = weakref.ref(abort)
            runtime.reporter.wait_for(identity).add_done_callback(lambda _: self._ended(known, identity))
        if many:
            self._in_background(self._let_go_of(runtime, weakref.ref(abort), followed))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    def _ended(self, known: weakref.ref[AbortSignal], identity: MessageId) -> None:
        abort = known()
        if abort is not None:
            self._following.ended(abort, identity)

    async def _let_go_of(self, runtime: Runtime, known: weakref.ref[AbortSignal], followed: Followed) -> None:
        """Forget those that have ended: where another process delivers, nobody tells."""
        try:
            while messages := followed.to_ask():
                active = 0
                for message in messages:
                    view = await runtime.store.get(message)
                    if view is None or view.state.terminal:
                        self._ended(known, message)
                    else:
                        active += 1
                followed.asked(active=active)
        except PillarboxError:
            # Closed, or not to be read now: asked again when they are twice as many.
            followed.asked(active=len(followed))
            followed.to_ask()

    async def _cancel_aborted(self, identity: MessageId, reason: str) -> None:
        try:
            await self.cancel(identity, reason=reason, actor="abort signal")
        except NotFound:
            # It ended so long ago that it was deleted.
            return
        except PillarboxError as exc:
            self._alarm("abort_failed", f"message {identity} could not be cancelled: {exc}")


@contextlib.contextmanager
def positioned(position: int) -> Iterator[None]:
    """Say which of several messages was refused."""
    try:
        yield
    except KeyConflict:
        raise
    except InvalidMessage as exc:
        raise InvalidMessage(f"messages[{position}].{exc.field}", exc.expected) from None
