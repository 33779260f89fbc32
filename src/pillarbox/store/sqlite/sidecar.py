"""
What lies beside the database file: a lock byte and a wake-up socket for each worker.

A worker holds a POSIX lock on the byte of its number in ``<file>-workers``; the kernel frees it when the process ends,
whatever ended it, also across containers that share the file. POSIX locks belong to the process and fall when *any* of
its descriptors for that file is closed, so a process opens the file once and never closes it while a lock is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
from pathlib import Path
from typing import Final

_OPEN_FILES: Final = Path("/proc/self/fd")
_SOCKET_PATH_MAX: Final = 100  # sun_path holds 108 bytes on Linux, 104 on the BSDs

_guard = threading.Lock()
_open_files: dict[tuple[int, int], _LockFile] = {}


class _LockFile:
    """The one descriptor this process has for a lock file, and the bytes that it holds there."""

    def __init__(self, descriptor: int, identity: tuple[int, int]) -> None:
        self.descriptor = descriptor
        self.identity = identity
        self.pid = os.getpid()
        self.held: set[int] = set()
        self.users = 0


def _lock_file(path: Path) -> _LockFile:
    # O_RDWR on a path we already hold open, then closing it, would drop our locks: look before opening.
    with contextlib.suppress(FileNotFoundError):
        info = path.stat()
        known = _open_files.get((info.st_dev, info.st_ino))
        if known is not None and known.pid == os.getpid():
            return known
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    info = os.fstat(descriptor)
    found = _LockFile(descriptor, (info.st_dev, info.st_ino))
    _open_files[found.identity] = found
    return found


class Sidecar:
    """The lock bytes and sockets beside one database file. Safe to use from several threads."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._file: _LockFile | None = None
        self._slots: set[int] = set()
        self._sockets: dict[int, socket.socket] = {}
        self._sender: socket.socket | None = None
        self._directory: int | None = None

    def open(self) -> None:
        """Open the lock file. Safe to repeat."""
        if self._file is None:
            with _guard:
                self._file = _lock_file(self._database.with_name(self._database.name + "-workers"))
                self._file.users += 1

    def close(self) -> None:
        """Let everything go. Safe to repeat."""
        for slot in list(self._sockets):
            self.stop_listening(slot)
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None
        if self._file is None:
            return
        for slot in list(self._slots):
            self.let_go(slot)
        file, self._file = self._file, None
        with _guard:
            file.users -= 1
            if file.users == 0 and file.pid == os.getpid():
                _open_files.pop(file.identity, None)
                os.close(file.descriptor)

    @property
    def identity(self) -> int:
        """Which lock file this is. One that was deleted and made anew knows nothing of the old one's holders."""
        return self._opened().identity[1]

    def hold(self, slot: int) -> None:
        """Lock a worker's byte until it is let go, or this process ends."""
        file = self._opened()
        with _guard:
            # Waits: somebody who asks whether this worker lives may hold the byte for an instant.
            fcntl.lockf(file.descriptor, fcntl.LOCK_EX, 1, slot)
            file.held.add(slot)
        self._slots.add(slot)

    def let_go(self, slot: int) -> None:
        """Unlock a worker's byte."""
        file = self._opened()
        self._slots.discard(slot)
        with _guard:
            file.held.discard(slot)
            # A forked child neither has its parent's locks nor may it end them.
            if file.pid == os.getpid():
                fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, slot)

    def is_alive(self, slot: int) -> bool | None:
        """Whether a worker's process runs; ``None`` if the lock file cannot tell."""
        file = self._opened()
        with _guard:
            if slot in file.held:
                return True
            try:
                fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except BlockingIOError:
                return True
            except OSError:
                return None
            fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, slot)
        return False

    def listen(self, slot: int) -> socket.socket | None:
        """Make the socket that wakes a worker; ``None`` where none can be made: then it must look from time to time."""
        path = self._socket_path(slot)
        address = self._address(slot)
        if address is None:
            return None
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.settimeout(0)
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            receiver.bind(address)
            path.chmod(0o600)
        except OSError:
            receiver.close()
            return None
        self._sockets[slot] = receiver
        return receiver

    def stop_listening(self, slot: int) -> None:
        """Close a worker's socket and remove its file."""
        receiver = self._sockets.pop(slot, None)
        if receiver is not None:
            receiver.close()
            with contextlib.suppress(OSError):
                self._socket_path(slot).unlink()

    def forget(self, slot: int) -> None:
        """Remove what a worker that was killed left behind."""
        with contextlib.suppress(OSError):
            self._socket_path(slot).unlink()

    def wake(self, slot: int) -> None:
        """Tell another process's worker that something was written. One that is gone or busy needs no telling."""
        if slot in self._sockets:
            return
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sender.settimeout(0)
        address = self._address(slot)
        if address is not None:
            with contextlib.suppress(OSError):
                self._sender.sendto(b"w", address)

    def _address(self, slot: int) -> str | None:
        """Give a path short enough for a socket address, by way of an open directory where it must be."""
        path = self._socket_path(slot)
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
            return os.fspath(path)
        if self._directory is None and _OPEN_FILES.is_dir():
            self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        address = f"{_OPEN_FILES}/{self._directory}/{path.name}"
        return address if self._directory is not None and len(os.fsencode(address)) <= _SOCKET_PATH_MAX else None

    def _socket_path(self, slot: int) -> Path:
        return self._database.with_name(f"{self._database.name}-wake{slot}")

    def _opened(self) -> _LockFile:
        if self._file is None:
            msg = "the sidecar is not open"
            raise OSError(msg)
        return self._file
