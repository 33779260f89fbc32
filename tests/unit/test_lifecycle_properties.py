"""What holds for a message whatever happens to it: whole lives, drawn at random, through `decide()`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.envelope import Kind
from pillarbox.domain.lifecycle import MOVES, decide, lost_worker, release_unsent
from pillarbox.domain.message import State
from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Delivered,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.domain.retry import FREE_RETURN_MS_MIN, OnDead, OnHeld, Policy, UncertainAction
from pillarbox.domain.transition import Reason
from tests.unit.leased_messages import LANE, NOW, leased

if TYPE_CHECKING:
    from pillarbox.domain.transition import Transition

hints = st.none() | st.floats(allow_nan=True, allow_infinity=True)
texts = st.text(max_size=5)
scopes = st.sampled_from(["recipient", "channel"])
outcomes: st.SearchStrategy[AnyOutcome] = st.one_of(
    st.builds(Delivered, st.none() | texts),
    st.builds(Deferred, texts, after=hints, unclassified=st.booleans()),
    st.builds(RateLimited, texts, scope=scopes, after=hints),
    st.builds(Rejected, texts, about=st.sampled_from(["message", "recipient", "endpoint"])),
    st.builds(Redirected, st.text("abc", min_size=1, max_size=5), reason=texts),
    st.builds(Unavailable, texts, after=hints),
    st.builds(Uncertain, texts, after=hints, covered=st.booleans()),
)
# What may end an attempt besides an outcome: the worker's death, and a stop before the request was written.
LOST, STOPPED = "lost", "stopped"
ends = st.one_of(outcomes, st.sampled_from([LOST, STOPPED]))
policies = st.builds(
    Policy,
    schedule=st.lists(st.floats(0.001, 1e6), min_size=1, max_size=4).map(tuple),
    max_attempts=st.integers(1, 8),
    uncertain=st.sampled_from(UncertainAction),
    on_dead=st.sampled_from(OnDead),
    on_held=st.sampled_from(OnHeld),
    lane_block_seconds=st.none() | st.floats(0.001, 1e6),
    jitter=st.floats(0, 1),
)
lanes = st.sampled_from([None, LANE])
kinds = st.sampled_from(range(len(Kind)))
fractions = st.floats(0, 1, exclude_max=True)


@dataclass
class Life:
    """One message's counters, as the store adds them up."""

    policy: Policy
    kind: int = 0
    lane: str | None = None
    expires_ms: int | None = None
    claims: int = 0
    charged: int = 0
    lost: int = 0
    free_returns: int = 0
    now_ms: int = NOW
    state: State = State.SCHEDULED

    def live(self, end: AnyOutcome | str, fraction: float) -> Transition:
        """Claim once, let the attempt end so, and add up."""
        self.claims += 1
        message = leased(
            self.policy,
            kind=self.kind,
            lane=self.lane,
            expires_ms=self.expires_ms,
            claims=self.claims,
            charged=self.charged,
            lost=self.lost,
            free_returns=self.free_returns,
        )
        if end == LOST:
            transition = lost_worker(message, now_ms=self.now_ms, fraction=fraction)
        elif end == STOPPED:
            transition = release_unsent(message, "stopped", now_ms=self.now_ms)
        else:
            assert not isinstance(end, str)
            transition = decide(message, end, now_ms=self.now_ms, fraction=fraction)
        self.charged += transition.charged
        self.free_returns = self.free_returns + 1 if transition.free else 0
        self.lost = transition.lost
        self.state = transition.to
        self.now_ms = max(self.now_ms, transition.due_ms or 0)
        return transition


lives = st.builds(Life, policy=policies, kind=kinds, lane=lanes, expires_ms=st.none() | st.just(NOW + 3_600_000))


@pytest.mark.contract("ST1", "ST2")
@given(lives, ends, fractions)
def test_every_end_of_an_attempt_is_a_move_of_the_table(life: Life, end: AnyOutcome | str, fraction: float) -> None:
    transition = life.live(end, fraction)
    assert (State.LEASED, transition.to) in MOVES


@pytest.mark.contract("LE2", "RE2")
@given(lives, st.lists(st.tuples(ends, fractions), max_size=40))
def test_attempts_never_vanish_and_are_never_refunded(life: Life, story: list[tuple[AnyOutcome | str, float]]) -> None:
    for end, fraction in story:
        if life.state is not State.SCHEDULED:
            break
        before = life.charged
        transition = life.live(end, fraction)
        assert life.charged - before in (0, 1)
        # An attempt that goes on is either charged or free, never both and never neither.
        if transition.to is State.SCHEDULED:
            assert transition.charged + transition.free == 1
    assert life.charged <= life.claims


@pytest.mark.contract("RE2")
@given(lives, st.lists(st.tuples(ends, fractions), max_size=60))
def test_no_message_outlives_its_charged_attempts(life: Life, story: list[tuple[AnyOutcome | str, float]]) -> None:
    for end, fraction in story:
        if life.state is not State.SCHEDULED:
            break
        life.live(end, fraction)
    assert life.charged <= life.policy.max_attempts
    if life.charged == life.policy.max_attempts:
        assert life.state is not State.SCHEDULED


@pytest.mark.contract("RE5", "RE4")
@given(lives, ends, fractions)
def test_what_is_tried_again_is_due_later_and_a_free_return_at_least_a_second(
    life: Life, end: AnyOutcome | str, fraction: float
) -> None:
    transition = life.live(end, fraction)
    if transition.to is State.SCHEDULED:
        assert transition.due_ms is not None
        # After the first lost worker it goes at once (LE4).
        assert transition.due_ms > NOW or (end == LOST and transition.lost == 1 and transition.due_ms == NOW)
        if transition.free:
            assert transition.due_ms >= NOW + FREE_RETURN_MS_MIN
        after = getattr(end, "after", None)
        if after is not None and 0 < after <= life.policy.hint_seconds_max:
            # What keeps the whole channel keeps the message too.
            assert (max(transition.due_ms, transition.pause_ms or 0) - NOW) / 1000 >= after - 1e-9
    else:
        assert transition.due_ms is None


@pytest.mark.contract("ST8", "ST1")
@given(lives, ends, fractions)
def test_whatever_does_not_go_on_says_why(life: Life, end: AnyOutcome | str, fraction: float) -> None:
    transition = life.live(end, fraction)
    match transition.to:
        case State.DELIVERED:
            assert transition.reason is None
        case State.SCHEDULED:
            assert transition.reason is None
            assert transition.error
        case _:
            assert transition.reason is not None
            assert transition.error
            # A failure counts its attempt; only what was always free is held without.
            assert transition.charged == (transition.reason is not Reason.STUCK)


@pytest.mark.contract("LA1")
@given(lives, ends, fractions)
def test_no_terminal_message_keeps_a_turn(life: Life, end: AnyOutcome | str, fraction: float) -> None:
    transition = life.live(end, fraction)
    if transition.keeps_turn:
        assert transition.to is State.HELD


@pytest.mark.contract("RE3")
@given(policies, st.integers(1, 50), fractions)
def test_a_delay_lies_in_its_jitters_range(policy: Policy, charged: int, fraction: float) -> None:
    base = policy.schedule[min(charged, len(policy.schedule)) - 1]
    assert base <= policy.delay_seconds(charged, fraction) <= base * (1 + policy.jitter)
