"""
Draws plots of figures as SVG files. Which there are, and what their axes say, is `PLOTS`.

A line shows each place's median, and from the least to the most sample around it; bars are medians; a distribution
shows what share of all samples took no longer. matplotlib draws them; it is loaded only then.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from bench.harness.figure import percentile

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.figure import Figure

Found = Mapping[str, Sequence["Figure"]]


class Kind(StrEnum):
    """How a plot shows its figures."""

    LINES = "lines"
    BARS = "bars"
    DISTRIBUTION = "distribution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One picture: its title, what its axes say, and the text that stands for it where it cannot be seen."""

    title: str
    across: str
    up: str
    kind: Kind = Kind.LINES


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One place of a series, with its samples in the order that they were taken."""

    at: float | str
    samples: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return statistics.median(self.samples)


PLOTS: Final = {
    "systems": Plot(title="Whole lives a second, by system and durability", across="lives/s", up="", kind=Kind.BARS),
    "latency": Plot(
        title="From send() to the channel, idle", across="ms", up="share of messages", kind=Kind.DISTRIBUTION
    ),
    "growth": Plot(title="What claiming ten costs, by how many wait", across="messages that wait", up="µs"),
    "lanes": Plot(title="Lives a second, by lanes", across="lanes", up="lives/s"),
    "producers": Plot(title="Lives a second, by producers", across="producers", up="lives/s"),
    "payload": Plot(title="Lives a second, by the size of what is sent", across="bytes", up="lives/s"),
    "processes": Plot(title="Lives a second in sum, by processes on one file", across="processes", up="lives/s"),
}
_COLOURS: Final = ("#1f6f8b", "#d1793f", "#6b7b8c")
_STYLE: Final = {
    "svg.fonttype": "none",  # text stays text: small, and searchable
    "svg.hashsalt": "pillarbox",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.figsize": (7.2, 3.6),
}


def series(found: Found, plot: str) -> dict[str, list[Mark]]:
    """Collect what *plot* shows: each series with its marks, numbers in their order, names as they came."""
    collected: dict[str, list[Mark]] = {}
    for figures in found.values():
        for figure in figures:
            point = figure.point
            if point is None or point.plot != plot:
                continue
            samples = figure.peer_samples if point.peer else figure.samples
            collected.setdefault(point.series, []).append(Mark(at=point.at, samples=samples))
            if PLOTS[plot].kind is Kind.DISTRIBUTION and figure.peer_samples:
                collected.setdefault(figure.peer, []).append(Mark(at=point.at, samples=figure.peer_samples))
    for marks in collected.values():
        if all(isinstance(mark.at, (int, float)) for mark in marks):
            marks.sort(key=lambda mark: float(mark.at))
    return collected


def draw(found: Found, folder: Path) -> list[str]:
    """Draw each plot that *found* has something for into *folder*; return their names, in the order of `PLOTS`."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, plot in PLOTS.items():
        if not (collected := series(found, name)):
            continue
        with mpl.rc_context(_STYLE):
            picture, axes = plt.subplots(layout="constrained")
            _PAINTERS[plot.kind](axes, collected)
            axes.set(title=plot.title, xlabel=plot.across, ylabel=plot.up)
            if len(collected) > 1:
                axes.legend(frameon=False)
            picture.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
            plt.close(picture)
        drawn.append(name)
    return drawn


def _lines(axes: Any, collected: dict[str, list[Mark]]) -> None:  # noqa: ANN401 — matplotlib's own
    for colour, (name, marks) in zip(_COLOURS, collected.items(), strict=False):
        across = [mark.at for mark in marks]
        axes.plot(across, [mark.middle for mark in marks], "o-", color=colour, label=name)
        least, most = [min(mark.samples) for mark in marks], [max(mark.samples) for mark in marks]
        axes.fill_between(across, least, most, color=colour, alpha=0.15, linewidth=0)
    places = sorted({float(mark.at) for marks in collected.values() for mark in marks})
    if places[-1] >= 100 * places[0]:
        axes.set_xscale("log")
    else:
        axes.set_xticks(places)
    axes.set_ylim(bottom=0)


def _bars(axes: Any, collected: dict[str, list[Mark]]) -> None:  # noqa: ANN401 — matplotlib's own
    names = list(dict.fromkeys(str(mark.at) for marks in collected.values() for mark in marks))
    height = 0.8 / len(collected)
    for number, (colour, (name, marks)) in enumerate(zip(_COLOURS, collected.items(), strict=False)):
        places = [names.index(str(mark.at)) + (number - (len(collected) - 1) / 2) * height for mark in marks]
        bars = axes.barh(places, [mark.middle for mark in marks], height * 0.9, color=colour, label=name)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")


def _distribution(axes: Any, collected: dict[str, list[Mark]]) -> None:  # noqa: ANN401 — matplotlib's own
    for colour, (name, marks) in zip(_COLOURS, collected.items(), strict=False):
        axes.ecdf([sample for mark in marks for sample in mark.samples], color=colour, label=name)
    # The last hundredth would make all the rest a wall.
    slowest = max(percentile(mark.samples, 99) for marks in collected.values() for mark in marks)
    axes.set_xlim(0, 1.1 * slowest)


_PAINTERS: Final = {Kind.LINES: _lines, Kind.BARS: _bars, Kind.DISTRIBUTION: _distribution}
