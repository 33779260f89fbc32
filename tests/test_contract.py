from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.contract_numbers import TITLES, problems
from tests.contract_table import numbers_of, table
from tests.run_to_end import run_to_end

_ROOT = Path(__file__).parent.parent
_SIZES = {
    "EN": 16, "ST": 11, "CO": 5, "LE": 9, "RE": 7, "CL": 7, "UN": 5, "EX": 3, "DK": 2, "PA": 5,
    "LA": 5, "FL": 4, "HO": 4, "EV": 4, "DR": 4, "IM": 5, "PR": 3, "SG": 10, "CF": 4, "CH": 8, "OP": 3,
}  # fmt: skip


def test_tests_name_numbers_that_exist_and_every_required_number(request: pytest.FixtureRequest) -> None:
    if all_are_collected(request.session):
        found = problems(numbers_of(request.session.items))
        assert found == []
        return
    # In a process of its own: whatever this run selected, every test is looked at.
    collected = run_to_end([sys.executable, "-m", "tests.contract_table"], seconds=250, cwd=_ROOT)
    assert collected.returncode == 0, collected.stderr


def all_are_collected(session: pytest.Session) -> bool:
    """Whether this run selected nothing: then each of its processes has collected every test."""
    option = session.config.option
    files = {path for path in (_ROOT / "tests").rglob("test_*.py") if "fixtures" not in path.parts}
    selected = option.keyword or option.markexpr or option.deselect
    return not selected and files <= {item.path for item in session.items}


def test_a_number_that_does_not_exist_is_found() -> None:
    assert problems({"EN99": ["tests/test_a.py::test_b"]}, required=()) == [
        "'EN99' is no number of the contract; it is named by tests/test_a.py::test_b"
    ]


def test_a_required_number_that_no_test_names_is_found() -> None:
    assert problems({"EN1": ["tests/test_a.py::test_b"]}, required=("EN1", "ST4")) == [
        "ST4 (bury on a delivered message changes nothing) is required, and no test names it"
    ]


def test_a_required_number_that_does_not_exist_is_found() -> None:
    assert problems({}, required=("QQ1",)) == ["'QQ1' is required and is no number of the contract"]


def test_the_list_is_the_whole_contract() -> None:
    assert Counter(number.rstrip("0123456789") for number in TITLES) == _SIZES


def test_the_table_shows_each_number_with_its_tests_and_what_has_none() -> None:
    drawn = table({"EN1": ["tests/test_a.py::test_b", "tests/test_a.py::test_c"]}).splitlines()
    assert drawn[0].split() == ["EN1", "committed", "when", "send", "returns", "tests/test_a.py::test_b"]
    assert drawn[1].strip() == "tests/test_a.py::test_c"
    assert drawn[-2] == f"1 of {len(TITLES)} promises have a test."
    assert drawn[-1].startswith("Without: EN2 EN3 ")
