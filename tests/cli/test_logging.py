"""What `pillarbox run` writes to stderr: as `log_format` and `log_level` say, each outcome once, and no secret."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.testing.receiver import Answer, Receiver
from tests.cli.commands import COMMAND, PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.cli.commands import Ended, Pillarbox

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
TEXT, RECIPIENT = "a s3cret text", "ann-s3cret@example.org"
APP = """
from pillarbox import Outbox
box = Outbox("app.db", deliver=False, log_format="json")

@box.channel("pager")
async def pager(attempt):
    return "receipt-1"

def broken(event):
    raise ValueError("could not tell of a s3cret")

box.subscribe(broken)
"""


@pytest.fixture
def failing_once(pillarbox: Pillarbox, receiver: Receiver) -> Pillarbox:
    receiver.script(Answer(status=503), Answer())
    pillarbox.serving(receiver.url, schedule="1ms")
    return pillarbox


async def drained(pillarbox: Pillarbox, *options: str, **variables: str) -> tuple[str, Ended]:
    """Send one message, deliver it, and give its id and what the worker wrote."""
    sent = await pillarbox("send", "ops", TEXT, "--to", RECIPIENT)
    pillarbox.variables |= variables
    ended = await pillarbox("run", "--drain", *options)
    assert ended.code == 0
    assert "s3cret" not in ended.out + ended.err
    return sent.out.strip(), ended


def rows(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.err.splitlines()]


@pytest.mark.contract("EV2", "EV3")
async def test_a_text_log_has_each_outcome_once_with_its_fields(failing_once: Pillarbox) -> None:
    sent, ended = await drained(failing_once)
    of_the_message = [line for line in ended.err.splitlines() if sent in line]
    assert len(of_the_message) == 2
    failed, acked = of_the_message
    assert re.match(rf"{STAMP} warning Message delivery failed, scheduled for retry entryId={sent} ", failed)
    assert " errorKind=" in failed
    assert re.match(rf"{STAMP} info Message delivered and acked entryId={sent} ", acked)
    assert re.search(r" attemptCount=2 .*duration=[\d.]+m?s send=[\d.]+m?s", acked)


@pytest.mark.contract("EV2", "EV3")
async def test_lines_for_people_say_each_outcome_once(failing_once: Pillarbox) -> None:
    sent = (await failing_once("send", "ops", "hi", "--to", "x")).out.strip()
    master, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        COMMAND, "run", stdout=asyncio.subprocess.DEVNULL, stderr=terminal, env=failing_once.variables
    )
    os.close(terminal)
    loop = asyncio.get_running_loop()
    shown = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "delivered in" not in shown:
            shown += (await loop.run_in_executor(None, os.read, master, 4096)).decode()
        process.send_signal(signal.SIGTERM)
        shown += await loop.run_in_executor(None, _read_all, master)
        assert await process.wait() == 0
    lines = shown.splitlines()
    of_the_message = [line for line in lines if sent in line]
    assert [re.fullmatch(rf"{STAMP} {sent} ops #[12] .*", line) is not None for line in of_the_message] == [True, True]
    assert not [line for line in lines if "Message deliver" in line]


def _read_all(master: int) -> str:
    """Read a terminal until nobody has it open any more."""
    found = b""
    with contextlib.suppress(OSError):
        while more := os.read(master, 4096):
            found += more
    os.close(master)
    return found.decode()


@pytest.mark.contract("EV2", "EV3")
async def test_lines_for_programs_are_objects_and_nothing_else(failing_once: Pillarbox) -> None:
    sent, ended = await drained(failing_once, PILLARBOX_LOG_FORMAT="json")
    found = rows(ended)
    assert all(re.fullmatch(STAMP, row["timestamp"]) and row["level"] and row["logger"] for row in found)
    told = [(row["level"], row["message"]) for row in found if row.get("entryId") == sent]
    assert told == [
        ("warning", "Message delivery failed, scheduled for retry"),
        ("info", "Message delivered and acked"),
    ]
    delivered = next(row for row in found if row["message"] == "Message delivered and acked")
    assert (delivered["channelType"], delivered["logger"]) == ("ops", "pillarbox.delivery")
    assert delivered["durationMs"] >= 0
    of_the_worker = {row["event"]: row for row in found if row["logger"] == "pillarbox.run"}
    assert list(of_the_worker) == ["started", "stopped"]
    assert of_the_worker["started"]["channels"] == ["ops"]
    assert of_the_worker["stopped"]["cut_off"] == 0


@pytest.mark.contract("EV2")
async def test_with_rows_on_stdout_the_log_is_whole_on_stderr(failing_once: Pillarbox) -> None:
    sent, ended = await drained(failing_once, "--json")
    assert ended.row("delivered")["id"] == sent
    (line,) = (line for line in ended.err.splitlines() if "Message delivered and acked" in line)
    assert re.match(rf"{STAMP} info Message delivered and acked entryId={sent} ", line)
    assert " channelType=ops " in line


@pytest.mark.contract("EV2")
@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(("level", "outcomes"), [("debug", 2), ("info", 2), ("warning", 1), ("error", 0)])
async def test_what_is_less_important_is_left_out(
    failing_once: Pillarbox, style: str, level: str, outcomes: int
) -> None:
    sent, ended = await drained(failing_once, PILLARBOX_LOG_LEVEL=level, PILLARBOX_LOG_FORMAT=style)
    assert len([line for line in ended.err.splitlines() if sent in line]) == outcomes
    assert ("delivers through ops" in ended.err, "stopped" in ended.err) == (outcomes == 2,) * 2


@pytest.mark.contract("EV3")
async def test_of_an_exception_the_place_is_logged_and_no_text(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "mine.py").write_text(APP, "utf-8")
    async with pillarbox.running("run", "--app", "mine:box", "--json") as worker:
        await worker.line("started")
        await pillarbox("send", "pager", TEXT, "--to", "x", "--db", "app.db")
        await worker.line("delivered")
        worker.process.terminate()
        ended = await worker.ended()
    assert "s3cret" not in ended.err
    assert "Traceback" not in ended.err
    errors = [row for row in rows(ended) if row["level"] == "error"]
    assert errors
    assert {(row["exception"], row["frames"][-1].partition(":")[2]) for row in errors} == {
        ("ValueError", "10 in broken")
    }


ACCEPTING = """
from pillarbox import Outbox
box = Outbox("app.db", deliver=False)

@box.channel("first")
async def first(attempt):
    await box.send("second", to="x", text=attempt.text)

@box.channel("second")
async def second(attempt):
    return None
"""


@pytest.mark.contract("EV2")
async def test_what_the_worker_s_own_program_accepts_is_in_the_log(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "mine.py").write_text(ACCEPTING, "utf-8")
    await pillarbox("send", "first", TEXT, "--to", "x", "--db", "app.db", PILLARBOX_CHANNELS__FIRST__URL="console://")
    ended = await pillarbox("run", "--app", "mine:box", "--drain")
    assert ended.out.startswith("2 delivered")
    enqueued = [line for line in ended.err.splitlines() if "Message enqueued for delivery" in line]
    assert [re.match(rf"{STAMP} info .* channelType=second", line) is not None for line in enqueued] == [True]
    assert "s3cret" not in ended.err
