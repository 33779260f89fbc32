"""docs/how-to/dead-letters.md: its commands run as they stand, and do what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pillarbox.testing.receiver import Answer, Receiver
from tests.cli.commands import Ended, Pillarbox
from tests.warm import WarmPython

PAGE = Path(__file__).parents[2] / "docs/how-to/dead-letters.md"


def commands(section: str) -> list[list[str]]:
    """Give the commands of a section, as a shell would read them."""
    _, found, rest = PAGE.read_text("utf-8").partition(f"\n## {section}\n")
    assert found, section
    lines = re.findall(r"^    \$ pillarbox (.+)$", rest.partition("\n## ")[0], re.MULTILINE)
    assert lines, section
    return [shlex.split(line) for line in lines]


async def run(pillarbox: Pillarbox, section: str) -> list[Ended]:
    """Run a section; every command must do what it was told."""
    done = [await pillarbox(*command) for command in commands(section)]
    for command, ended in zip(commands(section), done, strict=True):
        assert ended.code == 0, (command, ended.err)
    return done


async def ended_so(pillarbox: Pillarbox, receiver: Receiver, status: int, to: str) -> str:
    receiver.answer = Answer(status=status)
    sent = await pillarbox("send", "ops", "hi", "--to", to, "--wait", "--json")
    assert sent.code == 6
    receiver.answer = Answer()
    return str(sent.json["id"])


@pytest.mark.timeout(300)
@pytest.mark.contract("OP1", "ST2", "UN3", "ST10")
async def test_the_page_s_commands_find_explain_resend_decide_and_delete(
    tmp_path: Path, warm_python: WarmPython
) -> None:
    pillarbox = Pillarbox(tmp_path, warm_python)
    async with Receiver() as receiver:
        pillarbox.serving(receiver.url, uncertain="hold")
        other = await ended_so(pillarbox, receiver, 400, "bob")
        dead = await ended_so(pillarbox, receiver, 400, "ann")
        _, *lists = await run(pillarbox, "Find them")
        assert all(dead in found.out and other in found.out for found in lists)
        explained, shown, told = await run(pillarbox, "Understand one")
        assert all(ended.out for ended in (explained, shown, told))
        await run(pillarbox, "Fix the cause")

        one, dry, many = await run(pillarbox, "Send it again")
        assert f"{dead}: replayed as " in one.err
        assert "1 message would be asked to replay" in dry.err
        assert f"{other}: replayed as " in many.err

        held = await ended_so(pillarbox, receiver, 500, "cid")
        second = await ended_so(pillarbox, receiver, 500, "cid")
        listed, _, delivered, resent = await run(pillarbox, "Decide about what is held")
        assert held in listed.out
        assert f"{second}: taken as delivered" in delivered.err
        assert f"{held}: due now" in resent.err

        drained = (await pillarbox("run", "--drain", "--json")).row("drained")
        assert drained["delivered"] == 3
        dry, gone = await run(pillarbox, "Delete what nobody needs")
        assert "no message fits" in dry.err
        assert "deleted: 2 of 2 messages (2 dead)" in gone.err
        left = (await pillarbox("ls", "--json")).json
        assert {row["state"] for row in left} == {"delivered"}
        assert {row["id"] for row in left} & {dead, other} == set()
