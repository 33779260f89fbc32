"""What kind of file a store works on; each that it refuses has its own error and is left as it was."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from pillarbox.domain.limits import Limits
from pillarbox.errors import (
    ConfigError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreNotFound,
    StoreTooNew,
    StoreTooOld,
    StoreUnsafe,
)
from pillarbox.store.base import Durability
from pillarbox.store.registry import open_store
from pillarbox.store.sqlite import migrations, opening
from tests.left_open import nothing_left_open
from tests.store.opened import connecting, driver_on, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


async def refused(path: Path, error: type[StoreError], **options: object) -> str:
    """See that opening raises exactly *error*, and leaves neither a handle nor a change behind."""
    before, files = fingerprint(path.parent), descriptors(path.parent)
    with pytest.raises(StoreError) as caught:
        await open_store(path, **options).open()
    assert type(caught.value) is error, caught.value
    assert fingerprint(path.parent) == before
    assert descriptors(path.parent) == files
    return str(caught.value)


def fingerprint(folder: Path) -> dict[str, str]:
    """What lies in a folder."""
    if not folder.is_dir():
        return {}
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else str(file.lstat().st_mode)
        for file in folder.iterdir()
    }


def descriptors(folder: Path) -> list[str]:
    """What this process holds open in a folder."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return sorted(name for name in found if name.startswith(f"{folder}/"))


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.contract("SG1", "SG3")
async def test_a_directory_is_no_database(path: Path) -> None:
    path.mkdir()
    assert "is a directory" in await refused(path, StoreNotFound)


@pytest.mark.contract("SG1", "SG3")
async def test_a_missing_database_is_not_made_by_who_only_reads(path: Path) -> None:
    assert "no database at" in await refused(path, StoreNotFound, create=False)


@pytest.mark.contract("SG1", "SG3")
async def test_an_empty_file_is_not_made_a_database_by_who_only_reads(path: Path) -> None:
    path.touch(0o600)
    await refused(path, StoreNotFound, create=False)
    async with driver_on(path) as driver:
        assert await driver.store.check() == []


@pytest.mark.contract("SG3")
async def test_a_file_is_no_directory_for_a_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "is not a directory" in await refused(tmp_path / "file" / "outbox.db", StoreNotFound)


@pytest.mark.contract("SG4")
async def test_a_symbolic_link_is_refused_also_to_a_good_database(tmp_path: Path, path: Path) -> None:
    async with driver_on(path):
        pass
    link = tmp_path / "link.db"
    link.symlink_to(path)
    assert "symbolic link" in await refused(link, StoreUnsafe)
    dangling = tmp_path / "dangling.db"
    dangling.symlink_to(tmp_path / "nowhere.db")
    await refused(dangling, StoreUnsafe)


@pytest.mark.contract("SG4")
@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal", "-workers"])
async def test_a_symbolic_link_beside_the_database_is_refused(tmp_path: Path, path: Path, ending: str) -> None:
    async with driver_on(path):
        pass
    target = tmp_path / "precious"
    target.write_text("precious")
    beside = path.with_name(path.name + ending)
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    assert "symbolic link" in await refused(path, StoreUnsafe)


@pytest.mark.contract("SG4")
async def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.db"
    os.mkfifo(pipe)
    assert "not a regular file" in await refused(pipe, StoreUnsafe)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.db"))
        await refused(tmp_path / "socket.db", StoreUnsafe)


@as_root
@pytest.mark.contract("SG4")
@pytest.mark.parametrize("ending", ["", "-wal", "-workers"])
async def test_somebody_else_s_file_is_refused(path: Path, ending: str) -> None:
    async with driver_on(path):
        pass
    foreign = path.with_name(path.name + ending)
    foreign.touch()
    os.chown(foreign, NOBODY, NOBODY)
    assert f"belongs to user {NOBODY}" in await refused(path, StoreUnsafe)


@pytest.mark.contract("SG3")
@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 40, b"x"], ids=["garbage", "a byte"])
async def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    await refused(path, StoreCorrupt)


@pytest.mark.contract("SG3")
async def test_a_damaged_header_is_refused(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
    whole = path.read_bytes()
    path.write_bytes(b"\0" * 100 + whole[100:])
    await refused(path, StoreCorrupt)


@pytest.mark.contract("SG3")
async def test_a_truncated_database_is_refused(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(StoreCorrupt):
        async with driver_on(path) as driver:
            await driver.send()


@pytest.mark.contract("SG3", "SG7")
async def test_damage_inside_is_found_by_the_check_and_named_by_what_meets_it(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft(text="x" * 1500) for _ in range(40)])
    with raw(path) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'message_due'").get
        size = connection.pragma("page_size")
    damaged = bytearray(path.read_bytes())
    damaged[(root - 1) * size : root * size] = b"\xa5" * size
    path.write_bytes(damaged)
    async with driver_on(path) as driver:
        with pytest.raises(StoreCorrupt):
            await driver.claim()
        assert any(complaint.startswith("integrity: ") for complaint in await driver.store.check())


@pytest.mark.contract("SG3")
@pytest.mark.parametrize("mark", [0, 0x12345678], ids=["unmarked", "marked"])
async def test_another_program_s_database_is_refused_and_stays_as_it_was(path: Path, mark: int) -> None:
    with raw(path) as connection:
        connection.pragma("application_id", mark)
        connection.execute("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
        assert connection.pragma("journal_mode") == "delete"
    assert "another program" in await refused(path, StoreCorrupt)
    with raw(path) as connection:
        assert connection.pragma("journal_mode") == "delete"
        assert connection.execute("SELECT * FROM theirs").fetchall() == [(1,)]


@pytest.mark.contract("SG3")
async def test_a_database_without_its_schema_version_is_refused(path: Path) -> None:
    async with driver_on(path):
        pass
    with raw(path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'usable_from'")
    assert "does not say" in await refused(path, StoreCorrupt)
    with raw(path) as connection:
        connection.execute("DROP TABLE meta")
    assert "does not say" in await refused(path, StoreCorrupt)


@pytest.mark.contract("SG3")
async def test_a_store_that_is_locked_for_too_long_says_so_and_works_afterwards(path: Path) -> None:
    impatient = connecting(lambda connection: connection.set_busy_timeout(0))
    async with driver_on(path, connect=impatient) as driver:
        accepted = await driver.send()
        with raw(path) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy):
                await driver.send()
            with pytest.raises(StoreBusy):
                await driver.register()
            assert [view.id for view in await driver.everything()] == [accepted]
            # Who only opens it needs no lock.
            async with driver_on(path, connect=impatient) as other:
                assert [view.id for view in await other.everything()] == [accepted]
            holder.execute("ROLLBACK")
        await driver.send()
        await driver.healthy()
        assert len(await driver.everything()) == 2


@pytest.mark.contract("SG3")
async def test_a_database_that_cannot_be_made_because_somebody_else_writes_says_so(path: Path) -> None:
    path.touch(0o600)
    with raw(path) as holder:
        holder.pragma("journal_mode", "wal")
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            await open_store(path, connect=connecting(lambda connection: connection.set_busy_timeout(0))).open()
        holder.execute("ROLLBACK")
    async with driver_on(path) as driver:
        await driver.send()
        await driver.healthy()


# --- read-only, as somebody whom the file system may refuse ------------------------------------------------------

SCRIPT = textwrap.dedent("""
    import asyncio, os, sys
    from pillarbox.errors import StoreError
    from pillarbox.store.registry import open_store

    store = open_store(sys.argv[1])  # loads what it needs before the rights are given up
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        asyncio.run(store.open())
    except StoreError as exc:
        print(type(exc).__name__, exc, flush=True)
    else:
        print("opened", flush=True)
    os._exit(0)
""")


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's own; it belongs to whom the script becomes."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        give(folder)
        yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def opened_without_rights(path: Path) -> str:
    script = [sys.executable, "-c", SCRIPT, str(path)]
    ran = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)  # its stderr is shown below
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.contract("SG3")
@pytest.mark.parametrize("what", ["file", "folder", "unreadable file", "closed folder", "missing file in a folder"])
async def test_what_may_not_be_written_is_read_only(common: Path, what: str) -> None:
    path = common / "outbox.db"
    if "missing" not in what:
        async with driver_on(path):
            pass
        for file in common.iterdir():
            give(file)
    modes = {"file": 0o400, "unreadable file": 0o200, "closed folder": 0}
    (path if what.endswith("file") and "missing" not in what else common).chmod(modes.get(what, 0o500))
    assert opened_without_rights(path).startswith("StoreReadOnly ")


@pytest.mark.contract("SG4")
async def test_the_same_file_with_its_rights_is_opened(common: Path) -> None:
    assert opened_without_rights(common / "outbox.db") == "opened"


# --- schema and library ------------------------------------------------------------------------------------------


def set_meta(path: Path, **meta: int) -> None:
    with raw(path) as connection:
        connection.executemany("UPDATE meta SET value = ?2 WHERE key = ?1", [(k, str(v)) for k, v in meta.items()])


@pytest.mark.contract("SG2")
async def test_a_schema_that_needs_newer_code_is_refused(path: Path) -> None:
    async with driver_on(path):
        pass
    newer = migrations.VERSION + 1
    set_meta(path, version=newer, usable_from=newer)
    assert "upgrade" in await refused(path, StoreTooNew)


@pytest.mark.contract("SG2")
async def test_a_newer_schema_that_still_allows_this_code_is_used_and_left_as_it_is(path: Path) -> None:
    async with driver_on(path):
        pass
    set_meta(path, version=migrations.VERSION + 5, usable_from=migrations.VERSION)
    async with driver_on(path) as driver:
        await driver.send()
        await driver.deliver_next()
    with raw(path) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('version', 'usable_from')"))
    assert meta == {"version": str(migrations.VERSION + 5), "usable_from": str(migrations.VERSION)}


@pytest.mark.contract("SG2")
def test_an_older_schema_is_brought_up_to_date_step_by_step() -> None:
    connection = apsw.Connection(":memory:")
    migrations.create(connection)
    done: list[int] = []
    steps = {n: (lambda _, n=n: done.append(n)) for n in range(migrations.VERSION, migrations.VERSION + 3)}
    target = migrations.VERSION + 3
    migrations.migrate(connection, version=target, usable_from=migrations.VERSION + 1, steps=steps)
    assert done == list(steps)
    migrations.migrate(connection, version=target, usable_from=migrations.VERSION + 1, steps=steps)
    assert done == list(steps)
    with pytest.raises(StoreTooNew):
        migrations.migrate(connection)


@pytest.mark.contract("SG2")
async def test_a_command_leaves_an_older_schema_as_it_is(path: Path) -> None:
    async with driver_on(path):
        pass
    older = migrations.VERSION - 1
    set_meta(path, version=older, usable_from=older)
    command = open_store(path, create=False)
    with pytest.raises(StoreTooOld, match=f"has schema {older}, this pillarbox works on {migrations.VERSION}"):
        await command.open()
    with raw(path) as connection:
        assert list(connection.execute("SELECT value FROM meta WHERE key = 'version'")) == [(str(older),)]


@pytest.mark.contract("SG2")
@pytest.mark.parametrize("version", [(3, 7, 0), (3, 40, 1), (3, 50, 4), (3, 51, 2)])
def test_a_library_that_can_lose_messages_is_refused(version: tuple[int, int, int]) -> None:
    with pytest.raises(StoreUnsafe, match="can lose committed messages"):
        opening.check_library(version)


@pytest.mark.contract("SG2")
def test_the_library_in_use_is_a_good_one() -> None:
    opening.check_library()
    opening.check_library((3, 51, 3))


# --- settings of every connection ----------------------------------------------------------------------------------


@pytest.mark.contract("SG2", "SG3", "EN1")
@pytest.mark.parametrize(("durability", "synchronous"), [(Durability.POWER, 2), (Durability.PROCESS, 1)])
async def test_every_connection_of_every_handle_has_the_settings_of_its_durability(
    path: Path, durability: Durability, synchronous: int
) -> None:
    connections: list[apsw.Connection] = []
    options: dict[str, Any] = {"connect": connecting(connections.append), "durability": durability}
    async with driver_on(path, **options) as one, driver_on(path, **options) as two:
        for driver in (one, two):
            await driver.send()
            await driver.everything()
            assert driver.store.durability is durability
        assert len(connections) == 4  # each handle writes and reads
        for connection in connections:
            assert connection.pragma("journal_mode") == "wal"
            assert connection.pragma("synchronous") == synchronous
            assert connection.pragma("busy_timeout") == opening.BUSY_MS >= 5000


@pytest.mark.contract("SG2")
async def test_a_file_system_without_a_write_ahead_log_is_refused(path: Path) -> None:
    def connect(path: str, durability: Durability) -> apsw.Connection:
        # Without shared memory and without locking the file for itself, SQLite stays with its rollback journal.
        with contextlib.closing(apsw.Connection(path, vfs="unix-none")) as connection:
            opening.configure(connection, durability)
        raise AssertionError

    with pytest.raises(StoreUnsafe, match="write-ahead log"):
        await open_store(path, connect=connect).open()


@pytest.mark.contract("SG2")
async def test_opening_drops_and_makes_no_index(path: Path) -> None:
    async with driver_on(path, limits=Limits(recipient_messages=5)) as driver:
        await driver.send()
    before = schema(path)
    executed: list[str] = []

    def trace(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: executed.append(event["sql"]))

    async with driver_on(path, limits=Limits(recipient_messages=5), connect=connecting(trace)) as driver:
        await driver.send()
    words = {sql.split(maxsplit=1)[0].upper() for sql in executed}
    assert {"INSERT", "BEGIN"} <= words
    assert not words & {"CREATE", "DROP", "REINDEX", "VACUUM", "ANALYZE", "ALTER"}
    assert schema(path) == before


def schema(path: Path) -> list[tuple[object, ...]]:
    with raw(path) as connection:
        found = connection.execute("SELECT type, name, rootpage, sql FROM sqlite_schema ORDER BY name").fetchall()
        return [*found, (connection.pragma("schema_version"),)]


@pytest.mark.contract("LA1", "LE1")
async def test_the_database_itself_lets_no_two_messages_of_a_lane_be_leased(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft(lane="l") for _ in range(2)])
    with raw(path) as connection, pytest.raises(apsw.ConstraintError):
        connection.execute("UPDATE message SET state = 1, lease = x'00'")


# --- what lies on the disk, and what is left when it is closed -----------------------------------------------------


@pytest.mark.contract("SG4")
async def test_folders_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "outbox.db"
    before = os.umask(0)
    try:
        async with driver_on(path, make_parents=True) as driver:
            await driver.send()
            await driver.claim()
            modes = {file.name: stat.S_IMODE(file.lstat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert {"outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db-workers", "outbox.db-wake1"} == modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


@pytest.mark.contract("SG5")
async def test_close_lets_every_handle_and_thread_go(path: Path) -> None:
    files = descriptors(path.parent)
    for _ in range(3):
        with nothing_left_open():
            async with driver_on(path, limits=Limits(recipient_messages=9)) as driver:
                await driver.send()
                await driver.claim()
                await driver.everything()
                await driver.lapsed()
                assert descriptors(path.parent) != files
        assert descriptors(path.parent) == files
    assert {file.name for file in path.parent.iterdir()} == {"outbox.db", "outbox.db-workers"}


@pytest.mark.contract("SG5")
async def test_two_handles_of_one_process_let_go_one_by_one(path: Path) -> None:
    files = descriptors(path.parent)
    async with driver_on(path) as one:
        await one.send()
        await one.claim()
        async with driver_on(path) as two:
            await two.register()
        # Closing the second must not drop the first one's lock, which the kernel keeps for the whole process.
        async with driver_on(path) as three:
            assert [worker.alive for worker in await three.store.workers()] == [True, False]
            assert await three.lapsed() == []
    assert descriptors(path.parent) == files


@pytest.mark.contract("SG5")
async def test_nothing_is_kept_of_a_database_that_was_deleted(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        await driver.register()
    for file in path.parent.iterdir():
        file.unlink()
    async with driver_on(path) as driver:
        assert await driver.everything() == []
        await driver.send()
        assert len(await driver.claim()) == 1


@pytest.mark.contract("LE4")
async def test_a_lock_file_that_was_deleted_makes_nobody_dead(path: Path) -> None:
    async with driver_on(path) as one:
        await one.send()
        await one.claim()
        path.with_name("outbox.db-workers").unlink()
        async with driver_on(path, clock=one.clock) as two:
            assert [worker.alive for worker in await two.store.workers()] == [None]
            assert await two.lapsed() == []
            one.clock.advance(3600)
            assert [item.by for item in await two.lapsed()] == ["time"]


@pytest.mark.contract("DR2")
async def test_a_worker_is_told_of_writes_also_where_its_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 20) / ("longer" * 10) / "outbox.db"
    told = asyncio.Event()
    path.parent.mkdir(parents=True)
    async with driver_on(path) as one, driver_on(path) as two:
        await two.register()
        two.store.on_change(told.set, seconds=60)
        await one.send()
        async with asyncio.timeout(10):
            await told.wait()
        assert path.with_name("outbox.db-wake1").is_socket()
    assert not path.with_name("outbox.db-wake1").exists()


async def test_a_database_in_memory_keeps_the_contract_while_it_is_open() -> None:
    async with driver_on(Path(":memory:")) as driver:
        assert (driver.store.durability, driver.store.in_memory) == (Durability.MEMORY, True)
        first = await driver.send(lane="l")
        second = await driver.send(lane="l")
        assert [await driver.deliver_next(), await driver.deliver_next()] == [first, second]
        assert [worker.alive for worker in await driver.store.workers()] == [True]
        driver.store.on_change(asyncio.Event().set, seconds=60)()
        await driver.healthy()
    assert not Path(":memory:").exists()


@pytest.mark.parametrize(
    ("dsn", "place"),
    [("sqlite:///outbox.db", "outbox.db"), ("outbox.db", "outbox.db"), ("sqlite:///:memory:", ":memory:")],
)
async def test_a_dsn_names_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dsn: str, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(dsn)
    await store.open()
    await store.close()
    assert (tmp_path / place).exists() is (place != ":memory:")


async def test_an_absolute_dsn_names_its_file(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    await store.open()
    await store.close()
    assert path.exists()


@pytest.mark.contract("CF2")
@pytest.mark.parametrize("dsn", ["", "  ", "mysql://host/db", "sqlite://host/outbox.db", "sqlite://", "a\0b"])
def test_a_dsn_that_names_nothing_is_a_configuration_error(dsn: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(dsn)
    assert caught.value.field == "db"


@pytest.mark.contract("SG10")
async def test_a_directory_is_made_only_where_nobody_said_where(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "outbox.db"
    said = await refused(deep, StoreNotFound)
    assert said == f"there is no directory {deep.parent}: make it first, or name the database that you meant"
    assert list(tmp_path.iterdir()) == []
    store = open_store(deep, make_parents=True)
    await store.open()
    await store.close()
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (deep.parent, deep.parent.parent)] == [0o700] * 2


@pytest.mark.contract("SG9", "SG10")
@pytest.mark.parametrize("ending", ["-wal", "-journal"])
async def test_a_new_database_takes_over_nothing_of_one_that_was_there(path: Path, ending: str) -> None:
    async with driver_on(path) as driver:
        await driver.send()
        log = path.with_name(path.name + "-wal").read_bytes()
    path.unlink()
    path.with_name(path.name + ending).write_bytes(log)
    assert "put outbox.db back, or move what is left of it away" in await refused(path, StoreUnsafe)


@pytest.mark.contract("SG4", "SG10")
@pytest.mark.parametrize("ending", opening.BESIDE)
@pytest.mark.parametrize("kind", ["link", "directory", pytest.param("another's", marks=as_root)])
async def test_what_lies_beside_a_new_database_is_looked_at_before_it_is_made(
    path: Path, ending: str, kind: str
) -> None:
    beside = path.with_name(path.name + ending)
    match kind:
        case "link":
            beside.symlink_to(path.parent / "elsewhere")
        case "directory":
            beside.mkdir()
        case _:
            beside.touch()
            os.chown(beside, NOBODY, NOBODY)
    assert str(beside) in await refused(path, StoreUnsafe)
    assert not path.exists()
