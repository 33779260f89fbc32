"""The formatters: one line a record, every field of it, and nothing of what an exception quotes."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from pillarbox.domain.plain_characters import visible
from pillarbox.events.log_format import LEVELS, JsonFormatter, TextFormatter, make_formatter
from pillarbox.settings.lookup import find
from pillarbox.settings.model import Settings

AT = datetime(2030, 1, 31, 9, 0, 0, 123_456, UTC)


def record(message: str = "Message delivered and acked", *values: object, **extra: Any) -> logging.LogRecord:
    made = logging.getLogger("pillarbox.delivery").makeRecord(
        "pillarbox.delivery", logging.INFO, "lines.py", 1, message, values, None, extra=extra
    )
    made.created = AT.timestamp()
    return made


def failed(text: str) -> logging.LogRecord:
    made = record("it failed")
    try:
        int(text)
    except ValueError:
        made.exc_info = sys.exc_info()
    made.levelno, made.levelname = logging.ERROR, "ERROR"
    return made


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(made)
    assert "\n" not in line
    row: dict[str, Any] = json.loads(line)
    return row


def test_a_line_for_people_has_time_level_message_and_fields() -> None:
    said: dict[str, Any] = {"durationMs": 12, "sendMs": 61_500, "nextRetryAt": 1_893_456_000_000, "error": "HTTP 503"}
    line = TextFormatter().format(record(entryId="AaI-_x", **said, late=True, tags=["a", 1]))
    assert line == (
        "2030-01-31T09:00:00.123Z info Message delivered and acked"
        ' entryId=AaI-_x duration=12ms send=61.5s nextRetryAt=2030-01-01T00:00:00.000Z error="HTTP 503"'
        ' late=true tags=["a",1]'
    )


def test_an_object_for_programs_has_every_field_at_its_top() -> None:
    row = as_json(record("%s of %d", "one", 2, entryId="x", durationMs=12, at=AT, nothing=None, deep={"a": [1]}))
    assert row == {
        "timestamp": "2030-01-31T09:00:00.123Z",
        "level": "info",
        "logger": "pillarbox.delivery",
        "message": "one of 2",
        "entryId": "x",
        "durationMs": 12,
        "at": "2030-01-31T09:00:00.123456Z",
        "nothing": None,
        "deep": {"a": [1]},
    }
    assert list(row)[:4] == ["timestamp", "level", "logger", "message"]


def test_a_field_of_a_taken_name_takes_nobody_s_place() -> None:
    row = as_json(record(level="mine", logger="mine", timestamp="mine", exception="mine", frames="mine"))
    assert (row["level"], row["logger"], row["timestamp"][:4]) == ("info", "pillarbox.delivery", "2030")
    taken = ("level", "logger", "timestamp", "exception", "frames")
    assert [row[f"{name}_"] for name in taken] == ["mine"] * 5


@pytest.mark.contract("EV3")
def test_of_an_exception_type_and_place_are_shown_and_no_value() -> None:
    row = as_json(failed("s3cret text"))
    assert row["exception"] == "ValueError"
    assert [frame.partition(":")[0] for frame in row["frames"]] == ["unit/test_logs.py"]
    assert row["frames"][0].endswith(" in failed")
    line = TextFormatter().format(failed("s3cret text"))
    assert line.startswith("2030-01-31T09:00:00.123Z error it failed (ValueError at unit/test_logs.py:")
    assert "s3cret" not in f"{row}{line}"


@pytest.mark.contract("EV3")
def test_an_exception_s_type_is_known_without_its_frames() -> None:
    made = record("it failed")
    made.exc_info = (ValueError, ValueError("s3cret"), None)
    assert TextFormatter().format(made).endswith(" it failed (ValueError)")
    assert as_json(made)["frames"] == []
    made.exc_info = (None, None, None)
    assert "exception" not in as_json(made)


class Opaque:
    def __repr__(self) -> str:
        return "s3cret"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        (Opaque(), "Opaque"),
        (ValueError("s3cret"), "ValueError"),
        ({"a": Opaque()}, {"a": "Opaque"}),
        ("\ud800", "\\ud800"),
        ({1: 2}, {"1": 2}),
    ],
)
def test_what_json_cannot_hold_costs_neither_the_line_nor_a_secret(value: object, shown: object) -> None:
    row = as_json(record(field=value, count=3))
    assert (row["field"], row["count"]) == (shown, 3)
    assert "s3cret" not in TextFormatter().format(record(field=value))


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\u2028", "\u202e", "\x00"])
def test_a_record_is_one_line_that_gives_no_orders(character: str) -> None:
    made = record(f"a{character}b", field=f"c{character}d", **{f"e{character}f": 1})
    line = TextFormatter().format(made)
    assert character not in line
    assert line.splitlines() == [line]
    assert as_json(made)["message"] == f"a{character}b"
    assert visible(character) != character


def test_quotation_marks_inside_a_value_do_not_end_it() -> None:
    assert TextFormatter().format(record(error='say "no"')).endswith(r'error="say \"no\""')
    assert TextFormatter().format(record(error="")).endswith('error=""')


def test_every_value_of_the_settings_is_known() -> None:
    for key, known in (("log_level", set(LEVELS)), ("log_format", {"text", "json"})):
        found = find((key,))
        assert found is not None
        assert all(name in found.kind.expected for name in known)
    assert isinstance(make_formatter("json"), JsonFormatter)
    assert isinstance(make_formatter(Settings().log_format), TextFormatter)
