"""A file that a command writes is there whole or stays as it was, whatever ends the command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pillarbox import Outbox
from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.whole_file import whole_file
from tests.acceptance.processes import run_script
from tests.cli.commands import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.cli.typed import Typed

# Writes, says so, and waits for somebody to end it.
WRITING: Final = """
import sys
from pillarbox.cli.whole_file import whole_file
with whole_file(sys.argv[1]) as write:
    write(b"x" * 1_000_000)
    print("written", flush=True)
    sys.stdin.read()
"""
# Has a disk that takes no more than so much.
FULL: Final = """
import resource, sys
from pillarbox.cli.exits import Stop
from pillarbox.cli.whole_file import whole_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with whole_file(sys.argv[1]) as write:
        for _ in range(int(sys.argv[2])):
            write(b"x" * 1_000)
except Stop as stop:
    print(stop)
"""


@pytest.fixture(params=["new", "old", "link"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What is to be written: a new file, one that is there, or one that a link leads to."""
    if request.param == "new":
        return tmp_path / "new"
    (tmp_path / "old").write_text("before")
    (tmp_path / "link").symlink_to("old")
    return tmp_path / str(request.param)


@pytest.fixture(params=["unnamed", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of file systems: those that have files without names, and the others."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def listed(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="what a killed process was writing has a name here")
@pytest.mark.contract("OP1")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_what_was_being_written_goes_with_a_process_that_is_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITING, str(target),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.stdout.readline() == b"written\n"
    finally:
        process.send_signal(number)
        await process.communicate()
    assert process.returncode == -number
    assert listed(tmp_path) == {"out": "before"}


@pytest.mark.contract("OP1")
@pytest.mark.parametrize("thousands", [101, 100_000])
async def test_a_full_disk_leaves_what_was_there(tmp_path: Path, thousands: int) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    said = await run_script(FULL, str(target), str(thousands))
    assert said == f"{target}: it cannot be written: File too large\n"
    assert listed(tmp_path) == {"out": "before"}


@pytest.mark.contract("OP1")
@pytest.mark.usefixtures("kind")
def test_it_is_there_when_the_block_ends_and_not_before(target: Path) -> None:
    before = listed(target.parent)
    with whole_file(str(target)) as write:
        write(b"new")
        meanwhile = listed(target.parent)
        assert {name: meanwhile.get(name) for name in (*before, target.name)} == {target.name: None} | before
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert listed(target.parent).keys() == before.keys() | {target.name}


@pytest.mark.contract("OP1")
@pytest.mark.usefixtures("kind")
def test_an_error_leaves_what_was_there(target: Path) -> None:
    before = listed(target.parent)

    def failing() -> None:
        with whole_file(str(target)) as write:
            write(b"x" * 1_000_000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert listed(target.parent) == before


@pytest.mark.contract("OP1")
@pytest.mark.usefixtures("kind")
def test_of_two_that_write_one_file_the_last_is_there_whole(tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    with whole_file(target) as first:
        first(b"1" * 1000)
        with whole_file(target) as second:
            second(b"2" * 10)
            first(b"1" * 1000)
        assert listed(tmp_path)["out"] == "2" * 10
    assert listed(tmp_path) == {"out": "1" * 2000}


@pytest.mark.contract("OP1")
@pytest.mark.usefixtures("kind")
def test_a_folder_is_no_file_whether_it_is_there_or_comes_meanwhile(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/", f"{tmp_path}/nosuch/", str(tmp_path)):
        with pytest.raises(Stop, match="expected the name of a file"), whole_file(name):
            pass
    with pytest.raises(Stop, match="cannot be written: Is a directory"), whole_file(str(tmp_path / "out")):
        (tmp_path / "out").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.contract("OP1")
@pytest.mark.usefixtures("kind")
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    for name in ("x" * 255, "\u5927" * 85):
        with whole_file(str(tmp_path / name)) as write:
            write(b"new")
        assert (tmp_path / name).read_text() == "new"


@pytest.mark.contract("OP1")
def test_a_database_that_fails_between_two_pages_leaves_the_file_as_it_was(typed: Typed) -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))  # nothing makes it shorter
    asyncio.run(_stored(typed.db, *["hi"] * 250, text))
    _damage(typed.db, text[10_000:10_100].encode())
    Path("out.jsonl").write_text("before")
    listed = sorted(Path().iterdir())
    shown = typed("export")
    assert (shown.code, shown.out.count("\n")) == (Exit.DATABASE, 200)
    ended = typed("export -o out.jsonl")
    assert (ended.code, ended.out) == (Exit.DATABASE, "")
    assert Path("out.jsonl").read_text() == "before"
    assert sorted(Path().iterdir()) == listed


async def _stored(db: Path, *texts: str) -> None:
    async with Outbox(db, deliver=False) as box:
        await box.send_many([{"channel": "ops", "to": "ann", "text": text} for text in texts])


def _damage(db: Path, middle: bytes) -> None:
    """Let the page that holds some bytes lead to none that is there."""
    with db.open("r+b") as file:
        found = file.read().index(middle)
        size = int.from_bytes(os.pread(file.fileno(), 2, 16), "big")
        os.pwrite(file.fileno(), b"\xff" * 4, found // size * size)
