"""The commands and programs of docs/how-to/ run as they stand, and do what the pages say."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillarbox.channels.exceptions.judge import classify_exception
from pillarbox.clock import SystemClock
from pillarbox.imports.entry import System
from pillarbox.settings.lookup import TABLE
from tests.imports.queues import FileQueue
from tests.run_to_end import run_to_end

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGES = Path(__file__).parents[2] / "docs/how-to"
BIN = Path(sys.executable).parent
SHELL_SECONDS = 240


def blocks(page: str, kind: str) -> list[str]:
    found = re.findall(rf"^```{kind}\n(.*?)^```$", (PAGES / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    return found


def shell(commands: str, home: Path, variables: Mapping[str, str]) -> str:
    """Run commands, which must all succeed, in a home of their own; gives what they wrote to stdout."""
    ours = ("PILLARBOX_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = {**kept, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", **variables}
    done = run_to_end(["bash", "-eu", "-c", commands], seconds=SHELL_SECONDS, cwd=home, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.contract("IM2", "IM5")
def test_the_import_goes_as_its_page_says(tmp_path: Path) -> None:
    (tmp_path / ".openclaw").mkdir()
    queue = FileQueue(tmp_path / ".openclaw/delivery-queue")
    now_ms = SystemClock().wall_ms()
    queue.put("a.json", enqueuedAt=now_ms - 2000)
    queue.put("b.json", enqueuedAt=now_ms - 1000, accountId="second")
    queue.put("failed/c.json", enqueuedAt=now_ms - 3000)
    log = tmp_path / "sent.jsonl"
    variables = {f"PILLARBOX_CHANNELS__{name}__URL": f"file://{log}" for name in ("OPS", "PAGER")}
    look, name, bring, verify, deliver = blocks("import.md", "sh")
    database = tmp_path / ".local/state/pillarbox/outbox.db"
    for commands in (look, name):
        assert re.search(r"imported/scheduled +2\n", shell(commands, tmp_path, variables))
        assert not database.exists()
    assert re.search(r"terminal/dead +1\n", shell(bring, tmp_path, variables))
    assert database.exists()
    assert sorted(path.name for path in (queue.path / "imported").iterdir()) == ["a.json", "b.json"]
    assert (queue.path / "failed/c.json").exists()
    verified = shell(verify, tmp_path, variables)
    assert re.match(r"RESULT +ENTRIES\nskipped +1\n", verified)
    for channel in ("ops", "pager"):
        assert re.search(rf"^{channel} +- +1 ", verified, re.MULTILINE)
    assert shell(deliver, tmp_path, variables).startswith("2 delivered, 0 failed")
    sent = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert {(row["channel"], row["text"]) for row in sent} == {("ops", "text of a"), ("pager", "text of b")}


def test_every_system_that_can_be_imported_is_on_the_page() -> None:
    page = (PAGES / "import.md").read_text("utf-8")
    assert re.findall(r"^\| `([\w-]+)` \| [^|]*(?:directory|database)", page, re.MULTILINE) == [
        str(one) for one in System
    ]


@pytest.mark.contract("CF3", "CF4")
def test_the_configuration_is_as_its_page_says(tmp_path: Path) -> None:
    (file,) = blocks("configure.md", "toml")
    place = tmp_path / "pillarbox.toml"
    place.write_text(file, "utf-8")
    place.chmod(0o600)
    explained, shown = (shell(commands, tmp_path, {}) for commands in blocks("configure.md", "sh"))
    assert all(one.key in explained for one in TABLE)
    assert re.search(r"^variable +PILLARBOX_LIMITS__MESSAGES$", explained, re.MULTILINE)
    assert re.search(rf"^{re.escape(str(place))} .* yes +yes$", shown, re.MULTILINE)
    assert re.search(r"^defaults.ttl +3h +env PILLARBOX_DEFAULTS__TTL$", shown, re.MULTILINE)
    assert re.search(
        r"^channels.ops.url +https://example.org/\*\*\* +file pillarbox.toml:channels.ops.url$", shown, re.MULTILINE
    )
    assert "error:" not in shown
    assert not (tmp_path / "outbox.db").exists()


@pytest.mark.contract("EV2")
def test_the_page_s_program_logs_objects(tmp_path: Path) -> None:
    (program,) = blocks("configure.md", "python")
    script = tmp_path / "script.py"
    script.write_text(program, "utf-8")
    row = json.loads(shell(f"python {script}", tmp_path, {}))
    assert (row["level"], row["logger"], row["message"], row["entryId"]) == ("warning", "pillarbox", "it works", "x")


def test_what_takes_effect_at_once_is_on_the_page() -> None:
    page = (PAGES / "configure.md").read_text("utf-8")
    table = page.partition("| At once | At a restart |\n|---|---|\n")[2].partition("\n\n")[0]
    cells = [row.strip("|").split(" | ") for row in table.splitlines()]
    at_once, restart = (" ".join(row[place] for row in cells) for place in (0, 1))
    policies = {one.path[-1] for one in TABLE if one.path[0] == "defaults"} | {"lane"}
    for one in TABLE:
        if one.path[-1] in policies:
            assert one.setting.reload, one.key
            continue
        place, other = (at_once, restart) if one.setting.reload else (restart, at_once)
        names = {one.key, one.path[-1], one.path[0] if one.path[0] != "channels" else "options", "_retention"}
        names &= {*re.findall(r"`([\w.]+)`", place)} | ({"_retention"} if one.key.endswith("_retention") else set())
        assert names, f"{one.key} is not listed where it belongs"
        if one.path[0] != "channels" and one.key != "concurrency":
            assert f"`{one.key}`" not in other


@pytest.mark.contract("CL1", "CL6")
def test_an_own_channel_is_written_as_its_page_says(tmp_path: Path) -> None:
    printed = []
    for number, program in enumerate(blocks("own-channel.md", "python")):
        script = tmp_path / f"{number}.py"
        script.write_text(program, "utf-8")
        printed.append(shell(f"python {script}", tmp_path, {}))
    function, adapter = printed
    assert re.fullmatch(r"Message\(id='[\w-]{22}', state='delivered', receipt='sms-1'\)\ndead\n", function)
    assert re.fullmatch(r"Message\(id='[\w-]{22}', state='delivered', receipt='1'\)\n", adapter)


@pytest.mark.contract("CL1", "CL6")
def test_an_exception_means_what_the_page_about_own_channels_says() -> None:
    page = (PAGES / "own-channel.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w.*\))` \| `(\w+)` \|", page, re.MULTILINE)
    assert len(rows) == 12
    for exception, expected in rows:
        raised = eval(exception, {"socket": socket, "urllib": urllib, "URL": "http://127.0.0.1/"})  # noqa: S307 — our page
        assert type(classify_exception(raised)).__name__ == expected, exception
        if isinstance(raised, urllib.error.HTTPError) and raised.fp is not None:
            raised.close()


@pytest.mark.parametrize(
    ("page", "prints"),
    [
        ("telegram.md", "['Hello']\ndead\n"),
        ("slack.md", "['Hello']\ndead\n"),
        ("discord.md", "['Hello']\ndead\n"),
        ("matrix.md", "['Hello']\ndead\n"),
    ],
)
def test_a_bot_is_tested_as_its_page_says(page: str, prints: str, tmp_path: Path) -> None:
    (program,) = [block for block in blocks(page, "python") if "pillarbox.testing" in block]
    (tmp_path / "program.py").write_text(program, "utf-8")
    assert shell("python program.py", tmp_path, {"TMPDIR": str(tmp_path)}) == prints
