"""What an explanation is made of: the stable words for why a message is not delivered, and for what became of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State


class Why(StrEnum):
    """Why a message stands where it stands. The words are stable; `ABOUT` says what each means."""

    OVERDUE = "overdue"
    UNREADABLE = "unreadable"
    NO_WORKER = "no_worker"
    WORKER_SILENT = "worker_silent"
    PAUSED = "paused"
    CHANNEL_RATE_LIMITED = "channel_rate_limited"
    CHANNEL_UNAVAILABLE = "channel_unavailable"
    CHANNEL_CLOSED = "channel_closed"
    CHANNEL_PROBED = "channel_probed"
    LATER = "later"
    BACKOFF = "backoff"
    RATE_LIMITED = "rate_limited"
    GIVEN_BACK = "given_back"
    LANE_HELD = "lane_held"
    TURN = "turn"
    STRANDED = "stranded"
    SUSPECT = "suspect"
    SUSPECT_FIRST = "suspect_first"
    BUSY = "busy"
    DUE = "due"
    SENDING = "sending"
    WORKER_LOST = "worker_lost"
    LEASE_OVER = "lease_over"
    CANCELLING = "cancelling"
    HELD_UNCERTAIN = "held_uncertain"
    HELD_STUCK = "held_stuck"
    HELD_DEAD = "held_dead"
    NOT_ADMITTED = "not_admitted"
    EXPIRES_FIRST = "expires_first"
    EXPIRES = "expires"
    CLOCK_SET = "clock_set"
    DELIVERED = "delivered"
    ALSO_SENDING = "also_sending"
    DEAD = "dead"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REPLAYED = "replayed"
    CONTENT_GONE = "content_gone"


ABOUT: Final[dict[Why, str]] = {
    Why.OVERDUE: "its time is over; it is not sent any more, and a worker records that",
    Why.UNREADABLE: "its content is missing from the database",
    Why.NO_WORKER: "no live worker has its channel",
    Why.WORKER_SILENT: "the only workers that have its channel give no sign of life",
    Why.PAUSED: "a person paused its channel",
    Why.CHANNEL_RATE_LIMITED: "the platform asked the whole channel to wait",
    Why.CHANNEL_UNAVAILABLE: "the channel cannot send: credentials, configuration",
    Why.CHANNEL_CLOSED: "the receiver wants no more from this channel",
    Why.CHANNEL_PROBED: "the channel was unavailable and is tried with one message, which is under way",
    Why.LATER: "it is not to go before a certain time",
    Why.BACKOFF: "an attempt failed; it is tried again later",
    Why.RATE_LIMITED: "the platform asked this message to wait",
    Why.GIVEN_BACK: "it was given back without an attempt being charged, and is not due again yet",
    Why.LANE_HELD: "a held message keeps its turn in the lane",
    Why.TURN: "another message of its lane goes first",
    Why.STRANDED: "it waits in its lane behind nothing: the database is damaged",
    Why.SUSPECT: "its workers keep dying, so it is sent alone: nothing else is started for up to 5 s",
    Why.SUSPECT_FIRST: "a message whose workers keep dying is sent alone first, for 5 s at most",
    Why.BUSY: "it is due, and its workers are busy with others",
    Why.DUE: "nothing stands against it: it goes next",
    Why.SENDING: "it is being sent right now",
    Why.WORKER_LOST: "the worker that was sending it is gone, and its lease not settled yet",
    Why.LEASE_OVER: "its worker lives, but has not renewed the lease in time",
    Why.CANCELLING: "somebody cancelled it while it was being sent",
    Why.HELD_UNCERTAIN: "the platform may have it; a person must look",
    Why.HELD_STUCK: "it was given back too often; a person must look",
    Why.HELD_DEAD: "it would be dead, but its lane must wait for a person (`on_dead = block`)",
    Why.NOT_ADMITTED: "its channel has not looked at it yet: a worker does, before the first send",
    Why.EXPIRES_FIRST: "it expires before it can go",
    Why.EXPIRES: "it expires at that time",
    Why.CLOCK_SET: "the wall clock was set: times are judged by boot time, and nothing expires for now",
    Why.DELIVERED: "the platform took it",
    Why.ALSO_SENDING: "it is delivered, and another attempt is not over yet",
    Why.DEAD: "it was given up",
    Why.EXPIRED: "its time was over before it was delivered",
    Why.CANCELLED: "it was withdrawn",
    Why.REPLAYED: "it was sent again, as a new message that is on its way or delivered",
    Why.CONTENT_GONE: "what it said was deleted, as the retention says",
}


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """
    One reason, or one thing worth knowing.

    Attributes:
        since_ms: Since when it has been so; ``None`` where that was not recorded.
        until_ms: When it ends by itself; ``None`` where it does not, or that is not known.
        text: One sentence for people.
        unblock: What a person can do about it: one sentence, with commands ready to be run in backquotes.
        blocking: While it lasts, the message is not delivered. False: only worth knowing.
        ahead: The message that must go or end first, where there is one.
    """

    word: Why
    since_ms: int | None
    until_ms: int | None
    text: str
    unblock: str
    blocking: bool = True
    ahead: MessageId | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """
    Why a message is not delivered yet, or what became of it.

    Attributes:
        at_ms: When this was so.
        earliest_ms: The soonest it can go, ``at_ms`` for at once; ``None`` where what stands in its way has no end
            that is known, and for what does not go any more.
        causes: What has to go away first stands first; what is only worth knowing stands last. Never empty.
    """

    message: MessageId
    state: State
    at_ms: int
    earliest_ms: int | None
    causes: tuple[Cause, ...]
