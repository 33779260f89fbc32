"""Every measurement runs, scaled down, and gives figures that can be shown. How fast it is, is no test's question."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING

import pytest

from bench.__main__ import main, questions
from bench.harness import table
from bench.harness.plan import Plan, Scale

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(600)  # one begins with a server of its own, which takes long on a busy machine
@pytest.mark.parametrize("name", questions())
def test_a_question_is_answered(name: str, tmp_path: Path) -> None:
    plan = Plan(directory=tmp_path / "disk", cache=tmp_path / "cache", scale=Scale.TRIAL)
    figures = importlib.import_module(f"bench.{name}").measure(plan)
    assert figures
    for figure in figures:
        assert all(math.isfinite(sample) for sample in (*figure.samples, *figure.peer_samples)), figure
    assert len({figure.name for figure in figures}) == len(figures)
    assert all(name in line for line in table.text({name: figures}).splitlines()[2 : 2 + len(figures)])
    # What was made is gone.
    assert list(plan.directory.glob("*")) == []


def test_a_name_that_nobody_measures_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lives", "nonsense"]) == 2
    assert "no such measurement: nonsense; there are: awaiting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scale", "rounds", "size"), [("TRIAL", 1, 1), ("QUICK", 3, 2), ("USUAL", 5, 3), ("FULL", 5, 4)]
)
def test_a_plan_says_how_large_and_how_often(scale: str, rounds: int, size: int, tmp_path: Path) -> None:
    plan = Plan(directory=tmp_path, scale=Scale[scale])
    assert plan.rounds == rounds
    assert plan.size(trial=1, quick=2, usual=3, full=4) == size
    assert Plan(directory=tmp_path, scale=Scale.FULL).size(quick=2, usual=3) == 3
    assert Plan(directory=tmp_path, scale=Scale.TRIAL).size(quick=2, usual=3) == 2
