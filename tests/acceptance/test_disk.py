"""Places where no outbox can be, and disks that take no more: each says what it is, and nothing is lost or made."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import apsw
import pytest

from pillarbox import Outbox
from pillarbox.cli.program import execute
from pillarbox.errors import (
    NotStarted,
    StoreCorrupt,
    StoreError,
    StoreNotFound,
    StoreReadOnly,
    StoreTooNew,
    StoreUnsafe,
)
from tests.acceptance.processes import Accepting, run_script

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt


async def deliver(attempt: Attempt) -> str:
    return "r"


async def refusal(db: Path | str) -> StoreError:
    """Start an outbox that cannot be, see that it says so, and that it can be asked again."""
    outbox = Outbox(db, channels={"hooks": deliver})
    with pytest.raises(StoreError) as first:
        await outbox.start()
    with pytest.raises(type(first.value)):
        await outbox.start()
    with pytest.raises(NotStarted):
        await outbox.send("hooks", to="ann", text="hi")
    await outbox.close()
    return first.value


@pytest.mark.contract("SG1", "SG3")
async def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert isinstance(await refusal(tmp_path), StoreNotFound)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.contract("SG1", "SG3")
async def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am a file")
    assert isinstance(await refusal(tmp_path / "file" / "outbox.db"), StoreNotFound)
    assert (tmp_path / "file").read_text() == "I am a file"


@pytest.mark.contract("SG1", "SG3")
@pytest.mark.parametrize("content", [b"I am a letter\n" * 100, b"x", b"SQLite format 3\0" + b"\xff" * 4080])
async def test_another_file_is_no_database_and_stays_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    path.chmod(0o600)
    assert isinstance(await refusal(path), StoreCorrupt)
    assert path.read_bytes() == content


@pytest.mark.contract("SG1", "SG3")
async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert isinstance(await refusal(path), StoreCorrupt)
    assert path.read_bytes() == before


@pytest.mark.contract("SG2", "SG3")
async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    async with Accepting(path) as box:
        await box.send()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = '999' WHERE key IN ('version', 'usable_from')")
    connection.close()
    assert isinstance(await refusal(path), StoreTooNew)


@pytest.mark.contract("SG1", "SG3")
async def test_a_place_where_nothing_can_be_written_says_so() -> None:
    # Not even root writes here.
    error = await refusal("/sys/outbox.db")
    assert isinstance(error, StoreReadOnly | StoreNotFound)


@pytest.mark.contract("SG4")
async def test_a_link_a_pipe_and_a_socket_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real.db").touch(mode=0o600)
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    os.mkfifo(tmp_path / "pipe.db")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.db"))
        for name in ("link.db", "pipe.db", "socket.db"):
            assert isinstance(await refusal(tmp_path / name), StoreUnsafe), name
    assert (tmp_path / "real.db").read_bytes() == b""


@pytest.mark.contract("SG4")
async def test_what_an_outbox_makes_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = tmp_path / "outbox.db"
        async with Outbox(path, channels={"hooks": deliver}) as outbox:
            await outbox.send("hooks", to="ann", text="hi")
            made = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert {mode for name, mode in made.items()} == {0o600}, made


@pytest.mark.contract("SG1")
async def test_memory_is_used_where_it_is_asked_for_and_only_there(tmp_path: Path) -> None:
    async with Outbox(tmp_path, channels={"hooks": deliver}, fallback="memory") as outbox:
        assert outbox.in_memory
        message = await outbox.send("hooks", to="ann", text="hi")
        assert message.durability == "memory"
        async with asyncio.timeout(10):
            await message.wait()
        assert message.state == "delivered"


@pytest.mark.contract("EN4", "SG3")
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
async def test_what_a_full_disk_refused_was_refused_and_what_it_took_is_there(tmp_path: Path, *, shared: bool) -> None:
    """A file that may not grow is a full disk that needs no machine of its own."""
    if shared:
        assert execute(["db", "init", "--shared", str(tmp_path / "outbox.db")]) == 0
    script = """
import asyncio, resource, signal, sys
from pillarbox import Outbox
from pillarbox.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    async with Outbox(sys.argv[1], deliver=False) as box:
        accepted = []
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        error = None
        for n in range(500):
            try:
                accepted.append((await box.send("hooks", to=f"r{n}", text="x" * 1500)).id)
            except StoreError as exc:
                error = exc
                break
        assert error is not None, "the disk was never full"
        refused = n
        for n in range(3):
            try:
                accepted.append((await box.send("hooks", to=f"s{n}", text="x" * 1500)).id)
            except StoreError:
                pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        accepted.append((await box.send("hooks", to="last", text="there is room again")).id)
        there = {message.id for message in await box.list(limit=1000)}
        assert there == set(accepted), (len(there), len(accepted))
        assert await box.check() == []
        print(type(error).__name__)
asyncio.run(main())
"""
    out = await run_script(script, str(tmp_path / "outbox.db"))
    assert out.strip() == "StoreDiskFull", "a look at the file shows that nothing was stored"
