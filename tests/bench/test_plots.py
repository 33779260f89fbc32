"""What plots show: which samples belong to which line, and that the same figures give the same file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.harness import flame, plots
from bench.harness.figure import Figure, Point


def figure(plot: str, series: str, at: float | str, *samples: float, peer: bool = False) -> Figure:
    return Figure(
        name="f",
        unit="ms",
        samples=samples,
        peer="raw",
        peer_samples=(7.0, 8.0),
        point=Point(plot=plot, series=series, at=at, peer=peer),
    )


FOUND = {
    "claim": [figure("growth", "claim ten", 1_000_000, 3, 1, 2), figure("growth", "claim ten", 1_000, 1, 1)],
    "systems": [
        figure("systems", "power", "pillarbox", 9, 9),
        figure("systems", "power", "huey", 9, 9, peer=True),
        figure("systems", "process", "huey", 9, 9, peer=True),
    ],
    "latency": [figure("latency", "ours", 0.0, 1, 2, 3)],
    "lives": [Figure(name="f", unit="ms", samples=(1,))],
}


def test_a_line_goes_through_its_places_in_their_order() -> None:
    (marks,) = plots.series(FOUND, "growth").values()
    assert [(mark.at, mark.middle) for mark in marks] == [(1_000, 1), (1_000_000, 2)]


def test_bars_show_what_the_peer_did_where_they_stand_for_it() -> None:
    shown = plots.series(FOUND, "systems")
    assert [(mark.at, mark.samples) for mark in shown["power"]] == [("pillarbox", (9, 9)), ("huey", (7, 8))]
    assert [(mark.at, mark.samples) for mark in shown["process"]] == [("huey", (7, 8))]


def test_a_distribution_has_all_samples_of_both_sides() -> None:
    shown = plots.series(FOUND, "latency")
    assert {name: marks[0].samples for name, marks in shown.items()} == {"ours": (1, 2, 3), "raw": (7, 8)}


def test_every_point_of_the_measurements_is_in_a_plot_that_exists() -> None:
    source = "".join(path.read_text("utf-8") for path in Path(plots.__file__).parents[1].glob("*.py"))
    assert set(re.findall(r'plot="(\w+)"', source)) <= set(plots.PLOTS)


def test_the_same_figures_are_drawn_as_the_same_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="only the extra `bench` has it")
    drawn = plots.draw(FOUND, tmp_path / "one")
    plots.draw(FOUND, tmp_path / "other")
    assert drawn == ["systems", "latency", "growth"]
    for name in drawn:
        svg = (tmp_path / f"one/{name}.svg").read_text("utf-8")
        assert svg == (tmp_path / f"other/{name}.svg").read_text("utf-8")
        assert plots.PLOTS[name].title in svg


def test_a_flame_graph_names_functions_but_no_folder_of_the_machine() -> None:
    svg = '<script type="text/ecmascript"><![CDATA[\nzoom();\n]]></script>'
    svg += '<text id="title" x="1">py-spy record -o /home/a/x.svg</text><title>run (/home/a/b/runners.py) (3)</title>'
    svg += "<title>send (pillarbox/outbox/sending.py)</title>"
    assert flame.without_places(svg) == (
        '<text id="title" x="1">whole lives, one process</text><title>run (runners.py) (3)</title>'
        "<title>send (pillarbox/outbox/sending.py)</title>"
    )
