"""
Notices that something other than SQLite wrote into the database file or its log, where their identity stays the same.

A copy over the open file (``cp backup outbox.db``) keeps its inode. With a write-ahead log, SQLite itself writes to the
database file in a checkpoint alone, and says in ``-shm`` how far it got before and after. So a file that changed
without one was changed by another program; and a log can never be shorter than what it is known to hold.
"""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

# https://sqlite.org/walformat.html#the_wal_index_file_format, in the machine's byte order.
# Page size, last frame, salt; how far a checkpoint is done, and how far one has begun.
_INDEX: Final = struct.Struct("=14x H I 12x 8s 56x I 28x I 4x")
_PAGE_SIZE_64K: Final = 1  # how the largest size is written down
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_FIRST_PAGE: Final = 4096


class _Progress(NamedTuple):
    """How far checkpoints of one run of the log got."""

    salt: bytes
    begun: int
    done: int


class _Seen(NamedTuple):
    progress: _Progress
    changed_ns: int
    size: int
    first_page: bytes


class Contents:
    """
    The last look at a database's content.

    Attributes:
        problem: What was found, for good: it is not known what the file holds then.
    """

    def __init__(self, path: str, database: int, index: int) -> None:
        self.problem: str | None = None
        self._path = path
        self._database = database
        self._index = index
        self._seen: _Seen | None = None

    def look(self) -> None:
        """Compare with the look before. Others may write and checkpoint meanwhile."""
        progress, log_bytes = self._progress()
        if progress is None:
            return
        if log_bytes and self._log_size() < log_bytes and self._progress() == (progress, log_bytes):
            self.problem = _sentence(f"{self._path}-wal was cut short")
            return
        info = os.fstat(self._database)
        seen = self._seen
        if seen is None or progress != seen.progress or progress.begun != progress.done:
            self._seen = self._fresh(progress)
            return
        if (info.st_mtime_ns, info.st_size) == (seen.changed_ns, seen.size):
            return
        first_page = os.pread(self._database, _FIRST_PAGE, 0)
        if self._progress()[0] != progress:
            self._seen = None
        elif info.st_size == seen.size and first_page == seen.first_page:
            self._seen = seen._replace(changed_ns=info.st_mtime_ns)
        else:
            self.problem = _sentence(f"{self._path} was written to by something other than SQLite (a copy over it?)")

    def _fresh(self, progress: _Progress) -> _Seen | None:
        info = os.fstat(self._database)
        first_page = os.pread(self._database, _FIRST_PAGE, 0)
        # Only if no checkpoint went on meanwhile.
        if self._progress()[0] != progress:
            return None
        return _Seen(progress, info.st_mtime_ns, info.st_size, first_page)

    def _progress(self) -> tuple[_Progress | None, int]:
        """Read how far checkpoints got, and how many bytes the log holds at least."""
        index = os.pread(self._index, _INDEX.size, 0)
        if len(index) < _INDEX.size:
            return None, 0
        page, last, salt, done, begun = _INDEX.unpack(index)
        page = 1 << 16 if page == _PAGE_SIZE_64K else page
        return _Progress(salt, begun, done), _LOG_HEADER + last * (_FRAME_HEADER + page) if last else 0

    def _log_size(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size  # noqa: PTH116 — at every commit
        except OSError:
            return 1 << 62  # that it is gone is found elsewhere


def _sentence(what: str) -> str:
    return (
        f"{what} while it was open: nothing more is accepted, recorded or sent here, and nobody knows what it holds; "
        "stop every process that uses the database, put a backup in its place without the -wal and -shm beside it, and"
        " start again"
    )
