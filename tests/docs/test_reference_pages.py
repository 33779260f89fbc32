"""The generated parts of docs/reference/ say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

import pytest

import pillarbox
from pillarbox import errors
from pillarbox.domain.lifecycle import MOVES
from pillarbox.domain.message import State
from pillarbox.domain.transition import ErrorClass, Reason
from pillarbox.settings.lookup import TABLE
from tools.reference import PAGES, api, page
from tools.reference.errors import kinds
from tools.reference.settings import type_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/reference"
DRAWN = re.compile(r" {4}(?:\[\*\]|\w+) --> (?:\[\*\]|\w+)(?:: [^:;\n#%]+)?")


def text_of(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_what_is_generated_is_up_to_date(name: str) -> None:
    assert page.rewritten(text_of(name), PAGES[name]()) == text_of(name), "run: make docs-reference"


@pytest.mark.parametrize("name", PAGES)
def test_every_block_stands_on_its_page_once(name: str) -> None:
    assert sorted(page.names_in(text_of(name))) == sorted(PAGES[name]())


def test_a_stale_page_is_written_anew(tmp_path: Path) -> None:
    stale = tmp_path / "docs/reference"
    stale.mkdir(parents=True)
    for name in PAGES:
        (stale / name).write_text(text_of(name).replace("| `", "| `old_"), "utf-8")
    command = [sys.executable, "-m", "tools.reference"]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)
    for name, blocks in PAGES.items():
        written = (stale / name).read_text("utf-8")
        assert page.rewritten(written, blocks()) == written


def test_a_block_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="unheard of"):
        page.rewritten("<!-- begin unheard of -->\n<!-- end -->", {"states": ""})


def test_every_setting_has_its_row() -> None:
    said = text_of("settings.md")
    assert [one.key for one in TABLE if f"\n| `{one.key}` | " not in said or f" | `{one.env}` | " not in said] == []
    assert [one.key for one in TABLE if f"\n| {type_name(one)} | " not in said] == []


def test_every_move_and_word_of_the_lifecycle_is_on_the_page() -> None:
    said = text_of("states.md")
    assert [move for move in MOVES if f"\n    {move[0]} --> {move[1]}: " not in said] == []
    assert said.count(" --> ") == len(MOVES) + 1 + sum(state.terminal for state in State)
    assert [word for word in (*State, *Reason, *ErrorClass) if f"\n| `{word}` | " not in said] == []


def test_the_diagram_can_be_drawn() -> None:
    """Mermaid ends a label at a colon or semicolon, and refuses what is left (stateDiagram.jison, "DESCR")."""
    _, _, rest = text_of("states.md").partition("stateDiagram-v2\n")
    lines = rest.partition("```")[0].splitlines()
    assert [line for line in lines if not DRAWN.fullmatch(line)] == []


def test_the_tree_of_errors_names_each_below_its_base() -> None:
    """The tree is drawn by hand in errors.py."""
    above: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip("│├└─ ").partition(" ")[0]
        if name.isidentifier() and hasattr(errors, name):
            depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
            drawn[name] = above[depth - 1] if depth else None
            above[depth:] = [name]
    bases = {kind.__name__: kind.__bases__[0].__name__ for kind in kinds() if kind is not errors.PillarboxError}
    assert drawn == {"PillarboxError": None, **bases}


def test_a_member_without_words_is_found() -> None:
    with pytest.raises(KeyError, match="BULK"):
        page.members(Wordless)


class Wordless(StrEnum):
    FINE = "fine"
    """It has words."""
    BULK = "bulk"


@pytest.mark.parametrize("name", api.NAMES)
def test_every_public_name_says_what_it_is(name: str) -> None:
    told = vars(getattr(pillarbox, name)).get("__doc__")
    assert told
    assert f"\n## {name}\n" in text_of("api.md")
    own = {one: thing for one, thing in vars(getattr(pillarbox, name)).items() if not one.startswith("_")}
    methods = {one: thing for one, thing in own.items() if callable(thing) or isinstance(thing, property)}
    assert [one for one, thing in methods.items() if not (thing.__doc__ or "").strip()] == []


def test_every_keyword_says_what_it_is_for() -> None:
    rows = text_of("api.md").partition("\n## Keywords\n")[2]
    described = re.findall(r"^\| `(\w+)` \| ", rows, re.MULTILINE)
    assert set(described) == {word for kind in api.KEYWORDS.values() for word in kind.__annotations__}
