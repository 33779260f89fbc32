"""
Names an I/O error for what it is: SQLite says "disk I/O error" where the system said that the disk is full.

The system's own number is asked first, then the file system that the file is on: of a log's index that could not grow,
for one, SQLite keeps no number.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from pillarbox.errors import StoreDiskFull, StoreError, StoreReadOnly

# The least that SQLite asks for at once is 32 KiB, for the index of its log.
_FREE_BYTES_MIN: Final = 64 << 10
_FULL: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file may not grow any more: it is at the limit on file sizes",
}
_READ_ONLY: Final = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "the operation is not permitted",
}
_MAYBE_OF_THE_SYSTEM: Final = (apsw.IOError, apsw.CantOpenError, apsw.FullError, apsw.ReadOnlyError, OSError)


def named(what: str, error: BaseException, connection: apsw.Connection | None, path: str | None) -> StoreError | None:
    """
    Return the error that says why the system refused, or ``None`` where it did not.

    Args:
        what: What was tried.
        connection: That met the error, where there is one: it remembers the system's number.
        path: The database's file; ``None`` for the connection's own.
    """
    if not isinstance(error, _MAYBE_OF_THE_SYSTEM):
        return None
    for number in _numbers(error, connection):
        if number in _FULL:
            return StoreDiskFull(f"{what}: {_FULL[number]}")
        if number in _READ_ONLY:
            return StoreReadOnly(f"{what}: the database cannot be written: {_READ_ONLY[number]}")
    file = path or (None if connection is None else connection.filename)
    return None if not file else _of_the_file_system(what, Path(file))


def _numbers(error: BaseException, connection: apsw.Connection | None) -> Iterator[int]:
    if isinstance(error, OSError) and error.errno is not None:
        yield error.errno
    if connection is not None:
        try:
            yield connection.system_errno
        except apsw.Error:
            return


def _of_the_file_system(what: str, file: Path) -> StoreError | None:
    try:
        found = os.statvfs(file.parent)
        size = file.stat().st_size
    except OSError:
        return None
    if found.f_flag & os.ST_RDONLY:
        return StoreReadOnly(f"{what}: the database cannot be written: {_READ_ONLY[errno.EROFS]}")
    if found.f_blocks and found.f_bavail * found.f_frsize < _FREE_BYTES_MIN:
        return StoreDiskFull(f"{what}: {_FULL[errno.ENOSPC]}")
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if most != resource.RLIM_INFINITY and size + _FREE_BYTES_MIN > most:
        return StoreDiskFull(f"{what}: {_FULL[errno.EFBIG]}")
    return None
