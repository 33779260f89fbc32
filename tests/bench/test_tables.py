"""What the measurements write: a table, a page between its two marks, and JSON that names no place of this machine."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from bench.harness import machine, table
from bench.harness.figure import Figure, Goal, Point

FOUND = {
    "lives": [
        Figure(
            name="beside huey",
            unit="lives/s",
            samples=(24.0, 26.0, 28.0),
            peer="huey",
            peer_samples=(2.0, 2.0, 2.0),
            goal=Goal(least=12),
            aim=Goal(least=14),
            note="two of them",
            point=Point(plot="systems", series="power", at="huey", peer=True),
        )
    ]
}
HERE = machine.Machine(
    at="then", commit="abc", python="3.11", sqlite="3.54", system="Linux", processor="some", cores=2, load=0.1,
    file_system="ext4", fdatasync_ms=0.25,
)  # fmt: skip


def test_the_table_says_whether_the_goal_is_met() -> None:
    shown = table.text(FOUND)
    assert "13 ×" in shown
    assert "≥ 12 × huey" in shown
    assert "(no)" in shown
    assert "lives, beside huey: two of them" in shown


def test_a_page_keeps_what_stands_around_the_figures(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    begin, end = table._BEGIN, table._END
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n", "utf-8")
    table.write_page(page, FOUND, HERE, ["![Lives](speed/lives.svg)"])
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{begin}\nMeasured then")
    assert text.endswith(f"![Lives](speed/lives.svg)\n{end}\nafter\n")
    assert "old" not in text
    assert "fdatasync 0.25 ms" in text


def test_a_page_without_a_place_for_the_figures_is_refused_at_once(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("nothing\n", "utf-8")
    with pytest.raises(ValueError, match="has no place"):
        table.check_page(page)


def test_the_speed_page_has_a_place_for_the_figures() -> None:
    table.check_page(Path(__file__).parents[2] / "docs/explanation/speed.md")


def test_json_has_every_sample_and_the_machine_s_facts_but_no_place_and_no_name(tmp_path: Path) -> None:
    file = tmp_path / "deep/all.json"
    table.write_json(file, FOUND, machine.machine(tmp_path))
    text = file.read_text("utf-8")
    values = json.loads(text)
    (figure,) = values["figures"]
    assert figure["samples"] == [24, 26, 28]
    assert figure["ratio"] == 13
    assert figure["met"] is True
    assert figure["aim_met"] is False
    assert figure["at"] == "huey"
    assert values["machine"]["cores"] >= 1
    assert values["machine"]["fdatasync_ms"] > 0
    assert values["machine"]["python"] == platform.python_version()
    assert platform.node() not in text
    assert not [value for value in values["machine"].values() if isinstance(value, str) and value.startswith("/")]
