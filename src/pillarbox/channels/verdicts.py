"""What a table may say that an answer, or an error's text, means; and the outcome that each verdict stands for."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain


class Verdict(StrEnum):
    """What an answer means, in the words of a configuration: the outcomes of contract CL1, some with their detail."""

    DELIVERED = "delivered"
    REJECTED = "rejected"  # this message will never pass
    REJECTED_RECIPIENT = "rejected_recipient"
    CLOSED = "closed"  # the endpoint wants nothing more: its channel pauses
    DEFERRED = "deferred"
    OUTAGE = "outage"  # deferred, and so would be every other message of the channel
    UNCLASSIFIED = "unclassified"  # deferred, at most three attempts (contract CL5)
    RATE_LIMITED = "rate_limited"
    RATE_LIMITED_RECIPIENT = "rate_limited_recipient"
    UNAVAILABLE = "unavailable"
    AUTH = "auth"  # unavailable until somebody resumes it, or gives it other credentials
    UNCERTAIN = "uncertain"


def outcome_of(
    verdict: Verdict, reason: str, *, after: float | None = None, covered: bool = False, answer: str | None = None
) -> AnyOutcome:
    """
    Return the outcome that a verdict stands for.

    Args:
        after: The least wait the server asked for, in seconds.
        covered: The receiver drops a second copy.
        answer: What of the answer's body may be shown.
    """
    match verdict:
        case Verdict.DELIVERED:
            return Delivered(answer=answer)
        case Verdict.REJECTED:
            return Rejected(reason, answer=answer)
        case Verdict.REJECTED_RECIPIENT:
            return Rejected(reason, about="recipient", answer=answer)
        case Verdict.CLOSED:
            return Rejected(reason, about="endpoint", answer=answer)
        case Verdict.DEFERRED:
            return Deferred(reason, after=after, answer=answer)
        case Verdict.OUTAGE:
            return Deferred(reason, after=after, outage=True, answer=answer)
        case Verdict.UNCLASSIFIED:
            return Deferred(reason, after=after, unclassified=True, answer=answer)
        case Verdict.RATE_LIMITED:
            return RateLimited(reason, scope="channel", after=after, answer=answer)
        case Verdict.RATE_LIMITED_RECIPIENT:
            return RateLimited(reason, scope="recipient", after=after, answer=answer)
        case Verdict.UNAVAILABLE | Verdict.AUTH:
            return Unavailable(reason, after=after, auth=verdict is Verdict.AUTH, answer=answer)
        case Verdict.UNCERTAIN:
            return Uncertain(reason, after=after, covered=covered, answer=answer)
        case _:
            assert_never(verdict)
