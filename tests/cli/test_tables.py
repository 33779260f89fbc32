"""Lists that people read: they fit a terminal, tell rows apart, and say how long ago and how soon."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox
from pillarbox.cli import columns, output, read_commands
from pillarbox.cli.spans_of_time import about, relative
from pillarbox.views import stamp

if TYPE_CHECKING:
    from tests.cli.typed import Typed

NAMES = ("ID", "STATE", "CHANNEL", "TO", "AGE", "NEXT", "TRIES", "WHY")


def row(recipient: str) -> tuple[str, ...]:
    why = "HTTP 503: the service is being maintained until noon"
    return ("A" * 22, "scheduled", "notifications", recipient, "26h", "in line", "3", why)


def test_a_list_fits_80_columns_and_tells_its_rows_apart() -> None:
    rows = [row(f"matrix:!room-of-the-team-{letter}:example.org") for letter in "ab"]
    rows += [row(f"customer-{number:030}@mail.example.org") for number in (1, 2)]
    _, *found = columns.drawn(NAMES, rows, room=80, whole=2)
    assert max(len(line) for lines in found for line in lines) <= 80
    assert all("A" * 22 in line and "in line" in line and "26h" in line for line, _ in found)
    assert all(why == "  HTTP 503: the service is being maintained until noon" for _, why in found)
    first, second, third, fourth = (line for line, _ in found)
    assert first != second
    assert second != third != fourth


def test_what_has_room_is_not_cut_and_wide_characters_count_as_two() -> None:
    assert columns.drawn(("A", "B"), [("x", "y")], room=80, whole=1) == [["A  B"], ["x  y"]]
    assert columns.cut("日本語日本語", 8) == "日本語… "
    names = ["same-1-same", "same-beginning-1-same", "same-beginning-2-same", "other-beginning"]
    assert columns.cut_apart(names, 7) == ["same-1…", "…-1-sa…", "…-2-sa…", "other-…"]
    assert columns.cut_apart(["日本語日本語", "日本語日本人"], 7) == ["…本語  ", "…本人  "]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0s"), (0.9, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (3 * 86_400, "3d")],
)
def test_a_span_has_one_unit(seconds: float, said: str) -> None:
    assert about(seconds) == said


def test_a_list_shows_age_and_next_try(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Outbox(typed.db, deliver=False)
    typed.stored(box, "ops", "ops", lane="one")
    typed.stored(Outbox(typed.db, deliver=False), "ops", at=timedelta(hours=5), lane=None)
    later, second, first = (line.split() for line in typed("ls").lines[1:])
    assert (first[4][-1], first[5]) == ("s", "now")
    assert second[5] == "now"
    waits = {"state": "scheduled", "waiting": True, "due_at": None}
    assert read_commands._next_try(waits) == "in line"
    assert read_commands._next_try({"state": "leased"}) == "sending"
    assert later[5:7] == ["in", "4h"] or later[5:7] == ["in", "5h"]
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, typed("ls").lines)) <= 80 + len("\x1b[1m\x1b[0m")


def test_show_says_how_long_ago(typed: Typed) -> None:
    (sent,) = typed.stored(Outbox(typed.db, deliver=False), "ops")
    (created,) = (line for line in typed(f"show {sent}").lines if line.startswith("created_at"))
    assert created.endswith(("(now)", "s ago)"))
    assert relative(stamp(int(time.time() * 1000) - 600_000) or "") == "10m ago"
    assert relative((datetime.now(UTC) + timedelta(hours=5, minutes=1)).isoformat()) == "in 5h"
