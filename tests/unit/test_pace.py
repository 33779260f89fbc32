"""What a rate lets through: never more than it says in any span, and hardly less (contract FL1)."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pillarbox.domain.pace import Log, Pace, Rate, parse_rates
from pillarbox.errors import ConfigError

RATES = st.lists(st.builds(Rate, st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=3).map(tuple)


def most_in(times: list[int], span_ms: int) -> int:
    """Return how many of the rising *times* lie in the fullest span."""
    first = best = 0
    for last, at in enumerate(times):
        while times[first] <= at - span_ms:
            first += 1
        best = max(best, last - first + 1)
    return best


@pytest.mark.contract("FL1")
@settings(deadline=None, max_examples=60)
@given(RATES, st.lists(st.integers(0, 700), min_size=1, max_size=150), st.integers(1, 50))
def test_no_span_holds_more_than_its_rate_whenever_somebody_asks(
    rates: tuple[Rate, ...], waits: list[int], most: int
) -> None:
    log, now_ms, times = Log(), 0, list[int]()
    for wait in waits:
        now_ms += wait
        count = min(most, log.free(rates, now_ms))
        if count:
            log.take(rates, now_ms, count)
            times += [now_ms] * count
        else:
            assert now_ms < log.next_ms(rates, now_ms)
    for rate in rates:
        assert most_in(times, rate.seconds * 1000) <= rate.count


@pytest.mark.contract("FL1")
@settings(deadline=None, max_examples=60)
@given(RATES, RATES, st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 1)), min_size=1, max_size=150))
@example((Rate(2, 2),), (Rate(1, 1),), [(0, 1), (1020, 1), (0, 0)])
def test_of_workers_with_different_rates_each_keeps_to_its_own_over_what_all_of_them_sent(
    one: tuple[Rate, ...], other: tuple[Rate, ...], turns: list[tuple[int, int]]
) -> None:
    log, now_ms, times = Log(), 0, list[int]()
    # Of what went before a worker began, or while it rested, nobody may have kept as much as its span needs.
    began_ms, last_ms = [0, 0], [-1, -1]
    for wait, worker in turns:
        now_ms += wait
        rates = (one, other)[worker]
        count = min(7, log.free(rates, now_ms))
        if not count:
            continue
        log.take(rates, now_ms, count)
        times += [now_ms] * count
        if last_ms[worker] < 0 or now_ms - last_ms[worker] >= max(rate.window_ms for rate in rates):
            began_ms[worker] = now_ms
        last_ms[worker] = now_ms
        for rate in rates:
            since_ms = max(began_ms[worker] - 1, now_ms - rate.seconds * 1000)
            assert sum(at > since_ms for at in times) <= rate.count


@pytest.mark.contract("FL1")
def test_a_short_memory_lets_nobody_exceed_a_long_span() -> None:
    strict, loose = parse_rates("20/m", field="rate"), parse_rates("30/s", field="rate")
    log = Log()
    log.take(strict, 0, log.free(strict, 0))
    for now_ms in range(500, 60_000, 500):
        assert log.free(strict, now_ms) == 0
        assert log.free(loose, now_ms) > 0
        log.take(loose, now_ms)
        assert len(log.sent) < 150
    for now_ms in range(61_500, 130_000, 500):
        assert log.free(loose, now_ms) == 30
    assert log.free(strict, 130_000) == 20
    assert log.sent == []


@pytest.mark.contract("FL1")
@pytest.mark.parametrize("slots", [1, 7, 100])
@pytest.mark.parametrize("late_ms", [0, 3])
@pytest.mark.parametrize("rates", ["30/s", "1/s", "20/m", "50/s", "1/s, 20/m"])
def test_a_backlog_goes_at_nearly_the_rate_that_is_allowed(rates: str, late_ms: int, slots: int) -> None:
    allowed = parse_rates(rates, field="rate")
    log, now_ms, times = Log(), 0, list[int]()
    while now_ms < 600_000:
        count = min(slots, log.free(allowed, now_ms))
        if count:
            log.take(allowed, now_ms, count)
            times += [now_ms] * count
            now_ms += 5
        else:
            now_ms = log.next_ms(allowed, now_ms) + late_ms
    slowest = min(rate.count / rate.seconds for rate in allowed)
    assert len(times) / 600 >= 0.95 * slowest
    for rate in allowed:
        assert most_in(times, rate.seconds * 1000) <= rate.count


@pytest.mark.contract("FL1")
def test_what_a_clock_wrote_that_began_anew_is_not_believed() -> None:
    log = Log(sent=[(9_000_000, 30)])
    assert log.free((Rate(30),), 5) == 30


@pytest.mark.contract("FL1")
def test_what_another_transaction_wrote_a_moment_later_counts() -> None:
    log = Log(sent=[(1_010, 30)])
    assert log.free((Rate(30),), 1_000) == 0
    assert log.next_ms((Rate(30),), 1_000) == 1_010 + 1_020


def test_a_group_has_rates_of_its_own() -> None:
    pace = Pace(each=(Rate(1),), group=(Rate(20, 60),), group_prefix="-")
    assert (pace.rates("-100"), pace.rates("100")) == ((Rate(20, 60),), (Rate(1),))


@pytest.mark.parametrize(
    ("text", "rates"), [("30/s", [(30, 1)]), ("1/s, 20/m", [(1, 1), (20, 60)]), ("1/5s", [(1, 5)]), ("off", [])]
)
def test_rates_are_read_as_they_are_written(text: str, rates: list[tuple[int, int]]) -> None:
    found = parse_rates(text, field="rate")
    assert [(rate.count, rate.seconds) for rate in found] == rates
    if found:
        assert parse_rates(", ".join(map(str, found)), field="rate") == found


@pytest.mark.parametrize("text", ["", "0/s", "30", "-1/s", "1/0s", "1/s;2/s", "99999/s", "1/w"])
def test_a_rate_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="rate"):
        parse_rates(text, field="rate")
