"""
Pages that are a session at a terminal do what they show.

A Python block whose first line is ``# NAME.py`` is that file from then on. A block for a shell is run, in one folder
for the whole page, and must print what the block of text behind it says; ``…`` there stands for anything.
"""

from __future__ import annotations

import inspect
import json
import re
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from tests.docs.test_how_to import shell

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (?P<name>\w+\.py)\n")
PROGRAM = re.compile(r"python (?P<name>\w+\.py)\n")
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if FILE.search(path.read_text("utf-8")))


def steps(page: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each block that takes part."""
    for block in BLOCK.finditer((DOCS / page).read_text("utf-8")):
        if block["kind"] in {"python", "sh", "text", "toml"}:
            yield block["kind"], block["text"]


def printed(shown: str) -> str:
    """Return the pattern of what a page shows."""
    return ".*?".join(map(re.escape, shown.split("…")))


def run(text: str, home: Path, capsys: pytest.CaptureFixture[str]) -> str | None:
    """Run a block: a program alone in this process, because it is there already, all else by a shell."""
    if (program := PROGRAM.fullmatch(text)) is None:
        # A pytest has plugins of others, which warn of settings that a page has no reason to make.
        return shell(text, home, {} if "-m pytest" in text else {"PYTHONWARNINGS": "error"}) or None
    capsys.readouterr()
    runpy.run_path(str(home / program["name"]), run_name="__main__")
    return capsys.readouterr().out or None


@pytest.mark.timeout(600)  # a shell has two minutes for each of its blocks, on a machine that may be busy
@pytest.mark.parametrize("page", PAGES)
def test_a_session_goes_as_its_page_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    said: str | None = None
    for kind, text in steps(page):
        if kind == "sh":
            assert said is None, f"{page} does not show what is printed: {said}"
            if "pip install" not in text:
                said = run(text, tmp_path, capsys)
        elif kind == "text":
            assert re.fullmatch(printed(text), said or "", re.DOTALL), f"{page} shows\n{text}\nbut this is:\n{said}"
            said = None
        elif (file := FILE.match(text)) is not None:
            (tmp_path / file["name"]).write_text(text, "utf-8")
    assert said is None, f"{page} does not show what is printed: {said}"
    for made in tmp_path.glob("*.py"):
        sys.modules.pop(made.stem, None)


def shown_tests() -> dict[str, Any]:
    """Return the tests of the page about tests."""
    found: dict[str, Any] = {}
    for kind, text in steps("how-to/testing.md"):
        if kind == "python":
            names: dict[str, Any] = {}
            exec(compile(text, "shown.py", "exec", dont_inherit=True), names)  # noqa: S102 — what we wrote ourselves
            found |= {name: thing for name, thing in names.items() if name.startswith("test_")}
    return found


@pytest.mark.parametrize("name", shown_tests())
async def test_a_test_that_the_page_shows_passes(name: str, tmp_path: Path) -> None:
    shown = shown_tests()[name]
    assert inspect.iscoroutinefunction(shown)
    await shown(tmp_path)


async def test_the_questions_for_a_probe_are_answered_as_the_page_about_monitoring_says(tmp_path: Path) -> None:
    page = (DOCS / "how-to/monitoring.md").read_text("utf-8")
    asked = re.findall(r"`\(?await (box\.\w+)\(\)", page.partition("## Numbers")[0])
    assert asked == ["box.health", "box.stats", "box.flow"]
    async with Outbox(tmp_path / "outbox.db", deliver=False) as box:
        await box.send("chat", to="ann", text="hi")
        assert (await box.health()).problems == ()
        assert [(row.channel, row.messages) for row in await box.stats()] == [("chat", 1)]
        (flow,) = await box.flow()
        assert (flow.channel, flow.paused, flow.due_ms is not None) == ("chat", False, True)
    db = {"PILLARBOX_DB": str(tmp_path / "outbox.db")}
    shell("pillarbox db check", tmp_path, db)
    (finding,) = json.loads(shell("pillarbox status --json", tmp_path, db))["findings"]
    assert "no worker runs" in finding["what"]
