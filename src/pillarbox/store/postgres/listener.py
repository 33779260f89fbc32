"""
Hears that somebody else wrote: by the server's notices, or by asking nobody and looking now and then.

A notice is a hint: it may be lost, and whoever must not miss anything looks in any case. All of it runs on a thread of
its own, because the way to the server may hang.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg

from pillarbox.errors import PillarboxError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_BACK_OFF_SECONDS: Final = (0.1, 1.0, 5.0, 15.0)


class Listener:
    """
    Those who listen, and the thread that does it for them.

    Args:
        connect: Opens a connection; returns ``None`` where no notices come: then listeners look by the time that they
            give.
        channel: The name under which writers give notice.
        ours: The server's processes whose notices are our own.
    """

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any] | None], channel: str, ours: Callable[[], set[int]]
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._ours = ours
        self._listeners: dict[object, tuple[asyncio.AbstractEventLoop, Callable[[], None], float]] = {}
        self._thread: threading.Thread | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None

    def add(
        self, loop: asyncio.AbstractEventLoop, listener: Callable[[], None], *, seconds: float
    ) -> Callable[[], None]:
        """Call *listener* on *loop* from now on; return a function that ends that, safe to repeat."""
        key = object()
        self._listeners[key] = (loop, listener, seconds)
        if self._thread is None:
            self._wake = socket.socketpair()
            self._thread = threading.Thread(target=self._run, args=self._wake, name="pillarbox-listener", daemon=True)
            self._thread.start()
        else:
            self._nudge()

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    def end(self) -> None:
        """Call no listener any more. The thread ends by itself, which may wait for a server that does not answer."""
        self._listeners.clear()
        self._thread = None
        self._nudge()

    def drop_inherited(self) -> None:
        """Forget what is the parent's, in a forked child."""
        self._listeners = {}
        self._thread = None

    def _nudge(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):
                self._wake[1].send(b".")

    def _run(self, woken: socket.socket, waker: socket.socket) -> None:
        failures = 0
        # Of two threads the one that was ended may still be on its way.
        with woken, waker:
            while self._thread is threading.current_thread():
                try:
                    opened = self._connect()
                    if opened is None:
                        failures = 0
                        _wait(woken, None, self._soonest())
                        self._tell()
                        continue
                    with contextlib.closing(opened) as connection:
                        connection.execute(f"LISTEN {self._channel}")
                        failures = 0
                        # What was written while nobody listened.
                        self._tell()
                        self._hear(connection, woken)
                except (psycopg.Error, PillarboxError, OSError):
                    _wait(woken, None, _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)])
                    failures += 1

    def _hear(self, connection: psycopg.Connection[Any], woken: socket.socket) -> None:
        while self._thread is threading.current_thread():
            _wait(woken, connection.fileno(), None)
            connection.pgconn.consume_input()
            # What has come by now is one notice, however many wrote.
            heard = {notice.be_pid for notice in iter(connection.pgconn.notifies, None)}
            if heard - self._ours():
                self._tell()

    def _soonest(self) -> float | None:
        return min((seconds for _, _, seconds in tuple(self._listeners.values())), default=None)

    def _tell(self) -> None:
        for key, (loop, _, _) in tuple(self._listeners.items()):
            # A loop that was closed meanwhile has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._call, key)

    def _call(self, key: object) -> None:
        # It may have stopped listening since.
        found = self._listeners.get(key)
        if found is not None:
            found[1]()


def _wait(woken: socket.socket, descriptor: int | None, seconds: float | None) -> None:
    """Wait for the server, for a nudge, or for so long."""
    # Not by `select.select`, which refuses descriptors from 1024 on: a program may have that many files open.
    watched = select.poll()
    for one in (woken.fileno(), descriptor):
        if one is not None:
            watched.register(one, select.POLLIN)
    ready = watched.poll(None if seconds is None else math.ceil(seconds * 1000))
    if any(one == woken.fileno() for one, _ in ready):
        woken.recv(64)
