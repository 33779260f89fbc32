"""The arithmetic of the measurements: what a figure makes of its samples, and when a goal is reached."""

from __future__ import annotations

import pytest

from bench.harness.figure import Figure, Goal, Of, Statistic, percentile, shown


def figure(*samples: float, peer: tuple[float, ...] = (), statistic: Statistic = Statistic.MEDIAN) -> Figure:
    return Figure(
        name="f", unit="ms", samples=samples, peer="p" if peer else "", peer_samples=peer, statistic=statistic
    )


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # Medians 20 and 10; but in each round we took as long as the peer, and it is the machine that went slower.
    ours = figure(10, 20, 30, peer=(10, 20, 30))
    assert (ours.value, ours.peer_value, ours.ratio, ours.excess) == (20, 20, 1, 0)
    slowed = figure(10, 300, 20, peer=(5, 100, 10))
    assert slowed.ratio == 2
    assert slowed.excess == 10


def test_samples_that_are_no_pairs_are_compared_by_what_stands_for_them() -> None:
    assert figure(2, 4, 6, peer=(1, 2)).ratio == pytest.approx(4 / 1.5)
    assert figure(*range(1, 101), peer=(10,), statistic=Statistic.P99).ratio == pytest.approx(9.9)


def test_a_figure_without_a_peer_has_no_ratio() -> None:
    assert figure(1).peer_value is None
    assert figure(1).ratio is None
    assert figure(1).excess is None


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_the_smallest_sample_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_the_statistics_stand_for_their_samples() -> None:
    samples = (5.0, 1.0, 3.0)
    assert Statistic.MEDIAN.of(samples) == 3
    assert Statistic.P99.of(samples) == 5
    assert Statistic.MOST.of(samples) == 5


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(least=2), True),
        (Goal(least=2.1), False),
        (Goal(of=Of.VALUE, most=20), True),
        (Goal(of=Of.VALUE, most=19), False),
        (Goal(of=Of.EXCESS, most=10), True),
        (Goal(of=Of.EXCESS, most=9), False),
    ],
)
def test_a_goal_is_about_the_value_the_ratio_or_the_excess(goal: Goal, *, reached: bool) -> None:
    one = Figure(name="f", unit="ms", samples=(20,), peer="p", peer_samples=(10,), goal=goal)
    assert one.met is reached


def test_a_goal_that_needs_a_peer_is_missed_without_one() -> None:
    assert Figure(name="f", unit="ms", samples=(20,), goal=Goal(least=0)).met is False


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (Goal(least=0.5), "≥ 0.50 × raw"),
        (Goal(of=Of.VALUE, least=30_000), "≥ 30 000 lives/s"),
        (Goal(of=Of.EXCESS, most=0.3), "≤ raw + 0.30 lives/s"),
    ],
)
def test_a_goal_is_written_with_its_unit_or_its_peer(goal: Goal, text: str) -> None:
    assert goal.text("lives/s", "raw") == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, ""), (0, "0"), (0.128, "0.13"), (12.34, "12.3"), (123.4, "123"), (26_143.2, "26 143")],
)
def test_a_number_is_as_brief_as_three_digits_allow(number: float | None, text: str) -> None:
    assert shown(number) == text
