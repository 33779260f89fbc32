"""
What becomes of a queued delivery of another system: the rules, in the order in which they apply.

Pure. The readers say what they found, in `Facts`; nothing here knows how a source is stored.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import msgspec

from pillarbox.domain.message import State
from pillarbox.domain.moments import MS_MAX
from pillarbox.imports.entry import OnUncertain, Outcome, SourceEntry, Terms

ATTEMPTS_MAX: Final = 5
DELAYS_MS: Final = (5_000, 25_000, 120_000, 600_000)
"""The pause after the 1st, 2nd, 3rd, and every further failure; both systems' own."""
_LIMIT_MAX: Final = 10_000
_EXACT_MAX: Final = 1 << 53  # beyond, JavaScript's numbers skip some whole ones


class Standing(StrEnum):
    """How an entry stands in its source, in words that all sources share."""

    PENDING = "pending"
    FAILED = "failed"
    EXPIRED = "expired"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a source says of one entry.

    Attributes:
        why: The word for the report where no rule has one of its own.
        attempts: Failed ones, as `counter` reads them.
        limit: The entry's own limit of attempts.
        final: Whether it is more than a passing note (contract DK1).
        uncertain: A send was started, and its end is not known.
        ages: Whether the age limit applies; then ``enqueued`` is looked at.
        enqueued: As the source has it, of whatever type.
        expires_ms: When the source gives it up.
        doubt: What is wrong with its times, where the source sets more of them.
    """

    standing: Standing = Standing.PENDING
    why: str = ""
    attempts: int = 0
    limit: int | None = None
    final: bool = True
    uncertain: bool = False
    ages: bool = True
    enqueued: object = None
    expires_ms: int | None = None
    doubt: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of it."""

    outcome: Outcome
    state: State | None
    reason: str


def judge(facts: Facts, terms: Terms) -> Verdict:
    """Apply the rules, the first that fits."""
    if facts.standing is Standing.FAILED:
        return Verdict(Outcome.TERMINAL, State.DEAD, facts.why or "failed")
    if facts.standing is Standing.EXPIRED:
        return Verdict(Outcome.TERMINAL, State.EXPIRED, facts.why or "expired")
    if not facts.final:
        return Verdict(Outcome.TERMINAL, State.DEAD, "non_final_kind")
    if facts.attempts >= min(ATTEMPTS_MAX, facts.limit or ATTEMPTS_MAX):
        return Verdict(Outcome.TERMINAL, State.DEAD, "max_attempts")
    if facts.uncertain and terms.on_uncertain is OnUncertain.HOLD:
        return Verdict(Outcome.IMPORTED, State.HELD, facts.why or "outcome_unknown")
    # Whoever wants uncertain sends repeated does not want old ones: nothing is sent past the age limit by itself.
    doubt = facts.doubt or (_doubt_about_age(facts.enqueued, terms) if facts.ages else None)
    if doubt is not None:
        return Verdict(Outcome.QUARANTINED, None, doubt)
    if facts.expires_ms is not None and facts.expires_ms < terms.now_ms:
        return Verdict(Outcome.TERMINAL, State.EXPIRED, "expired")
    return Verdict(Outcome.IMPORTED, State.SCHEDULED, facts.why or ("retry_backoff" if facts.attempts else "pending"))


def judged(said: SourceEntry, facts: Facts, terms: Terms) -> SourceEntry:
    """
    Add to what an entry says what the rules say of it.

    Where *said* holds nothing to send, its outcome says so, and takes the place of an import. The time that it gives
    for its next attempt, which its source set, goes before ours.
    """
    verdict = judge(facts, terms)
    if verdict.outcome is Outcome.IMPORTED and said.outcome is not Outcome.IMPORTED:
        verdict = Verdict(said.outcome, None, said.reason)
    enqueued_ms, last_ms = moment(facts.enqueued), said.last_attempt_ms
    computed = next_attempt_ms(facts.attempts, last_ms=last_ms, enqueued_ms=enqueued_ms, now_ms=terms.now_ms)
    return msgspec.structs.replace(
        said,
        outcome=verdict.outcome,
        state=verdict.state,
        reason=verdict.reason,
        attempts=facts.attempts if verdict.outcome.stored else None,
        enqueued_ms=enqueued_ms,
        next_attempt_ms=computed if said.next_attempt_ms is None else said.next_attempt_ms,
        max_attempts=limit_of(facts.limit),
    )


def _doubt_about_age(enqueued: object, terms: Terms) -> str | None:
    if enqueued is None:
        return "enqueued_at_missing"
    at = whole(enqueued)
    if at is None or at <= 0:
        return "enqueued_at_invalid"
    if at > terms.now_ms:
        return "enqueued_at_future"
    return "too_old" if terms.now_ms - at >= terms.max_age_ms else None


def next_attempt_ms(attempts: int, *, last_ms: int | None, enqueued_ms: int | None, now_ms: int) -> int | None:
    """
    Return the earliest time of the next attempt: the last one, and the pause after so many failures.

    ``None`` without a failure. A last attempt in the future is a clock's mistake; the pause counts from now then.
    """
    if attempts <= 0:
        return None
    base = last_ms or enqueued_ms or now_ms
    return min(base, now_ms) + DELAYS_MS[min(attempts, len(DELAYS_MS)) - 1]


def whole(value: object) -> int | None:
    """Return a number without its fraction; ``None`` for anything else, also for NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(-_EXACT_MAX, min(int(value), _EXACT_MAX))


def counter(value: object) -> int:
    """Read a count of failures: 0 where it is missing, no number, or negative."""
    return max(0, whole(value) or 0)


def moment(value: object) -> int | None:
    """Read a time in milliseconds since 1970; ``None`` where it is none, or not before the year 10000."""
    at = whole(value)
    return at if at is not None and 0 < at <= MS_MAX else None


def beyond_the_calendar(value: object) -> bool:
    """Whether a number is later than the year 9999, infinity included: it was not meant as a time."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not value <= MS_MAX


def limit_of(value: object) -> int | None:
    """Read an entry's own limit of attempts; ``None`` where it has none that makes sense."""
    found = whole(value)
    return found if found is not None and 1 <= found <= _LIMIT_MAX else None
