"""
Locks that belong to one open descriptor (Linux: ``F_OFD_SETLK``), not to the whole process.

A POSIX lock falls when *any* descriptor of the process for the file is closed, by any code. One of these falls
when its own descriptor is closed or unlocked, or the last process that has it ends. The two kinds conflict with each
other, also within one process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = struct.Struct("hhqqi4x")
_SET: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None)
_ASK: Final[int | None] = getattr(fcntl, "F_OFD_GETLK", None)

SHARED: Final = fcntl.F_RDLCK
EXCLUSIVE: Final = fcntl.F_WRLCK


def obstacle(descriptor: int) -> str | None:
    """Return why such locks cannot be used on an open file; ``None`` where they can."""
    if _SET is None or _ASK is None:
        return "this platform has no locks of open file descriptions (OFD)"
    try:
        is_held(descriptor, 0)
    except OSError as exc:
        return f"the file system has no locks of open file descriptions (OFD): {exc.strerror}"
    return None


def take(descriptor: int, kind: int, start: int, length: int = 1) -> bool:
    """Lock now; return false where another lock is in the way. Raises OSError where such locks cannot be used."""
    try:
        _call(_SET, descriptor, kind, start, length)
    except OSError as exc:
        if exc.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def release(descriptor: int, start: int, length: int = 1) -> None:
    """Unlock. Safe to repeat."""
    _call(_SET, descriptor, fcntl.F_UNLCK, start, length)


def is_held(descriptor: int, start: int, length: int = 1) -> bool:
    """Whether anybody but this descriptor has a lock there, of either kind, in this process or another."""
    answer = _call(_ASK, descriptor, EXCLUSIVE, start, length)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _call(command: int | None, descriptor: int, kind: int, start: int, length: int) -> bytes:
    if command is None:
        raise OSError(errno.ENOSYS, "no OFD locks")
    return fcntl.fcntl(descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
