"""What was imported is delivered like any message: with its options, after its attempts, and never what is held."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox import Deferred, Outbox
from pillarbox.clock import SystemClock
from pillarbox.domain.message import State
from pillarbox.entropy import SystemEntropy
from pillarbox.imports.entry import System
from pillarbox.imports.importer import ImportOptions, run_import
from pillarbox.store.base import Query
from pillarbox.store.registry import open_store
from tests.imports.queues import FileQueue

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt


@pytest.mark.contract("IM1", "IM5", "RE2")
async def test_what_was_imported_is_delivered(tmp_path: Path) -> None:
    clock = SystemClock()
    ago = clock.wall_ms() - 60_000
    queue = FileQueue(tmp_path / "queue")
    queue.put("plain.json", enqueuedAt=ago, threadId=7, accountId="shop", replyToId="5", silent=True, gifPlayback=True)
    queue.put("last.json", enqueuedAt=ago, to="broken", retryCount=4, lastAttemptAt=ago - 700_000)
    queue.put("three.json", enqueuedAt=ago, to="three", payloads=[{"text": text} for text in ("one", "two", "three")])
    queue.put("held.json", enqueuedAt=ago, to="held", recoveryState="unknown_after_send")
    queue.put("failed/dead.json", enqueuedAt=ago, to="dead")
    database = tmp_path / "outbox.db"
    store = open_store(database)
    await store.open()
    options = ImportOptions(channel_map={"telegram": "ops"})
    await run_import(store, System.OPENCLAW_FILES, queue.path, options, clock=clock, entropy=SystemEntropy())
    await store.close()

    attempts: list[Attempt] = []

    async def ops(attempt: Attempt) -> str:
        attempts.append(attempt)
        if attempt.to == "broken":
            raise Deferred("not today")
        return "r-1"

    async with Outbox(database, {"ops": ops}) as box:
        await asyncio.wait_for(box.drained(), 20)
        messages = {message.view.recipient: message.view for message in await box.list(Query()) if message.view}
    assert {to: view.state for to, view in messages.items()} == {
        "1001": State.DELIVERED, "three": State.DELIVERED, "broken": State.DEAD, "held": State.HELD, "dead": State.DEAD,
    }  # fmt: skip
    assert (messages["broken"].terminal_reason, messages["broken"].charged) == ("retries_exhausted", 5)
    (plain,) = [attempt for attempt in attempts if attempt.to == "1001"]
    assert (plain.text, plain.thread, plain.account, plain.number) == ("text of plain", "7", "shop", 1)
    assert (plain.content.reply_to, plain.content.silent) == ("5", True)
    assert plain.content.extra == {"gifPlayback": True}
    parts = [(attempt.text, attempt.part, attempt.part_count) for attempt in attempts if attempt.to == "three"]
    assert parts == [("one", 0, 3), ("two", 1, 3), ("three", 2, 3)]
    assert {attempt.to for attempt in attempts} == {"1001", "three", "broken"}
