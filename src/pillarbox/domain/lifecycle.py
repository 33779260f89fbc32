"""
The states' only legal moves, and `decide()`: what follows from an outcome. No other file decides on a transition.

Counting (lanes.md, "Attempt counting"): ``claims`` grows in the claim; ``charged`` grows when an attempt *ends* in an
outcome that costs budget; ``lost`` counts leases lost in a row. None is ever given back.
"""

# Long because: no other file decides on a transition.
from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, assert_never

import msgspec

from pillarbox.domain.envelope import Kind, Op
from pillarbox.domain.message import Leased, State
from pillarbox.domain.moments import MS_MAX
from pillarbox.domain.outcome import (
    BOUNDED_LIMITS_MAX,
    UNCLASSIFIED_ATTEMPTS_MAX,
    AnyOutcome,
    Deferred,
    Delivered,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.domain.retry import (
    FREE_RETURN_MS_MIN,
    SUSPECT_LOST,
    ExpireAction,
    OnDead,
    OnHeld,
    PartsMode,
    Policy,
    UncertainAction,
)
from pillarbox.domain.transition import MAYBE_ARRIVED, RATE_LIMITS, ErrorClass, Reason, Transition

MOVES: Final[Mapping[tuple[State, State], str]] = MappingProxyType(
    {
        (State.SCHEDULED, State.LEASED): "claim, in one stroke with the acceptance where nothing stands before it",
        (State.SCHEDULED, State.DELIVERED): "late answer",
        (State.SCHEDULED, State.DEAD): "unreadable, or not final and its process gone",
        (State.SCHEDULED, State.EXPIRED): "time over",
        (State.SCHEDULED, State.CANCELLED): "cancel, superseded",
        (State.LEASED, State.SCHEDULED): "retry, release, next part",
        (State.LEASED, State.HELD): "a person must decide",
        (State.LEASED, State.DELIVERED): "the platform took it",
        (State.LEASED, State.DEAD): "given up",
        (State.LEASED, State.EXPIRED): "time over",
        (State.LEASED, State.CANCELLED): "cancel, withdrawn, superseded",
        (State.HELD, State.SCHEDULED): "retry, resolve",
        (State.HELD, State.DELIVERED): "resolve, late answer",
        (State.HELD, State.DEAD): "resolve, nobody decided",
        (State.HELD, State.CANCELLED): "cancel, superseded",
    }
)
"""Every legal move, and what makes it. The diagram of the states is drawn from it."""

FREE_RETURNS_MAX: Final = 1000
_NotDelivered = Deferred | RateLimited | Rejected | Redirected | Unavailable | Uncertain


class Verdict(StrEnum):
    """What a person knows of a held message: of its first unsent part, where it was split (contract UN3)."""

    DELIVERED = "delivered"
    NOT_DELIVERED = "not_delivered"
    RESEND = "resend"
    """Send it whatever became of the last attempt."""


UNAVAILABLE_PAUSE_MS = 60_000
UNAVAILABLE_PAUSE_MS_MAX = 3_600_000
UNTIL_RESUMED: Final = 0
"""As the end of a pause: it has none."""
NOT_READY_PAUSE_MS: Final = 5_000
CHANGE_WAIT_MS_MAX: Final = 60_000
OUTAGE_FAILURES: Final = 3
"""So many failures in a row that are the channel's and no message's open its breaker."""
OUTAGE_PAUSE_MS: Final = 5_000
OUTAGE_PAUSE_MS_MAX: Final = 60_000


def decide(
    message: Leased, outcome: AnyOutcome, *, now_ms: int, fraction: float, strikes: int = 0, failures: int = 0
) -> Transition:
    """
    Return the transition that an attempt's outcome means for its message.

    Args:
        message: As it was claimed; its counters do not include this attempt's charge.
        now_ms: When the outcome was known.
        fraction: In [0, 1), places the delay in its jitter.
        strikes: How often in a row the message's channel was out of order before: 0 while its breaker is closed.
        failures: How often in a row nothing got through it before.
    """
    if isinstance(outcome, Delivered):
        transition = _delivered(message, outcome, now_ms)
    elif isinstance(outcome, Deferred) and outcome.outage and _is_outage(message, strikes, failures):
        transition = _rests(message, outcome, now_ms=now_ms, strikes=strikes)
    else:
        transition = _decide(message, outcome, now_ms=now_ms, fraction=fraction, strikes=strikes)
    if message.policy.lane_block_seconds is not None:
        transition = _stepping_aside(message, transition)
    # Whatever becomes of the message, what was answered belongs to the attempt (contract ST10).
    return transition if outcome.answer is None else msgspec.structs.replace(transition, answer=outcome.answer)


def _delivered(message: Leased, outcome: Delivered, now_ms: int) -> Transition:
    receipt = outcome.receipt
    whole = message.part_count == 1
    transition = Transition.deliver(receipt) if whole else _part_delivered(message, receipt, now_ms)
    if outcome.degraded is not None:
        transition = msgspec.structs.replace(transition, degraded=outcome.degraded)
    if outcome.rest is not None:
        rest_ms = now_ms + _whole_ms(message.policy.bounded_hint(outcome.rest))
        due_ms = max(transition.due_ms or 0, rest_ms) if transition.advance else transition.due_ms
        transition = msgspec.structs.replace(transition, rest_ms=rest_ms, due_ms=due_ms)
    return transition


def _decide(message: Leased, outcome: _NotDelivered, *, now_ms: int, fraction: float, strikes: int) -> Transition:
    match outcome:
        case Rejected(reason, about):
            if about == "message" and _goes_on_without(message):
                return _part_rejected(message, reason or "rejected", now_ms)
            return _buried(message, outcome.about, reason or f"rejected ({about})")
        case Deferred(reason, after):
            unclassified = outcome.unclassified
            return _charged(
                message,
                ErrorClass.UNCLASSIFIED if unclassified else ErrorClass.TRANSIENT,
                reason or "deferred",
                after=after,
                limit=min(message.max_attempts, UNCLASSIFIED_ATTEMPTS_MAX) if unclassified else message.max_attempts,
                now_ms=now_ms,
                fraction=fraction,
            )
        case RateLimited() if outcome.bounded:
            return _bounded_limit(message, outcome, now_ms=now_ms, fraction=fraction)
        case RateLimited(scope, after):
            due_ms = now_ms + _free_wait_ms(message, after, fraction)
            pause_ms = due_ms if scope == "channel" else None
            return _freed(message, ErrorClass.RATE_LIMITED, outcome.reason or "rate limited", due_ms, pause_ms)
        case Redirected() if message.op is not Op.SEND:
            return _buried(message, "message", "its recipient has another address now, where what it changes is not")
        case Redirected(recipient):
            # Not before a second later: two addresses that point at each other must not spin (free returns, lanes.md).
            return _capped(
                message,
                Transition.redirect(
                    recipient, due_ms=now_ms + FREE_RETURN_MS_MIN, error=outcome.reason or "redirected"
                ),
            )
        case Unavailable(reason) if outcome.auth:
            why = reason or "credentials refused"
            return _out_of_order(message, ErrorClass.UNAVAILABLE, why, now_ms, UNTIL_RESUMED)
        case Unavailable(reason):
            hint_ms = _whole_ms(message.policy.bounded_hint(outcome.after))
            pause_ms = now_ms + max(hint_ms, min(UNAVAILABLE_PAUSE_MS << min(strikes, 6), UNAVAILABLE_PAUSE_MS_MAX))
            return _out_of_order(message, ErrorClass.UNAVAILABLE, reason or "channel unavailable", now_ms, pause_ms)
        case Uncertain(reason):
            return _uncertain(message, outcome, reason or "no answer", now_ms=now_ms, fraction=fraction)
        case _:
            assert_never(outcome)


def _is_outage(message: Leased, strikes: int, failures: int) -> bool:
    """Whether a channel that fails once more is broken: tried again and again, or as often as this message may be."""
    return strikes > 0 or failures + 1 >= min(OUTAGE_FAILURES, message.max_attempts)


def _rests(message: Leased, outcome: Deferred, *, now_ms: int, strikes: int) -> Transition:
    """Return the release that opens a channel's breaker, or keeps it open. Delays and attempts stay as they are."""
    hint_ms = _whole_ms(message.policy.bounded_hint(outcome.after))
    pause_ms = now_ms + max(hint_ms, min(OUTAGE_PAUSE_MS << min(strikes, 6), OUTAGE_PAUSE_MS_MAX))
    return _out_of_order(message, ErrorClass.OUTAGE, outcome.reason or "nothing gets through", now_ms, pause_ms)


def _part_delivered(message: Leased, receipt: str | None, now_ms: int) -> Transition:
    if message.part_next + 1 < message.part_count:
        return Transition.next_part(State.DELIVERED, due_ms=now_ms, receipt=receipt)
    if message.parts_dead == 0:
        return Transition(to=State.DELIVERED, receipt=receipt, part=State.DELIVERED)
    return _partial(message, message.parts_dead, part=State.DELIVERED, receipt=receipt)


def _goes_on_without(message: Leased) -> bool:
    """Whether a part may be left out: under best effort, unless a person is to decide of each loss in its lane."""
    decided_by_a_person = message.policy.on_dead is OnDead.BLOCK and message.lane is not None
    best_effort = message.policy.parts is PartsMode.BEST_EFFORT
    return message.part_count > 1 and best_effort and not decided_by_a_person


def _part_rejected(message: Leased, error: str, now_ms: int) -> Transition:
    """Return the move after a rejected part; under best effort the later parts go out all the same (contract PA4)."""
    if message.part_next + 1 < message.part_count:
        permanent = ErrorClass.PERMANENT
        return Transition.next_part(State.DEAD, due_ms=now_ms, error_class=permanent, error=error)
    if message.parts_dead + 1 == message.part_count:
        return _buried(message, "message", error)
    return _partial(message, message.parts_dead + 1, part=State.DEAD, part_error=error)


def _partial(
    message: Leased, dead: int, *, part: State, receipt: str | None = None, part_error: str | None = None
) -> Transition:
    error = f"{dead} of {message.part_count} parts were rejected"
    burial = Transition.bury(Reason.PARTIAL, error_class=ErrorClass.PERMANENT, error=error)
    charged = int(part is State.DEAD)
    return msgspec.structs.replace(burial, part=part, receipt=receipt, part_error=part_error, charged=charged)


def lost_worker(message: Leased, *, now_ms: int, fraction: float, suspect_ms: int | None = None) -> Transition:
    """
    Settle a lease whose worker is gone: the provider may have the message (lanes.md, "Attempt counting").

    ``lost`` grows; at ``max_attempts`` in a row the message is taken for what kills the workers. Until then it waits as
    after a lost worker, and not as its channel would have it (contract LE4). Where a suspect was being sent, it alone
    is taken for it: what merely flew beside it loses no attempt.

    Args:
        suspect_ms: When the worker began the last suspect that it was sending; ``None``: it was sending none.
    """
    if suspect_ms is not None and not (message.lost >= SUSPECT_LOST and message.claimed_ms >= suspect_ms):
        return _flew_beside(message, suspect_ms, now_ms=now_ms, fraction=fraction)
    lost = message.lost + 1
    resent = message.policy.uncertain.resends and not _is_non_final(message)
    if resent and lost >= message.max_attempts:
        error = f"{lost} workers in a row were lost while sending this message"
        return _laid_to_rest(message, Reason.KILLS_WORKERS, ErrorClass.WORKER_LOST, error, lost=lost)
    outcome = Uncertain("the worker was lost while sending", error_class=ErrorClass.WORKER_LOST)
    transition = _uncertain(message, outcome, outcome.reason, now_ms=now_ms, fraction=fraction, lost=lost)
    return _stepping_aside(message, transition)


def _flew_beside(message: Leased, suspect_ms: int, *, now_ms: int, fraction: float) -> Transition:
    """
    Settle what was lost with a suspect that it was sent beside. Its own part in it follows from when it began.

    Begun before, it had done no harm until the suspect came. Begun after, it may still be a second one that kills: it
    becomes a suspect too if that happens again, and is never buried for it.
    """
    lost = message.lost if message.claimed_ms < suspect_ms else max(message.lost, min(message.lost + 1, SUSPECT_LOST))
    outcome = Uncertain("the worker was lost while sending, beside a suspect", error_class=ErrorClass.WORKER_LOST)
    action = message.policy.uncertain
    if not (action.resends or action is UncertainAction.RECONCILE) or _is_non_final(message):
        return _uncertain(message, outcome, outcome.reason, now_ms=now_ms, fraction=fraction, lost=lost)
    due_ms = now_ms + FREE_RETURN_MS_MIN
    release = Transition.release(due_ms=due_ms, error_class=ErrorClass.WORKER_LOST, error=outcome.reason, lost=lost)
    return _stepping_aside(message, _capped(message, release))


def release_unsent(message: Leased, reason: str, *, now_ms: int) -> Transition:
    """Return the release of a message whose request was surely not written: a stop, or a channel that is not ready."""
    due_ms = now_ms + FREE_RETURN_MS_MIN
    # The lost count is kept: a send that never began clears nobody of suspicion.
    return Transition.release(due_ms=due_ms, error_class=ErrorClass.RELEASED, error=reason, lost=message.lost)


def not_ready(message: Leased, reason: str, *, now_ms: int) -> Transition:
    """Return the release of a message whose channel is not ready, and which rests for that. Costs no attempt."""
    release = Transition.release(
        due_ms=now_ms + FREE_RETURN_MS_MIN,
        error_class=ErrorClass.RELEASED,
        error=reason,
        lost=message.lost,
        pause_ms=now_ms + NOT_READY_PAUSE_MS,
    )
    return _capped(message, release)


def unreadable(message: Leased, error: str) -> Transition:
    """Return the end of a message whose stored content cannot be read (contract ST9)."""
    return _laid_to_rest(message, Reason.UNREADABLE, ErrorClass.PERMANENT, error)


def unrecorded(message: Leased, error: str, *, now_ms: int, fraction: float) -> Transition:
    """
    Return the move after an attempt whose outcome the store refuses to hold; *error* says what was wrong with it.

    The platform may have the message; more is not known. Without an end it would stay leased.
    """
    outcome = Uncertain(f"the outcome cannot be recorded: {error}")
    transition = _uncertain(message, outcome, outcome.reason, now_ms=now_ms, fraction=fraction)
    return _stepping_aside(message, transition)


def refused(message: Leased, error: str) -> Transition:
    """Return the end of a message that its channel did not admit; *error* names the field (contract EN16)."""
    return _laid_to_rest(message, Reason.INVALID, ErrorClass.PERMANENT, error)


def suppressed(message: Leased, why: str) -> Transition:
    """Return the end of a message whose recipient was refused for good before; *why* says what was said then."""
    return _laid_to_rest(message, Reason.SUPPRESSED, ErrorClass.PERMANENT, f"its recipient was refused before: {why}")


def cancelled(instead_of: Transition, reason: Reason = Reason.REQUESTED) -> Transition:
    """
    Return the end of a message that was to be cancelled while it was sent, instead of sending it again.

    *reason*: ``requested`` by a person, or ``superseded`` by a newer message (contract FL4).

    What became of the part that was sent stays true (contract PA5), and so does a doubt whether it arrived.
    """
    if reason is Reason.SUPERSEDED and instead_of.error_class in MAYBE_ARRIVED:
        reason = Reason.SUPERSEDED_MAYBE_SENT
    cancel = Transition.cancel(reason, charged=instead_of.charged, error=instead_of.error)
    return msgspec.structs.replace(
        cancel,
        # What takes its place waits as long as the platform asked for.
        due_ms=instead_of.due_ms if instead_of.error_class in RATE_LIMITS else None,
        part=instead_of.part,
        receipt=instead_of.receipt,
        error_class=instead_of.error_class,
        answer=instead_of.answer,
        # What was said of others than this message: its recipient, its channel.
        recipient=instead_of.recipient,
        suppress=instead_of.suppress,
        rest_ms=instead_of.rest_ms,
        pause_ms=instead_of.pause_ms,
    )


def abandoned() -> Transition:
    """Return the end of a message that is not final, and whose process was gone before it was begun (contract DK1)."""
    return Transition.abandon("the process that accepted it was gone before it was sent")


def withdrawn(reason: str) -> Transition:
    """Return the end of a message that its application, asked just before the send, does not want. Costs no attempt."""
    return Transition.cancel(Reason.WITHDRAWN, error=reason or None)


def postponed(message: Leased, reason: str, *, seconds: float, now_ms: int) -> Transition:
    """Return the release of a message that its application wants sent later, by a second at least. Costs no attempt."""
    due_ms = now_ms + max(FREE_RETURN_MS_MIN, _whole_ms(message.policy.bounded_hint(seconds)))
    release = Transition.release(
        due_ms=due_ms, error_class=ErrorClass.RELEASED, error=reason or "postponed", lost=message.lost
    )
    return _stepping_aside(message, _capped(message, release))


def behind(message: Leased, reason: str, *, target_due_ms: int, now_ms: int) -> Transition:
    """
    Return the release of a change whose message is not delivered yet. Costs no attempt.

    It leaves its place in its lane: what stood before it there has ended, so its message comes behind it, and would
    wait for it. It looks again when its message is due, in a second at least and in a minute at most.
    """
    wait_ms = min(max(target_due_ms - now_ms, FREE_RETURN_MS_MIN), CHANGE_WAIT_MS_MAX)
    release = Transition.release(
        due_ms=now_ms + wait_ms, error_class=ErrorClass.RELEASED, error=reason, lost=message.lost
    )
    transition = _capped(message, release)
    if message.lane is None or transition.to is not State.SCHEDULED:
        return transition
    return msgspec.structs.replace(transition, steps_aside=True)


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a verdict makes of a held message.

    ``advance`` goes on to the next part. ``to_tail`` takes a new place in its lane (lanes.md).
    """

    to: State
    reason: Reason | None = None
    error_class: ErrorClass | None = None
    error: str | None = None
    advance: bool = False
    to_tail: bool = False


def resolved(verdict: Verdict, *, part_next: int, part_count: int, parts_dead: int) -> Resolved:
    """
    Return what follows from a person's verdict.

    Args:
        part_next: The part that the verdict is about, of *part_count*.
        parts_dead: Parts before it that were rejected.
    """
    if verdict is not Verdict.DELIVERED:
        return Resolved(to=State.SCHEDULED, to_tail=True)
    if part_next + 1 < part_count:
        return Resolved(to=State.SCHEDULED, advance=True)
    if parts_dead:
        error = f"{parts_dead} of {part_count} parts were rejected"
        return Resolved(to=State.DEAD, reason=Reason.PARTIAL, error_class=ErrorClass.PERMANENT, error=error)
    return Resolved(to=State.DELIVERED)


def new_expiry_ms(policy: Policy, now_ms: int, *, ttl_ms: int | None = None) -> int | None:
    """
    Return when a message that begins anew expires; ``None`` for never.

    Args:
        ttl_ms: Its time to live; ``None`` for its policy's.
    """
    if policy.expire_action is ExpireAction.DELIVER or (ttl_ms is None and policy.ttl_seconds is None):
        return None
    span_ms = _whole_ms(policy.ttl_seconds or 0.0) if ttl_ms is None else ttl_ms
    return min(now_ms + span_ms, MS_MAX)


def expired(message_expires_ms: int | None, now_ms: int) -> bool:
    """Whether the TTL is over. Strict: at its last millisecond a message may still go (contract EX2)."""
    return message_expires_ms is not None and now_ms > message_expires_ms


def undecided(message: Leased, outcome: Uncertain) -> Transition:
    """Return the move of a message that was not sent again, as nobody can say whether an earlier attempt arrived."""
    reason = outcome.reason or "nobody can say whether an earlier attempt arrived"
    if message.policy.uncertain is UncertainAction.DROP:
        return _laid_to_rest(message, Reason.UNCERTAIN, ErrorClass.UNCERTAIN, reason)
    return _held_in_doubt(message, ErrorClass.UNCERTAIN, reason, charged=0)


def _held_in_doubt(message: Leased, error_class: ErrorClass, error: str, *, charged: int, lost: int = 0) -> Transition:
    keeps_turn = message.policy.on_held is OnHeld.BLOCK
    return Transition.hold(
        Reason.UNCERTAIN, error_class=error_class, error=error, charged=charged, keeps_turn=keeps_turn, lost=lost
    )


def _uncertain(
    message: Leased, outcome: Uncertain, reason: str, *, now_ms: int, fraction: float, lost: int = 0
) -> Transition:
    error_class = ErrorClass(outcome.error_class)
    action = UncertainAction.RESEND if outcome.covered else message.policy.uncertain
    if _is_non_final(message):
        return Transition.bury(Reason.NON_FINAL, error_class=error_class, error=reason, lost=lost)
    match action:
        case UncertainAction.HOLD:
            return _held_in_doubt(message, error_class, reason, charged=1, lost=lost)
        case UncertainAction.RESEND | UncertainAction.RESEND_MARKED | UncertainAction.RECONCILE:
            # Before a message goes again that may have arrived, its channel is asked where the policy says so.
            if action is UncertainAction.RECONCILE and message.charged + 1 >= message.max_attempts:
                return _held_in_doubt(message, error_class, reason, charged=1, lost=lost)
            return _charged(
                message,
                error_class,
                reason,
                after=outcome.after,
                limit=message.max_attempts,
                now_ms=now_ms,
                fraction=fraction,
                lost=lost,
            )
        case UncertainAction.DROP:
            return _laid_to_rest(message, Reason.UNCERTAIN, error_class, reason, lost=lost)
        case _:
            assert_never(action)


def _charged(
    message: Leased,
    error_class: ErrorClass,
    error: str,
    *,
    after: float | None,
    limit: int,
    now_ms: int,
    fraction: float,
    lost: int = 0,
) -> Transition:
    charged = message.charged + 1
    if _is_non_final(message):
        return Transition.bury(Reason.NON_FINAL, error_class=error_class, error=error, lost=lost)
    if charged >= limit and message.policy.uncertain is UncertainAction.RECONCILE and message.undecided_ms is not None:
        return _held_in_doubt(message, error_class, error, charged=1, lost=lost)
    if charged >= limit:
        return _laid_to_rest(message, Reason.RETRIES_EXHAUSTED, error_class, error, lost=lost)
    policy = message.policy
    wait = policy.lost_worker_seconds(lost, fraction) if lost else policy.delay_seconds(charged, fraction)
    wait = max(wait, policy.bounded_hint(after))
    return Transition.retry(due_ms=now_ms + _whole_ms(wait), error_class=error_class, error=error, lost=lost)


def _bounded_limit(message: Leased, outcome: RateLimited, *, now_ms: int, fraction: float) -> Transition:
    """
    Return the move after an answer whose words say "wait" and whose code says "never": believed three times.

    The channel rests as after any rate limit. The message waits longer, by later steps of its schedule, so that the
    three answers are not all given in one and the same bad hour.
    """
    told = message.bounded_limits + 1
    rest_ms = _free_wait_ms(message, outcome.after, fraction)
    pause_ms = now_ms + rest_ms if outcome.scope == "channel" else None
    error, error_class = outcome.reason or "rate limited", ErrorClass.RATE_LIMITED_BOUNDED
    if told >= BOUNDED_LIMITS_MAX:
        error = f"rate limited {told} times by a refusal that is said to be final: {error}"
        return _laid_to_rest(message, Reason.REJECTED, error_class, error, pause_ms=pause_ms)
    wait_ms = max(rest_ms, _whole_ms(message.policy.delay_seconds(told + 1, fraction)))
    return _freed(message, error_class, error, now_ms + wait_ms, pause_ms)


def _buried(message: Leased, about: str, error: str) -> Transition:
    pause_ms = UNTIL_RESUMED if about == "endpoint" else None
    burial = _laid_to_rest(message, Reason.REJECTED, ErrorClass.PERMANENT, error, pause_ms=pause_ms)
    suppress = about == "recipient" and message.policy.suppress
    return msgspec.structs.replace(burial, suppress=True) if suppress else burial


def _laid_to_rest(
    message: Leased, reason: Reason, error_class: ErrorClass, error: str, *, lost: int = 0, pause_ms: int | None = None
) -> Transition:
    """Return a burial, or a hold where its lane must wait for a person: no terminal row ever blocks."""
    if message.policy.on_dead is OnDead.BLOCK and message.lane is not None:
        return Transition.hold(
            reason, error_class=error_class, error=error, charged=1, keeps_turn=True, lost=lost, pause_ms=pause_ms
        )
    return Transition.bury(reason, error_class=error_class, error=error, lost=lost, pause_ms=pause_ms)


def _freed(
    message: Leased, error_class: ErrorClass, error: str, due_ms: int, pause_ms: int | None = None
) -> Transition:
    return _capped(message, Transition.release(due_ms=due_ms, error_class=error_class, error=error, pause_ms=pause_ms))


def _out_of_order(message: Leased, error_class: ErrorClass, error: str, now_ms: int, pause_ms: int) -> Transition:
    """Return the release that makes the whole channel rest. Only that keeps the message: a resume sends it too."""
    return _freed(message, error_class, error, now_ms + FREE_RETURN_MS_MIN, pause_ms)


def _capped(message: Leased, transition: Transition) -> Transition:
    """Return *transition*, or a hold after many free ones: without a TTL nothing else would ever end the message."""
    if message.expires_ms is not None or message.free_returns + 1 < FREE_RETURNS_MAX:
        return transition
    return Transition.hold(
        Reason.STUCK,
        error_class=transition.error_class or ErrorClass.RELEASED,
        error=f"given back {FREE_RETURNS_MAX} times in a row: {transition.error}",
        charged=0,
        keeps_turn=message.policy.on_held is OnHeld.BLOCK,
        pause_ms=transition.pause_ms,
    )


def _stepping_aside(message: Leased, transition: Transition) -> Transition:
    """
    Return *transition*, out of the message's lane where it would hold that up for too long until it is due (LA5).

    Where the whole channel rests, those behind it could not go either.
    """
    limit = message.policy.lane_block_seconds
    if limit is None or message.lane is None or transition.to is not State.SCHEDULED or transition.pause_ms is not None:
        return transition
    if transition.advance or (transition.due_ms or 0) - message.first_claimed_ms <= _whole_ms(limit):
        return transition
    return msgspec.structs.replace(
        transition, steps_aside=True, error=f"{transition.error}; it steps aside: its lane goes on without it"
    )


def _free_wait_ms(message: Leased, after: float | None, fraction: float) -> int:
    """Return the wait that a hint asks for; without one, the schedule's first delay."""
    hint = message.policy.bounded_hint(after)
    wait = hint if after is not None else message.policy.delay_seconds(1, fraction)
    return max(FREE_RETURN_MS_MIN, _whole_ms(wait))


def _whole_ms(seconds: float) -> int:
    """Return milliseconds, rounded up: never less than a platform asked for (contract RE4)."""
    return math.ceil(seconds * 1000)


def _is_non_final(message: Leased) -> bool:
    return message.kind is not Kind.FINAL
