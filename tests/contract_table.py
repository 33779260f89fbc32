"""
Which test keeps which promise: `python -m tests.contract_table`.

Prints every number of the contract with the tests that name it, then those that have none. The tests are
collected, not run. Exits with 1 when a number is wrong, or a required one has no test.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable

import pytest

from tests.contract_numbers import MARKER, TITLES, problems


def numbers_of(items: Iterable[pytest.Item]) -> dict[str, list[str]]:
    """Return the names of tests by the number that they name."""
    tests: dict[str, list[str]] = {}
    for item in items:
        test = item.nodeid.partition("[")[0]  # the parameters of one test are one line
        for mark in item.iter_markers(MARKER):
            for number in mark.args:
                named = tests.setdefault(number, [])
                if test not in named:
                    named.append(test)
    return tests


class NumberCollector:
    """A pytest plugin that notes which collected test names which number."""

    def __init__(self) -> None:
        self.tests: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.tests = numbers_of(session.items)


def collect() -> dict[str, list[str]]:
    """
    Collect every test, running none.

    Returns:
        The tests by the number that they name; numbers that do not exist are among them.

    Raises:
        RuntimeError: Some test could not be collected; the text is pytest's own.
    """
    collector = NumberCollector()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q"], plugins=[collector])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise RuntimeError(said.getvalue())
    return collector.tests


def table(named: dict[str, list[str]]) -> str:
    """Draw *named* as text: one number a line, its other tests below it, the numbers without a test last."""
    width = max(map(len, TITLES.values()))
    lines = []
    for number, title in TITLES.items():
        tests = named.get(number) or ["-"]
        lines.append(f"{number:<5} {title:<{width}}  {tests[0]}")
        lines.extend(f"{'':<5} {'':<{width}}  {test}" for test in tests[1:])
    missing = [number for number in TITLES if number not in named]
    lines.append("")
    lines.append(f"{len(TITLES) - len(missing)} of {len(TITLES)} promises have a test.")
    if missing:
        lines.append(f"Without: {' '.join(missing)}")
    return "\n".join(lines)


def main() -> int:
    """Print the table, and what is wrong with it on the error stream."""
    named = collect()
    print(table(named))
    wrong = problems(named)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
