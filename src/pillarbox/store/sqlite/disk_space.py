"""Whether the file system of a database takes more, found out without changing anything: by a file that has no name."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_BYTES: Final = 256 * 1024
_UNNAMED: Final = getattr(os, "O_TMPFILE", None)
# What says something about the file system, and not about files without a name.
_REFUSALS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG})


def refusal(folder: Path) -> str | None:
    """Return why nothing more can be written beneath *folder*; ``None`` where it can, or that is not known."""
    if _UNNAMED is None:
        return _counted(folder)
    try:
        descriptor = os.open(folder, _UNNAMED | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            left = _BYTES
            while left > 0:
                left -= os.write(descriptor, bytes(left))
        finally:
            os.close(descriptor)
    except OSError as exc:
        return os.strerror(exc.errno) if exc.errno in _REFUSALS else _counted(folder)
    return None


def _counted(folder: Path) -> str | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    if found.f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS)
    return os.strerror(errno.ENOSPC) if found.f_bavail * found.f_frsize < _BYTES else None
