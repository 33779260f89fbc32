"""docs/reference/events.md names every event, every name of Comis's, and every log line with its level."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from pillarbox.events import (
    BusEvent,
    HookCancelled,
    MessageCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    MessageEvent,
    MessageExpired,
    MessageHeld,
    PartDelivered,
    RetryScheduled,
    comis,
    log_lines,
)
from tests.unit.test_compat import ABOUT
from tests.unit.test_lines import DRAIN

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
    names = {value for name, value in vars(comis).items() if name.isupper() and isinstance(value, str)}
    assert set().union(*told.values()) == names


# One event of each kind that Comis has a name for.
EVENTS: list[BusEvent] = [
    MessageEnqueued(**ABOUT),
    PartDelivered(**ABOUT, part=1, receipt="m", send_ms=1),
    MessageDelivered(**ABOUT, receipt="m", duration_ms=1, send_ms=1),
    RetryScheduled(**ABOUT, due_ms=1, error="e", error_class="transient", charged=True),
    MessageHeld(**ABOUT, reason="uncertain", error="e"),
    MessageDied(**ABOUT, reason="rejected", error="e", error_class="permanent"),
    MessageExpired(**ABOUT),
    MessageCancelled(**ABOUT),
    HookCancelled(at_ms=1, channel="c", to="t"),
    DRAIN,
]
COMMON = {"channelId", "channelType", "origin", "timestamp"}


def fields_of(event: BusEvent) -> dict[str, set[str]]:
    return {name: set(fields) for name, fields in comis.translated(event)}


@pytest.mark.contract("EV1")
def test_every_field_that_is_told_is_on_the_page_and_no_other() -> None:
    told: dict[str, list[set[str]]] = {}
    for event in EVENTS:
        for name, fields in fields_of(event).items():
            told.setdefault(name, []).append(fields - COMMON)
    rows = {cells[0]: cells for cells in TABLES if cells[0].startswith("delivery:")}
    assert set(rows) == set(told)
    for name, (_, always, sometimes) in rows.items():
        words = set(re.findall(r"`(\w+)`", always))
        others = {word for word in re.findall(r"`(\w+)`", sometimes) if word[0].islower()}
        assert (name, words) == (name, set.intersection(*told[name]))
        assert (name, words | others) == (name, set.union(*told[name]))


@pytest.mark.contract("EV2")
def test_every_field_of_a_log_line_is_on_the_page_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    rows = {cells[0]: set(re.findall(r"[a-z]+[A-Z]?\w*", cells[2])) for cells in TABLES if cells[0] in LOGGED}
    own = set(vars(logging.makeLogRecord({}))) | {"message"}
    common = {"entryId", "channelId", "channelType", "origin", "correlationId", "attemptCount", "late"}
    with caplog.at_level(logging.DEBUG, logger="pillarbox.delivery"):
        for event, text in LOGGED_EVENTS:
            caplog.clear()
            log_lines.Lines(log_lines.Recipients(b"k" * 16)).write(event)
            (record,) = caplog.records
            assert record.getMessage() == text
            assert (text, set(vars(record)) - own - common) == (text, rows[text])


LOGGED_EVENTS: list[tuple[BusEvent, str]] = [
    (EVENTS[0], log_lines.ENQUEUED),
    (EVENTS[2], log_lines.DELIVERED),
    (EVENTS[3], log_lines.RETRYING),
    (EVENTS[4], log_lines.HELD),
    (EVENTS[5], log_lines.FAILED),
    (EVENTS[6], log_lines.EXPIRED),
    (MessageCancelled(**ABOUT, reason="requested", duration_ms=5), log_lines.ABORTED),
]
LOGGED = {text for _, text in LOGGED_EVENTS}


@pytest.mark.contract("EV2")
def test_every_log_line_is_on_the_page_with_its_level() -> None:
    words = {value for name, value in vars(log_lines).items() if name.isupper() and isinstance(value, str)}
    levels = {cells[0]: cells[1] for cells in TABLES if cells[1] in logging.getLevelNamesMapping()}
    assert set(levels) == words
    assert {line for line, level in levels.items() if level == "WARNING"} == {
        log_lines.RETRYING,
        log_lines.FAILED,
        log_lines.HELD,
        log_lines.EXPIRED,
    }
