"""A file is put away beside its queue, never unlinked, never over another one (contract IM2)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pillarbox.errors import Refused
from pillarbox.imports.entry import FailedFiles
from pillarbox.imports.retire import retire
from tests.imports.cases import tree
from tests.imports.queues import NOW_MS, FileQueue

if TYPE_CHECKING:
    from pathlib import Path

    from tests.imports.conftest import OpenStore


def step(_name: str) -> None:
    """Go on."""


@pytest.fixture
def queue(tmp_path: Path) -> FileQueue:
    made = FileQueue(tmp_path / "delivery-queue")
    for name in ("a.json", "b.json", "failed/c.json"):
        made.put(name, name)
    return made


@pytest.mark.contract("IM2")
def test_files_move_to_imported_beside_them(queue: FileQueue) -> None:
    assert retire(queue.path, ["a.json", "failed/c.json"], step) == 2
    assert tree(queue.path) == {
        "b.json": b"b.json",
        "failed": None,
        "failed/imported": None,
        "failed/imported/c.json": b"failed/c.json",
        "imported": None,
        "imported/a.json": b"a.json",
    }
    assert (queue.path / "imported").stat().st_mode & 0o777 == 0o700


@pytest.mark.contract("IM2")
def test_what_was_moved_before_is_left_alone(queue: FileQueue) -> None:
    retire(queue.path, ["a.json"], step)
    before = tree(queue.path)
    assert retire(queue.path, ["a.json", "gone.json", "failed/gone.json"], step) == 0
    assert {name: text for name, text in tree(queue.path).items() if "failed" not in name} == {
        name: text for name, text in before.items() if "failed" not in name
    }


@pytest.mark.contract("IM2")
def test_nothing_is_written_over(queue: FileQueue) -> None:
    for text in ("first", "second", "third"):
        queue.put("a.json", text)
        assert retire(queue.path, ["a.json"], step) == 1
    moved = {path.name: path.read_text() for path in (queue.path / "imported").iterdir()}
    assert moved == {"a.json": "first", "a.json.1": "second", "a.json.2": "third"}


@pytest.mark.contract("IM2")
@pytest.mark.parametrize("name", ["../a.json", "/etc/passwd", "x/a.json", "failed/../a.json", "..", "failed/..", ""])
def test_a_path_that_leads_elsewhere_is_no_file_of_the_queue(queue: FileQueue, name: str) -> None:
    before = tree(queue.path)
    with pytest.raises(ValueError, match="queue"):
        retire(queue.path, ["a.json", name], step)
    assert tree(queue.path) == before


@pytest.mark.contract("IM2", "IM3")
def test_imported_must_be_a_directory_of_our_own(queue: FileQueue, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (queue.path / "imported").symlink_to("../elsewhere")
    with pytest.raises(Refused, match="imported"):
        retire(queue.path, ["a.json"], step)
    (queue.path / "imported").unlink()
    (queue.path / "imported").write_text("")
    with pytest.raises(Refused, match="imported"):
        retire(queue.path, ["a.json"], step)
    assert (queue.path / "a.json").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.contract("IM2")
async def test_what_cannot_be_put_away_is_imported_once_all_the_same(tmp_path: Path, importing: OpenStore) -> None:
    queue = FileQueue(tmp_path / "delivery-queue")
    queue.put("a.json")
    queue.put("imported", "a file in the place of the directory")
    box = await importing(NOW_MS)
    for stored in (1, 0):
        report = await box.run(queue.case)
        assert report.totals.get("imported/scheduled", 0) == stored
        assert "imported" in str(report.kept)
        assert (report.retired, report.complete) == (0, False)
        assert len(await box.messages()) == 1
    assert (queue.path / "a.json").exists()


@pytest.mark.contract("IM2")
def test_the_moves_are_durable_before_anybody_is_told(queue: FileQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut would do can only be seen from the calls: both directories are synced after the last move."""
    calls: list[str] = []
    rename, fsync = os.rename, os.fsync

    def moving(before: str, after: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        calls.append("move")
        rename(before, after, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def syncing(descriptor: int) -> None:
        calls.append("sync")
        fsync(descriptor)

    monkeypatch.setattr(os, "rename", moving)
    monkeypatch.setattr(os, "fsync", syncing)
    retire(queue.path, ["a.json", "b.json"], lambda name: calls.append(name) if name == "synced" else None)
    assert calls == ["sync", "move", "move", "sync", "sync", "synced"]


@pytest.mark.contract("IM3")
@pytest.mark.parametrize(
    ("failed", "stored", "stays"),
    [(FailedFiles.IMPORT, 1, True), (FailedFiles.ARCHIVE, 1, False), (FailedFiles.LEAVE, 0, True)],
)
async def test_failed_files_are_treated_as_asked(
    tmp_path: Path, importing: OpenStore, failed: FailedFiles, stored: int, stays: bool
) -> None:
    queue = FileQueue(tmp_path / "delivery-queue")
    queue.put("failed/x.json")
    box = await importing(NOW_MS)
    report = await box.run(queue.case, failed=failed)
    assert len(await box.messages()) == stored
    assert (queue.path / "failed/x.json").exists() == stays
    assert [line.source_id for line in report.entries] == ["failed/x.json"]
    again = await box.run(queue.case, failed=FailedFiles.IMPORT)
    assert [line.outcome.stored for line in again.entries] == [not stored] * stays
