"""Sees one message through: by the worker that serves its channel, or here where none does (contract CL7)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pillarbox.cli.exits import Exit
from pillarbox.cli.output import talk
from pillarbox.domain.message import State
from pillarbox.events.events import ChannelPaused, MessageEvent, RetryScheduled
from pillarbox.outbox.outbox import inside
from pillarbox.views import stamp

if TYPE_CHECKING:
    from pillarbox.app import Sender
    from pillarbox.outbox.message import Message

_LOOK_AGAIN_SECONDS: Final = 1.0


async def until_settled(sender: Sender, message: Message, timeout: float) -> None:
    """
    Wait until *message* is terminal or held, *timeout* seconds at most.

    Where a live worker serves the channel, it is left alone; should that worker go away, the message is delivered
    here, and nothing but this message.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    unsubscribe = sender.box.subscribe(_tell, RetryScheduled, ChannelPaused)
    try:
        while True:
            left = max(0.0, deadline - loop.time())
            if sender.channel is None or await inside(sender.box).reads.served(sender.name):
                await message.wait(min(left, _LOOK_AGAIN_SECONDS))
            else:
                async with inside(sender.box).lifetime.delivering(message):
                    await message.wait(left)
            if message.settled or deadline <= loop.time():
                return
    finally:
        unsubscribe()


def _tell(event: MessageEvent | ChannelPaused) -> None:
    match event:
        case RetryScheduled():
            talk(f"attempt {event.attempt} failed: {event.error}; next at {stamp(event.due_ms)}")
        case ChannelPaused():
            talk(f"channel {event.channel} pauses: {event.reason}")


def verdict(sender: Sender, message: Message, timeout: float) -> Exit:
    """Print the state of a message that was waited for; return the exit code."""
    error = f": {message.error}" if message.error else ""
    if message.state is State.DELIVERED:
        place = sender.name if sender.channel is None else sender.channel.describe()
        receipt = f", receipt {message.receipt}" if message.receipt else ""
        talk(f"accepted by {place}{receipt}")
        return Exit.OK
    if message.settled:
        talk(f"not delivered: {message.state}, reason {message.reason}{error}")
        return Exit.NOT_DELIVERED
    line = "; it is not the first of its lane" if message.view is not None and message.view.waiting else ""
    talk(f"not delivered within {timeout:g}s{error}{line}; it stays queued; {who_sends(sender)}")
    return Exit.TIMED_OUT


def who_sends(sender: Sender) -> str:
    """Return a sentence that says what will send a queued message whose channel has no worker."""
    if not sender.adhoc:
        return f"`pillarbox run` sends it, once a worker has channel {sender.name}"
    return "nobody else knows this URL: `pillarbox run URL` sends it, with the same URL"
