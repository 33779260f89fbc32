"""Each question is asked in a process of its own, which leaves nothing to the next one."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import pytest

from bench.harness.alone import asked
from bench.harness.plan import Plan, Scale

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = """
import os

from bench.harness.figure import Figure

asked_before = []


def measure(plan):
    if plan.rounds > 1:
        raise RuntimeError("no disk")
    asked_before.append(plan)
    return [Figure(name="process", unit="", samples=(os.getpid(), len(asked_before)))]
"""


@pytest.fixture
def question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "which_process.py").write_text(textwrap.dedent(QUESTION), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "which_process"


def test_a_question_finds_nothing_of_the_one_before(question: str, tmp_path: Path) -> None:
    plan = Plan(directory=tmp_path, scale=Scale.TRIAL)
    (first,), (second,) = asked(question, plan), asked(question, plan)
    assert len({os.getpid(), first.samples[0], second.samples[0]}) == 3
    assert first.samples[1] == second.samples[1] == 1


def test_what_a_question_raises_is_raised_here(question: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no disk"):
        asked(question, Plan(directory=tmp_path, scale=Scale.QUICK))
