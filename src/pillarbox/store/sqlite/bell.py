"""
Settles, from another thread, the futures that an event loop waits for.

That is what `call_soon_threadsafe` is for; but it copies a context and makes a handle for each call, and reads its
socket again until it is empty. With it a commit of one row took 104 µs longer than SQLite does, without it about 70.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any, Final

_READ: Final = 4096


class Bell:
    """
    A pair of sockets, one of which *loop* listens to, and what is to be told there.

    The loop holds it; who rings it does so by a weak reference, so that what is not told goes with a loop that ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._near, self._far = socket.socketpair()
        for end in (self._near, self._far):
            end.setblocking(False)  # noqa: FBT003 — the name says it
        self._ended: deque[tuple[asyncio.Future[Any], object, BaseException | None]] = deque()
        loop.add_reader(self._near, self._heard)

    def ring(self, future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        """Settle a future of the loop's. Not after `close`."""
        self._ended.append((future, result, error))
        with contextlib.suppress(BlockingIOError):  # full: the loop has enough to wake up for
            self._far.send(b"\0")

    def close(self) -> None:
        """Listen no more; what was rung is told. On any thread, safe to repeat."""
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop() is self.loop:
                self._let_go()
                return
        try:
            self.loop.call_soon_threadsafe(self._let_go)
        except RuntimeError:
            self._let_go()  # the loop was closed

    def __del__(self) -> None:
        """Close the sockets where the loop ended before it could."""
        self._far.close()
        self._near.close()

    def _let_go(self) -> None:
        if self._near.fileno() >= 0:
            if not self.loop.is_closed():
                self.loop.remove_reader(self._near)
                self._tell()
            self._far.close()
            self._near.close()

    def _heard(self) -> None:
        self._near.recv(_READ)
        self._tell()

    def _tell(self) -> None:
        while self._ended:
            settle(*self._ended.popleft())


def settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    """Set what a call came to, where somebody still waits for it."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
