"""One range for every moment that comes in; what is stored is always shown (contract EN13, PR1)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pillarbox.domain.explain import texts
from pillarbox.domain.moments import MS_MAX, budget_ms, moment_ms, span_ms, to_datetime, to_ms
from pillarbox.errors import InvalidMessage
from pillarbox.views import stamp

NOW_MS = 1_800_000_000_000
BEHIND, AHEAD = timezone(timedelta(hours=-12)), timezone(timedelta(hours=14))


@pytest.mark.contract("EN13")
@pytest.mark.parametrize(
    "at",
    [
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=BEHIND), datetime(1, 1, 1, tzinfo=AHEAD),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2030, 1, 1),  # noqa: DTZ001 — to see it refused
        timedelta.max, timedelta(microseconds=-1), timedelta.min, 5, "tomorrow", "2030-01-31T09:00", "-5s",
        f"{10**400}d", None, math.nan,
    ],
)  # fmt: skip
def test_a_moment_beyond_the_calendar_is_refused_by_name(at: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^at: expected a "):
        moment_ms("at", at, NOW_MS)


@pytest.mark.parametrize(
    ("at", "ms"),
    [
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), MS_MAX),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, tzinfo=BEHIND), 12 * 3_600_000),
        ("1970-01-01T01:00+01:00", 0),
        ("0s", NOW_MS),
        ("1.5h", NOW_MS + 5_400_000),
        (timedelta(), NOW_MS),
        (timedelta(milliseconds=1), NOW_MS + 1),
    ],
)
def test_a_moment_inside_it_is_taken(at: datetime | timedelta, ms: int) -> None:
    assert moment_ms("at", at, NOW_MS) == ms


@pytest.mark.contract("PR1")
@pytest.mark.parametrize(
    "span",
    [0, -1, 1e-9, 0.0009, math.nan, math.inf, 1e16, 1e300, 10**400, 10**5000, True, "five", "0s", "0.5ms", None,
     timedelta(), timedelta(microseconds=1), timedelta(microseconds=999), -timedelta(1)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_span_that_rounds_to_nothing_or_is_beyond_the_calendar_is_refused_by_name(span: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^age: expected a span of at least 1 ms"):
        span_ms("age", span)


@pytest.mark.parametrize(
    ("span", "ms"), [(0.001, 1), (1, 1000), (1.9999, 1999), (timedelta(milliseconds=1), 1), (timedelta(days=1e6), None)]
)
def test_a_span_is_counted_in_whole_milliseconds(span: float | timedelta, ms: int | None) -> None:
    found = span_ms("age", span)
    assert isinstance(found, int)
    assert ms in {None, found}


@pytest.mark.parametrize("ms", [-(1 << 63), -62_135_596_800_001, MS_MAX + 1, (1 << 63) - 1])
def test_whatever_is_stored_is_shown(ms: int) -> None:
    assert to_datetime(ms).year in {1, 9999}
    assert stamp(ms)
    assert texts.at(ms)


def test_a_time_comes_back_as_it_was() -> None:
    for ms in (0, 1, NOW_MS, MS_MAX, -1):
        assert to_ms(to_datetime(ms)) == ms


@pytest.mark.contract("DR1")
@pytest.mark.parametrize("span", [-1, -5e-324, math.nan, math.inf, 1e300, 10**400, True, "5", None, -timedelta(1)])
def test_a_budget_that_means_nothing_is_refused_by_name(span: object) -> None:
    with pytest.raises(
        InvalidMessage,
        match=r"^budget: expected a span of 0 or more in seconds, a timedelta or text such as '10m', not ",
    ):
        budget_ms("budget", span)


@pytest.mark.parametrize(("span", "ms"), [(0, 0), (0.0009, 0), (1.9999, 1999), (timedelta(seconds=2), 2000)])
def test_a_budget_may_be_nothing(span: float | timedelta, ms: int) -> None:
    assert budget_ms("budget", span) == ms
