"""What a move out of ``leased`` says: where to, why, and what it costs. Which one is made, `lifecycle` decides."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from pillarbox.domain.message import State


class Reason(StrEnum):
    """Why a message is dead, held, expired or cancelled."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    KILLS_WORKERS = "kills_workers"
    REJECTED = "rejected"
    PARTIAL = "partial"
    INVALID = "invalid"
    UNREADABLE = "unreadable"
    UNCERTAIN = "uncertain"
    UNRESOLVED = "unresolved"
    STUCK = "stuck"
    NON_FINAL = "non_final"
    EXPIRED = "expired"
    REQUESTED = "requested"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    SUPERSEDED_MAYBE_SENT = "superseded_maybe_sent"


class ErrorClass(StrEnum):
    """What kind of trouble the last attempt met; ``None`` in the row after a success."""

    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    RATE_LIMITED_BOUNDED = "rate_limited_bounded"
    PERMANENT = "permanent"
    UNAVAILABLE = "unavailable"
    UNCERTAIN = "uncertain"
    WORKER_LOST = "worker_lost"
    UNCLASSIFIED = "unclassified"
    REDIRECTED = "redirected"
    RELEASED = "released"


RATE_LIMITS: Final = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.RATE_LIMITED_BOUNDED})

MAYBE_ARRIVED: Final = frozenset({ErrorClass.UNCERTAIN, ErrorClass.WORKER_LOST})
"""The platform may have what was sent."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """
    One move out of ``leased``. Built only by the named constructors below, so that half-valid ones cannot exist.

    ``charged`` and ``free`` are what this attempt adds to the row's counters; ``lost`` is the row's new value.
    ``pause_ms`` pauses the message's whole channel until then, 0 until a person resumes it. ``part`` is what becomes of
    the part that was sent, where the message was split, and ``part_error`` what was wrong with it, where ``error`` is
    about the whole message; ``advance`` goes on to the next one.
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
    pause_ms: int | None = None
    answer: str | None = None
    advance: bool = False
    part: State | None = None
    part_error: str | None = None

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
        """Done with this part; the next one goes out at once, with its counters at 0 (lanes.md, "Parts")."""
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
        """Accepted by the platform; terminal."""
        return cls(to=State.DELIVERED, receipt=receipt, answer=answer)

    @classmethod
    def retry(cls, *, due_ms: int, error_class: ErrorClass, error: str, lost: int = 0) -> Transition:
        """Try again later, at the cost of one attempt."""
        return cls(to=State.SCHEDULED, due_ms=due_ms, charged=1, error_class=error_class, error=error, lost=lost)

    @classmethod
    def release(
        cls, *, due_ms: int, error_class: ErrorClass, error: str, pause_ms: int | None = None, lost: int = 0
    ) -> Transition:
        """Give the message back at no cost."""
        return cls(
            to=State.SCHEDULED,
            due_ms=due_ms,
            free=1,
            error_class=error_class,
            error=error,
            pause_ms=pause_ms,
            lost=lost,
        )

    @classmethod
    def redirect(cls, recipient: str, *, due_ms: int, error: str) -> Transition:
        """Send to the recipient's new address at once."""
        return cls(
            to=State.SCHEDULED,
            due_ms=due_ms,
            free=1,
            recipient=recipient,
            error_class=ErrorClass.REDIRECTED,
            error=error,
        )

    @classmethod
    def bury(
        cls,
        reason: Reason,
        *,
        error_class: ErrorClass,
        error: str,
        lost: int = 0,
        pause_ms: int | None = None,
    ) -> Transition:
        """Give up; terminal. Counts the attempt (contract ST8)."""
        return cls(
            to=State.DEAD,
            charged=1,
            reason=reason,
            error_class=error_class,
            error=error,
            lost=lost,
            pause_ms=pause_ms,
        )

    @classmethod
    def abandon(cls, error: str) -> Transition:
        """Give up what nobody but its own process may send, before it was begun; terminal. Costs no attempt."""
        return cls(to=State.DEAD, reason=Reason.NON_FINAL, error=error)

    @classmethod
    def hold(
        cls,
        reason: Reason,
        *,
        error_class: ErrorClass,
        error: str,
        charged: int,
        keeps_turn: bool,
        lost: int = 0,
        pause_ms: int | None = None,
    ) -> Transition:
        """A person must decide."""
        return cls(
            to=State.HELD,
            charged=charged,
            reason=reason,
            error_class=error_class,
            error=error,
            keeps_turn=keeps_turn,
            lost=lost,
            pause_ms=pause_ms,
        )

    @classmethod
    def expire(cls, *, error: str | None = None, error_class: ErrorClass | None = None, charged: int = 0) -> Transition:
        """Its time is over; terminal."""
        return cls(to=State.EXPIRED, reason=Reason.EXPIRED, error=error, error_class=error_class, charged=charged)

    @classmethod
    def cancel(cls, reason: Reason, *, charged: int = 0, error: str | None = None) -> Transition:
        """Withdrawn before it was delivered; terminal."""
        return cls(to=State.CANCELLED, reason=reason, charged=charged, error=error)
