"""What an explanation is made of: the stable words for why a message is not delivered, and for what became of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State


class Why(StrEnum):
    """Why a message stands where it stands. The words are stable; ``about`` says what each means."""

    about: str

    def __new__(cls, word: str, about: str) -> Self:
        """Make a word of the two that stand beside its name."""
        why = str.__new__(cls, word)
        why._value_, why.about = word, about
        return why

    OVERDUE = "overdue", "its time is over; it is not sent any more, and a worker records that"
    UNREADABLE = "unreadable", "its content is missing from the database"
    NO_WORKER = "no_worker", "no live worker has its channel"
    WORKER_SILENT = "worker_silent", "the only workers that have its channel give no sign of life"
    PAUSED = "paused", "a person paused its channel"
    CHANNEL_RATE_LIMITED = "channel_rate_limited", "the platform asked the whole channel to wait"
    CHANNEL_UNAVAILABLE = "channel_unavailable", "the channel cannot send: no connection, credentials, configuration"
    CHANNEL_CLOSED = "channel_closed", "the receiver wants no more from this channel"
    CHANNEL_PROBED = "channel_probed", "the channel was unavailable and is tried with one message, which is under way"
    LATER = "later", "it is not to go before a certain time"
    BACKOFF = "backoff", "an attempt failed; it is tried again later"
    RATE_LIMITED = "rate_limited", "the platform asked this message to wait"
    PACED = "paced", "its platform takes only so many messages in a time, and others went before it"
    GIVEN_BACK = "given_back", "it was given back without an attempt being charged, and is not due again yet"
    LANE_HELD = "lane_held", "a held message keeps its turn in the lane"
    TURN = "turn", "another message of its lane goes first"
    STRANDED = "stranded", "it waits in its lane behind nothing: the database is damaged"
    SUSPECT = "suspect", "its workers keep dying, so it is sent alone: nothing else is started for up to 5 s"
    SUSPECT_FIRST = "suspect_first", "a message whose workers keep dying is sent alone first, for 5 s at most"
    BUSY = "busy", "it is due, and its workers are busy with others"
    DUE = "due", "nothing stands against it: it goes next"
    SENDING = "sending", "it is being sent right now"
    WORKER_LOST = "worker_lost", "the worker that was sending it is gone, and its lease not settled yet"
    LEASE_OVER = "lease_over", "its worker lives, but has not renewed the lease in time"
    CANCELLING = "cancelling", "somebody cancelled it while it was being sent"
    HELD_UNCERTAIN = "held_uncertain", "the platform may have it; a person must look"
    HELD_STUCK = "held_stuck", "it was given back too often; a person must look"
    HELD_DEAD = "held_dead", "it would be dead, but its lane must wait for a person (`on_dead = block`)"
    NOT_ADMITTED = "not_admitted", "its channel has not looked at it yet: a worker does, before the first send"
    SUPPRESSED = "suppressed", "its recipient was refused for good before, so it ends without being sent"
    EXPIRES_FIRST = "expires_first", "it expires before it can go"
    EXPIRES = "expires", "it expires at that time"
    CLOCK_SET = "clock_set", "the wall clock was set: times are judged by boot time, and nothing expires for now"
    DELIVERED = "delivered", "the platform took it"
    ALSO_SENDING = "also_sending", "it is delivered, and another attempt is not over yet"
    DEAD = "dead", "it was given up"
    EXPIRED = "expired", "its time was over before it was delivered"
    CANCELLED = "cancelled", "it was withdrawn"
    REPLAYED = "replayed", "it was sent again, as a new message that is on its way or delivered"
    CONTENT_GONE = "content_gone", "what it said was deleted, as the retention says"


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
    text: str
    unblock: str
    since_ms: int | None = None
    until_ms: int | None = None
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
