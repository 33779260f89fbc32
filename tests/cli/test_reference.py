"""docs/reference/cli.md says what the command line does: every command, option, exit code and field is in it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pillarbox.cli.exits import Exit
from pillarbox.cli.outcome_lines import NAMES
from pillarbox.domain.message import State
from pillarbox.engine.drain import DrainReport
from pillarbox.store.base import Event
from pillarbox.views import event_dict
from tools.reference.command_line import commands

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"


def section(title: str) -> str:
    """Give what stands below a heading, up to the next one."""
    page = PAGE.read_text("utf-8")
    _, found, rest = page.partition(f"\n## {title}\n")
    assert found, f"docs/reference/cli.md has no section {title!r}"
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("name", commands())
def test_every_command_has_its_section_with_its_options(name: str) -> None:
    said = section(name)
    assert f"<!-- begin {name} -->" in said
    for option in commands()[name].params:
        assert all(f"`{text}`" in said for text in option.opts if text.startswith("-"))


def test_every_exit_code_has_a_meaning() -> None:
    assert all(code.about for code in Exit)


def test_every_field_of_json_is_described() -> None:
    event = Event(at_ms=0, act="claim", actor="worker 1", from_state=None, to_state=State.LEASED)
    of_events = {name for kind in NAMES for name in kind.__struct_fields__} - {"at_ms", "due_ms", "until_ms", "to"}
    for title, names in {
        "A message": MESSAGE,
        "pillarbox history": list(event_dict(event)),
        "pillarbox run": [*NAMES.values(), *(field.name for field in fields(DrainReport)), *of_events, "due_at"],
    }.items():
        said = section(title)
        assert not [name for name in names if f"`{name}`" not in said], title


# The stable form: a name that goes away or is renamed breaks somebody's script.
MESSAGE = [
    "id", "state", "aggregate", "channel", "to", "tenant", "account", "thread", "op", "target", "kind", "priority",
    "lane", "waiting", "key", "created_at", "not_before", "due_at", "expires_at", "completed_at", "claims", "charged",
    "lost", "max_attempts", "receipt", "reason", "error_class", "error", "also_arrived_at", "extra_copies",
    "cancel_requested_at", "correlation_id", "origin", "traceparent", "replay_of", "metadata", "content",
    "splitter", "part_count", "parts_delivered", "parts",
]  # fmt: skip
