"""What is not final dies with the process that accepted it, and with no other."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import pytest

from pillarbox import State
from pillarbox.testing.receiver import Receiver
from tests.acceptance.processes import SECONDS, Accepting, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Accepts a block and a final message for a paused channel, says so, and lives until it is killed.
PRODUCER = """
import asyncio, sys
from pillarbox import Outbox
async def main():
    async with Outbox(sys.argv[1], deliver=False) as box:
        block = await box.send("hooks", to=sys.argv[2], text="half an answer", kind="block")
        final = await box.send("hooks", to=sys.argv[2], text="the answer")
        print(block.id, final.id, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def producing(db: Path, to: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    """Run a producer; killed at the end, if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PRODUCER, str(db), to, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            block, final = (await process.stdout.readline()).decode().split()
        yield process, block, final
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.contract("DK1")
async def test_a_killed_process_takes_its_unfinished_answers_with_it_and_nobody_elses(tmp_path: Path) -> None:
    db = tmp_path / "outbox.db"
    async with Receiver() as receiver, Accepting(db) as box:
        await box.outbox.pause("hooks")
        async with producing(db, "ann") as (killed, block, final), producing(db, "bob") as (_, lives, other):
            killed.kill()
            await killed.wait()
            async with WorkerProcess(db, receiver.url):
                (abandoned,) = await box.settled(await box.outbox.find(block))
                assert (abandoned.state, abandoned.reason, abandoned.attempts) == (State.DEAD, "non_final", 0)
                waiting = [await box.outbox.find(name) for name in (final, lives, other)]
                assert {message.state for message in waiting} == {State.SCHEDULED}
                await box.outbox.resume("hooks")
                assert {message.state for message in await box.settled(*waiting)} == {State.DELIVERED}
        told = sorted((request.json["to"], request.json["text"]) for request in receiver.requests)
    assert told == [("ann", "the answer"), ("bob", "half an answer"), ("bob", "the answer")]
