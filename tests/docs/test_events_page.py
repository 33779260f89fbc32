"""docs/reference/events.md names every event, every name of Comis's, and every log line with its level."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from pillarbox import compat
from pillarbox.engine import lines
from pillarbox.events import BusEvent, MessageEvent

PAGE = (Path(__file__).parents[2] / "docs/reference/events.md").read_text("utf-8")
TABLES = [[cell.strip() for cell in row.split("|")[1:-1]] for row in PAGE.splitlines() if row.startswith("| ")]


def kinds() -> set[str]:
    found, left = set(), [BusEvent]
    while left:
        kind = left.pop()
        left.extend(kind.__subclasses__())
        if kind not in {BusEvent, MessageEvent}:
            found.add(kind.__name__)
    return found


@pytest.mark.contract("EV1")
def test_every_event_is_on_the_page_with_the_names_it_is_told_by() -> None:
    told = {cells[0].strip("`"): set(re.findall(r"delivery:\w+", cells[1])) for cells in TABLES if "`" in cells[0]}
    assert set(told) == kinds()
    names = {value for name, value in vars(compat).items() if name.isupper() and isinstance(value, str)}
    assert set().union(*told.values()) == names


@pytest.mark.contract("EV2")
def test_every_log_line_is_on_the_page_with_its_level() -> None:
    words = {value for name, value in vars(lines).items() if name.isupper() and isinstance(value, str)}
    levels = {cells[0]: cells[1] for cells in TABLES if cells[1] in logging.getLevelNamesMapping()}
    assert set(levels) == words
    assert {line for line, level in levels.items() if level == "WARNING"} == {
        lines.RETRYING,
        lines.FAILED,
        lines.HELD,
        lines.EXPIRED,
    }
