"""`Edits`: what was sent is changed or taken back, by a message of its own that goes to the same place behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

import msgspec

from pillarbox.domain.envelope import RECEIPT, Op
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import MessageView, State, decode_content
from pillarbox.domain.outcome import RECEIPT_LENGTH_MAX
from pillarbox.domain.outgoing import Default, Outgoing
from pillarbox.domain.plain_values import word_of
from pillarbox.errors import InvalidMessage, NotFound, Refused
from pillarbox.outbox.checks import Change, line_of, order_of
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.message import BaseMessage, Message
from pillarbox.outbox.routes import Routes
from pillarbox.outbox.sending import Sending


class Place(TypedDict, total=False):
    """
    Where a message stands that this outbox did not send: by the platform's own id of it.

    Attributes:
        receipt: That id.
    """

    receipt: str
    channel: str
    to: str
    thread: str | None
    account: str
    tenant: str


class ChangeOptions(Place, total=False):
    """What a change takes beside what it says; as in `Options`."""

    at: datetime | timedelta | None
    ttl: float | timedelta | Default | None
    priority: int
    max_attempts: int | None
    schedule: str | None
    correlation_id: str | None
    origin: str | None
    metadata: Mapping[str, Any] | None
    traceparent: str | None


class EditOptions(ChangeOptions, total=False):
    """The new text, as in `Options`."""

    text: str
    format: str
    subject: str | None
    extra: Mapping[str, Any] | None


class Edits:
    """Changes of what was sent through one outbox, or stands at a platform."""

    def __init__(self, lifetime: Lifetime, routes: Routes, sending: Sending) -> None:
        self._lifetime = lifetime
        self._routes = routes
        self._sending = sending

    async def edit(self, id: str | BaseMessage | None = None, **options: Unpack[EditOptions]) -> Message:  # noqa: A002
        """
        Change what a message says (contract CO5). When this returns, that is committed.

        What is not begun yet gets the new content, and goes out once. Otherwise the edit is a message of its own, in
        the same lane behind the first; a newer edit takes the place of one that is not sent yet.

        Args:
            id: The message, or its id. Instead of it, `Place` says where one stands that this outbox did not send.
            options: The new text, which is one message of the platform, and how it is sent: see `EditOptions`.

        Returns:
            The message that carries the change: the first itself (``created`` is false) where it was not begun.

        Raises:
            NotFound: There is no such message.
            Refused: It has ended and was not delivered, or is a change itself; or the queue is disabled.
            InvalidMessage: Its channel cannot edit; or as `send`.
        """
        return await self._change(Op.EDIT, id, dict(options), EditOptions)

    async def delete(self, id: str | BaseMessage | None = None, **options: Unpack[ChangeOptions]) -> Message:  # noqa: A002
        """
        Take a message back, all of its parts. What is not begun yet ends as cancelled; otherwise as `edit`.

        Edits of it that are not sent yet are cancelled. What is gone from the platform already counts as deleted.
        """
        return await self._change(Op.DELETE, id, dict(options), ChangeOptions)

    async def _change(self, op: Op, identity: object, given: dict[str, Any], known: type[Any]) -> Message:
        target = target_of(op, identity, given, known)
        receipt = given.pop("receipt", None)
        if target is not None:
            change, place = await self._ours(op, target)
            given |= place
        else:
            change = Change(op=op, target=f"{RECEIPT}{line_of('receipt', receipt, longest=RECEIPT_LENGTH_MAX)}")
        for field in ("channel", "to"):
            if field not in given:
                raise InvalidMessage(field, "is missing")
        # Receipts may be longer than a collapse key, and differ only at their ends.
        about = hashlib.sha256((change.target or "").encode()).hexdigest() if receipt else change.target
        # A second copy of a change changes nothing.
        outgoing = Outgoing(**given, collapse=f"change of {about}", uncertain="resend")
        return await self._sending.change(outgoing, change)

    async def _ours(self, op: Op, target: MessageId) -> tuple[Change, dict[str, Any]]:
        """Return the change of a message, and where that went."""
        view = await (await self._lifetime.opened()).store.get(target)
        if view is None:
            raise NotFound("message", target)
        self._must_be_possible(op, view)
        place = {"channel": view.channel, "to": view.recipient, "thread": view.thread}
        place |= {"account": view.account, "tenant": view.tenant}
        if op is Op.EDIT and view.content is not None:
            place |= _kept(view.content)
        return Change(op=op, target=target, lane=order_of(view)), place

    def _must_be_possible(self, op: Op, view: MessageView) -> None:
        if view.op is not Op.SEND:
            raise Refused("it is a change itself: name the message that it is about")
        if view.state.terminal and view.state is not State.DELIVERED and not view.parts_delivered:
            raise Refused(f"it is {view.state}, and was not delivered")
        channel = self._routes.of(view.channel).channel
        if channel is None or view.state is not State.DELIVERED:
            return
        able = channel.capabilities
        if not (able.edits if op is Op.EDIT else able.deletes):
            raise InvalidMessage("channel", f"the {channel.kind} channel cannot {op} a message")


def target_of(op: Op, identity: object, given: Mapping[str, Any], known: type[Any]) -> MessageId | None:
    """
    Return which message of ours a change is about; ``None`` where *given* has a receipt. Asks no database.

    Args:
        known: The options that the change takes.
    """
    unknown = sorted(given.keys() - known.__annotations__.keys())
    if unknown:
        msg = f"{op}() got an unexpected keyword argument {unknown[0]!r}"
        raise TypeError(msg)
    by_receipt = given.get("receipt") is not None
    if (identity is None) != by_receipt:
        raise InvalidMessage("id", "expected a message of ours, or receipt, channel and to")
    if by_receipt:
        return None
    target = MessageId(word_of("id", identity.id if isinstance(identity, BaseMessage) else identity))
    if said := sorted((given.keys() & Place.__annotations__.keys()) - {"receipt"}):
        raise InvalidMessage(said[0], "goes with receipt; of a message of ours it is known")
    return target


def _kept(stored: bytes) -> dict[str, Any]:
    """Return what an edit leaves as it is, for where it takes the place of a content that is not sent yet."""
    try:
        content = decode_content(stored)
    except msgspec.MsgspecError:  # its own send says so
        return {}
    links = [file for file in content.files if file.url is not None]
    return {"reply_to": content.reply_to, "silent": content.silent, "mirror": content.mirror, "files": links}
