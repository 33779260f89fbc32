"""
The built wheel, in an environment that holds nothing but it and what it asks for, does what the README says.

The tests beside this one run on the source tree with all its tools: a file that the wheel lacks, or a dependency that
it does not name, passes there. `PILLARBOX_TEST_INDEX=1` lets pip fetch the dependencies, as a user's would.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from pillarbox.testing.receiver import Receiver
from tests.docs.test_readme import README, ROOT
from tests.run_to_end import run_to_end

if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE_SECONDS = 200
FROM_INDEX = bool(os.environ.get("PILLARBOX_TEST_INDEX"))
OF_A_CHECKOUT = "make "
STAYS = ("pillarbox run", "pillarbox top")
MOST_BYTES = 1_000_000
"""Of a wheel: more means that something slipped in."""


def run(*command: str | Path, home: Path) -> str:
    """Run a command that knows nothing of this checkout and its environment."""
    done = run_to_end(
        command,
        seconds=PATIENCE_SECONDS,
        cwd=home,
        env={
            "PATH": f"{home / 'venv/bin'}:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        },
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def needed(asked: Iterable[str], known: dict[str, importlib.metadata.Distribution]) -> None:
    """Fill *known* with what *asked* needs without an extra, and what that needs in turn."""
    for line in asked:
        one = Requirement(line)
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        if one.name not in known:
            known[one.name] = importlib.metadata.distribution(one.name)
            needed(known[one.name].requires or (), known)


def lend(site: Path) -> None:
    """Link what the wheel asks for, and nothing else, from this environment: nothing is fetched."""
    (metadata,) = site.glob("pillarbox-*.dist-info")
    known: dict[str, importlib.metadata.Distribution] = {}
    needed(importlib.metadata.PathDistribution(metadata).requires or (), known)
    for lent in known.values():
        for name in {file.parts[0] for file in lent.files or ()} - {"..", "__pycache__"}:
            (site / name).symlink_to(Path(str(lent.locate_file(name))))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the wheel in `venv`, as `pip install pillarbox` makes it."""
    made = tmp_path_factory.mktemp("newcomer")
    here = Path(sys.executable)
    subprocess.run([here, "-m", "hatchling", "build", "-t", "wheel", "-d", made], cwd=ROOT, check=True)
    (wheel,) = made.glob("*.whl")
    assert wheel.stat().st_size < MOST_BYTES
    run(here, "-m", "venv", "--without-pip", made / "venv", home=made)
    pip = (here, "-m", "pip", "--python", made / "venv", "--disable-pip-version-check", "install", "-q")
    run(*pip, *(() if FROM_INDEX else ("--no-deps", "--no-index", "--no-compile")), wheel, home=made)
    (site,) = (made / "venv/lib").glob("python3*/site-packages")
    if not FROM_INDEX:
        lend(site)
    return made


def typed() -> list[str]:
    """Every line for a shell in the README, and every command that its sentences name."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    named = [line for line in re.findall(r"`(pillarbox [a-z]+)`", README) if line not in STAYS]
    return [line for block in blocks for line in block.splitlines() if not line.startswith(OF_A_CHECKOUT)] + named


async def test_every_line_of_the_readme_runs_from_the_wheel(home: Path) -> None:
    lines = typed()
    assert lines.pop(0) == "pip install pillarbox"
    async with Receiver() as receiver:
        script = "\n".join(lines)
        script = script.replace("http://127.0.0.1:8080/", receiver.url).replace(
            "https://example.org/hook", receiver.url
        )
        said = await asyncio.to_thread(run, "bash", "-eu", "-c", script, home=home)
        assert receiver.count == 2
    assert len(re.findall(r"^[\w-]{22}$", said, re.MULTILINE)) == 2
    assert re.search(r"^lost +0$", said, re.MULTILINE)
    assert re.search(r"^1 delivered", said, re.MULTILINE)
    assert "settle" in said


async def test_the_readme_s_programs_run_from_the_wheel(home: Path) -> None:
    bot, shop = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (home / "bot.py").write_text(bot, "utf-8")
    said = await asyncio.to_thread(run, home / "venv/bin/python", "bot.py", home=home)
    assert re.fullmatch(r"Message\(id='[\w-]{22}', state='delivered', receipt='page-1'\)\n", said)
    async with Receiver() as receiver:
        (home / "shop.py").write_text(shop.replace("https://example.org/hook", receiver.url), "utf-8")
        if not (home / "shop.db").exists():
            await asyncio.to_thread(run, home / "venv/bin/pillarbox", "db", "init", "--shared", "shop.db", home=home)
        await asyncio.to_thread(run, home / "venv/bin/python", "shop.py", home=home)
        assert [request.json for request in receiver.requests] == [{"order": 812}]
