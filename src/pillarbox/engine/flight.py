"""One send under way, from the claim of its message to the record of what came of it."""

from __future__ import annotations

import asyncio

import msgspec

from pillarbox.channels.base import Attempt
from pillarbox.deadline import Deadline
from pillarbox.domain.message import Leased
from pillarbox.domain.outcome import AnyOutcome


class Flight(msgspec.Struct, kw_only=True, eq=False):
    """
    A message being sent.

    Attributes:
        until_ms: Boot time from which another worker may have its lease: the store's lasts at least as long.
        progress: How far its channel says that it has come.
        grace: Cuts it off once its answer had time to be read: its lease was lost.
        ended_ms: Wall time at which its outcome was known.
        task: The one that it runs on, until what came of it is handed over to be recorded; ``None`` before and after.
        waited: Its task has waited for something.
        seconds: How long its channel's call may take, once that is ``sending``.
        cut: It was cut off, for one of the three reasons before.
        ended: The channel's call is over.
        written_off: It was not, some time after it was cut off.
        given_back: A stop came before it was begun, and has settled it.
        undecided: An earlier attempt may have arrived, and nobody could say.
        rest: What goes on of it in a thread, after it was cut off.
        restated: What it came to could not be stored, and was said again in words that can.
        attempt: What its channel was given.
        over: What became of it was handed over to be recorded.
        left: Ends when its task is done with it, for those who wait for that.
        recorded: Ends when that is durable, for a task that was cancelled with the program's and waits for it.
        fatal: What its channel or a hook raised to end the program, which waits until the send is recorded.
    """

    message: Leased
    until_ms: int
    began_ms: int | None = None
    ended_ms: int | None = None
    task: asyncio.Task[None] | None = None
    waited: bool = False
    sending: bool = False
    seconds: float = 0.0
    timed_out: bool = False
    stopped: bool = False
    lease_lost: bool = False
    cut: bool = False
    ended: bool = False
    written_off: bool = False
    given_back: bool = False
    restated: bool = False
    freed: bool = False
    counted: bool = False
    unwritten: bool = False
    over: bool = False
    undecided: bool = False
    attempt: Attempt | None = None
    rest: asyncio.Future[AnyOutcome] | None = None
    left: asyncio.Future[None] | None = None
    recorded: asyncio.Future[None] | None = None
    fatal: BaseException | None = None
    grace: Deadline | None = None

    def cancelled_outside(self) -> bool:
        """Whether its task was cancelled, and by none of us: the program ends its tasks."""
        return self.task is not None and self.task.cancelling() > 0 and not (self.cut or self.given_back)

    def kept_back(self) -> bool:
        """Whether a stop came before anything of the request was written."""
        return self.stopped and self.unwritten

    def cut_why(self) -> str:
        """Return why it was cut off."""
        if self.timed_out:
            return "no answer in time"
        if self.lease_lost:
            return "the lease was lost while sending"
        return "stopped while sending"
