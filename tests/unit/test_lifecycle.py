"""What follows from an attempt's outcome: `decide()`, case by case."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import msgspec
import pytest

from pillarbox.domain import lifecycle, ramp
from pillarbox.domain.lifecycle import (
    FREE_RETURNS_MAX,
    MOVES,
    UNTIL_RESUMED,
    behind,
    decide,
    lost_worker,
    postponed,
    release_unsent,
    suppressed,
    unrecorded,
)
from pillarbox.domain.message import State
from pillarbox.domain.outcome import (
    Deferred,
    Delivered,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.domain.retry import CHAT, SMTP, WEBHOOK, OnDead, OnHeld, Policy, UncertainAction
from pillarbox.domain.transition import ErrorClass, Reason, Transition
from tests.unit.leased_messages import BLOCK_KIND, LANE, NOW, STEADY, leased

if TYPE_CHECKING:
    from pillarbox.domain.message import Leased
    from pillarbox.domain.outcome import AnyOutcome

HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)
DROP = Policy(jitter=0.0, uncertain=UncertainAction.DROP)
BLOCKING = Policy(jitter=0.0, on_dead=OnDead.BLOCK)


def decided(
    message: Leased, outcome: AnyOutcome, *, fraction: float = 0.0, strikes: int = 0, failures: int = 0
) -> Transition:
    return decide(message, outcome, now_ms=NOW, fraction=fraction, strikes=strikes, failures=failures)


def waits(transition: Transition) -> float:
    """Seconds until the message is due again."""
    assert transition.to is State.SCHEDULED
    assert transition.due_ms is not None
    return (transition.due_ms - NOW) / 1000


def rest_of(transition: Transition) -> float:
    """Seconds until the message's channel is tried again."""
    assert transition.pause_ms
    return (transition.pause_ms - NOW) / 1000


# The table of moves


@pytest.mark.contract("ST1")
def test_the_table_holds_exactly_the_moves_of_the_contract() -> None:
    scheduled, held, leased_ = State.SCHEDULED, State.HELD, State.LEASED
    delivered, dead, expired, cancelled = State.DELIVERED, State.DEAD, State.EXPIRED, State.CANCELLED
    assert {(a, b) for a, b in product(State, State) if (a, b) in MOVES} == {
        (scheduled, leased_), (scheduled, delivered), (scheduled, dead), (scheduled, expired), (scheduled, cancelled),
        (leased_, scheduled), (leased_, held), (leased_, delivered), (leased_, dead), (leased_, expired),
        (leased_, cancelled),
        (held, scheduled), (held, delivered), (held, dead), (held, cancelled),
    }  # fmt: skip


@pytest.mark.contract("ST2")
def test_no_move_leads_out_of_a_terminal_state() -> None:
    assert [move for move in MOVES if move[0].terminal] == []


@pytest.mark.contract("EX1", "EX3")
def test_a_held_message_does_not_expire() -> None:
    assert (State.HELD, State.EXPIRED) not in MOVES


@pytest.mark.contract("ST1")
def test_the_terminal_states_are_the_four_of_the_contract() -> None:
    assert {state for state in State if state.terminal} == {
        State.DELIVERED,
        State.DEAD,
        State.EXPIRED,
        State.CANCELLED,
    }


# Each outcome


@pytest.mark.contract("CL1")
def test_a_delivered_message_keeps_its_receipt() -> None:
    assert decided(leased(), Delivered("r-1", answer="ok")) == Transition.deliver("r-1", answer="ok")


@pytest.mark.contract("CL1", "RE1")
def test_a_deferred_message_is_tried_again_and_charged() -> None:
    transition = decided(leased(), Deferred("no route"))
    assert transition == Transition.retry(due_ms=NOW + 5_000, error_class=ErrorClass.TRANSIENT, error="no route")
    assert transition.charged == 1
    assert transition.free == 0


@pytest.mark.contract("RE1")
def test_chats_delays_are_those_of_the_seeds() -> None:
    policy = msgspec.structs.replace(CHAT, jitter=0.0, max_attempts=100)
    delays = [waits(decided(leased(policy, charged=charged), Deferred("no"))) for charged in range(8)]
    assert delays == [5, 25, 120, 600, 600, 600, 600, 600]


@pytest.mark.contract("RE1")
def test_every_delay_of_a_schedule_is_counted_from_the_attempts_end_in_whole_milliseconds() -> None:
    policy = Policy(schedule=(0.0015, 1.0), jitter=0.0)
    assert decided(leased(policy), Deferred("no")).due_ms == NOW + 2


@pytest.mark.contract("RE2", "ST8")
@pytest.mark.parametrize("limit", [1, 2, 5, 17])
def test_n_attempts_are_exactly_n_calls_and_then_the_message_is_dead(limit: int) -> None:
    policy = Policy(jitter=0.0, max_attempts=limit)
    message = leased(policy)
    calls = 0
    while True:
        calls += 1
        transition = decided(message, Deferred("no"))
        assert transition.charged == 1
        if transition.to is not State.SCHEDULED:
            break
        message = leased(policy, charged=message.charged + 1, claims=message.claims + 1)
    assert calls == limit
    assert transition.to is State.DEAD
    assert transition.reason is Reason.RETRIES_EXHAUSTED
    assert transition.error == "no"


@pytest.mark.contract("CL1", "ST8")
@pytest.mark.parametrize("about", ["message", "recipient"])
def test_a_rejected_message_is_dead_at_once_with_its_attempt_and_error_counted(about: str) -> None:
    transition = decided(leased(), Rejected("no such chat", about=about))  # type: ignore[arg-type]
    burial = Transition.bury(Reason.REJECTED, error_class=ErrorClass.PERMANENT, error="no such chat")
    assert transition == msgspec.structs.replace(burial, suppress=about == "recipient")
    assert (transition.charged, transition.pause_ms) == (1, None)


@pytest.mark.contract("CL1")
def test_a_recipient_is_suppressed_where_that_is_on_and_what_is_kept_from_it_says_why() -> None:
    off = leased(Policy(suppress=False))
    assert not decided(off, Rejected("blocked", about="recipient")).suppress
    assert not decided(leased(), Rejected("gone", about="endpoint")).suppress
    transition = suppressed(leased(), "blocked")
    assert (transition.to, transition.reason) == (State.DEAD, Reason.SUPPRESSED)
    assert transition.error == "its recipient was refused before: blocked"
    assert suppressed(leased(BLOCKING, lane=LANE), "blocked").to is State.HELD


def test_a_rejection_without_a_word_says_what_it_was_about() -> None:
    assert decided(leased(), Rejected(about="recipient")).error == "rejected (recipient)"


@pytest.mark.contract("CL5")
def test_an_endpoint_that_is_gone_closes_its_channel_until_a_person_opens_it() -> None:
    transition = decided(leased(), Rejected("gone", about="endpoint"))
    assert transition.to is State.DEAD
    assert transition.pause_ms == 0


@pytest.mark.contract("RE5")
@pytest.mark.parametrize(
    "outcome",
    [
        RateLimited("slow down", after=7),
        RateLimited("slow down", scope="channel", after=7),
        Unavailable("out of order"),
        Unavailable("bad credentials", auth=True),
        Redirected("bob", reason="moved"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_what_is_no_fault_of_the_message_costs_it_nothing(outcome: AnyOutcome) -> None:
    message = leased(charged=4)  # one more charge would be the last
    transition = decided(message, outcome)
    assert transition.to is State.SCHEDULED
    assert (transition.charged, transition.free) == (0, 1)


@pytest.mark.contract("RE5")
@pytest.mark.parametrize("after", [0, -1.0, math.nan, 0.001, 0.999])
def test_a_free_return_is_due_no_sooner_than_a_second_later(after: float) -> None:
    assert waits(decided(leased(), RateLimited("slow", after=after))) == 1
    assert waits(decided(leased(), Redirected("bob"))) == 1
    assert lifecycle.release_unsent(leased(), "stopped", now_ms=NOW).due_ms == NOW + 1_000


def test_a_rate_limit_without_a_hint_waits_for_the_first_delay() -> None:
    assert waits(decided(leased(), RateLimited("slow"))) == 5


@pytest.mark.contract("RE5", "DR3")
def test_what_was_stopped_before_its_request_was_written_costs_nothing_and_clears_nobody() -> None:
    transition = lifecycle.release_unsent(leased(lost=2), "stopped", now_ms=NOW)
    assert (transition.to, transition.charged, transition.free) == (State.SCHEDULED, 0, 1)
    assert transition.lost == 2


@pytest.mark.contract("RE5")
def test_a_thousand_free_returns_without_a_ttl_hold_the_message() -> None:
    last = leased(expires_ms=None, free_returns=FREE_RETURNS_MAX - 1)
    for outcome in (RateLimited("slow"), Unavailable("gone"), Redirected("bob")):
        transition = decided(last, outcome)
        assert transition.to is State.HELD
        assert transition.reason is Reason.STUCK
        assert transition.charged == 0
    assert (
        decided(leased(expires_ms=None, free_returns=FREE_RETURNS_MAX - 2), Unavailable("gone")).to is State.SCHEDULED
    )


@pytest.mark.contract("RE5")
def test_with_a_ttl_only_the_ttl_ends_free_returns() -> None:
    assert decided(leased(free_returns=10 * FREE_RETURNS_MAX), RateLimited("slow")).to is State.SCHEDULED


@pytest.mark.contract("RE5", "FL1")
def test_a_rate_limit_of_the_channel_pauses_the_channel_as_long_as_the_message() -> None:
    transition = decided(leased(), RateLimited("slow", scope="channel", after=12))
    assert transition.pause_ms == transition.due_ms == NOW + 12_000
    assert decided(leased(), RateLimited("slow", scope="recipient", after=12)).pause_ms is None


@pytest.mark.contract("CL5", "RE5", "FL1")
def test_a_rate_limit_that_is_said_to_be_final_is_believed_twice_and_pauses_its_channel_each_time() -> None:
    outcome = RateLimited("554 later", scope="channel", bounded=True)
    first, second, third = (decided(leased(bounded_limits=told, charged=9), outcome) for told in range(3))
    # The message waits for later steps of its schedule; the others of its channel go on after the first.
    assert [waits(first), waits(second)] == [25, 120]
    assert first.pause_ms == second.pause_ms == third.pause_ms == NOW + 5_000
    assert [(one.charged, one.free, one.error) for one in (first, second)] == [(0, 1, "554 later")] * 2
    assert {one.error_class for one in (first, second, third)} == {ErrorClass.RATE_LIMITED_BOUNDED}
    assert (third.to, third.reason) == (State.DEAD, Reason.REJECTED)
    assert third.error == "rate limited 3 times by a refusal that is said to be final: 554 later"


@pytest.mark.contract("CL5", "RE4")
def test_a_final_rate_limit_keeps_the_servers_hint_and_its_scope() -> None:
    told = decided(leased(), RateLimited("x", scope="channel", after=1800, bounded=True))
    assert (waits(told), told.pause_ms) == (1800, NOW + 1_800_000)
    assert decided(leased(), RateLimited("x", bounded=True)).pause_ms is None
    assert decided(leased(bounded_limits=2), RateLimited("x")).to is State.SCHEDULED
    blocking = leased(Policy(on_dead=OnDead.BLOCK, jitter=0.0), lane=LANE, bounded_limits=2)
    assert decided(blocking, RateLimited("x", bounded=True)).to is State.HELD


@pytest.mark.contract("RE5")
def test_a_channel_that_stays_unavailable_rests_longer_each_time_up_to_an_hour() -> None:
    rests = [decided(leased(), Unavailable("bad password"), strikes=strikes) for strikes in range(9)]
    assert [rest_of(rest) for rest in rests] == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert {waits(rest) for rest in rests} == {1}, "the channel's rest alone keeps the message"


@pytest.mark.contract("FL1")
def test_a_recipient_rests_for_as_long_as_its_platform_says_beside_a_delivery() -> None:
    transition = decided(leased(), Delivered("r", rest=2.5))
    assert (transition.to, transition.rest_ms, transition.due_ms) == (State.DELIVERED, NOW + 2500, None)
    part = decided(leased(part_count=2), Delivered("r", rest=2.5))
    assert (part.advance, part.rest_ms, part.due_ms) == (True, NOW + 2500, NOW + 2500)
    assert decided(leased(), Delivered("r")).rest_ms is None


@pytest.mark.contract("RE5", "FL2")
def test_a_channel_whose_credentials_are_refused_rests_until_somebody_resumes_it() -> None:
    transition = decided(leased(), Unavailable("bad password", auth=True, after=5), strikes=3)
    assert (transition.pause_ms, transition.due_ms) == (UNTIL_RESUMED, NOW + 1000)


def test_a_redirected_message_goes_to_its_new_recipient() -> None:
    transition = decided(leased(), Redirected("bob", reason="moved"))
    assert (transition.recipient, transition.error) == ("bob", "moved")


# Server hints


@pytest.mark.contract("RE4")
@pytest.mark.parametrize("after", [0.0001, 5.0001, 30, 30.5, 600, 3600.25, 86_400])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.999])
def test_a_servers_hint_is_never_undercut(after: float, fraction: float) -> None:
    message = leased(CHAT)
    for outcome in (Deferred("busy", after=after), RateLimited("slow", after=after)):
        assert waits(decided(message, outcome, fraction=fraction)) >= after
    assert rest_of(decided(message, Unavailable("off", after=after), fraction=fraction)) >= after


@pytest.mark.contract("RE4")
@pytest.mark.parametrize("absurd", [math.inf, 86_401, 10**12])
def test_an_absurd_hint_is_cut_to_a_day(absurd: float) -> None:
    for outcome in (Deferred("no", after=absurd), RateLimited("no", after=absurd)):
        assert waits(decided(leased(), outcome)) == 86_400
    assert rest_of(decided(leased(), Unavailable("no", after=absurd))) == 86_400


@pytest.mark.contract("RE4")
def test_the_longest_hint_can_be_configured() -> None:
    policy = Policy(jitter=0.0, hint_seconds_max=90.0)
    assert waits(decided(leased(policy), Deferred("no", after=3600))) == 90


@pytest.mark.contract("RE4")
@pytest.mark.parametrize("absurd", [-1.0, math.nan, -math.inf, 0.0])
def test_a_hint_that_means_nothing_leaves_the_schedule_alone(absurd: float) -> None:
    assert waits(decided(leased(), Deferred("no", after=absurd))) == 5


@pytest.mark.contract("RE3")
def test_jitter_only_lengthens_a_delay_and_is_drawn_by_the_caller() -> None:
    policy = Policy(schedule=(10.0,), jitter=0.5)
    assert [waits(decided(leased(policy), Deferred("no"), fraction=f)) for f in (0.0, 0.5, 0.8)] == [10, 12.5, 14]


# Unclassified


@pytest.mark.contract("CL5")
def test_an_answer_that_no_table_knows_is_tried_three_times() -> None:
    message = leased(Policy(jitter=0.0, max_attempts=10))
    outcome = Deferred("HTTP 418", unclassified=True)
    assert decided(message, outcome).error_class is ErrorClass.UNCLASSIFIED
    assert decided(leased(message.policy, charged=1), outcome).to is State.SCHEDULED
    last = decided(leased(message.policy, charged=2), outcome)
    assert (last.to, last.reason, last.error_class) == (
        State.DEAD,
        Reason.RETRIES_EXHAUSTED,
        ErrorClass.UNCLASSIFIED,
    )


@pytest.mark.contract("CL5", "RE2")
def test_an_unclassified_answer_grants_no_attempt_beyond_the_messages_own_limit() -> None:
    assert decided(leased(Policy(max_attempts=1)), Deferred("HTTP 418", unclassified=True)).to is State.DEAD


# Uncertain


@pytest.mark.contract("UN1")
def test_resend_tries_again_and_charges() -> None:
    transition = decided(leased(), Uncertain("no answer"))
    assert (transition.to, transition.charged, transition.error_class) == (State.SCHEDULED, 1, ErrorClass.UNCERTAIN)
    assert waits(transition) == 5


@pytest.mark.contract("UN1")
def test_reconcile_asks_before_it_goes_again_and_leaves_the_last_word_to_a_person() -> None:
    policy = Policy(jitter=0.0, uncertain=UncertainAction.RECONCILE, max_attempts=3)
    again = decided(leased(policy), Uncertain("no answer"))
    assert (again.to, again.charged, waits(again)) == (State.SCHEDULED, 1, 5)
    last = decided(leased(policy, charged=2), Uncertain("no answer"))
    assert (last.to, last.reason, last.charged) == (State.HELD, Reason.UNCERTAIN, 1)
    unasked = decided(leased(policy, charged=2, undecided_ms=NOW), Deferred("cannot be asked now"))
    assert (unasked.to, unasked.reason) == (State.HELD, Reason.UNCERTAIN)
    assert decided(leased(policy, charged=2), Deferred("busy")).to is State.DEAD


@pytest.mark.contract("UN1")
def test_hold_waits_for_a_person() -> None:
    transition = decided(leased(Policy(uncertain=UncertainAction.HOLD)), Uncertain("no answer"))
    assert (transition.to, transition.reason, transition.error) == (State.HELD, Reason.UNCERTAIN, "no answer")
    assert transition.charged == 1
    assert transition.due_ms is None


@pytest.mark.contract("UN1")
def test_drop_gives_up() -> None:
    transition = decided(leased(DROP), Uncertain("no answer"))
    assert (transition.to, transition.reason, transition.charged) == (State.DEAD, Reason.UNCERTAIN, 1)


@pytest.mark.contract("UN1", "CL6")
def test_what_the_platform_sorts_out_itself_is_sent_again_under_every_policy() -> None:
    for action in UncertainAction:
        assert decided(leased(Policy(uncertain=action)), Uncertain("reset", covered=True)).to is State.SCHEDULED


@pytest.mark.contract("RE2", "UN1")
def test_an_uncertain_end_of_the_last_attempt_is_death_by_exhaustion() -> None:
    transition = decided(leased(charged=4), Uncertain("no answer"))
    assert (transition.to, transition.reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED)


@pytest.mark.contract("LA1", "UN1")
@pytest.mark.parametrize(("on_held", "keeps"), [(OnHeld.SKIP, False), (OnHeld.BLOCK, True)])
def test_a_held_message_keeps_its_turn_only_where_that_is_asked_for(on_held: OnHeld, *, keeps: bool) -> None:
    policy = Policy(uncertain=UncertainAction.HOLD, on_held=on_held)
    assert decided(leased(policy, lane=LANE), Uncertain("no answer")).keeps_turn is keeps
    stuck = leased(policy, lane=LANE, expires_ms=None, free_returns=FREE_RETURNS_MAX)
    assert decided(stuck, RateLimited("slow")).keeps_turn is keeps


# Heads that step aside

STEPPING = Policy(jitter=0.0, schedule=(5.0, 25.0, 120.0), lane_block_seconds=60.0)


@pytest.mark.contract("LA5")
@pytest.mark.parametrize(("tried_for", "aside"), [(0, False), (54, False), (55, False), (56, True)])
def test_a_head_steps_aside_when_its_next_try_would_be_too_long_after_its_first(tried_for: int, *, aside: bool) -> None:
    head = leased(STEPPING, lane=LANE, first_claimed_ms=NOW - tried_for * 1000)
    transition = decided(head, Deferred("busy"))
    assert transition.steps_aside is aside
    assert waits(transition) == 5, "its retries stay as they are"
    assert transition.error == ("busy; it steps aside: its lane goes on without it" if aside else "busy")


@pytest.mark.contract("LA5")
def test_nobody_steps_aside_without_a_lane_a_limit_or_a_way_past_it() -> None:
    long_ago = NOW - 86_400_000
    assert not decided(leased(STEPPING, lane=None, first_claimed_ms=long_ago), Deferred("busy")).steps_aside
    unlimited = msgspec.structs.replace(STEPPING, lane_block_seconds=None)
    assert not decided(leased(unlimited, lane=LANE, first_claimed_ms=long_ago), Deferred("busy")).steps_aside
    head = leased(STEPPING, lane=LANE, first_claimed_ms=long_ago)
    assert not decided(head, RateLimited("slow", scope="channel")).steps_aside, "the whole channel rests"
    assert not decided(head, Rejected("no")).steps_aside, "it has ended"
    split = leased(STEPPING, lane=LANE, first_claimed_ms=long_ago, part_count=3, part_next=1)
    assert not decided(split, Delivered("r")).steps_aside, "its next part goes at once"
    assert decided(split, Deferred("busy")).steps_aside


@pytest.mark.contract("LA5", "LE4", "HO3")
def test_what_is_given_back_in_another_way_steps_aside_as_well() -> None:
    head = leased(STEPPING, lane=LANE, first_claimed_ms=NOW - 60_001)
    assert lost_worker(head, now_ms=NOW, fraction=0.0).steps_aside
    assert lost_worker(head, now_ms=NOW, fraction=0.0, suspect_ms=NOW).steps_aside
    assert postponed(head, "later", seconds=5, now_ms=NOW).steps_aside
    assert unrecorded(head, "out of range", now_ms=NOW, fraction=0.0).steps_aside
    asking = msgspec.structs.replace(STEPPING, uncertain=UncertainAction.RECONCILE)
    beside = leased(asking, lane=LANE, first_claimed_ms=NOW - 60_001)
    assert lost_worker(beside, now_ms=NOW, fraction=0.0, suspect_ms=NOW).steps_aside
    assert not release_unsent(head, "stopped", now_ms=NOW).steps_aside, "a stop is not the message's doing"


# Lost workers


@pytest.mark.contract("LE2", "UN1")
def test_a_lost_worker_is_an_uncertain_end_that_is_charged_and_counted() -> None:
    transition = lost_worker(leased(lost=1), now_ms=NOW, fraction=0.0)
    assert (transition.to, transition.charged, transition.lost) == (State.SCHEDULED, 1, 2)
    assert transition.error_class is ErrorClass.WORKER_LOST
    assert waits(transition) == 1


@pytest.mark.contract("LE4")
@pytest.mark.parametrize("policy", [Policy(), WEBHOOK, SMTP], ids=["chat", "webhook", "smtp"])
def test_the_waits_after_a_lost_worker_are_their_own_whatever_the_channel_s(policy: Policy) -> None:
    lasting = msgspec.structs.replace(policy, max_attempts=100, jitter=0.0)
    waited = [
        waits(lost_worker(leased(lasting, lost=lost, charged=lost), now_ms=NOW, fraction=0.5)) for lost in range(7)
    ]
    assert waited == [0, 1, 5, 30, 120, 120, 120]


@pytest.mark.contract("LE4", "RE3")
def test_the_waits_after_a_lost_worker_are_spread_as_others_are() -> None:
    transition = lost_worker(leased(Policy(jitter=0.2), lost=2), now_ms=NOW, fraction=0.5)
    assert waits(transition) == 5.5


@pytest.mark.contract("LE4", "RE1")
def test_after_an_answer_the_channel_s_own_waits_go_on() -> None:
    assert waits(decided(leased(Policy(jitter=0.0), lost=3, charged=1), Deferred("busy"))) == 25


@pytest.mark.contract("LE2")
def test_whoever_used_up_its_attempts_is_dead_although_its_worker_was_lost() -> None:
    transition = lost_worker(leased(charged=4), now_ms=NOW, fraction=0.0)
    assert (transition.to, transition.reason, transition.lost) == (State.DEAD, Reason.RETRIES_EXHAUSTED, 1)


@pytest.mark.contract("LE2", "LA2")
@pytest.mark.parametrize(
    ("lost", "claimed_ms", "after", "charged"),
    [
        (2, NOW, 3, 1),  # the suspect itself
        (3, NOW - 1, 3, 0),  # an earlier one, which had done no harm until then
        (0, NOW - 1, 0, 0),
        (1, NOW - 1, 1, 0),
        (0, NOW, 1, 0),  # begun after it: it may be a second one
        (1, NOW + 5000, 2, 0),
    ],
)
def test_who_is_taken_for_the_killer_is_told_by_when_it_began(
    lost: int, claimed_ms: int, after: int, charged: int
) -> None:
    message = leased(lost=lost, charged=4 if charged == 0 else 0, claimed_ms=claimed_ms)
    transition = lost_worker(message, now_ms=NOW, fraction=0.0, suspect_ms=NOW)
    assert (transition.to, transition.lost, transition.charged) == (State.SCHEDULED, after, charged)
    assert transition.error_class is ErrorClass.WORKER_LOST


@pytest.mark.contract("LE2", "UN1", "DK1")
def test_what_flew_beside_a_suspect_is_held_where_it_may_have_been_sent() -> None:
    for message, end in ((leased(HOLD), State.HELD), (leased(kind=BLOCK_KIND), State.DEAD)):
        assert lost_worker(message, now_ms=NOW, fraction=0.0, suspect_ms=NOW - 5000).to is end


@pytest.mark.contract("LE2")
def test_whoever_lost_as_many_workers_as_it_has_attempts_is_what_kills_them() -> None:
    transition = lost_worker(leased(lost=4, charged=4), now_ms=NOW, fraction=0.0)
    assert (transition.to, transition.reason, transition.lost) == (State.DEAD, Reason.KILLS_WORKERS, 5)
    assert "5 workers" in (transition.error or "")


@pytest.mark.contract("LE2")
@pytest.mark.parametrize(
    "outcome", [Deferred("no"), Uncertain("no answer"), RateLimited("slow"), Unavailable("off"), Redirected("bob")]
)
def test_any_end_that_a_worker_lives_to_tell_clears_a_suspect(outcome: AnyOutcome) -> None:
    assert decided(leased(lost=3), outcome).lost == 0


@pytest.mark.contract("UN1", "LE2")
@pytest.mark.parametrize("attempts", [1, 5])
def test_a_crash_follows_the_uncertain_policy_even_at_the_last_attempt(attempts: int) -> None:
    hold = msgspec.structs.replace(HOLD, max_attempts=attempts)
    held = lost_worker(leased(hold, lost=attempts - 1), now_ms=NOW, fraction=0.0)
    assert (held.to, held.reason, held.error_class) == (State.HELD, Reason.UNCERTAIN, ErrorClass.WORKER_LOST)
    assert held.lost == attempts
    drop = msgspec.structs.replace(DROP, max_attempts=attempts)
    assert lost_worker(leased(drop), now_ms=NOW, fraction=0.0).reason is Reason.UNCERTAIN


# Non-final messages


@pytest.mark.contract("DK1")
@pytest.mark.parametrize("outcome", [Deferred("no"), Uncertain("no answer"), Uncertain("reset", covered=True)])
@pytest.mark.parametrize("policy", [STEADY, HOLD, BLOCKING])
def test_a_non_final_message_that_failed_is_dead_at_once(outcome: AnyOutcome, policy: Policy) -> None:
    transition = decided(leased(policy, kind=BLOCK_KIND, lane=LANE), outcome)
    assert (transition.to, transition.reason, transition.charged) == (State.DEAD, Reason.NON_FINAL, 1)


@pytest.mark.contract("DK1")
@pytest.mark.parametrize("attempts", [1, 5])
def test_a_non_final_message_whose_worker_was_lost_is_dead(attempts: int) -> None:
    message = leased(Policy(max_attempts=attempts), kind=BLOCK_KIND)
    assert lost_worker(message, now_ms=NOW, fraction=0.0).reason is Reason.NON_FINAL


@pytest.mark.contract("DK1", "RE5")
@pytest.mark.parametrize("outcome", [RateLimited("slow"), Unavailable("off"), Redirected("bob")])
def test_a_free_end_does_not_kill_a_non_final_message(outcome: AnyOutcome) -> None:
    assert decided(leased(kind=BLOCK_KIND), outcome).to is State.SCHEDULED


# A lane that waits behind its dead


@pytest.mark.contract("LA1")
def test_on_dead_block_makes_every_burial_a_hold_that_keeps_its_turn_and_its_reason() -> None:
    drop = msgspec.structs.replace(BLOCKING, uncertain=UncertainAction.DROP)
    burials = {
        Reason.REJECTED: decided(leased(BLOCKING, lane=LANE), Rejected("no")),
        Reason.RETRIES_EXHAUSTED: decided(leased(BLOCKING, lane=LANE, charged=4), Deferred("no")),
        Reason.UNCERTAIN: decided(leased(drop, lane=LANE), Uncertain("no answer")),
        Reason.KILLS_WORKERS: lost_worker(leased(BLOCKING, lane=LANE, lost=4), now_ms=NOW, fraction=0.0),
        Reason.UNREADABLE: lifecycle.unreadable(leased(BLOCKING, lane=LANE), "malformed"),
        Reason.INVALID: lifecycle.refused(leased(BLOCKING, lane=LANE), "to: expected a number"),
    }
    for reason, transition in burials.items():
        assert (transition.to, transition.reason, transition.keeps_turn, transition.charged) == (
            State.HELD, reason, True, 1,
        )  # fmt: skip


@pytest.mark.contract("LA1", "CL5")
def test_an_endpoint_that_is_gone_is_closed_also_where_its_message_is_held() -> None:
    transition = decided(leased(BLOCKING, lane=LANE), Rejected("gone", about="endpoint"))
    assert (transition.to, transition.pause_ms) == (State.HELD, 0)


@pytest.mark.contract("LA1")
def test_a_dead_message_in_no_lane_holds_nobody_up() -> None:
    assert decided(leased(BLOCKING, lane=None), Rejected("no")).to is State.DEAD


# Ends without an attempt


@pytest.mark.contract("EX2")
def test_the_ttl_is_over_only_after_its_last_millisecond() -> None:
    assert not lifecycle.expired(NOW, NOW)
    assert lifecycle.expired(NOW, NOW + 1)
    assert not lifecycle.expired(None, NOW)


@pytest.mark.contract("ST9", "EN16")
def test_what_cannot_be_read_or_is_not_admitted_is_dead_with_its_reason() -> None:
    unreadable = lifecycle.unreadable(leased(), "malformed")
    assert (unreadable.to, unreadable.reason, unreadable.error) == (State.DEAD, Reason.UNREADABLE, "malformed")
    invalid = lifecycle.refused(leased(), "to: expected a number")
    assert (invalid.to, invalid.reason, invalid.error) == (State.DEAD, Reason.INVALID, "to: expected a number")


@pytest.mark.contract("OP3")
def test_a_cancel_while_it_was_sent_ends_it_with_what_the_attempt_cost_and_said() -> None:
    cancelled = lifecycle.cancelled(decided(leased(), Deferred("no route")))
    assert (cancelled.to, cancelled.reason, cancelled.charged, cancelled.error) == (
        State.CANCELLED, Reason.REQUESTED, 1, "no route",
    )  # fmt: skip
    assert lifecycle.cancelled(decided(leased(), RateLimited("slow"))).charged == 0


# Outages


@pytest.mark.contract("FL2", "RE5")
@pytest.mark.parametrize(
    ("failures", "strikes", "max_attempts", "free"),
    [(0, 0, 5, False), (1, 0, 5, False), (2, 0, 5, True), (0, 1, 5, True), (1, 0, 2, True), (0, 0, 1, True)],
)
def test_a_channel_that_lets_nothing_through_costs_no_attempt_once_its_breaker_is_open(
    failures: int, strikes: int, max_attempts: int, *, free: bool
) -> None:
    message = leased(STEADY, charged=max_attempts - 1 if free else 0, max_attempts=max_attempts)
    transition = decided(message, Deferred("refused", outage=True), failures=failures, strikes=strikes)
    assert (transition.to, transition.charged) == (State.SCHEDULED, 0 if free else 1)
    assert transition.error_class == (ErrorClass.OUTAGE if free else ErrorClass.TRANSIENT)
    assert (transition.pause_ms is not None) is free


@pytest.mark.contract("FL2")
def test_an_open_breaker_lets_a_message_try_again_sooner_at_first() -> None:
    refused = Deferred("refused", outage=True)
    pauses = [decided(leased(STEADY), refused, failures=3, strikes=n).pause_ms or 0 for n in range(9)]
    assert [(pause - NOW) // 1000 for pause in pauses] == [5, 10, 20, 40, 60, 60, 60, 60, 60]
    asked = decided(leased(STEADY), Deferred("later", outage=True, after=90), failures=3)
    assert (asked.pause_ms, asked.due_ms) == (NOW + 90_000, NOW + 1000)


@pytest.mark.contract("FL2")
def test_what_fails_by_itself_alone_is_charged_whatever_its_channel_does() -> None:
    assert decided(leased(STEADY), Deferred("busy"), strikes=2, failures=9).charged == 1


@pytest.mark.contract("FL2")
def test_a_channel_is_opened_step_by_step_and_then_wholly() -> None:
    allowed = [ramp.most_at_once(NOW, NOW + after) for after in (0, 999, 1000, 2500, 9999, 10_000)]
    assert allowed == [2, 2, 4, 8, 1024, None]
    assert ramp.most_at_once(NOW, NOW - 1) is None


@pytest.mark.contract("LE2", "UN1")
def test_what_flew_beside_a_suspect_loses_no_attempt_where_its_platform_can_be_asked_either() -> None:
    policy = msgspec.structs.replace(CHAT, uncertain=UncertainAction.RECONCILE)
    beside = lost_worker(leased(policy), now_ms=NOW, fraction=0.0, suspect_ms=NOW)
    assert (beside.to, beside.charged, beside.error_class) == (State.SCHEDULED, 0, ErrorClass.WORKER_LOST)


@pytest.mark.contract("CO5", "LA1")
@pytest.mark.parametrize(("due_in", "wait"), [(-5_000, 1_000), (20_000, 20_000), (3_600_000, 60_000)])
def test_a_change_makes_way_for_its_message(due_in: int, wait: int) -> None:
    transition = behind(leased(CHAT, lane=LANE), "not there yet", target_due_ms=NOW + due_in, now_ms=NOW)
    assert (transition.steps_aside, transition.due_ms, transition.charged) == (True, NOW + wait, 0)
    assert not behind(leased(CHAT, lane=None), "not there yet", target_due_ms=NOW, now_ms=NOW).steps_aside
    tired = leased(CHAT, lane=LANE, expires_ms=None, free_returns=FREE_RETURNS_MAX - 1)
    stuck = behind(tired, "not there yet", target_due_ms=NOW, now_ms=NOW)
    assert (stuck.to, stuck.steps_aside) == (State.HELD, False)
