"""What was committed stays, whatever else opens, copies, closes, deletes or replaces the database's files (SG9)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from pillarbox.errors import StoreReplaced, StoreUnsafe
from pillarbox.store.base import Durability
from pillarbox.store.registry import open_store
from pillarbox.store.sqlite import ofd, opening
from pillarbox.store.sqlite.handles import Handles
from pillarbox.store.sqlite.session import Session
from pillarbox.store.sqlite.sidecar import Sidecar
from pillarbox.testing.fakes import FakeClock
from tests.store.opened import connecting, driver_on, raw
from tests.store.test_files import descriptors

PATIENCE_SECONDS = 60
Harm = Callable[[Path], object]

with_locks = pytest.mark.skipif(not hasattr(__import__("fcntl"), "F_OFD_SETLK"), reason="no OFD locks here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "outbox.db"


def elsewhere(script: str, *arguments: object) -> str:
    """Run Python in another process, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOOK = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
print(connection.execute("SELECT count(*) FROM message").fetchall()[0][0])
connection.close()
"""


# --- what foreigners do in this process ----------------------------------------------------------------------------


def by_sqlite3(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT count(*) FROM message").fetchall()


def by_reading(path: Path) -> None:
    for file in path.parent.iterdir():
        if file.is_file():
            file.read_bytes()


def by_copying(path: Path) -> None:
    shutil.copytree(path.parent, path.parent.with_name("copy"), ignore=shutil.ignore_patterns("*-wake*"))


def by_backing_up(path: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(path)) as connection,
        contextlib.closing(sqlite3.connect(path.parent.with_name("their-backup"))) as copy,
    ):
        connection.backup(copy)


foreigners = pytest.mark.parametrize("foreigner", [by_sqlite3, by_reading, by_copying, by_backing_up])


@with_locks
@foreigners
@pytest.mark.contract("SG9", "EN1")
async def test_a_foreign_close_lets_nobody_delete_the_log_that_is_written_to(path: Path, foreigner: Harm) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        foreigner(path)
        # The next to close elsewhere would take himself for the last one.
        assert elsewhere(LOOK, path) == "1"
        await driver.send()
        assert elsewhere(LOOK, path) == "2"
        assert await driver.store.check() == []
    assert {file.name for file in path.parent.iterdir()} == {"outbox.db", "outbox.db-workers"}


@with_locks
@pytest.mark.contract("SG9")
async def test_nobody_empties_the_index_of_a_log_in_use(path: Path) -> None:
    """SQLite does where it sees no lock, and sees none of its own process: merely opening the file was enough."""
    async with driver_on(path) as driver:
        await driver.send()
        # Whoever reads first after a commit notes there how far he looks.
        elsewhere(LOOK, path)
        index = path.with_name("outbox.db-shm").stat()
        by_sqlite3(path)
        elsewhere(LOOK, path)
        after = path.with_name("outbox.db-shm").stat()
        assert (after.st_ino, after.st_mtime_ns) == (index.st_ino, index.st_mtime_ns)


WRITE = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
try:
    connection.execute("INSERT INTO meta VALUES ('theirs', 1)")
except apsw.BusyError:
    print("busy")
else:
    print("written")
"""


@with_locks
@foreigners
@pytest.mark.contract("SG9", "EN1")
async def test_a_foreign_close_in_a_transaction_lets_no_second_writer_in(path: Path, foreigner: Harm) -> None:
    """Two writers at once each overwrite what the other committed."""
    async with driver_on(path) as driver:
        await driver.send()
    handles = Handles(path, driver.store.durability, opening.connect, locks=True)
    session = Session(handles.open(), handles, FakeClock().boot_ms)
    session.begin()
    session.connection.execute("INSERT INTO meta VALUES ('ours', 1)")
    foreigner(path)
    assert elsewhere(WRITE, path) == "busy"
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as here, pytest.raises(sqlite3.OperationalError):
        here.execute("INSERT INTO meta VALUES ('theirs', 1)")
    session.commit()
    assert elsewhere(WRITE, path) == "written"
    handles.close(session.connection)
    with raw(path) as connection:
        keys = {row[0] for row in connection.execute("SELECT key FROM meta")}
    assert {"ours", "theirs"} <= keys


@with_locks
@pytest.mark.contract("SG9", "SG5")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_several_handles_of_a_process_close_in_any_order_and_the_last_tidies_up(
    path: Path, order: tuple[int, int]
) -> None:
    stores = [open_store(path), open_store(path)]
    for store in stores:
        await store.open()
    by_sqlite3(path)
    first, last = (stores[place] for place in order)
    await first.close()
    by_sqlite3(path)
    assert elsewhere(LOOK, path) == "0"
    assert path.with_name("outbox.db-wal").exists()
    await last.close()
    assert not path.with_name("outbox.db-wal").exists()
    assert descriptors(path.parent) == []


@pytest.mark.contract("SG9")
async def test_a_process_that_changes_its_directory_keeps_its_database(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    async with driver_on(Path("outbox.db")) as driver:
        await driver.send()
        monkeypatch.chdir("/")
        await driver.send()
        assert len(await driver.everything()) == 2
        assert await driver.store.check() == []


# --- what happens to the files -------------------------------------------------------------------------------------


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def replaced_by_a_copy(file: Path) -> None:
    copy = file.with_name("copied")
    shutil.copyfile(file, copy)
    copy.rename(file)


def overwritten(path: Path) -> None:
    other = path.with_name("other.db")
    with contextlib.closing(apsw.Connection(str(other))) as connection:
        connection.execute("CREATE TABLE a (b); INSERT INTO a VALUES (zeroblob(100000))")
    shutil.copyfile(other, path)


def renamed_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def another_folder(path: Path) -> None:
    renamed_folder(path)
    path.parent.mkdir()
    path.touch(0o600)


HARM: dict[str, Harm] = {
    "rm": lambda path: path.unlink(),
    "mv": lambda path: path.rename(path.with_name("away.db")),
    "restored over": replaced_by_a_copy,
    "overwritten in place": overwritten,
    "emptied in place": lambda path: os.truncate(path, 0),
    "its folder moved": renamed_folder,
    "its folder deleted": lambda path: shutil.rmtree(path.parent),
    "its log deleted": lambda path: beside(path, "-wal").unlink(),
    "its log replaced": lambda path: replaced_by_a_copy(beside(path, "-wal")),
    "its log emptied": lambda path: os.truncate(beside(path, "-wal"), 0),
    "its index deleted": lambda path: beside(path, "-shm").unlink(),
    "another in its folder's place": another_folder,
}


@with_locks
@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
@pytest.mark.contract("SG9", "EN4")
async def test_nothing_is_accepted_into_files_that_were_taken_away(path: Path, harm: Harm) -> None:
    async with driver_on(path) as driver:
        message = await driver.send()
        assert driver.store.problems() == []
        harm(path)
        with pytest.raises(StoreReplaced, match="while it was open: nothing more is accepted"):
            await driver.send()
        with pytest.raises(StoreReplaced):
            await driver.claim()
        problem, *_ = problems = driver.store.problems()
        assert str(path) in problem
        assert await driver.store.check() == problems
        with pytest.raises(StoreReplaced):
            await driver.view(message)


@pytest.mark.contract("SG9")
async def test_who_only_reads_notices_too(path: Path) -> None:
    async with driver_on(path) as driver:
        message = await driver.send()
    async with driver_on(path) as driver:
        await driver.view(message)
        path.unlink()
        with pytest.raises(StoreReplaced):
            await driver.view(message)


@pytest.mark.contract("SG9")
async def test_files_that_are_put_back_are_worked_on_again(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        path.rename(path.with_name("away.db"))
        with pytest.raises(StoreReplaced):
            await driver.send()
        path.with_name("away.db").rename(path)
        await driver.send()
        assert len(await driver.everything()) == 2
        assert await driver.store.check() == []


@pytest.mark.contract("SG9")
async def test_a_file_that_was_only_touched_is_no_reason_to_stop(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        os.utime(path, ns=(1, 1))
        path.chmod(0o600)
        await driver.send()
        assert driver.store.problems() == []


@pytest.mark.contract("SG9")
async def test_checkpoints_by_anybody_are_no_reason_to_stop(path: Path) -> None:
    async with driver_on(path) as driver, driver_on(path) as other:
        for size in (10, 3_000_000, 10, 3_000_000, 10):
            await driver.send(text="x" * size)
            with raw(path) as connection:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE if size > 10 else 0)
            await other.send(text="x" * size)
            assert driver.store.problems() == other.store.problems() == []
        await driver.healthy()


@pytest.mark.contract("SG9", "LE2")
async def test_what_was_committed_as_the_file_went_is_not_acknowledged_and_nothing_of_it_is_claimed(path: Path) -> None:
    gone: list[str] = []

    def in_the_commit() -> bool:
        if gone:
            path.unlink(missing_ok=True)
        return False

    async with driver_on(path, connect=connecting(lambda c: c.set_commit_hook(in_the_commit))) as driver:
        await driver.claim()
        gone.append("now")
        with pytest.raises(StoreReplaced):
            await driver.commit(enqueue=[[driver.draft()]])


@with_locks
@pytest.mark.contract("SG9")
async def test_a_close_deletes_no_log_but_its_own(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        renamed_folder(path)
        path.parent.mkdir()
        async with driver_on(path) as after:
            await after.send()
            log = beside(path, "-wal").stat().st_ino
            await driver.store.close()
            assert beside(path, "-wal").stat().st_ino == log
            await after.send()
            assert elsewhere(LOOK, path) == "2"


@contextlib.asynccontextmanager
async def another_process(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Let another process have an outbox open, in which it has stored a message; it is killed at the end."""
    script = """
import sys, asyncio
from pillarbox import Outbox
async def main():
    async with Outbox(sys.argv[1], deliver=False, channels={"x": print}) as box:
        await box.send("x", to="ann", text="hi")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await process.stdout.readline()) == b"ready\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        await process.communicate()


@with_locks
@pytest.mark.contract("SG9")
async def test_a_restored_file_is_not_opened_while_another_process_uses_the_log_that_lies_beside_it(path: Path) -> None:
    async with another_process(path):
        replaced_by_a_copy(path)
        with pytest.raises(StoreUnsafe, match="still works with the log of a file that was here before"):
            await open_store(path).open()


# --- a platform without such locks ---------------------------------------------------------------------------------


@pytest.mark.contract("SG9")
async def test_without_such_locks_the_loss_of_the_log_is_noticed_and_the_want_is_told(path: Path) -> None:
    async with driver_on(path, descriptor_locks=False) as driver:
        await driver.send()
        (remark,) = driver.store.remarks()
        assert "is noticed, not prevented" in remark
        by_sqlite3(path)
        elsewhere(LOOK, path)
        with pytest.raises(StoreReplaced):
            await driver.send()


@with_locks
@pytest.mark.contract("SG9")
async def test_with_them_there_is_nothing_to_remark(path: Path) -> None:
    async with driver_on(path) as driver:
        assert driver.store.remarks() == []


# --- who lives -----------------------------------------------------------------------------------------------------

ALIVE = """
import json, sys
from pathlib import Path
from pillarbox.store.sqlite.sidecar import Sidecar
sidecar = Sidecar(Path(sys.argv[1]), descriptor_locks=sys.argv[2] == "True")
sidecar.open()
print(json.dumps([sidecar.is_alive(int(slot)) for slot in sys.argv[3:]]))
"""


def seen_alive(path: Path, *slots: int, locks: bool = True) -> list[bool | None]:
    found: list[bool | None] = json.loads(elsewhere(ALIVE, path, locks, *slots))
    return found


@with_locks
@foreigners
@pytest.mark.contract("LE4", "SG9")
async def test_a_foreign_close_of_the_lock_file_makes_nobody_look_dead(path: Path, foreigner: Harm) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        await driver.claim()
        foreigner(path)
        async with driver_on(path) as other:
            (worker,) = await other.store.workers()
            assert worker.alive is True
            assert await other.lapsed() == []
        assert seen_alive(path, driver.worker, driver.worker + 1) == [True, False]
        await driver.store.deregister(driver.worker)
        assert seen_alive(path, driver.worker) == [False]


@with_locks
@pytest.mark.contract("LE4")
@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (False, False)])
def test_the_two_kinds_of_lock_respect_each_other(path: Path, ours: bool, theirs: bool) -> None:
    sidecar = Sidecar(path, descriptor_locks=ours)
    sidecar.open()
    sidecar.hold(7)
    assert seen_alive(path, 7, 8, locks=theirs) == [True, False]
    sidecar.let_go(7)
    assert seen_alive(path, 7, locks=theirs) == [False]
    sidecar.close()


@pytest.mark.contract("LE4")
@pytest.mark.parametrize("locks", [True, False])
def test_two_outboxes_of_one_process_see_each_other_live(path: Path, locks: bool) -> None:
    one, two = Sidecar(path, descriptor_locks=locks), Sidecar(path, descriptor_locks=locks)
    one.open()
    two.open()
    one.hold(1)
    two.hold(2)
    assert (two.is_alive(1), one.is_alive(2), one.is_alive(3)) == (True, True, False)
    one.close()
    assert two.is_alive(1) is False
    assert seen_alive(path, 1, 2, locks=locks) == [False, True]
    two.close()


@pytest.mark.contract("LE4", "SG9")
async def test_a_lock_file_that_was_taken_away_makes_nobody_look_dead_and_is_told(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        await driver.claim()
        beside(path, "-workers").unlink()
        (problem,) = driver.store.problems()
        assert "other workers cannot tell whether this one lives" in problem
        assert problem in await driver.store.check()
        async with driver_on(path) as other:
            (worker,) = await other.store.workers()
            assert worker.alive is None
            assert await other.lapsed() == []
        # It is no reason to stop.
        await driver.send()


@with_locks
@pytest.mark.contract("SG9", "SG7")
async def test_a_check_finds_the_process_that_works_on_a_deleted_log(path: Path) -> None:
    async with another_process(path) as process:
        async with driver_on(path) as driver:
            assert await driver.store.check() == []
        beside(path, "-wal").unlink()
        beside(path, "-shm").unlink()
        async with driver_on(path) as driver:
            (problem,) = await driver.store.check()
        assert f"process {process.pid} works on a database or log that is not the one here" in problem


@with_locks
@pytest.mark.contract("SG9")
def test_a_lock_falls_with_its_own_descriptor_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    one, two = os.open(file, os.O_RDWR), os.open(file, os.O_RDWR)
    assert ofd.obstacle(one) is None
    assert ofd.take(one, ofd.SHARED, 10, 5)
    assert ofd.take(two, ofd.SHARED, 10, 5)
    assert not ofd.take(two, ofd.EXCLUSIVE, 12)
    file.read_bytes()
    assert ofd.is_held(two, 14)
    assert not ofd.is_held(two, 15)
    ofd.release(one, 10, 5)
    assert ofd.take(two, ofd.EXCLUSIVE, 12)
    os.close(two)
    assert not ofd.is_held(one, 10, 5)
    os.close(one)


@with_locks
@foreigners
@pytest.mark.contract("SG9", "EN1")
async def test_who_lost_the_write_lock_before_it_was_safe_begins_anew_and_harms_nobody(
    path: Path, foreigner: Harm
) -> None:
    """Between SQLite's lock and ours, another process may commit on top of what the transaction has read."""
    async with driver_on(path):
        pass
    connection = opening.connect(str(path), Durability.POWER)
    handles = Handles(path, Durability.POWER, lambda *_: connection, locks=True)
    assert handles.open() is connection
    interrupted: list[str] = []

    class Interrupting:
        turn, begin, look, end = handles.turn, handles.begin, handles.look, handles.end

        def hold_write_lock(self, before: bytes) -> bool:
            if not interrupted:
                foreigner(path)
                interrupted.append(elsewhere(WRITE, path))
            return handles.hold_write_lock(before)

    session = Session(connection, Interrupting(), FakeClock().boot_ms)
    session.begin()
    assert interrupted == ["written"]
    session.connection.execute("INSERT INTO meta VALUES ('ours', 1)")
    session.commit()
    handles.close(connection)
    with raw(path) as after:
        assert {"ours", "theirs"} <= {row[0] for row in after.execute("SELECT key FROM meta")}
        assert after.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
