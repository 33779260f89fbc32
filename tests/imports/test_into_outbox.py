"""`pillarbox.imports.import_queue`: an import as a program calls it, before its outbox starts and while it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Attempt, Outbox
from pillarbox.clock import SystemClock
from pillarbox.errors import InvalidMessage, NotFound, Refused
from pillarbox.imports import import_queue
from pillarbox.imports.entry import System
from tests.imports.queues import NOW_MS, FileQueue

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 60.0


@pytest.fixture
def queue(tmp_path: Path) -> FileQueue:
    return FileQueue(tmp_path / "delivery-queue")


def waiting(queue: FileQueue, *names: str) -> None:
    for name in names:
        queue.put(name, enqueuedAt=SystemClock().wall_ms() - 1000)


class Sent:
    """A channel that notes what it sent."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def __call__(self, attempt: Attempt) -> str:
        self.texts.append(attempt.text)
        return "receipt"


@pytest.mark.contract("DR1", "IM1")
async def test_the_drain_at_start_sends_what_was_imported_before(tmp_path: Path, queue: FileQueue) -> None:
    waiting(queue, "a.json", "b.json")
    sent = Sent()
    box = Outbox(tmp_path / "outbox.db", {"ops": sent})
    report = await import_queue(box, "openclaw-files", queue.path, channels={"telegram": "ops"})
    assert (report.totals, report.complete, report.retired) == ({"imported/scheduled": 2}, True, 2)
    assert sent.texts == []
    async with box:
        assert (await box.drained()).delivered == 2
    assert sorted(sent.texts) == ["text of a", "text of b"]


@pytest.mark.contract("DR2", "IM1")
async def test_a_running_worker_sends_what_is_imported_meanwhile(tmp_path: Path, queue: FileQueue) -> None:
    waiting(queue, "a.json")
    sent = Sent()
    box = Outbox(tmp_path / "outbox.db", {"telegram": sent})
    async with box:
        await box.drained()
        report = await import_queue(box, System.OPENCLAW_FILES, queue.path)
        assert report.totals == {"imported/scheduled": 1}
        (message,) = await box.list()
        await message.wait(PATIENCE_SECONDS)
        assert (message.state, sent.texts) == ("delivered", ["text of a"])
        again = await import_queue(box, System.OPENCLAW_FILES, queue.path)
        assert (again.totals, await box.prune(1)) == ({}, {})


@pytest.mark.contract("IM5")
async def test_a_dry_run_makes_no_database_and_asks_one_that_is_there(tmp_path: Path, queue: FileQueue) -> None:
    waiting(queue, "a.json")
    box = Outbox(tmp_path / "outbox.db", deliver=False)
    dry = await import_queue(box, "openclaw-files", queue.path, dry_run=True)
    assert (dry.totals, dry.dry_run) == ({"imported/scheduled": 1}, True)
    assert not (tmp_path / "outbox.db").exists()
    await import_queue(box, "openclaw-files", queue.path, max_age=timedelta(hours=1))
    (queue.path / "imported/a.json").rename(queue.path / "a.json")
    for known in (box, await started(box)):
        dry = await import_queue(known, "openclaw-files", queue.path, dry_run=True)
        assert [(line.outcome, line.reason) for line in dry.entries] == [("skipped", "already_imported")]
    await box.close()


async def started(box: Outbox) -> Outbox:
    await box.start()
    return box


@pytest.mark.contract("IM4")
async def test_ages_are_judged_as_of_the_time_that_is_said(tmp_path: Path, queue: FileQueue) -> None:
    queue.put("a.json")
    box = Outbox(tmp_path / "outbox.db", deliver=False)
    late = datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(hours=73)
    for now, outcome in ((late - timedelta(hours=2), "imported"), (late, "quarantined")):
        report = await import_queue(box, "openclaw-files", queue.path, dry_run=True, now=now)
        assert [line.outcome for line in report.entries] == [outcome]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"system": "openclaw"}, "system"),
        ({"on_uncertain": "drop"}, "on_uncertain"),
        ({"failed": "delete"}, "failed"),
        ({"max_age": timedelta(0)}, "max_age"),
        ({"now": datetime(2030, 1, 31)}, "now"),  # noqa: DTZ001 — without a zone on purpose
    ],
)
async def test_an_argument_that_cannot_be_is_named(
    tmp_path: Path, queue: FileQueue, options: dict[str, Any], field: str
) -> None:
    box = Outbox(tmp_path / "outbox.db", deliver=False)
    given: dict[str, Any] = {"system": "comis", "path": queue.path, **options}
    with pytest.raises(InvalidMessage, match=field):
        await import_queue(box, **given)
    assert not (tmp_path / "outbox.db").exists()


@pytest.mark.contract("IM1", "EN12")
@pytest.mark.parametrize(("db", "settings"), [(":memory:", {}), ("outbox.db", {"enabled": False})])
async def test_nothing_is_imported_where_nothing_is_kept(
    tmp_path: Path, queue: FileQueue, db: str, settings: dict[str, Any]
) -> None:
    waiting(queue, "a.json")
    box = Outbox(db if db == ":memory:" else tmp_path / db, deliver=False, **settings)
    dry = await import_queue(box, "openclaw-files", queue.path, dry_run=True)
    assert dry.totals == {"imported/scheduled": 1}
    with pytest.raises(Refused):
        await import_queue(box, "openclaw-files", queue.path)
    assert (queue.path / "a.json").exists()
    assert not (tmp_path / "outbox.db").exists()


async def test_the_database_is_closed_again_when_the_import_fails(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database", "utf-8")
    box = Outbox(tmp_path / "outbox.db", deliver=False)
    with pytest.raises(InvalidMessage, match="path"):
        await import_queue(box, "comis", tmp_path / "text.db")
    assert not box.started
    async with box:
        assert await box.list() == []


async def test_nothing_is_made_for_a_queue_that_is_not_there(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db", deliver=False)
    for system in System:
        with pytest.raises(NotFound, match="nowhere"):
            await import_queue(box, system, tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
