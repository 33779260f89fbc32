"""Several processes on one file: who wakes whom, who is first, who is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

import pillarbox
from pillarbox.clock import SystemClock
from pillarbox.domain.message import State
from pillarbox.testing.receiver import Receiver
from tests.acceptance.processes import SECONDS, Accepting, WorkerProcess, run_script

if TYPE_CHECKING:
    from pathlib import Path

# Accepts the same messages as its siblings, all of them at once, and prints what it was told.
PRODUCER = """
import asyncio, json, sys
from pillarbox import Outbox
async def main():
    async with Outbox(sys.argv[1], deliver=False) as box:
        sys.stdin.read(1)
        for n in range(30):
            text, key = f"text {n % 10}", f"k{n % 10}"
            if n >= 20:
                text, key = f"text of {sys.argv[2]}", f"other {n}"
            try:
                message = await box.send("hooks", to="ann", text=text, key=key)
                print(json.dumps([n, message.id, message.created, None]))
            except Exception as exc:
                print(json.dumps([n, getattr(exc, "message_id", None), False, type(exc).__name__]))
asyncio.run(main())
"""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.mark.contract("EN7", "EN8")
async def test_one_key_makes_one_message_whatever_process_was_first(db: Path) -> None:
    async with Accepting(db) as box:
        producers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PRODUCER, str(db), str(n)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            for n in range(4)
        ]
        try:
            async with asyncio.timeout(SECONDS):
                told = [out for out, _ in await asyncio.gather(*(one.communicate(b"x") for one in producers))]
        finally:
            for one in producers:
                with contextlib.suppress(ProcessLookupError):
                    one.kill()
                await one.wait()
        rows: list[list[Any]] = [json.loads(line) for out in told for line in out.splitlines()]
        assert len(rows) == 4 * 30
        same = [row for row in rows if row[0] < 20]
        for n in range(10):
            about = [row for row in same if row[0] % 10 == n]
            assert len({row[1] for row in about}) == 1
            assert [row[2] for row in about].count(True) == 1
            assert {row[3] for row in about} == {None}
        # The last ten say different things under one key: one process is first, and the others are told so.
        for n in range(20, 30):
            about = [row for row in rows if row[0] == n]
            assert Counter(row[3] for row in about) == {None: 1, "KeyConflict": 3}
            assert len({row[1] for row in about}) == 1
        assert len(await box.outbox.list(limit=100)) == 20


@pytest.mark.contract("LE1", "ST7", "LE2")
async def test_three_workers_share_a_backlog_and_each_message_arrives_once(db: Path) -> None:
    async with Receiver() as receiver, Accepting(db) as box:
        made = await box.outbox.send_many({"channel": "hooks", "to": f"r{n}", "text": "hi"} for n in range(300))
        async with contextlib.AsyncExitStack() as stack:
            workers = [WorkerProcess(db, receiver.url, concurrency=5) for _ in range(3)]
            await asyncio.gather(*map(stack.enter_async_context, workers))
            await box.settled(*made)
        assert Counter(request.headers["webhook-id"] for request in receiver.requests) == dict.fromkeys(
            (message.id for message in made), 1
        )
        assert {message.attempts for message in made} == {1}
        assert await box.outbox.check() == []


@pytest.mark.contract("DR2")
async def test_a_worker_hears_at_once_of_what_another_process_accepted(db: Path) -> None:
    clock = SystemClock()
    took: list[float] = []
    commits: list[float] = []
    async with Receiver() as receiver, Accepting(db) as box, WorkerProcess(db, receiver.url):
        await box.settled(await box.send("warm-up"))
        for n in range(15):
            before, began = receiver.count, clock.mono()
            await box.send(f"r{n}")
            accepted = clock.mono()
            await receiver.wait_for(before + 1)
            took.append(clock.mono() - accepted)
            commits.append(accepted - began)
    # The promise is 20 ms; measured here with the claim's commit and the request's own way, on machines that have other
    # things to do and slow disks.
    assert median(took) < 0.1 + 3 * median(commits), (took, commits)


@pytest.mark.contract("DR2")
async def test_a_retry_and_a_message_for_later_go_out_without_a_restart(db: Path) -> None:
    async with Receiver() as receiver, Accepting(db) as box, WorkerProcess(db, receiver.url):
        message = await box.send(at=timedelta(milliseconds=300))
        await box.settled(message)
        assert message.state is State.DELIVERED
        view = message.view
        assert view is not None
        assert view.not_before_ms is not None
        assert 0 <= receiver.requests[0].at_ms - view.not_before_ms < 5_000


@pytest.mark.contract("LE8", "LE4")
async def test_workers_are_listed_with_what_they_are_and_whether_they_live(db: Path) -> None:
    url = "http://127.0.0.1:9/"
    async with Accepting(db) as box, WorkerProcess(db, url) as first, WorkerProcess(db, url) as second:
        rows = {row.pid: row for row in await box.outbox.workers()}
        assert set(rows) == {first.process.pid, second.process.pid}
        for row in rows.values():
            assert (row.alive, row.channels, row.version) == (True, ("hooks",), pillarbox.__version__)
            assert row.host == os.uname().nodename
        await first.kill()
        rows = {row.pid: row for row in await box.outbox.workers()}
        assert rows[second.process.pid].alive is True
        assert first.process.pid not in rows or rows[first.process.pid].alive is False


@pytest.mark.contract("EN1", "LA1")
async def test_two_processes_that_take_turns_keep_a_lanes_order(db: Path) -> None:
    script = """
import asyncio, sys
from pillarbox import Outbox
async def main():
    async with Outbox(sys.argv[1], deliver=False) as box:
        for line in sys.stdin:
            await box.send("hooks", to="ann", text=line.strip(), lane="one")
            print("ok", flush=True)
asyncio.run(main())
"""
    async with Receiver() as receiver, Accepting(db) as box, WorkerProcess(db, receiver.url):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script, str(db)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for n in range(0, 30, 2):
                await box.send(text=str(n), lane="one")
                process.stdin.write(f"{n + 1}\n".encode())
                async with asyncio.timeout(SECONDS):
                    assert (await process.stdout.readline()).strip() == b"ok"
            await receiver.wait_for(30, timeout=SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert [request.json["text"] for request in receiver.requests] == [str(n) for n in range(30)]


@pytest.mark.contract("SG5", "EN1")
async def test_whoever_comes_after_a_closed_outbox_finds_everything(db: Path) -> None:
    script = """
import asyncio, sys
from pillarbox import Outbox
async def main():
    async with Outbox(sys.argv[1], deliver=False) as box:
        print(len(await box.list(limit=100)), await box.check())
asyncio.run(main())
"""
    async with Accepting(db) as box:
        for n in range(10):
            await box.send(f"r{n}")
    assert (await run_script(script, str(db))).strip() == "10 []"
