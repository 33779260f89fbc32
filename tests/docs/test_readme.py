"""The README: its lines for a shell run, its links lead somewhere, and the source package holds what they lead to."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

from pillarbox.testing.receiver import Receiver
from tests.docs.test_how_to import shell

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)", README)
# What these do is tried elsewhere: the demo in tests/acceptance, the others set up what runs these tests.
ELSEWHERE = ("pip install ", "pillarbox demo", "make ")


def lines() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if not line.startswith(ELSEWHERE)]


async def test_every_line_for_a_shell_runs(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        typed = "\n".join(lines())
        typed = typed.replace("http://127.0.0.1:8080/", receiver.url).replace("https://example.org/hook", receiver.url)
        said = await asyncio.to_thread(shell, typed, tmp_path, {})
        assert receiver.count == 2
    first, second, drained, *_ = said.splitlines()
    assert (len(first), len(second)) == (22, 22)
    assert drained.startswith("1 delivered")
    assert "settle" in said.splitlines()[-1]


def test_every_link_leads_to_a_file_that_the_source_package_holds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packed = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert LINKS
    for link in LINKS:
        assert (ROOT / link).is_file(), link
        assert any(f"/{link}".startswith(place) for place in packed), link
