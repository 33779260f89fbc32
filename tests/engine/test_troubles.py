"""While something is wrong, `health()` and the check say so, in whatever process it is, and are silent when it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pillarbox.errors import StoreDiskFull, StoreError
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.stand import Box, Stand

FULL = "messages and outcomes cannot be stored: the disk is full"


async def healthy(box: Box) -> bool:
    return (await box.outbox.health()).ok


@pytest.mark.contract("EV4", "SG3")
@pytest.mark.parametrize("delivers", [True, False])
async def test_while_nothing_can_be_stored_health_says_so_until_it_can(stand: Stand, delivers: bool) -> None:
    box = await stand.open(ScriptedChannel() if delivers else None)
    assert await healthy(box)
    box.store.refuse = lambda batch: StoreDiskFull("the disk is full")
    with pytest.raises(StoreError):
        await box.send()
    assert (await box.outbox.health()).problems == (FULL,)
    assert await box.outbox.check() == [FULL]
    # A commit that writes nothing would succeed on a full disk, and says nothing.
    box.store.refuse = lambda batch: StoreDiskFull("the disk is full") if batch.sync else None
    tries = box.store.offered(lambda batch: batch.sync)
    await box.store.until(lambda batch: batch.sync, tries + 1)
    assert not await healthy(box)
    # Nobody has to send anything for it to be found out.
    box.store.refuse = lambda batch: None
    await until(lambda: healthy(box))
    assert await box.outbox.check() == []
    before = len(box.store.batches)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not any(batch.sync for batch in box.store.batches[before:])


@pytest.mark.contract("EV4")
async def test_a_commit_that_does_not_end_is_a_problem(stand: Stand) -> None:
    box = await stand.open()
    box.store.gate.clear()
    sending = asyncio.create_task(box.send())
    await box.store.until(lambda batch: bool(batch.enqueue))
    stand.advance(3_600_000)  # a clock that runs on says nothing about the disk
    assert await healthy(box)
    box.store.gate.set()
    await sending
    box.store.gate.clear()
    box.runtime.committer.behind_seconds = 0.01
    sending = asyncio.create_task(box.send())
    await until(lambda: box.runtime.reporter.troubles.has("behind"))
    assert (await box.outbox.health()).problems == ("the database has not finished a commit for more than 0.01 s",)
    box.store.gate.set()
    await sending
    assert await healthy(box)


@pytest.mark.on_files("asks workers through their sockets")
@pytest.mark.contract("EV4", "OP1")
async def test_the_check_hears_what_is_wrong_with_a_worker_of_another_process(stand: Stand) -> None:
    worker = await stand.open(ScriptedChannel())
    other = await stand.open()
    assert await other.outbox.check() == []
    worker.runtime.reporter.troubles.begin("slot_written_off", "channel chat does not stop", about="chat")
    async with asyncio.timeout(SECONDS):
        assert await other.outbox.check() == [f"worker {worker.worker._slot}: channel chat does not stop"]
        assert await worker.outbox.check() == ["channel chat does not stop"]
    worker.runtime.reporter.troubles.end("slot_written_off", about="chat")
    assert await other.outbox.check() == []


@pytest.mark.on_files("takes the file away")
@pytest.mark.contract("SG9", "OP1")
async def test_a_worker_whose_file_was_taken_away_is_told_by_the_check_of_the_new_one(stand: Stand) -> None:
    worker = await stand.open(ScriptedChannel())
    for file in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
        (stand.path.parent / file).rename(stand.path.parent / f"old-{file}")
    with pytest.raises(StoreError):
        await worker.send()
    assert not await healthy(worker)
    new = await stand.open()
    async with asyncio.timeout(SECONDS):
        problems = await new.outbox.check()
    said = [problem for problem in problems if problem.startswith(f"worker {worker.worker._slot}: ")]
    assert any("while it was open" in problem for problem in said)


@pytest.mark.on_files("asks workers through their sockets")
@pytest.mark.contract("OP1")
async def test_a_worker_that_says_nothing_is_no_problem_and_keeps_nobody_waiting(stand: Stand) -> None:
    worker = await stand.open(ScriptedChannel())
    other = await stand.open()
    worker.store.real._sockets.end_all()
    async with asyncio.timeout(SECONDS):
        assert await other.outbox.check() == []


@pytest.mark.contract("SG3", "OP1")
def test_a_file_system_that_takes_no_more_is_found_out_without_a_trace(tmp_path: Path) -> None:
    script = (
        "import pathlib, resource, sys\n"
        "from pillarbox.store.sqlite.disk_space import refusal\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "print(refusal(folder))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "print(refusal(folder))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["None", "File too large"]
    assert list(tmp_path.iterdir()) == []
