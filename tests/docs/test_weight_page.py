"""docs/explanation/weight.md: every dependency has its row, and what it says of a bot is so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/weight.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FOR_DEVELOPERS = {"dev", "docs", "bench"}
HEAVY = {
    "aiohappyeyeballs", "aiosmtplib", "apsw", "click", "cmarkgfm", "httptools", "idna", "msgspec", "multidict",
    "platformdirs", "psycopg", "regex", "rich", "uvloop", "yaml", "yarl",
}  # fmt: skip
BOT = """
import asyncio
from pillarbox import Outbox

async def say(attempt): return "1"

async def main():
    async with Outbox("outbox.db", channels={"chat": say}) as box:
        message = await (await box.send("chat", to="ann", text="Grüße")).wait(30)
        assert message.receipt == "1"

asyncio.run(main())
"""


def test_every_dependency_has_its_row() -> None:
    needed = [re.split(r"[<>=\[]", one)[0] for one in PROJECT["dependencies"]]
    installed = PAGE.partition("## What is installed")[2]
    assert sorted(re.findall(r"^\| ([\w-]+) \| [\d.]+ \| ", installed, re.MULTILINE)) == sorted(needed)


def test_every_extra_has_its_row() -> None:
    extras = set(PROJECT["optional-dependencies"]) - FOR_DEVELOPERS
    assert set(re.findall(r"^\| `pillarbox\[(\w+)\]` \| ", PAGE, re.MULTILINE)) == extras


def test_all_is_every_other_extra() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    named = set(re.findall(r"\w+", everything.partition("[")[2]))
    assert named == set(PROJECT["optional-dependencies"]) - FOR_DEVELOPERS - {"all"}


@pytest.mark.parametrize(
    ("program", "loaded"), [("import pillarbox", set()), (BOT, {"apsw", "msgspec", "platformdirs"})]
)
def test_nothing_is_loaded_that_is_not_used(program: str, loaded: set[str], tmp_path: Path) -> None:
    tell = f"\nimport sys\nprint(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program + tell], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert set(done.stdout.split()) == loaded
