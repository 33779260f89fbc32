"""The rules, in their order (contract IM4), and the numbers that other programs write."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.message import State
from pillarbox.imports.entry import HOUR_MS, MAX_AGE_MS, OnUncertain, Outcome, Terms
from pillarbox.imports.rules import Facts, Standing, counter, judge, limit_of, moment, next_attempt_ms, whole

NOW: Final = 1_773_576_000_000
TERMS: Final = Terms(now_ms=NOW)
HELD: Final = (Outcome.IMPORTED, State.HELD)
SCHEDULED: Final = (Outcome.IMPORTED, State.SCHEDULED)
DEAD: Final = (Outcome.TERMINAL, State.DEAD)
EXPIRED: Final = (Outcome.TERMINAL, State.EXPIRED)
QUARANTINED: Final = (Outcome.QUARANTINED, None)


@pytest.mark.contract("IM4", "IM5")
@pytest.mark.parametrize(
    ("facts", "result"),
    [
        ({"enqueued": NOW}, SCHEDULED),
        ({"enqueued": NOW, "attempts": 4}, SCHEDULED),
        # 3: what has ended, has ended, whatever else is true of it
        ({"standing": Standing.FAILED, "uncertain": True, "final": False}, DEAD),
        ({"standing": Standing.EXPIRED, "attempts": 9}, EXPIRED),
        # 4 before 5, 5 before 6
        ({"enqueued": NOW, "final": False, "uncertain": True}, DEAD),
        ({"enqueued": NOW, "attempts": 5, "uncertain": True}, DEAD),
        ({"attempts": 7}, DEAD),
        ({"enqueued": NOW, "attempts": 2, "limit": 2}, DEAD),
        ({"enqueued": NOW, "attempts": 6, "limit": 10}, DEAD),
        ({"enqueued": NOW, "attempts": 1, "limit": 2}, SCHEDULED),
        # 6 before 7 and 8
        ({"enqueued": NOW - 30 * 24 * HOUR_MS, "uncertain": True}, HELD),
        ({"uncertain": True}, HELD),
        ({"ages": False, "uncertain": True, "expires_ms": NOW - 1}, HELD),
        # 7
        ({}, QUARANTINED),
        ({"enqueued": "yesterday"}, QUARANTINED),
        ({"enqueued": math.nan}, QUARANTINED),
        ({"enqueued": True}, QUARANTINED),
        ({"enqueued": 0}, QUARANTINED),
        ({"enqueued": -1}, QUARANTINED),
        ({"enqueued": NOW + 1}, QUARANTINED),
        ({"enqueued": NOW - MAX_AGE_MS}, QUARANTINED),
        ({"enqueued": NOW - MAX_AGE_MS + 1}, SCHEDULED),
        ({"enqueued": NOW - 0.5}, SCHEDULED),
        # 8
        ({"ages": False, "expires_ms": NOW - 1}, EXPIRED),
        ({"ages": False, "expires_ms": NOW}, SCHEDULED),
        ({"ages": False}, SCHEDULED),
    ],
)
def test_the_first_rule_that_fits_decides(facts: dict[str, Any], result: tuple[Outcome, State | None]) -> None:
    verdict = judge(Facts(**facts), TERMS)
    assert (verdict.outcome, verdict.state) == result
    assert verdict.reason


@pytest.mark.contract("IM5")
def test_an_uncertain_send_that_may_be_repeated_is_judged_like_one_that_was_not_begun() -> None:
    terms = Terms(now_ms=NOW, on_uncertain=OnUncertain.RESEND)
    assert judge(Facts(enqueued=NOW, uncertain=True), terms).state is State.SCHEDULED
    assert judge(Facts(enqueued=NOW - MAX_AGE_MS, uncertain=True), terms).outcome is Outcome.QUARANTINED
    assert judge(Facts(ages=False, expires_ms=NOW - 1, uncertain=True), terms).state is State.EXPIRED


@pytest.mark.contract("IM4")
@pytest.mark.parametrize(
    ("attempts", "wait_ms"), [(1, 5_000), (2, 25_000), (3, 120_000), (4, 600_000), (5, 600_000), (99, 600_000)]
)
def test_a_retry_keeps_its_pause(attempts: int, wait_ms: int) -> None:
    assert next_attempt_ms(attempts, last_ms=NOW - 1, enqueued_ms=5, now_ms=NOW) == NOW - 1 + wait_ms
    assert next_attempt_ms(attempts, last_ms=None, enqueued_ms=NOW - 7, now_ms=NOW) == NOW - 7 + wait_ms
    # A clock that ran ahead does not put it off for years.
    assert next_attempt_ms(attempts, last_ms=NOW + (1 << 50), enqueued_ms=5, now_ms=NOW) == NOW + wait_ms


def test_without_a_failure_there_is_nothing_to_wait_for() -> None:
    assert next_attempt_ms(0, last_ms=NOW, enqueued_ms=NOW, now_ms=NOW) is None


@pytest.mark.contract("IM4")
@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0), (3, 3), (2.0, 2), (2.9, 2), (-3, 0), (-0.5, 0), (None, 0), ("NaN", 0), ("4", 0), (math.nan, 0),
        (math.inf, 0), (-math.inf, 0), (True, 0), ([], 0), ({}, 0), (10**18, 1 << 53), (1e300, 1 << 53),
    ],
)  # fmt: skip
def test_a_counter_that_is_none_counts_as_nothing(value: object, count: int) -> None:
    assert counter(value) == count


def test_times_and_limits_that_make_no_sense_are_none() -> None:
    assert [moment(value) for value in (None, 0, -1, "1", True, 10**17, NOW, NOW + 0.7)] == [None] * 6 + [NOW] * 2
    assert [limit_of(value) for value in (None, 0, -1, "3", 10_001, True, 1, 3.0)] == [None] * 6 + [1, 3]


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary())
def test_any_value_is_a_number_or_none(value: object) -> None:
    found = whole(value)
    assert found is None or abs(found) <= 1 << 53
    assert 0 <= counter(value) <= 1 << 53
