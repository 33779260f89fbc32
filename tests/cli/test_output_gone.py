"""What cannot be written decides neither what a worker does nor what a command says of what it has done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

import pytest

from pillarbox import Outbox
from tests.cli.commands import COMMAND, PATIENCE_SECONDS

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox


async def shell(pillarbox: Pillarbox, command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command.replace("PB", COMMAND), env=pillarbox.variables, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert "Traceback" not in err.decode()
    assert "internal error" not in err.decode()
    return process.returncode or 0, err.decode()


@pytest.mark.contract("EN1", "OP1")
@pytest.mark.parametrize("where", [">/dev/full", ">&-"], ids=["full", "closed"])
async def test_a_message_that_is_stored_was_sent_whatever_becomes_of_its_id(
    pillarbox: Pillarbox, receiver: Receiver, where: str
) -> None:
    pillarbox.serving(receiver.url)
    code, said = await shell(pillarbox, f"PB send ops hi --to x {where}")
    assert code == 0
    assert "is stored, but that could not be written to stdout" in said
    assert (await shell(pillarbox, f"PB send ops hi --to x {where} 2>/dev/full"))[0] == 0
    assert (await shell(pillarbox, "PB send ops hi --to x 2>&- >/dev/null"))[0] == 0
    assert (await pillarbox("stats", "--json")).json["messages"] == 3
    for order in ("pause ops", "cancel --all --yes", "db migrate", f"db backup {pillarbox.home}/{len(where)}.db"):
        code, said = await shell(pillarbox, f"PB {order} --json {where}")
        assert (code, "could not be written to stdout" in said) == (0, True), order
    assert (await pillarbox("stats", "--json")).json["states"]["cancelled"] == 3


FULL: Final = (
    "ls", "stats --json", "config show", "--help", "--version", "--version --json", "workers", "db check --json",
)  # fmt: skip
CLOSED: Final = ("ls", "stats --json", "--help", "--version", "completion bash")


@pytest.mark.parametrize(
    ("command", "where", "why"),
    [(command, ">/dev/full", "No space left") for command in FULL]
    + [(command, ">&-", "Bad file descriptor") for command in CLOSED],
)
async def test_a_command_that_only_reads_fails_where_nobody_can_read_it(
    pillarbox: Pillarbox, command: str, where: str, why: str
) -> None:
    await pillarbox("send", "file:/dev/null", "hi", "--to", "x")
    code, said = await shell(pillarbox, f"PB {command} {where}")
    assert code == 1
    assert said.startswith(f"error: the output cannot be written: {why}")


@pytest.mark.parametrize("unbuffered", ["1", ""])
async def test_what_is_written_in_part_is_no_success(pillarbox: Pillarbox, unbuffered: str) -> None:
    """As on a disk that gets full; what Python does not buffer is cut short without a word."""
    async with Outbox(pillarbox.db, deliver=False) as box:
        for _ in range(60):
            await box.send("ops", to="x", text="x" * 3000)
    pillarbox.variables["PYTHONUNBUFFERED"] = unbuffered
    file = pillarbox.home / "out"
    code, said = await shell(pillarbox, f"ulimit -f 100; PB export >{file}")
    assert (code, file.stat().st_size) == (1, 100 * 1024)
    assert said.startswith("error: the output cannot be written: ")
    assert await shell(pillarbox, f"PB export >{file}") == (0, "")
    assert len(file.read_bytes().splitlines()) == 60


PRINTS = """
from pillarbox import Outbox
box = Outbox({db!r})
@box.channel("pager")
async def pager(attempt):
    print(attempt.text, end="")
"""


async def test_what_a_channel_prints_is_there_at_once_where_python_buffers_nothing(pillarbox: Pillarbox) -> None:
    """As the log of a container shows it, and not when the worker ends."""
    (pillarbox.home / "mine.py").write_text(PRINTS.format(db=str(pillarbox.db)), "utf-8")
    async with Outbox(pillarbox.db, deliver=False) as box:
        await box.send("pager", to="x", text="said")
    variables = {**pillarbox.variables, "PYTHONUNBUFFERED": "1"}
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(
        COMMAND, "run", "--app", "mine:box", cwd=pillarbox.home, env=variables, stdout=pipe, stderr=pipe
    )
    try:
        assert worker.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await worker.stdout.readexactly(4) == b"said"
    finally:
        worker.terminate()
        await worker.communicate()


async def test_a_command_whose_reader_is_gone_says_nothing(pillarbox: Pillarbox) -> None:
    for command in ("--version", "--help", "config show"):
        code, said = await shell(pillarbox, f"set -o pipefail; PB {command} | (exec <&-)")
        assert (code in {0, 141}, said) == (True, "")


async def test_a_command_that_prints_nothing_needs_no_stdout(pillarbox: Pillarbox) -> None:
    await pillarbox("send", "file:/dev/null", "hi", "--to", "x")
    assert await shell(pillarbox, "PB db check --quiet >&-") == (0, "")


@pytest.mark.contract("DR2", "DR3")
async def test_a_drain_ends_by_what_it_did_whatever_becomes_of_its_report(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    pillarbox.serving(receiver.url)
    for where in ("--json >/dev/full", ">&-", ">/dev/full 2>&1", "--json | (exec <&-)"):
        await pillarbox("send", "ops", "hi", "--to", "x")
        code, _ = await shell(pillarbox, f"set -o pipefail; PB run --drain {where}")
        assert code == 0, where
    assert (await pillarbox("stats", "--json")).json["states"]["delivered"] == 4


@pytest.mark.contract("DR2", "DR3")
@pytest.mark.parametrize("way", ["full stderr", "closed stderr", "reader gone", "reader stands still", "full stdout"])
async def test_a_worker_delivers_and_stops_whatever_becomes_of_its_log(
    pillarbox: Pillarbox, receiver: Receiver, way: str
) -> None:
    pillarbox.serving(receiver.url)
    reading, writing = os.pipe()
    command = {
        "full stderr": "exec PB run >/dev/null 2>/dev/full",
        "closed stderr": "exec PB run >/dev/null 2>&-",
        "full stdout": "exec PB run --json >/dev/full 2>/dev/null",
    }.get(way, "exec PB run >/dev/null")
    if way == "reader stands still":
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writing, True)
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command.replace("PB", COMMAND), env=pillarbox.variables, stderr=writing
    )
    os.close(writing)
    if way == "reader gone":
        os.close(reading)
    try:
        sent = await pillarbox("send", "ops", "hi", "--to", "x")
        await receiver.wait_for(1)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert (await pillarbox("show", sent.out.strip(), "--json")).json["state"] == "delivered"
    if way != "reader gone":
        os.close(reading)
