"""`Sending`: how a message gets in: hooks, checks, then the commit, or straight to its channel without a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Unpack

import msgspec

from pillarbox.abort import AbortSignal
from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.envelope import Kind, Op
from pillarbox.domain.ids import ID_RANDOM_BYTES, MessageId, message_id
from pillarbox.domain.message import Draft, File
from pillarbox.domain.outgoing import Outgoing, is_empty, outgoing_of, positioned, several_of
from pillarbox.domain.plain_values import flag_of
from pillarbox.engine.hooks import cancelled_event
from pillarbox.entropy import new_message_id
from pillarbox.errors import InvalidMessage, Refused
from pillarbox.events.events import MessageCancelled
from pillarbox.events.reporter import of_draft
from pillarbox.outbox.abort_watch import AbortWatch
from pillarbox.outbox.checks import Change, Options, Skipped, checked
from pillarbox.outbox.direct import Direct, refuse_what_needs_a_queue
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.message import Message
from pillarbox.outbox.routes import Routes
from pillarbox.outbox.runtime import Runtime
from pillarbox.store.base import Enqueued

_NEW: Final = Change()
_Taken = dict[int, tuple[File, ...]]
"""Files as they are stored, by the identity of what a caller said."""


class Sending:
    """Accepts the messages of one outbox."""

    def __init__(self, lifetime: Lifetime, routes: Routes, aborts: AbortWatch) -> None:
        self._lifetime = lifetime
        self._routes = routes
        self._aborts = aborts
        self._clock = lifetime.clock

    async def send(self, channel: str, *, to: str, ephemeral: bool = False, **options: Unpack[Options]) -> Message:
        """
        Accept one message. When this returns, it is committed; nothing that happens later loses it.

        Cancelling the call undoes nothing: the message may be stored all the same; `get` shows whether it is.

        Args:
            to: The recipient, as the channel writes it; one line, at most 2048 characters.
            ephemeral: Short for ``kind="block"``.
            options: What to say, and how: see `Options`. Blank text without files stores nothing; ``skipped`` is
                ``"empty"`` then, ``"hook"`` where a hook cancelled it, ``"aborted"`` where ``abort`` had been called.

        Raises:
            InvalidMessage: A value was refused; names the field. Nothing was written.
            KeyConflict: The key stands for another message. Nothing was written.
            UnknownChannel: This process delivers, and has no such channel.
            QueueFull: A limit is reached. Nothing was written.
            StoreError: It could not be committed; it is not stored.
            NotStarted: The outbox is not open.
            TypeError: An option that does not exist.
        """
        if ephemeral is not False and flag_of("ephemeral", ephemeral):
            options["kind"] = Kind.BLOCK
        outgoing = Outgoing(channel=channel, to=to, **options)
        runtime = self._lifetime.at_hand() or await self._lifetime.opened()
        self._check_accepting(runtime)
        if runtime.hooks.any_before or outgoing.kind is not Kind.FINAL or outgoing.files:
            draft = await self._asked(runtime, outgoing)
        else:
            draft = self._checked(runtime, outgoing, self._clock.wall_ms())
        if not isinstance(draft, Draft):
            return self.skipped(draft)
        if runtime.direct is not None:
            return await self._passed_on(runtime, runtime.direct, outgoing, draft)
        abort = outgoing.abort
        # Not kept while the commit is waited for: it is the caller's.
        del outgoing
        runtime.expect(draft)
        # A caller that is cancelled here leaves the committer undisturbed: `get` tells what became of the message.
        (done,) = await runtime.committer.enqueue((draft,))
        return self._accepted(runtime, abort, done)

    async def send_many(self, messages: Iterable[Outgoing | Mapping[str, Any]]) -> list[Message]:
        """
        Accept several messages in one transaction: all or none.

        Args:
            messages: What `send` takes, as mappings or `Outgoing`. A list in ``to`` makes a message for each recipient,
                which share one stored content and one correlation id.

        Returns:
            One message for each, in order; several for one with several recipients.

        Raises:
            InvalidMessage: Names the position and the field; nothing was written. Otherwise as `send`.
        """
        runtime, drafts = await self.drafts(messages, check=lambda _: None)
        wanted = [(outgoing, draft) for outgoing, draft in drafts if isinstance(draft, Draft)]
        if runtime.direct is not None:
            passing = (self._passed_on(runtime, runtime.direct, outgoing, draft) for outgoing, draft in wanted)
            made = iter(await asyncio.gather(*passing))
        else:
            made = iter(await self._stored(runtime, wanted) if wanted else ())
        return [next(made) if isinstance(draft, Draft) else self.skipped(draft) for _, draft in drafts]

    async def draft(self, outgoing: Outgoing) -> tuple[Runtime, Draft | Skipped]:
        """Return what is to be stored of a message, or why nothing is, and by what is open. Raises as `send`."""
        runtime = await self._lifetime.opened()
        self._check_accepting(runtime)
        return runtime, await self._asked(runtime, outgoing)

    async def drafts(
        self, messages: Iterable[Outgoing | Mapping[str, Any]], *, check: Callable[[Outgoing], None]
    ) -> tuple[Runtime, list[tuple[Outgoing, Draft | Skipped]]]:
        """
        Return what is to be stored of several messages, or why nothing is, and by what is open.

        Args:
            check: Raises InvalidMessage for what is not taken here.

        Raises:
            InvalidMessage: As `send_many`. Otherwise as `send`.
        """
        items: list[Outgoing] = []
        for position, item in enumerate(several_of(messages)):
            with positioned(position):
                outgoing = outgoing_of(item)
                check(outgoing)
                items += self._one_a_recipient(outgoing)
        runtime = await self._lifetime.opened()
        self._check_accepting(runtime)
        drafts: list[tuple[Outgoing, Draft | Skipped]] = []
        taken: _Taken = {}
        for position, outgoing in enumerate(items):
            with positioned(position):
                drafts.append((outgoing, await self._asked(runtime, outgoing, taken=taken)))
        return runtime, drafts

    async def change(self, outgoing: Outgoing, change: Change) -> Message:
        """
        Accept a change of what was sent. Raises as `send`.

        Raises:
            Refused: The queue is disabled.
        """
        runtime = await self._lifetime.opened()
        if runtime.direct is not None or not self._routes.settings.enabled:
            raise Refused("a change needs the queue, which is disabled (enabled = false)")
        draft = await self._asked(runtime, outgoing, change)
        if not isinstance(draft, Draft):
            return self.skipped(draft)
        return (await self._stored(runtime, [(outgoing, draft)]))[0]

    def _check_accepting(self, runtime: Runtime) -> None:
        if not self._routes.settings.enabled and runtime.direct is None:
            msg = "the queue is disabled (enabled = false), and this outbox does not deliver: nobody would send it"
            raise Refused(msg)

    def _one_a_recipient(self, outgoing: Outgoing) -> list[Outgoing]:
        """Return one message for each recipient; they share content and correlation id (contract EN15)."""
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

    def _new_id(self) -> MessageId:
        return new_message_id(self._clock, self._lifetime.entropy)

    async def _asked(
        self, runtime: Runtime, outgoing: Outgoing, change: Change = _NEW, *, taken: _Taken | None = None
    ) -> Draft | Skipped:
        """
        Ask what has to be waited for: hooks, files, and by what others can tell that this process is gone.

        Args:
            taken: The files of messages of the same call: those of a fan-out are read once, and are the same for all.
        """
        now_ms = self._clock.wall_ms()
        if runtime.hooks.any_before and change.op is not Op.DELETE:
            answer = await runtime.hooks.before(outgoing)
            if not isinstance(answer, Outgoing):
                runtime.reporter.publish(cancelled_event(outgoing, answer.reason, at_ms=now_ms))
                return "hook"
            outgoing = answer
        if outgoing.files:
            taken = {} if taken is None else taken
            if id(outgoing.files) not in taken:
                taken[id(outgoing.files)] = await self._files(outgoing.files)
            outgoing = msgspec.structs.replace(outgoing, files=taken[id(outgoing.files)])
        draft = self._checked(runtime, outgoing, now_ms, change)
        if runtime.direct is None and isinstance(draft, Draft) and draft.kind is not Kind.FINAL:
            draft = msgspec.structs.replace(draft, accepted_by=await runtime.presence())
        return draft

    async def _files(self, files: object) -> tuple[File, ...]:
        """Take the files of a message. Loaded by those that have some."""
        from pillarbox.channels.egress import Egress, networks
        from pillarbox.outbox.read_files import taken

        settings = self._routes.settings
        egress = Egress(operator=False, allowed_networks=networks(settings.egress.allow))
        return await taken(files, bytes_max=settings.files_bytes_max, egress=egress)

    def _checked(self, runtime: Runtime, outgoing: Outgoing, now_ms: int, change: Change = _NEW) -> Draft | Skipped:
        """Return what is to be stored, or why nothing is."""
        if is_empty(outgoing) and change.op is not Op.DELETE:
            return "empty"
        draft = checked(
            outgoing,
            self._routes.for_new(outgoing.channel),
            message_id=message_id(now_ms, self._lifetime.entropy.token(ID_RANDOM_BYTES)),
            now_ms=now_ms,
            content_bytes_max=self._routes.settings.content_bytes_max,
            ahead_ms=self._clock.known_ahead_ms,
            change=change,
        )
        runtime.check_home(draft.tenant)
        if outgoing.abort is not None and outgoing.abort.aborted:
            aborted = {"reason": "aborted", "said": outgoing.abort.reason, "duration_ms": 0}
            runtime.reporter.publish(MessageCancelled(**of_draft(draft, now_ms), **aborted))
            return "aborted"
        if runtime.direct is not None:
            refuse_what_needs_a_queue(
                draft, lane_said=isinstance(outgoing.lane, str), uncertain_said=outgoing.uncertain is not None
            )
        return draft

    async def _stored(self, runtime: Runtime, items: Sequence[tuple[Outgoing, Draft]]) -> list[Message]:
        for _, draft in items:
            runtime.expect(draft)
        accepted = await runtime.committer.enqueue([draft for _, draft in items])
        told = zip(items, accepted, strict=True)
        return [self._accepted(runtime, outgoing.abort, done) for (outgoing, _), done in told]

    def _accepted(self, runtime: Runtime, abort: AbortSignal | None, done: Enqueued) -> Message:
        if abort is not None:
            self._aborts.follow(runtime, abort, done.id)
        return Message(self._lifetime, id=done.id, created=done.created, durability=runtime.store.durability)

    async def _passed_on(self, runtime: Runtime, direct: Direct, outgoing: Outgoing, draft: Draft) -> Message:
        """Send without a queue, and wait for it (contract EN12)."""
        runtime.reporter.on_accepted((draft,), (Enqueued(draft.id, created=True),))
        view = shifted(await direct.deliver(draft, outgoing.abort), self._clock.ahead_ms())
        return Message(self._lifetime, id=draft.id, created=True, durability=runtime.store.durability, view=view)

    def skipped(self, why: Skipped) -> Message:
        """Return what stands for a message of which nothing is stored."""
        return Message(self._lifetime, id=None, created=False, skipped=why)
