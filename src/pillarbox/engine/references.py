"""
Finds what a message refers to: the one that it edits or deletes, or that it answers (contract CO3, CO5).

Asked just before the send, when whatever stood before it in its lane has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain import lifecycle
from pillarbox.domain.envelope import RECEIPT, Envelope, Op
from pillarbox.domain.ids import MessageId, is_message_id
from pillarbox.domain.message import Admission, Leased, MessageView, State
from pillarbox.domain.transition import Transition
from pillarbox.queue_clock import QueueClock

Find = Callable[[MessageId], Awaitable[MessageView | None]]
"""Reads a message."""


class References:
    """
    Looks up messages that others refer to.

    Args:
        find: Reads one.
    """

    def __init__(self, find: Find, *, clock: QueueClock) -> None:
        self._find = find
        self._clock = clock

    async def admission(self, message: Leased, channel: Channel, parts: int) -> Admission | Transition:
        """
        Return how an edit or a deletion goes out, or its move where it cannot.

        Args:
            parts: How many the channel makes of its text.
        """
        able = channel.capabilities
        if not (able.edits if message.op is Op.EDIT else able.deletes):
            return lifecycle.refused(message, f"op: the {channel.kind} channel cannot {message.op} a message")
        found = await self._receipts(message)
        if isinstance(found, Transition):
            return found
        recipient, receipts = found
        if message.op is Op.DELETE:
            return Admission(recipient=recipient, parts=(message.content,) * len(receipts))
        if len(receipts) > 1:
            return lifecycle.refused(message, f"target: it went out in {len(receipts)} parts, and an edit is of one")
        if parts > 1:
            return lifecycle.refused(message, "text: an edit is one message, and this text is longer")
        return Admission(recipient=recipient)

    async def resolved(self, message: Leased, attempt: Attempt) -> Attempt | Transition:
        """Return the attempt with the platform's ids in the place of ours, or the message's move."""
        if message.op is not Op.SEND:
            found = await self._receipts(message)
            if isinstance(found, Transition):
                return found
            _, receipts = found
            # One that a part answers to is there, as it was when the parts were counted.
            return msgspec.structs.replace(attempt, target=receipts[min(attempt.part, len(receipts) - 1)])
        answered = await self._find(MessageId(attempt.content.reply_to or ""))
        # What stands elsewhere has an id there, which here is another message's, or nobody's.
        receipts = _receipts_of(answered) if answered is not None and _place_of(answered) == _place_of(message) else ()
        if not receipts:
            return attempt
        return msgspec.structs.replace(attempt, content=msgspec.structs.replace(attempt.content, reply_to=receipts[0]))

    async def _receipts(self, message: Leased) -> tuple[str, tuple[str, ...]] | Transition:
        """Return the recipient and the platform's ids of what a change is about."""
        target = message.target or ""
        if target.startswith(RECEIPT):
            return message.recipient, (target.removeprefix(RECEIPT),)
        view = await self._find(MessageId(target))
        if view is None:
            return lifecycle.refused(message, f"target: message {target} is not known (any more)")
        receipts = _receipts_of(view)
        if view.state is State.DELIVERED or (receipts and view.state.terminal):
            if receipts:
                return view.recipient, receipts
            return lifecycle.refused(message, f"target: the platform gave no id of message {target}")
        if view.state is State.HELD or (view.state.terminal and (view.maybe_arrived or message.op is Op.EDIT)):
            return lifecycle.refused(message, f"target: message {target} is {view.state}, and not known to be there")
        if view.state.terminal:
            return lifecycle.withdrawn(f"message {target} was never delivered")
        return lifecycle.behind(
            message,
            f"message {target} is not delivered yet",
            target_due_ms=view.due_ms,
            now_ms=self._clock.wall_ms(),
        )


def refers(attempt: Attempt) -> bool:
    """Whether an attempt names a message of ours."""
    reply_to = attempt.content.reply_to
    return attempt.op is not Op.SEND or (reply_to is not None and is_message_id(reply_to))


def _place_of(message: Envelope) -> tuple[str, str, str]:
    return message.channel, message.account, message.recipient


def _receipts_of(view: MessageView) -> tuple[str, ...]:
    said = [part.receipt for part in view.parts] if view.part_count > 1 else [view.receipt]
    return tuple(receipt for receipt in said if receipt is not None)
