"""
Writes lines to a descriptor on a thread of its own: who says something neither waits for its reader nor fails with it.

What cannot be written is dropped and counted: a full disk, a reader that stands still, one that is gone. Where writing
works again, a line says how many are missing.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LINES_MAX: Final = 50_000
BYTES_MAX: Final = 16 * 1024 * 1024
_PIECE: Final = 64 * 1024


def descriptor_of(stream: IO[str] | None) -> int | None:
    """Give the descriptor behind a standard stream; ``None`` where it was closed before we began: never its number."""
    if stream is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


class Scribe:
    """
    Writes to one descriptor, in order.

    Args:
        descriptor: ``None``: everything is dropped.
        missing: Gives the line that says how many could not be written.
        unread: Told once, on the scribe's own thread, when nobody can read any more what was written.
    """

    def __init__(
        self,
        descriptor: int | None,
        *,
        missing: Callable[[int], bytes],
        unread: Callable[[], object] = lambda: None,
    ) -> None:
        self._descriptor = descriptor
        self._missing = missing
        self._unread = unread
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._torn = False
        self._gone = descriptor is None
        self._ending = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="pillarbox-scribe", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line, with its end. Never waits for the reader, never raises."""
        with self._changed:
            if self._gone or len(self._lines) >= LINES_MAX or self._size + len(line) > BYTES_MAX:
                self._dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Write what is left, for at most so long. Nothing is written afterwards."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._ending:
                    self._changed.wait()
                if not self._lines:
                    return
                taken = []
                size = 0
                while self._lines and size < _PIECE:
                    taken.append(self._lines.popleft())
                    size += len(taken[-1])
                self._size -= size
                dropped, self._dropped = self._dropped, 0
            if not self._put(taken, dropped):
                with self._changed:
                    self._gone = True
                    self._lines.clear()
                self._unread()
                return

    def _put(self, lines: list[bytes], dropped: int) -> bool:
        """Write lines; false where nobody can ever read them."""
        if dropped:
            lines.insert(0, self._missing(dropped))
        piece = (b"\n" if self._torn else b"") + b"".join(lines)
        done = 0
        try:
            while done < len(piece):
                done += self._write_some(piece[done:])
        except (BrokenPipeError, ConnectionError):
            return False
        except OSError:
            # A full disk has room again some time, and a line of which half was written is ended then.
            written = piece[:done].count(b"\n") - self._torn if done else 0
            self._torn = (done > 0 and piece[done - 1 : done] != b"\n") or (self._torn and not done)
            with self._changed:
                self._dropped += dropped + max(0, len(lines) - (1 if dropped else 0) - max(0, written))
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
            with contextlib.suppress(InterruptedError):
                poll.poll(1000)
            return 0
