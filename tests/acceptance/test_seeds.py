"""What the reviewers of seed 000 found where a database could not be opened: the fallback, and an import into it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox
from pillarbox.errors import Refused, StoreNotFound
from pillarbox.events import Alarm
from pillarbox.imports import import_queue
from tests.acceptance.processes import run_script
from tests.imports.cases import tree
from tests.imports.queues import FileQueue

if TYPE_CHECKING:
    from pathlib import Path

PEEK = """
import asyncio, sys
from pillarbox import Outbox
async def main():
    async with Outbox(sys.argv[1], deliver=False, fallback="memory") as box:
        print(box.in_memory, len(await box.list()))
asyncio.run(main())
"""


def unopened(path: Path) -> Outbox:
    """An outbox whose database cannot be opened while a directory lies in its place."""
    path.mkdir()
    return Outbox(path, deliver=False, fallback="memory")


@pytest.mark.contract("SG1")
async def test_what_fell_back_to_memory_stays_there_until_the_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    async with unopened(path) as first:
        message = await first.send("ops", to="ann", text="hi")
    # The disk is well again. Whoever went back to it now would strand what is in memory.
    path.rmdir()
    async with Outbox(path, deliver=False, fallback="memory") as second:
        assert second.in_memory
        assert second.durability == "memory"
        assert [found.id for found in await second.list()] == [message.id]
    assert not path.exists()
    # It is this process's affair: another one uses the file.
    assert (await run_script(PEEK, str(path))).split() == ["False", "0"]


@pytest.mark.contract("SG1")
async def test_a_fallback_is_told_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alarms: list[Alarm] = []
    box = unopened(tmp_path / "outbox.db")
    box.subscribe(alarms.append, Alarm)
    with caplog.at_level(logging.WARNING):
        async with box:
            assert box.counts["alarm:fallback_memory"] == 1
    assert [alarm.what for alarm in alarms] == ["fallback_memory"]
    assert "is a directory" in alarms[0].detail
    told = [record for record in caplog.records if "fallback_memory" in record.getMessage()]
    assert [record.levelno >= logging.WARNING for record in told] == [True]


@pytest.mark.contract("SG1")
async def test_one_file_falls_back_once_however_its_path_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox.db"
    monkeypatch.chdir(tmp_path)
    async with unopened(path) as first:
        await first.send("ops", to="ann", text="hi")
    path.rmdir()
    for spelling in ("outbox.db", "./outbox.db", "sqlite:///outbox.db", f"sqlite:///{path}"):
        async with Outbox(spelling, deliver=False, fallback="memory") as box:
            assert (box.in_memory, len(await box.list())) == (True, 1)
    assert not path.exists()


@pytest.mark.contract("SG1")
async def test_who_did_not_ask_for_memory_never_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    async with unopened(path) as first:
        assert first.in_memory
        with pytest.raises(StoreNotFound, match="is a directory"):
            await Outbox(path, deliver=False).start()
        path.rmdir()
        async with Outbox(path, deliver=False) as other:
            assert (other.in_memory, other.durability) == (False, "power")


FORKED = """
import asyncio, os, sys
from pillarbox import Outbox
async def count(path, to):
    async with Outbox(path, deliver=False, fallback="memory") as box:
        await box.send("ops", to=to, text="hi")
        return box.in_memory, len(await box.list())
print(asyncio.run(count(sys.argv[1], "ann")), flush=True)
child = os.fork()
if not child:
    print(asyncio.run(count(sys.argv[1], "bob")), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.contract("SG1", "LE9")
async def test_a_forked_child_has_a_memory_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.mkdir()
    assert (await run_script(FORKED, str(path))).splitlines() == ["(True, 1)", "(True, 1)"]


@pytest.mark.contract("SG1")
async def test_a_fallback_is_a_matter_of_health(tmp_path: Path) -> None:
    async with unopened(tmp_path / "outbox.db") as box:
        health = await box.health()
        assert (health.ok, health.in_memory, health.fell_back, health.durability) == (False, True, True, "memory")
        assert "could not be opened" in health.problems[0]
    async with Outbox(":memory:", deliver=False) as box:
        asked_for = await box.health()
        assert (asked_for.ok, asked_for.in_memory, asked_for.fell_back) == (True, True, False)


@pytest.mark.contract("SG1", "IM1", "IM2")
async def test_an_import_into_what_fell_back_to_memory_is_refused_and_its_source_stays(tmp_path: Path) -> None:
    queue = FileQueue(tmp_path / "delivery-queue")
    queue.put("a.json")
    before = tree(queue.path)
    async with unopened(tmp_path / "outbox.db") as box:
        with pytest.raises(Refused, match="memory"):
            await import_queue(box, "openclaw-files", queue.path)
        assert await box.list() == []
    assert tree(queue.path) == before
