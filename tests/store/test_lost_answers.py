"""What an earlier try wrote is answered only once it is as durable as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.store import lost_answers
from pillarbox.store.base import Batch, Enqueued
from tests.store.faulty_disk import FaultyDisk, synced
from tests.store.opened import driver_on

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.contract("EN1", "EN4")
async def test_what_is_found_after_a_sync_that_failed_is_synced_before_it_is_answered(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with driver_on(tmp_path / "outbox.db", connect=disk.connect) as driver:
            await driver.send()
            draft = driver.draft()
            disk.fail(synced(), until_reopened=True)
            batch = Batch(now_ms=driver.clock.wall_ms(), enqueue=[[draft]])
            result = await lost_answers.commit(driver.store, batch)
            assert result.enqueued == [[Enqueued(draft.id, created=True)]]
            # It was in the log already; the try after it found it there.
            reopened = disk.log.index("open")
            assert disk.log[reopened - 1] == "sync"
            assert disk.log[-2:] == ["write", "sync"]
            assert len(disk.log) - 2 > reopened
