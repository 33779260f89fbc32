"""A figure: samples of ours, samples of what it is compared with, and the goal it has to reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

Compare = Callable[[float, float], float]


class Statistic(StrEnum):
    """What stands for many samples."""

    MEDIAN = "median"
    P99 = "p99"
    MOST = "most"

    def of(self, samples: Sequence[float]) -> float:
        """Compute it. *samples* has at least one."""
        match self:
            case Statistic.MEDIAN:
                return statistics.median(samples)
            case Statistic.P99:
                return percentile(samples, 99)
            case Statistic.MOST:
                return max(samples)


class Of(StrEnum):
    """What of a figure a goal is about: itself, its ratio to the peer, or what it has more than the peer."""

    VALUE = "value"
    RATIO = "ratio"
    EXCESS = "excess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound, in the figure's unit unless it is about the ratio. One of *least* and *most* is given."""

    of: Of = Of.RATIO
    least: float | None = None
    most: float | None = None

    def holds(self, number: float) -> bool:
        """Whether *number* keeps within the bound."""
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)

    def text(self, unit: str, peer: str) -> str:
        """Return the bound in a few characters."""
        sign, bound = ("≥", self.least) if self.least is not None else ("≤", self.most)
        match self.of:
            case Of.VALUE:
                return f"{sign} {shown(bound)} {unit}"
            case Of.RATIO:
                return f"{sign} {shown(bound)} × {peer}"
            case Of.EXCESS:
                return f"{sign} {peer} + {shown(bound)} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """
    Where a figure stands in a plot.

    Attributes:
        plot: One of `bench.harness.plots.PLOTS`, by name.
        series: The line or the colour that it belongs to.
        at: Its place: a number on a line, a name among bars.
        peer: Whether the plot shows what the peer did, and not what we did.
    """

    plot: str
    series: str
    at: float | str = 0.0
    peer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """
    What one measurement found.

    Attributes:
        samples: In *unit*; for a median one a round, otherwise as many as there were.
        peer: What it is compared with; empty for nothing.
        peer_samples: Of the same rounds, in the same order.
        goal: What a release has to reach.
        aim: What we want to reach in the end, where that is more.
        note: What a reader has to know to understand it.
        point: Its place in a plot; ``None`` where none shows it.
    """

    name: str
    unit: str
    samples: tuple[float, ...]
    peer: str = ""
    peer_samples: tuple[float, ...] = ()
    statistic: Statistic = Statistic.MEDIAN
    goal: Goal | None = None
    aim: Goal | None = None
    note: str = ""
    point: Point | None = None

    @property
    def value(self) -> float:
        """Ours."""
        return self.statistic.of(self.samples)

    @property
    def peer_value(self) -> float | None:
        """The peer's."""
        return self.statistic.of(self.peer_samples) if self.peer_samples else None

    @property
    def ratio(self) -> float | None:
        """How many times the peer's: the median of the rounds' ratios, so that what slowed both cancels out."""
        return self._against_peer(lambda ours, theirs: ours / theirs)

    @property
    def excess(self) -> float | None:
        """How much more than the peer's, round by round as well."""
        return self._against_peer(lambda ours, theirs: ours - theirs)

    def _against_peer(self, compare: Compare) -> float | None:
        peer = self.peer_value
        if peer is None:
            return None
        if self.statistic is Statistic.MEDIAN and len(self.samples) == len(self.peer_samples):
            pairs = zip(self.samples, self.peer_samples, strict=True)
            return statistics.median(compare(ours, theirs) for ours, theirs in pairs)
        return compare(self.value, peer)

    def reached(self, goal: Goal | None) -> bool | None:
        """Whether *goal* is reached; ``None`` where there is none."""
        if goal is None:
            return None
        number = {Of.VALUE: self.value, Of.RATIO: self.ratio, Of.EXCESS: self.excess}[goal.of]
        return number is not None and goal.holds(number)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached."""
        return self.reached(self.goal)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that *percent* of them do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * percent // 100) - 1))]


def shown(number: float | None) -> str:
    """Write a number as briefly as three digits allow."""
    if number is None:
        return ""
    size = abs(number)
    if size >= 1000:
        digits = f"{number:.0f}"
        return f"{int(digits):,}".replace(",", " ")
    if size >= 100 or number == int(number):
        return f"{number:.0f}"
    return f"{number:.1f}" if size >= 10 else f"{number:.2f}"
