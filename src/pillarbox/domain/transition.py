"""A move out of ``leased``: where to, why, and what it costs. `lifecycle` decides which one is made."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NotRequired, TypedDict, Unpack

import msgspec

from pillarbox.domain.message import State


class Reason(StrEnum):
    """Why a message is dead, held, expired or cancelled."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    """Dead: its attempts are used up."""
    KILLS_WORKERS = "kills_workers"
    """Dead: every worker that sent it was lost, as often in a row as it has attempts."""
    REJECTED = "rejected"
    """Dead: the platform refused it for good."""
    SUPPRESSED = "suppressed"
    """Dead: its recipient was refused for good before, so it was not sent."""
    PARTIAL = "partial"
    """Dead: some of its parts were rejected, the others delivered."""
    INVALID = "invalid"
    """Dead: its channel cannot carry it."""
    UNREADABLE = "unreadable"
    """Dead: what was stored of it cannot be read."""
    UNCERTAIN = "uncertain"
    """Held, or dead, as its policy says: nobody knows whether the platform has it."""
    UNRESOLVED = "unresolved"
    """Dead: it was held, and nobody decided in time."""
    STUCK = "stuck"
    """Held: it was given back many times in a row at no cost, and nothing else would ever end it."""
    NON_FINAL = "non_final"
    """Dead: it is not final, so it was not worth a second try, or its process was gone before the first."""
    EXPIRED = "expired"
    """Expired: its time to live was over."""
    REQUESTED = "requested"
    """Cancelled: a person or its application asked for it."""
    WITHDRAWN = "withdrawn"
    """Cancelled: its application withdrew it just before the send."""
    SUPERSEDED = "superseded"
    """Cancelled: a newer message took its place before it was sent."""
    SUPERSEDED_MAYBE_SENT = "superseded_maybe_sent"
    """Cancelled: a newer message took its place; the platform may have this one too."""


class ErrorClass(StrEnum):
    """What kind of trouble the last attempt met; ``None`` in the row after a success."""

    TRANSIENT = "transient"
    """It may work later; the attempt counted."""
    RATE_LIMITED = "rate_limited"
    """The platform said to wait. It costs no attempt."""
    RATE_LIMITED_BOUNDED = "rate_limited_bounded"
    """The same, told by words in an answer whose code says "never"; after three such answers it is dead."""
    PERMANENT = "permanent"
    """It will never work as it is."""
    UNAVAILABLE = "unavailable"
    """The channel as a whole is out of order, and pauses. It costs no attempt."""
    OUTAGE = "outage"
    """Nothing got through the channel, several times in a row, so it pauses. It costs no attempt."""
    UNCERTAIN = "uncertain"
    """No answer came: the platform may have the message."""
    WORKER_LOST = "worker_lost"
    """The worker was gone while it was sending: the platform may have the message."""
    UNCLASSIFIED = "unclassified"
    """The channel could not tell what an answer means; fewer attempts are made than of what is transient."""
    REDIRECTED = "redirected"
    """The recipient has moved. It costs no attempt."""
    RELEASED = "released"
    """The message was given back before it was sent. It costs no attempt."""


OURSELVES: Final = "pillarbox"
"""Who paused a channel after an answer of its platform."""
OURSELVES_FOR_CREDENTIALS: Final = "pillarbox, for its credentials"
"""The same, where the answer refused the channel's credentials."""
OURSELVES_FOR_READINESS: Final = "pillarbox, for its readiness"
"""Who paused a channel after its readiness hook said why it is not ready."""

RATE_LIMITS: Final = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.RATE_LIMITED_BOUNDED})

OUT_OF_ORDER: Final = frozenset({ErrorClass.UNAVAILABLE, ErrorClass.OUTAGE})
"""The channel as a whole rests, and is then tried with one message."""

MAYBE_ARRIVED: Final = frozenset({ErrorClass.UNCERTAIN, ErrorClass.WORKER_LOST})
"""The platform may have what was sent."""


class Failure(TypedDict):
    """What was wrong, for a transition that says so. See `Transition` for what else goes with it."""

    error_class: ErrorClass
    error: str
    lost: NotRequired[int]
    pause_ms: NotRequired[int | None]


class Transition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    One move out of ``leased``. Built only by the named constructors below, so that half-valid ones cannot exist.

    ``charged`` and ``free`` are what this attempt adds to the row's counters; ``lost`` is the row's new value.
    ``pause_ms`` pauses the message's whole channel until then, 0 until a person resumes it. ``part`` is what becomes of
    the part that was sent, where the message was split, and ``part_error`` what was wrong with it, where ``error`` is
    about the whole message; ``advance`` goes on to the next one. ``degraded`` is what was left out of what was sent.
    ``steps_aside``: its lane goes on without it; it takes a new place there when it is due.
    ``suppress`` keeps later messages from the recipient, ``rest_ms`` until then, because its platform takes no more.
    """

    to: State
    due_ms: int | None = None
    charged: int = 0
    free: int = 0
    lost: int = 0
    receipt: str | None = None
    reason: Reason | None = None
    error_class: ErrorClass | None = None
    error: str | None = None
    recipient: str | None = None
    keeps_turn: bool = False
    steps_aside: bool = False
    pause_ms: int | None = None
    answer: str | None = None
    advance: bool = False
    part: State | None = None
    part_error: str | None = None
    degraded: str | None = None
    suppress: bool = False
    rest_ms: int | None = None

    @classmethod
    def next_part(
        cls,
        part: State,
        *,
        due_ms: int,
        receipt: str | None = None,
        error_class: ErrorClass | None = None,
        error: str | None = None,
    ) -> Transition:
        """Go on to the next part, which goes out at once, with its counters at 0 (lanes.md, "Parts")."""
        return cls(
            to=State.SCHEDULED,
            due_ms=due_ms,
            receipt=receipt,
            error_class=error_class,
            error=error,
            advance=True,
            part=part,
        )

    @classmethod
    def deliver(cls, receipt: str | None, *, answer: str | None = None) -> Transition:
        """End it: the platform has accepted it."""
        if receipt is None and answer is None:
            return _DELIVERED
        return cls(to=State.DELIVERED, receipt=receipt, answer=answer)

    @classmethod
    def retry(cls, *, due_ms: int, **failure: Unpack[Failure]) -> Transition:
        """Schedule it again; costs one attempt."""
        return cls(to=State.SCHEDULED, due_ms=due_ms, charged=1, **failure)

    @classmethod
    def release(cls, *, due_ms: int, **failure: Unpack[Failure]) -> Transition:
        """Schedule it again at *due_ms*; costs no attempt."""
        return cls(to=State.SCHEDULED, due_ms=due_ms, free=1, **failure)

    @classmethod
    def redirect(cls, recipient: str, *, due_ms: int, error: str) -> Transition:
        """Send to the recipient's new address at once."""
        moved = ErrorClass.REDIRECTED
        return cls(to=State.SCHEDULED, due_ms=due_ms, free=1, recipient=recipient, error_class=moved, error=error)

    @classmethod
    def bury(cls, reason: Reason, **failure: Unpack[Failure]) -> Transition:
        """End it as dead; terminal. Counts the attempt (contract ST8)."""
        return cls(to=State.DEAD, charged=1, reason=reason, **failure)

    @classmethod
    def abandon(cls, error: str) -> Transition:
        """End what only its own process may send, before it was begun; terminal. Costs no attempt."""
        return cls(to=State.DEAD, reason=Reason.NON_FINAL, error=error)

    @classmethod
    def hold(cls, reason: Reason, *, charged: int, keeps_turn: bool, **failure: Unpack[Failure]) -> Transition:
        """Hold it: a person must decide."""
        return cls(to=State.HELD, charged=charged, reason=reason, keeps_turn=keeps_turn, **failure)

    @classmethod
    def expire(cls, *, error: str | None = None, error_class: ErrorClass | None = None, charged: int = 0) -> Transition:
        """End it because its time is over; terminal."""
        return cls(to=State.EXPIRED, reason=Reason.EXPIRED, error=error, error_class=error_class, charged=charged)

    @classmethod
    def cancel(cls, reason: Reason, *, charged: int = 0, error: str | None = None) -> Transition:
        """End it as withdrawn before it was delivered; terminal."""
        return cls(to=State.CANCELLED, reason=reason, charged=charged, error=error)


_DELIVERED: Final = Transition(to=State.DELIVERED)
"""What a success without a receipt makes: nothing can change it, and most channels give it again and again."""
