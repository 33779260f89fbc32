"""docs/reference/seeds.md: what it says of the seeds names promises that exist, and tests that exist and keep them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.contract_numbers import FROM_SEEDS, MARKER, TITLES
from tests.planted.bugs import BUGS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/reference/seeds.md"
PACKAGE: Final = ROOT / "src/pillarbox"
SEEDS: Final = {"OpenClaw", "OpenClaw review", "OpenClaw code", "Comis", "Comis code", "both"}
SUITE: Final = "store/test_suite_sqlite.py::TestSQLite"
QUOTED: Final = re.compile(r"`([^`]+)`")
TEST: Final = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
MODULE: Final = re.compile(r"[\w/]+\.(?:py|sql)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the first table."""

    seed: str
    says: str
    does: str
    numbers: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]


def cells(heading: str) -> list[list[str]]:
    """Give the cells of the rows of the table that begins with *heading*."""
    _, found, rest = PAGE.read_text("utf-8").partition(f"\n{heading}\n")
    assert found, heading
    lines = rest.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def rows() -> list[Row]:
    found = []
    for row in cells("| seed | what it says | what pillarbox does, and where | promise | test |"):
        assert len(row) == 5, row
        seed, says, does, numbers, tests = row
        named = tuple((file, test) for file, test in TEST.findall(tests))
        found.append(Row(seed=seed, says=says, does=does, numbers=tuple(numbers.split(", ")), tests=named))
        assert len(named) == len(QUOTED.findall(tests)), f"{says}: a test is not named as file::test"
    return found


def path_of(file: str) -> Path:
    if file.startswith("store_suite/"):
        return PACKAGE / "testing" / file
    return ROOT / "tests" / file


@cache
def named_in(file: str) -> dict[str, set[str]]:
    """Give the tests of a file with the numbers that they name; methods of its classes are among them."""
    path = path_of(file)
    assert path.is_file(), f"no file {file}"
    module = ast.parse(path.read_text("utf-8"))
    of_all = {
        number
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for number in numbers_in(node.value)
    }
    found: dict[str, set[str]] = {}
    for node in [
        *module.body,
        *(inner for each in module.body if isinstance(each, ast.ClassDef) for inner in each.body),
    ]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            found[node.name] = of_all | {number for mark in node.decorator_list for number in numbers_in(mark)}
    return found


def numbers_in(mark: ast.expr) -> set[str]:
    return {
        argument.value
        for call in ast.walk(mark)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(f"mark.{MARKER}")
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


@pytest.mark.parametrize("row", rows(), ids=lambda row: re.sub(r"\W+", "-", row.says)[:50])
def test_each_row_names_tests_that_keep_its_promises(row: Row) -> None:
    assert row.seed in SEEDS
    assert row.says
    assert row.tests, "no test is named"
    kept: set[str] = set()
    for file, test in row.tests:
        assert test in named_in(file), f"{file} has no {test}"
        kept |= named_in(file)[test]
    assert set(row.numbers) <= TITLES.keys()
    assert set(row.numbers) <= kept, "no test of the row names that promise"


@pytest.mark.parametrize("row", rows(), ids=lambda row: re.sub(r"\W+", "-", row.says)[:50])
def test_each_row_says_where(row: Row) -> None:
    modules = [word for word in QUOTED.findall(row.does) if MODULE.fullmatch(word)]
    assert modules, "no module is named"
    assert not [module for module in modules if not (PACKAGE / module).is_file()]


def test_every_promise_that_came_from_the_seeds_is_on_the_page() -> None:
    assert set(FROM_SEEDS) <= TITLES.keys()
    assert [number for number in FROM_SEEDS if not any(number in row.numbers for row in rows())] == []


def test_nothing_is_said_twice() -> None:
    said = [(row.seed, row.says) for row in rows()]
    assert len(set(said)) == len(said)


def test_every_planted_bug_is_on_the_page_with_the_test_that_finds_it() -> None:
    listed = {bug: found for bug, _, found in cells("| bug | what it does | found by |")}
    for bug in BUGS:
        ((file, test),) = TEST.findall(listed[bug.word])
        assert test in named_in(file)
        place = SUITE if file.startswith("store_suite/") else file
        assert bug.test == f"{place}::{test}"
    assert len(listed) == len(BUGS)
