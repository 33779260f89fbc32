"""A copy of the database while it is worked on (SG7)."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from pillarbox.errors import InvalidMessage, StoreCorrupt, StoreReplaced
from pillarbox.store.registry import open_store
from tests.store.opened import driver_on, raw
from tests.store.test_files import descriptors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.contract("SG7", "SG4")
async def test_a_backup_holds_what_was_committed_and_is_a_database_of_its_own(tmp_path: Path, path: Path) -> None:
    target = tmp_path / "copies" / "monday.db"
    target.parent.mkdir()
    async with driver_on(path) as driver:
        sent = [await driver.send(text="x" * 5000) for _ in range(30)]
        size = await driver.store.backup(target)
        await driver.send()
        assert [file.name for file in target.parent.iterdir()] == ["monday.db"]
        assert target.stat().st_size == size
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        await driver.healthy()
    async with driver_on(target) as restored:
        assert [view.id for view in await restored.everything()] == sent
        await restored.healthy()


@pytest.mark.contract("SG7")
@pytest.mark.parametrize("name", ["x" * 255, "\u5927" * 85], ids=["latin", "cjk"])
async def test_a_backup_may_have_a_name_as_long_as_the_file_system_takes(tmp_path: Path, path: Path, name: str) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        assert await driver.store.backup(tmp_path / name) == (tmp_path / name).stat().st_size


@pytest.mark.contract("SG7")
@pytest.mark.parametrize(
    "name", ["outbox.db", "taken", "outbox.db-journal", "outbox.db-wal", "outbox.db-wake3", "no/x"]
)
async def test_a_backup_takes_no_name_that_is_not_free(tmp_path: Path, path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("theirs")
    async with driver_on(path) as driver:
        await driver.send()
        before = names(tmp_path)
        with pytest.raises(InvalidMessage, match=r"^path: "):
            await driver.store.backup(tmp_path / name)
        assert names(tmp_path) == before
        await driver.healthy()
    assert (tmp_path / "taken").read_text() == "theirs"


@pytest.mark.contract("SG7")
async def test_a_link_is_a_name_that_is_taken(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    async with driver_on(path) as driver:
        with pytest.raises(InvalidMessage):
            await driver.store.backup(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.contract("SG7", "SG9")
async def test_of_a_damaged_or_exchanged_database_no_backup_is_kept(tmp_path: Path, path: Path) -> None:
    async with driver_on(path) as driver:
        for _ in range(20):
            await driver.send(text="x" * 5000)
    with raw(path) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'message'").fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    with path.open("r+b") as file:
        file.seek((int(str(page)) - 1) * int(str(size)))
        file.write(b"\xff" * int(str(size)))
    store = open_store(path)
    await store.open()
    try:
        with pytest.raises(StoreCorrupt):
            await store.backup(tmp_path / "copy")
        path.unlink()
        with pytest.raises(StoreReplaced):
            await store.backup(tmp_path / "copy")
    finally:
        await store.close()
    assert [name for name in names(tmp_path) if "copy" in name] == []


@pytest.mark.contract("SG7")
async def test_a_database_in_memory_can_be_kept_as_a_file(tmp_path: Path) -> None:
    async with driver_on(":memory:") as driver:  # type: ignore[arg-type]
        message = await driver.send()
        await driver.store.backup(tmp_path / "kept.db")
    async with driver_on(tmp_path / "kept.db") as kept:
        assert (await kept.view(message)).id == message


@pytest.mark.contract("SG7", "SG5")
async def test_a_backup_leaves_no_handle_open(tmp_path: Path, path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        await driver.store.backup(tmp_path / "one")
        # SQLite keeps one of a closed connection for the next, because closing it would drop locks.
        before = descriptors(tmp_path)
        await driver.store.backup(tmp_path / "two")
        path.rename(tmp_path / "away")
        with pytest.raises(StoreReplaced):
            await driver.store.backup(tmp_path / "three")
        (tmp_path / "away").rename(path)
        assert descriptors(tmp_path) == before
