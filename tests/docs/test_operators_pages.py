"""The pages for operators name commands and options that exist, and settings that are accepted."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.docs.test_how_to import blocks, shell
from tools.reference.command_line import commands

PAGES = Path(__file__).parents[2] / "docs/how-to"
OPERATORS = ("dead-letters", "flow-control", "monitoring", "production", "questions", "troubleshooting")


@pytest.mark.parametrize("page", OPERATORS)
def test_every_command_that_a_page_names_is_there_with_its_options(page: str) -> None:
    named = re.findall(r"\bpillarbox ((?:[a-z]+ ?)(?:[^`\n;#|]*))", (PAGES / f"{page}.md").read_text("utf-8"))
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


def units() -> dict[str, str]:
    """Return the files for systemd that the page about production shows, by name."""
    found = {}
    for block in blocks("production.md", "ini"):
        head, _, _ = block.partition("\n")
        found[head.removeprefix("# /etc/systemd/system/")] = block
    return found


def unit(name: str) -> configparser.ConfigParser:
    read = configparser.ConfigParser(strict=True, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read_string(units()[name])
    return read


def run_by(name: str, home: Path) -> str:
    """Return what systemd makes of a unit's command, in a home of ours: two dollars are one, two percent signs one."""
    line = unit(name)["Service"]["ExecStart"].replace("$$", "$").replace("on %H", "on host").replace("%%", "%")
    line = line.replace("/opt/pillarbox/bin/", "").replace("/etc/pillarbox.toml", str(home / "pillarbox.toml"))
    return line.replace("/var/lib/pillarbox", str(home))


def configured(home: Path) -> None:
    """Write the page's configuration, with a channel that leads into a file."""
    (block,) = blocks("production.md", "toml")
    block = block.replace("/var/lib/pillarbox", str(home)).replace("https://example.org/hook", f"file://{home}/sent")
    (home / "pillarbox.toml").write_text(block, "utf-8")


def test_the_unit_gives_a_worker_the_time_that_it_needs_to_stop() -> None:
    service = unit("pillarbox.service")["Service"]
    assert "pillarbox run " in service["ExecStart"]
    assert int(service["TimeoutStopSec"]) > 30


def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    if (verify := shutil.which("systemd-analyze")) is None:
        pytest.skip("there is no systemd-analyze here")
    ours = Path(sys.executable).parent
    for name, text in units().items():
        (tmp_path / name).write_text(text.replace("/opt/pillarbox/bin", str(ours)), "utf-8")
    said = subprocess.run(
        [verify, "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, timeout=60, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_every_unit_that_another_names_is_there() -> None:
    text = (PAGES / "production.md").read_text("utf-8")
    named = {name for line in re.findall(r"^(?:OnFailure=|systemctl .*? )(.*)$", text, re.MULTILINE) for name in
             re.findall(r"[\w-]+\.(?:service|timer)", line)}  # fmt: skip
    assert len(named) == 4
    assert named <= units().keys()
    timers = {name.removesuffix(".timer") for name in units() if name.endswith(".timer")}
    assert {f"{name}.service" for name in timers} <= units().keys()


def test_worker_backup_check_and_alert_do_what_their_units_say(tmp_path: Path) -> None:
    """With a message that dies, systemd's part played by a shell; `mail` and `journalctl` are stand-ins."""
    configured(tmp_path)
    (tmp_path / "bin").mkdir()
    stand_ins = {"mail": 'echo "$@" > mailed; cat >> mailed', "journalctl": 'cat checked; echo "$@" > asked'}
    for name, does in stand_ins.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n", "utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    said = shell(
        "pillarbox send ops hi --to ann --ttl 1ms --config pillarbox.toml\n"
        f"{run_by('pillarbox.service', tmp_path)} --drain || true\n"
        f"{run_by('pillarbox-backup.service', tmp_path)}\n"
        f"code=0; {run_by('pillarbox-check.service', tmp_path)} > checked || code=$?; echo ended with $code\n"
        f"PATH=$PWD/bin:$PATH\n{run_by('pillarbox-alert.service', tmp_path)}",
        tmp_path,
        {},
    )
    (made,) = tmp_path.glob("backup-*.db")
    assert re.fullmatch(r"backup-\d{4}-\d\d-\d\d-\d{6}\.db", made.name)
    assert "ended with 8" in said
    mailed = (tmp_path / "mailed").read_text("utf-8").splitlines()
    assert mailed[:2] == ["-s pillarbox on host root", "1 message expired: not delivered in time"]
    assert "-u pillarbox-check" in (tmp_path / "asked").read_text("utf-8")


def test_the_container_delivers_and_its_health_check_looks_at_the_same_queue(tmp_path: Path) -> None:
    """What the image runs, run here: no images are built."""
    (image,) = blocks("production.md", "dockerfile")
    configured(tmp_path)
    said = dict(line.split(" ", 1) for line in image.splitlines())
    command = " ".join(json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"]))
    _, check = said["HEALTHCHECK"].split(" CMD ")
    name, _, value = said["ENV"].partition("=")
    asked = f"code=0; ({check}) || code=$?; echo healthy: $code"
    typed = f"{asked}\npillarbox send ops hi --to ann --config /etc/pillarbox.toml\n{command} --drain\n{asked}"
    shown = shell(typed.replace("/etc/pillarbox.toml", str(tmp_path / "pillarbox.toml")), tmp_path, {name: value})
    assert re.findall(r"healthy: (\d+)", shown) == ["1", "0"]
    assert (tmp_path / "sent").is_file()


def test_the_commands_of_production_run(tmp_path: Path) -> None:
    typed = "pillarbox send http://127.0.0.1:1/ hi --to ann\n" + "".join(blocks("production.md", "sh"))
    said = shell(typed.replace("/tmp/", f"{tmp_path}/"), tmp_path, {})
    assert "no worker runs" in said
    assert "somebody is needed: exit code 8" in said
    assert (tmp_path / "outbox-backup.db").is_file()
