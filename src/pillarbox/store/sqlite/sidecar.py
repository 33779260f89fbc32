"""
What lies beside the database file: a lock byte and a wake-up socket for each worker.

A worker locks the byte of its number in ``<file>-workers``; the kernel frees it when the process ends, whatever ended
it, also across containers that share the file. The lock belongs to the descriptor (`ofd`), so that nothing else that
opens and closes the file, a backup for example, takes it away. Where there are no such locks it is a POSIX lock, which
belongs to the process and falls when *any* of its descriptors for that file is closed: then a process opens the file
once, and others had better leave it alone. The two kinds respect each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import socket
import threading
from pathlib import Path
from typing import Final

from pillarbox.clock import pause_thread
from pillarbox.store.sqlite import ofd

_OPEN_FILES: Final = Path("/proc/self/fd")
_SOCKET_PATH_MAX: Final = 100  # sun_path holds 108 bytes on Linux, 104 on the BSDs
_ASKED_SECONDS: Final = 0.001
_ASKED_TRIES: Final = 10_000

_guard = threading.Lock()
# Held here too until they are closed: what is collected with its outbox would say that it is open, before that says so.
_open_sockets: set[socket.socket] = set()
_open_files: dict[tuple[int, int], _LockFile] = {}


class _LockFile:
    """An open lock file, and the bytes that are held there: each sidecar's own, or with POSIX locks the process's."""

    def __init__(self, path: Path, *, descriptor_locks: bool) -> None:
        self.descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        info = os.fstat(self.descriptor)
        self.identity = (info.st_dev, info.st_ino)
        self.own = descriptor_locks and ofd.obstacle(self.descriptor) is None
        self.pid = os.getpid()
        self.guard = threading.Lock()
        self.held: set[int] = set()
        self.users = 0

    def lock(self, slot: int) -> None:
        # Waits: somebody who asks whether this worker lives may hold the byte for an instant.
        if self.own:
            for _ in range(_ASKED_TRIES):
                if ofd.take(self.descriptor, ofd.EXCLUSIVE, slot):
                    return
                pause_thread(_ASKED_SECONDS)
            msg = f"byte {slot} of the workers' lock file is held by somebody else"
            raise OSError(msg)
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, slot)

    def unlock(self, slot: int) -> None:
        if self.own:
            ofd.release(self.descriptor, slot)
        else:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, slot)

    def is_held(self, slot: int) -> bool:
        """Whether another has the byte. Raises OSError where that is not known."""
        if self.own:
            return ofd.is_held(self.descriptor, slot)
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except BlockingIOError:
            return True
        self.unlock(slot)
        return False


def _lock_file(path: Path, *, descriptor_locks: bool) -> _LockFile:
    # Opening a file that we hold open already, then closing it, would drop our POSIX locks: look before opening.
    with contextlib.suppress(FileNotFoundError):
        info = path.stat()
        known = _open_files.get((info.st_dev, info.st_ino))
        if known is not None and known.pid == os.getpid():
            return known
    found = _LockFile(path, descriptor_locks=descriptor_locks)
    if not found.own:
        _open_files[found.identity] = found
    return found


class Sidecar:
    """The lock bytes and sockets beside one database file. Safe to use from several threads."""

    def __init__(self, database: Path, *, descriptor_locks: bool = True) -> None:
        self._database = database
        self._descriptor_locks = descriptor_locks
        self._file: _LockFile | None = None
        self._slots: set[int] = set()
        self._sockets: dict[int, socket.socket] = {}
        self._sender: socket.socket | None = None
        self._directory: int | None = None

    def open(self) -> None:
        """Open the lock file. Safe to repeat."""
        if self._file is None:
            # Once: a process may change its directory later.
            self._database = self._database.absolute()
            with _guard:
                self._file = _lock_file(self._path, descriptor_locks=self._descriptor_locks)
                self._file.users += 1

    def close(self) -> None:
        """Release everything. Safe to repeat."""
        for slot in list(self._sockets):
            self.stop_listening(slot)
        if self._sender is not None:
            self._sender.close()
            _open_sockets.discard(self._sender)
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
                if _open_files.get(file.identity) is file:
                    del _open_files[file.identity]
                os.close(file.descriptor)

    def drop_inherited(self) -> None:
        """Close the lock file in a forked child; its locks are the parent's, and must not outlive it here."""
        file, self._file = self._file, None
        self._slots.clear()
        # POSIX locks are not inherited; a file for them is shared with the process's other sidecars.
        if file is not None and file.own:
            with contextlib.suppress(OSError):
                os.close(file.descriptor)

    def problem(self) -> str | None:
        """Return what happened to the lock file; ``None`` while it is the one that was opened."""
        file = self._file
        if file is None:
            return None
        try:
            info = self._path.stat()
        except OSError:
            what = "was deleted or moved away"
        else:
            if (info.st_dev, info.st_ino) == file.identity:
                return None
            what = "was replaced by another file"
        return (
            f"{self._path} {what} while it was open: other workers cannot tell whether this one lives, and wait for "
            "its leases to run out; restart the processes that use the database"
        )

    @property
    def identity(self) -> int:
        """Which lock file this is. One that was deleted and made anew knows nothing of the old one's holders."""
        return self._opened().identity[1]

    def hold(self, slot: int) -> None:
        """Lock a worker's byte until it is let go, or this process ends."""
        file = self._opened()
        with file.guard:
            file.lock(slot)
            file.held.add(slot)
        self._slots.add(slot)

    def let_go(self, slot: int) -> None:
        """Unlock a worker's byte."""
        file = self._opened()
        self._slots.discard(slot)
        with file.guard:
            file.held.discard(slot)
            # A forked child may not end its parent's locks.
            if file.pid == os.getpid():
                file.unlock(slot)

    def is_alive(self, slot: int) -> bool | None:
        """Whether a worker's process runs; ``None`` if the lock file cannot tell."""
        file = self._opened()
        with file.guard:
            if slot in file.held:
                return True
            try:
                return file.is_held(slot)
            except OSError:
                return None

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
        _open_sockets.add(receiver)
        return receiver

    def stop_listening(self, slot: int) -> None:
        """Close a worker's socket and remove its file."""
        receiver = self._sockets.pop(slot, None)
        if receiver is not None:
            receiver.close()
            _open_sockets.discard(receiver)
            with contextlib.suppress(OSError):
                self._socket_path(slot).unlink()

    def forget(self, slot: int) -> None:
        """Remove what a worker that was killed left behind."""
        with contextlib.suppress(OSError):
            self._socket_path(slot).unlink()

    def wake(self, slot: int) -> None:
        """Notify another process's worker that something was written. One that is gone or busy is skipped."""
        if slot in self._sockets:
            return
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sender.settimeout(0)
            _open_sockets.add(self._sender)
        address = self._address(slot)
        if address is not None:
            with contextlib.suppress(OSError):
                self._sender.sendto(b"w", address)

    def others(self) -> list[tuple[int, str]]:
        """Return number and socket address of every worker beside the file that is not this handle's own."""
        name = f"{self._database.name}-wake"
        found = [path.name.removeprefix(name) for path in self._database.parent.glob(f"{glob.escape(name)}*")]
        slots = sorted(int(slot) for slot in found if slot.isascii() and slot.isdigit())
        addresses = ((slot, self._address(slot)) for slot in slots if slot not in self._sockets)
        return [(slot, address) for slot, address in addresses if address is not None]

    def _address(self, slot: int) -> str | None:
        """Return a path short enough for a socket address, by way of an open directory where it must be."""
        path = self._socket_path(slot)
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
            return os.fspath(path)
        if self._directory is None and _OPEN_FILES.is_dir():
            self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        address = f"{_OPEN_FILES}/{self._directory}/{path.name}"
        return address if self._directory is not None and len(os.fsencode(address)) <= _SOCKET_PATH_MAX else None

    @property
    def _path(self) -> Path:
        return self._database.with_name(self._database.name + "-workers")

    def _socket_path(self, slot: int) -> Path:
        return self._database.with_name(f"{self._database.name}-wake{slot}")

    def _opened(self) -> _LockFile:
        if self._file is None:
            msg = "the sidecar is not open"
            raise OSError(msg)
        return self._file
