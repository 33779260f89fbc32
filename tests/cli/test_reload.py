"""SIGHUP to `pillarbox run`: the configuration is read again, and what can be takes effect without a restart."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.testing.receiver import Answer, Receiver
from tests.cli.commands import COMMAND, PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.cli.commands import Pillarbox, Running

APP = """
from pillarbox import Outbox
box = Outbox("app.db")

@box.channel("pager")
async def pager(attempt):
    return "receipt-1"
"""


def configure(pillarbox: Pillarbox, url: str, *lines: str) -> None:
    text = "\n".join([*lines, "[channels.ops]", f'url = "{url}"', ""])
    (pillarbox.home / "pillarbox.toml").write_text(text, "utf-8")


async def hang_up(worker: Running, event: str = "reloaded") -> dict[str, Any]:
    worker.tell(signal.SIGHUP)
    return await worker.line(event)


async def said(worker: Running, text: str) -> str:
    """Wait for a line on stderr that holds *text*."""
    assert worker.process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while line := await worker.process.stderr.readline():
            if text in line.decode():
                return line.decode().rstrip("\n")
    raise AssertionError(f"it ended before it said {text!r}")


@pytest.mark.contract("CF3")
async def test_a_running_worker_sends_where_the_channel_leads_now(pillarbox: Pillarbox) -> None:
    async with Receiver() as old, Receiver() as new:
        configure(pillarbox, old.url)
        async with pillarbox.running("run", "--json") as worker:
            await worker.line("started")
            await pillarbox("send", "ops", "first", "--to", "x")
            await worker.line("delivered")
            configure(pillarbox, new.url)
            assert await hang_up(worker) == {"event": "reloaded", "changed": ["channels.ops.url"], "restart": []}
            await pillarbox("send", "ops", "second", "--to", "x")
            await worker.line("delivered")
            assert await hang_up(worker) == {"event": "reloaded", "changed": [], "restart": []}
            worker.tell(signal.SIGTERM)
            assert (await worker.ended()).code == 0
        assert [one.json["text"] for one in old.requests] == ["first"]
        assert [one.json["text"] for one in new.requests] == ["second"]


@pytest.mark.contract("EV2")
async def test_the_log_s_level_and_format_change_at_once(pillarbox: Pillarbox, receiver: Receiver) -> None:
    configure(pillarbox, receiver.url, 'log_level = "error"')
    async with pillarbox.running("run", "--json") as worker:
        await worker.line("started")
        await pillarbox("send", "ops", "first", "--to", "x")
        await worker.line("delivered")
        configure(pillarbox, receiver.url, 'log_level = "info"', 'log_format = "json"')
        assert set((await hang_up(worker))["changed"]) == {"log_level", "log_format"}
        # The first line there ever was: before, only errors would have been written.
        row = json.loads(await said(worker, ""))
        assert (row["level"], row["logger"]) == ("info", "pillarbox.run")
        assert row["message"].startswith("configuration reloaded; changed: log_format, log_level")
        sent = (await pillarbox("send", "ops", "second", "--to", "x")).out.strip()
        row = json.loads(await said(worker, "delivered"))
        assert (row["message"], row["entryId"]) == ("Message delivered and acked", sent)


async def test_a_stop_waits_as_long_as_is_said_now(pillarbox: Pillarbox) -> None:
    async with Receiver(Answer.hang()) as receiver:
        configure(pillarbox, receiver.url, "stop_seconds = 3600")
        await pillarbox("send", "ops", "hi", "--to", "x")
        async with pillarbox.running("run", "--json") as worker:
            await receiver.wait_for(1)
            configure(pillarbox, receiver.url, 'stop_seconds = "50ms"')
            assert (await hang_up(worker))["changed"] == ["stop_seconds"]
            worker.tell(signal.SIGTERM)
            assert (await worker.line("stopped"))["cut_off"] == 1


@pytest.mark.contract("CF2")
async def test_a_broken_configuration_changes_nothing_and_is_one_line(pillarbox: Pillarbox, receiver: Receiver) -> None:
    configure(pillarbox, receiver.url)
    broken = {
        "stop_secons = 5": "stop_secons: no such setting; did you mean 'stop_seconds'?",
        "concurrency = 0": "concurrency: expected a whole number from 1 to 10000, not 0",
        "stop_seconds = ": "pillarbox.toml: expected TOML",
    }
    async with pillarbox.running("run", "--json") as worker:
        await worker.line("started")
        for line, complaint in broken.items():
            configure(pillarbox, "http://127.0.0.1:1/", line)
            assert (await hang_up(worker, "reload_failed"))["error"].startswith(complaint)
        configure(pillarbox, "gopher://127.0.0.1:1/s3cret")
        failed = await hang_up(worker, "reload_failed")
        assert failed["error"].startswith("channels.ops.url: unknown scheme 'gopher'")
        # The worker goes on as before; who sends has to be told of the channel in another way.
        (pillarbox.home / "pillarbox.toml").unlink()
        pillarbox.serving(receiver.url)
        await pillarbox("send", "ops", "hi", "--to", "x")
        await worker.line("delivered")
        worker.tell(signal.SIGTERM)
        ended = await worker.ended()
    errors = [line for line in ended.err.splitlines() if " error " in line]
    assert len(errors) == len(broken) + 1
    for line, complaint in zip(errors, [*broken.values(), "channels.ops.url"], strict=True):
        assert f"error the configuration is not reloaded, and nothing changed: {complaint}" in line
    assert "s3cret" not in ended.err


async def test_what_needs_a_restart_is_one_warning(pillarbox: Pillarbox, receiver: Receiver) -> None:
    configure(pillarbox, receiver.url)
    async with pillarbox.running("run", "--json") as worker:
        await worker.line("started")
        configure(pillarbox, receiver.url, "drain_budget_ms = 1", "stop_seconds = 5", "lease_seconds = 100")
        reloaded = await hang_up(worker)
        assert (reloaded["changed"], reloaded["restart"]) == (["stop_seconds"], ["lease_seconds", "drain_budget_ms"])
        worker.tell(signal.SIGTERM)
        ended = await worker.ended()
    assert [line.partition(" ")[2] for line in ended.err.splitlines() if " warning " in line] == [
        "warning a restart is needed for: lease_seconds, drain_budget_ms"
    ]


async def test_an_app_s_configuration_is_its_own(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "mine.py").write_text(APP, "utf-8")
    async with pillarbox.running("run", "--app", "mine:box", "--json") as worker:
        await worker.line("started")
        worker.tell(signal.SIGHUP)
        assert await said(worker, "nothing is reloaded: the outbox of --app brings its own configuration")


@pytest.mark.contract("DR3")
async def test_a_worker_whose_terminal_is_closed_stops_in_order(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    master, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        COMMAND, "run", stdin=terminal, stdout=terminal, stderr=terminal, env=pillarbox.variables
    )
    os.close(terminal)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        shown = b""
        while b"delivers through ops" not in shown:
            shown += await loop.run_in_executor(None, os.read, master, 4096)
        # On a terminal that is there, it is asked to read the configuration again.
        process.send_signal(signal.SIGHUP)
        while b"configuration reloaded" not in shown:
            shown += await loop.run_in_executor(None, os.read, master, 4096)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        assert await process.wait() == 0
    assert (await pillarbox("workers", "--json")).json == []


async def test_a_drain_is_no_change_of_the_configuration(pillarbox: Pillarbox) -> None:
    async with Receiver(Answer.hang()) as receiver:
        configure(pillarbox, receiver.url)
        await pillarbox("send", "ops", "hi", "--to", "x")
        async with pillarbox.running("run", "--drain", "--json") as worker:
            await receiver.wait_for(1)
            assert await hang_up(worker) == {"event": "reloaded", "changed": [], "restart": []}
