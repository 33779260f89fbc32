"""docs/how-to/explain.md lists every word of an explanation, with the meaning that the program knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pillarbox.domain.explain.causes import Cause, Explanation, Why
from pillarbox.domain.ids import message_id
from pillarbox.domain.message import State
from pillarbox.views import explanation_dict
from tools.reference.command_line import commands

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (.*) \| (.*) \|$", re.MULTILINE)
ID = message_id(0, bytes(10))
VERB = re.compile(r"`([a-z]+)(?: (--[a-z]+|[a-z]+))?`")


@pytest.mark.contract("OP2")
def test_every_word_stands_in_the_table_with_its_meaning() -> None:
    page = (DOCS / "how-to/explain.md").read_text("utf-8")
    assert [row[:2] for row in ROW.findall(page)] == [(str(word), word.about) for word in Why]


@pytest.mark.contract("OP2")
def test_every_command_that_the_table_names_exists() -> None:
    page = (DOCS / "how-to/explain.md").read_text("utf-8")
    known = {name.removeprefix("pillarbox ") for name in commands()}
    settings = {"ttl", "concurrency"}
    found = {verb for _, _, advice in ROW.findall(page) for verb in VERB.findall(advice)}
    assert found
    for verb, more in found:
        assert {verb, f"{verb} {more}"} & (known | settings), verb


@pytest.mark.contract("OP1", "OP2")
def test_every_field_of_an_explanation_is_described() -> None:
    page = (DOCS / "reference/cli.md").read_text("utf-8")
    section = page.partition("\n## pillarbox explain\n")[2].partition("\n## ")[0]
    cause = Cause(word=Why.DUE, since_ms=0, until_ms=1, text="It is due.", unblock="Nothing.", blocking=False)
    explanation = Explanation(message=ID, state=State.SCHEDULED, at_ms=5, earliest_ms=None, causes=(cause,))
    row = explanation_dict(explanation)
    # The stable form: a name that goes away or is renamed breaks somebody's script.
    assert row == {
        "id": ID,
        "state": "scheduled",
        "at": "1970-01-01T00:00:00.005Z",
        "earliest_at": None,
        "causes": [
            {
                "word": "due",
                "since": "1970-01-01T00:00:00.000Z",
                "until": "1970-01-01T00:00:00.001Z",
                "blocking": False,
                "text": "It is due.",
                "unblock": "Nothing.",
                "ahead": None,
            }
        ],
    }
    assert not [name for name in (*row, *row["causes"][0]) if f"`{name}`" not in section]
