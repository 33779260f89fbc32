"""
Writes lines to a descriptor on a thread of its own: who says something neither waits for its reader nor fails with it.

What cannot be written is dropped and counted: a full disk, a reader that stands still. Where writing works again, a
line says how many are missing, at the place where they are.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, Final

LINES_MAX: Final = 50_000
BYTES_MAX: Final = 16 * 1024 * 1024
# What the kernel does not mix with what others write to the same pipe: several workers may share one.
_PIECE: Final = select.PIPE_BUF
_POLL_MS: Final = 1000


def descriptor_of(stream: IO[str] | None) -> int | None:
    """Return the descriptor behind a standard stream; ``None``, never its number, where it was closed before."""
    if stream is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


class LineWriter:
    """
    Writes to one descriptor, in order.

    Args:
        descriptor: ``None``: everything is dropped.
        missing: Returns the line that says how many could not be written.
        on_unread: Called once, on the writer's own thread, when the reader is gone.
    """

    def __init__(
        self,
        descriptor: int | None,
        *,
        missing: Callable[[int], bytes],
        on_unread: Callable[[], object] = lambda: None,
        lines_max: int = LINES_MAX,
    ) -> None:
        self._descriptor = descriptor
        self._missing = missing
        self._on_unread = on_unread
        self._lines_max = lines_max
        # Each with how many lines it stands for: that of a line about missing ones is theirs.
        self._lines: deque[tuple[bytes, int]] = deque()
        self._size = 0
        # Dropped before all that waits, because it could not be written; and after it, because there was no room.
        self._lost = 0
        self._refused = 0
        self._torn = False
        self._gone = descriptor is None
        self._ending = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="pillarbox-lines", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line, with its end. Never waits for the reader, never raises."""
        with self._changed:
            if self._gone or self._ending:
                return
            if len(self._lines) >= self._lines_max or self._size + len(line) > BYTES_MAX:
                self._refused += 1
                return
            self._note_refused()
            self._take(line, 1)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Write what is left, for at most so long. Nothing is taken afterwards."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)

    def _take(self, line: bytes, count: int) -> None:
        self._lines.append((line, count))
        self._size += len(line)

    def _note_refused(self) -> None:
        refused, self._refused = self._refused, 0
        if refused:
            self._take(self._missing(refused), refused)

    def _work(self) -> None:
        while taken := self._next():
            if not self._put(taken):
                with self._changed:
                    self._gone = True
                    self._lines.clear()
                self._on_unread()
                return

    def _next(self) -> list[tuple[bytes, int]]:
        """Return what is to be written in one piece; empty where everything is written."""
        with self._changed:
            while not self._lines and not self._ending:
                self._changed.wait()
            last = not self._lines
            if not self._lines:
                self._note_refused()
            taken: list[tuple[bytes, int]] = []
            size = 0
            while self._lines and (not taken or size + len(self._lines[0][0]) <= _PIECE):
                taken.append(self._lines.popleft())
                size += len(taken[-1][0])
            self._size -= size
            lost, self._lost = self._lost, 0
        if lost:
            taken.insert(0, (self._missing(lost), lost))
            if last:
                # Said once more, at the end; should that fail too, there is nobody to tell.
                self._put(taken)
                return []
        return taken

    def _put(self, taken: list[tuple[bytes, int]]) -> bool:
        """Write lines; return false where their reader is gone."""
        piece = (b"\n" if self._torn else b"") + b"".join(line for line, _ in taken)
        done = 0
        try:
            while done < len(piece):
                done += self._write_some(piece[done:])
        except ConnectionError:
            return False
        except OSError:
            # A full disk has room again some time, and a line of which half was written is ended then.
            lost = _lost_of(taken, done - self._torn)
            self._torn = self._torn if not done else not piece[:done].endswith(b"\n")
            with self._changed:
                self._lost += lost
        else:
            self._torn = False
        return True

    def _write_some(self, piece: bytes) -> int:
        assert self._descriptor is not None  # noqa: S101 — without one, nothing is taken
        try:
            return os.write(self._descriptor, piece)
        except BlockingIOError:
            # Somebody made the pipe one that does not wait: its reader stands still, and we do, alone.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll(_POLL_MS)
            return 0


def _lost_of(taken: list[tuple[bytes, int]], done: int) -> int:
    """Count the lines that are not whole among the first *done* bytes."""
    lost = 0
    for line, count in taken:
        done -= len(line)
        lost += count if done < 0 else 0
    return lost
