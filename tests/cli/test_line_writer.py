"""The thread that writes what a worker says: nobody waits for its reader, and what is missing is counted."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from pillarbox.cli import line_writer
from pillarbox.cli.line_writer import LineWriter, descriptor_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0


def missing(count: int) -> bytes:
    return b"%d missing\n" % count


class Disk:
    """Stands in for `os.write`: takes so many bytes, then fails; every write is told to the test."""

    def __init__(self, *rooms: int, error: int = errno.ENOSPC) -> None:
        self.rooms = list(rooms)
        self.error = error
        self.written = bytearray()
        self.tried = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()

    def write(self, _: int, piece: bytes) -> int:
        assert self.go_on.wait(SECONDS)
        room = self.rooms.pop(0) if self.rooms else len(piece)
        if room <= 0:
            self.tried.release()
            raise OSError(self.error, os.strerror(self.error))
        self.written += piece[:room]
        self.tried.release()
        return min(room, len(piece))

    def until_tried(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.tried.acquire(timeout=SECONDS)


def on(disk: Disk, monkeypatch: pytest.MonkeyPatch, lines_max: int = line_writer.LINES_MAX) -> LineWriter:
    monkeypatch.setattr("pillarbox.cli.line_writer.os.write", disk.write)
    return LineWriter(99, missing=missing, lines_max=lines_max)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def read_all(descriptor: int) -> bytes:
    found = bytearray()
    while piece := os.read(descriptor, 1 << 16):
        found += piece
    return bytes(found)


@pytest.mark.contract("DR3")
def test_what_could_not_be_written_is_counted_and_said_where_it_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(0, 0)
    writer = on(disk, monkeypatch)
    writer.write(b"one\n")
    disk.until_tried()
    writer.write(b"two\n")
    disk.until_tried()
    writer.write(b"three\n")
    disk.until_tried()
    writer.close(SECONDS)
    assert disk.written == b"2 missing\nthree\n"


@pytest.mark.contract("DR3")
def test_what_is_missing_at_the_end_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(0)
    writer = on(disk, monkeypatch)
    writer.write(b"one\n")
    disk.until_tried()
    writer.close(SECONDS)
    assert disk.written == b"1 missing\n"
    # And once only, where even that cannot be written.
    disk = Disk(0, 0)
    writer = on(disk, monkeypatch)
    writer.write(b"one\n")
    disk.until_tried()
    writer.close(SECONDS)
    assert disk.written == b""
    assert not writer._thread.is_alive()


@pytest.mark.contract("DR3")
@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (4, b"one\n2 missing\nlast\n"),
        (6, b"one\ntw\n2 missing\nlast\n"),
        (8, b"one\ntwo\n1 missing\nlast\n"),
        (1, b"o\n3 missing\nlast\n"),
    ],
)
def test_a_line_of_which_half_was_written_is_ended_and_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch, room: int, expected: bytes
) -> None:
    disk = Disk(4, room, 0)
    disk.go_on.clear()
    writer = on(disk, monkeypatch)
    # Held in its first write, so that the other three go out in one piece.
    writer.write(b"new\n")
    while writer._lines:
        assert not disk.tried.acquire(timeout=0.001)
    for line in (b"one\n", b"two\n", b"three\n"):
        writer.write(line)
    disk.go_on.set()
    disk.until_tried(3)
    writer.write(b"last\n")
    writer.close(SECONDS)
    assert disk.written == b"new\n" + expected


@pytest.mark.contract("DR3")
def test_nobody_waits_for_a_reader_that_stands_still_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    disk.go_on.clear()
    writer = on(disk, monkeypatch, lines_max=3)
    writer.write(b"first\n")
    while writer._lines:
        assert not disk.tried.acquire(timeout=0.001)
    for number in range(10):
        writer.write(b"%d\n" % number)
    assert len(writer._lines) == 3
    writer.write(b"x" * (line_writer.BYTES_MAX + 1))
    assert writer._size < 100
    disk.go_on.set()
    disk.until_tried(2)
    writer.write(b"last\n")
    writer.close(SECONDS)
    # Where they are missing: behind what had room before them.
    assert disk.written == b"first\n0\n1\n2\n8 missing\nlast\n"


@pytest.mark.contract("DR3")
def test_a_pipe_that_does_not_wait_is_written_to_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    writer = LineWriter(writing, missing=missing)
    lines = [b"%06d\n" % number for number in range(size // 7 * 3)]
    for line in lines:
        writer.write(line)
    found = bytearray()
    while len(found) < sum(map(len, lines)):
        found += os.read(reading, 1000)
    writer.close(SECONDS)
    os.close(writing)
    assert found + read_all(reading) == b"".join(lines)


@pytest.mark.contract("DR3")
def test_a_close_does_not_wait_for_a_reader_that_stands_still(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    for blocking in (False, True):
        os.set_blocking(writing, blocking)
        writer = LineWriter(writing, missing=missing)
        writer.write(b"x" * (fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ) + 1))
        writer.close(0.001)
        assert writer._thread.is_alive()
        # Its thread ends with the reader, whatever it waits in.
        if blocking:
            os.close(reading)
        else:
            # It may end between the look and the read: the read must not wait for more.
            os.set_blocking(reading, False)
            while writer._thread.is_alive():
                with contextlib.suppress(BlockingIOError):
                    os.read(reading, 1 << 16)
        writer._thread.join(SECONDS)
        assert not writer._thread.is_alive()


@pytest.mark.contract("DR3")
def test_where_nobody_can_read_any_more_it_says_so_once_and_takes_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    heard = threading.Semaphore(0)
    writer = LineWriter(writing, missing=missing, on_unread=heard.release)
    writer.write(b"one\n")
    assert heard.acquire(timeout=SECONDS)
    writer.write(b"two\n")
    assert not writer._lines
    writer.close(SECONDS)
    assert not heard.acquire(blocking=False)


@pytest.mark.contract("DR3")
def test_what_was_closed_before_we_began_takes_everything_and_nothing_is_written() -> None:
    assert descriptor_of(None) is None
    writer = LineWriter(descriptor_of(None), missing=missing)
    writer.write(b"one\n")
    writer.close(SECONDS)
    assert not writer._thread.is_alive()
