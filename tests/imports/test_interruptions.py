"""However an import ends, the next one finishes it: nothing twice, nothing lost (contract IM2)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw
import pytest

from pillarbox.domain.message import State
from pillarbox.errors import Refused
from pillarbox.imports.entry import FailedFiles, Outcome, SourceReport, System
from pillarbox.imports.importer import BATCH_MAX
from pillarbox.store.base import Durability
from pillarbox.store.registry import open_store
from tests.imports.cases import Case, Importing, tree
from tests.imports.interrupted import DIED
from tests.imports.queues import NOW_MS, FileQueue

if TYPE_CHECKING:
    from tests.imports.conftest import OpenStore

ROOT: Final = Path(__file__).parent.parent.parent
STEPS_MAX: Final = 20
WAITING: Final = {"a.json": {}, "b.json": {"retryCount": 2, "lastError": "ETIMEDOUT"}}
FAILED: Final = "failed/c.json"
STATES: Final = {"a.json": State.SCHEDULED, "b.json": State.SCHEDULED, FAILED: State.DEAD}


def make_queue(path: Path) -> FileQueue:
    queue = FileQueue(path)
    for name, fields in WAITING.items():
        queue.put(name, **fields)
    queue.put(FAILED)
    queue.put("d.json", "{")
    return queue


def die_in(*runs: tuple[Path, int]) -> list[int]:
    """Import in processes that die at the steps given; gives what each ended with."""
    named = [text for directory, step in runs for text in (str(directory), str(step))]
    command = [sys.executable, "-m", "tests.imports.interrupted", *named]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    codes = [int(line) for line in done.stdout.split()]
    assert set(codes) <= {0, DIED}, done.stderr
    return codes


async def finish(directory: Path) -> tuple[SourceReport, Importing]:
    box = Importing(directory / "outbox.db", NOW_MS)
    await box.store.open()
    case = Case(system=System.OPENCLAW_FILES, path=directory / "queue", now_ms=NOW_MS, expected={})
    return await box.run(case, failed=FailedFiles.ARCHIVE), box


async def assert_whole(box: Importing, queue: FileQueue, texts: dict[str, bytes]) -> None:
    messages = await box.messages()
    assert {key: view.state for key, view in messages.items()} == {
        f"openclaw-files:{name}": state for name, state in STATES.items()
    }
    assert messages["openclaw-files:b.json"].charged == 2
    assert await box.store.check() == []
    left = {name: content for name, content in tree(queue.path).items() if content is not None}
    assert left == {
        "d.json": texts["d.json"],
        "imported/a.json": texts["a.json"],
        "imported/b.json": texts["b.json"],
        "failed/imported/c.json": texts[FAILED],
    }


@pytest.mark.contract("IM1", "IM2")
async def test_a_kill_at_any_step_makes_no_duplicate_and_no_loss(tmp_path: Path) -> None:
    queues = [make_queue(tmp_path / str(step) / "queue") for step in range(1, STEPS_MAX)]
    texts = {name: text for name, text in tree(queues[0].path).items() if isinstance(text, bytes)}
    codes = die_in(*[(queue.path.parent, step) for step, queue in enumerate(queues, start=1)])
    # It died at every step there is, and where there was none left it came to its end.
    deaths = codes.index(0)
    assert codes == [DIED] * deaths + [0] * (len(codes) - deaths)
    assert deaths > 10
    for queue in queues[: deaths + 1]:
        report, box = await finish(queue.path.parent)
        await assert_whole(box, queue, texts)
        await box.store.close()
        assert [line.source_id for line in report.entries if line.outcome is Outcome.LEFT] == ["d.json"]


@pytest.mark.contract("IM2")
async def test_an_import_that_is_killed_again_and_again_still_ends(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "queue")
    texts = {name: text for name, text in tree(queue.path).items() if isinstance(text, bytes)}
    assert die_in(*[(tmp_path, step) for step in (3, 4, 6, 8)]) == [DIED] * 4
    _, box = await finish(tmp_path)
    await assert_whole(box, queue, texts)
    await box.store.close()


class Interrupted(Exception):
    """The import was stopped."""


@pytest.mark.contract("IM2")
async def test_of_several_transactions_those_before_the_end_stay(importing: OpenStore, tmp_path: Path) -> None:
    queue = FileQueue(tmp_path / "queue")
    count = BATCH_MAX + 20
    for number in range(count):
        queue.put(f"{number:04}.json")
    box = await importing(NOW_MS)
    commits = iter(range(10))

    def stop(step: str) -> None:
        if step == "committing" and next(commits) == 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        await box.run(queue.case, checkpoint=stop)
    assert len(await box.messages()) == BATCH_MAX
    assert len(list(queue.path.glob("*.json"))) == count - BATCH_MAX
    report = await box.run(queue.case)
    assert report.totals == {"imported/scheduled": count - BATCH_MAX}
    assert len(await box.messages()) == count
    assert len(list(queue.path.glob("imported/*.json"))) == count


@pytest.mark.contract("IM1", "IM2", "SG1")
async def test_nothing_is_imported_into_memory(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "queue")
    before = tree(queue.path)
    box = Importing(tmp_path / "outbox.db", NOW_MS)
    box.store = open_store(":memory:", clock=box.clock)
    await box.store.open()
    with pytest.raises(Refused, match="memory"):
        await box.run(queue.case)
    assert await box.messages() == {}
    assert tree(queue.path) == before
    # Not even where there is nothing to import: the answer does not depend on what lies there.
    with pytest.raises(Refused, match="memory"):
        await box.run(FileQueue(tmp_path / "empty").case)
    await box.store.close()


@pytest.mark.contract("IM2")
async def test_a_source_stays_unless_the_commit_survives_a_power_cut(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "queue")
    before = tree(queue.path)
    box = Importing(tmp_path / "outbox.db", NOW_MS)
    box.store = open_store(tmp_path / "outbox.db", clock=box.clock, durability=Durability.PROCESS)
    await box.store.open()
    report = await box.run(queue.case, failed=FailedFiles.ARCHIVE)
    assert (report.retired, report.totals["imported/scheduled"]) == (0, 2)
    assert "process" in str(report.kept)
    assert tree(queue.path) == before
    await box.store.close()
    # The files are put away by the first run that may, and that has committed something: only a commit syncs the log,
    # and what the run before wrote into it.
    watching = apsw.Connection(str(tmp_path / "outbox.db"))
    unsynced = watching.pragma("data_version")
    box = Importing(tmp_path / "outbox.db", NOW_MS)
    await box.store.open()
    seen = {}

    def look(step: str) -> None:
        seen[step] = watching.pragma("data_version")

    report = await box.run(queue.case, checkpoint=look, failed=FailedFiles.ARCHIVE)
    assert (report.retired, report.kept) == (3, None)
    assert seen["read"] == unsynced != seen["moving a.json"]
    assert len(await box.messages()) == 3
    await box.store.close()
    watching.close()
