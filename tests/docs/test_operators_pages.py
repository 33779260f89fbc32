"""The pages for operators name commands and options that exist, and settings that are accepted."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import click
import pytest

from tests.docs.test_how_to import blocks, shell
from tools.reference.command_line import commands

PAGES = Path(__file__).parents[2] / "docs/how-to"


@pytest.mark.parametrize("page", ["production.md", "troubleshooting.md"])
def test_every_command_that_a_page_names_is_there_with_its_options(page: str) -> None:
    named = re.findall(r"\bpillarbox ((?:[a-z]+ ?)(?:[^`\n;#|]*))", (PAGES / page).read_text("utf-8"))
    known = commands()
    found = 0
    for line in named:
        words = line.split()
        name = next(
            (" ".join(("pillarbox", *words[:n])) for n in (2, 1) if " ".join(("pillarbox", *words[:n])) in known), ""
        )
        if not name:
            continue
        assert not isinstance(known[name], click.Group), line
        found += 1
        options = {text for param in known[name].params for text in param.opts}
        assert {word for word in words if word.startswith("-")} <= options, line
    assert found > 3


def test_every_command_in_backquotes_is_one() -> None:
    known = commands()
    for page in PAGES.parent.rglob("*.md"):
        for name in re.findall(r"`pillarbox ([a-z]+)", page.read_text("utf-8")):
            assert f"pillarbox {name}" in known, (page.name, name)


def test_the_unit_gives_a_worker_the_time_that_it_needs_to_stop() -> None:
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(blocks("production.md", "ini")[0])
    assert "pillarbox run " in unit["Service"]["ExecStart"]
    assert int(unit["Service"]["TimeoutStopSec"]) > 30


def test_the_nightly_backup_has_a_name_of_its_own(tmp_path: Path) -> None:
    """What systemd makes of the line: two dollars are one, two percent signs one."""
    (line,) = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", blocks("production.md", "ini")[1], re.MULTILINE)
    typed = line.replace("$$", "$").replace("%%", "%").replace("/opt/pillarbox/bin/", "")
    typed = typed.replace("/var/lib/pillarbox", str(tmp_path))
    shell(
        f"pillarbox send ops hi --to ann --db {tmp_path}/outbox.db\n{typed}",
        tmp_path,
        {"PILLARBOX_CHANNELS__OPS__URL": f"file://{tmp_path}/sent"},
    )
    (made,) = tmp_path.glob("backup-*.db")
    assert re.fullmatch(r"backup-\d{4}-\d\d-\d\d-\d{6}\.db", made.name)


def test_the_commands_of_production_run(tmp_path: Path) -> None:
    typed = "pillarbox send http://127.0.0.1:1/ hi --to ann\n" + "".join(blocks("production.md", "sh"))
    said = shell(typed.replace("/tmp/", f"{tmp_path}/"), tmp_path, {})
    assert '"findings"' in said
    assert (tmp_path / "outbox-backup.db").is_file()
