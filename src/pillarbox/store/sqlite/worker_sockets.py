"""Hears what other processes tell the workers of this one: that they wrote, and what they ask (`asking`)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

from pillarbox.store.sqlite import asking
from pillarbox.store.sqlite.sidecar import Sidecar


class WorkerSockets:
    """
    The sockets of the workers that are registered through one store, each heard on the event loop of its worker.

    Args:
        sidecar: Makes the sockets; ``None`` for a database in memory, to which nobody else speaks.
        heard: Called when somebody said something.

    Attributes:
        problems: Returns what is wrong in this process, for whoever asks.
    """

    def __init__(self, sidecar: Sidecar | None, heard: Callable[[], None]) -> None:
        self.problems: Callable[[], Sequence[str]] = tuple
        self._sidecar = sidecar
        self._heard = heard
        self._sockets: dict[int, tuple[asyncio.AbstractEventLoop, socket.socket]] = {}

    def begin(self, slot: int) -> None:
        """Listen for a worker, on the event loop that runs."""
        receiver = None if self._sidecar is None else self._sidecar.listen(slot)
        if receiver is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(receiver, self._hear, slot, receiver)
            self._sockets[slot] = loop, receiver

    def end(self, slot: int) -> None:
        """Listen for a worker no more. Safe to repeat."""
        loop, receiver = self._sockets.pop(slot, (None, None))
        if loop is not None and receiver is not None and not loop.is_closed():
            loop.remove_reader(receiver)
        if self._sidecar is not None:
            self._sidecar.stop_listening(slot)

    def end_all(self) -> None:
        """Listen for nobody any more."""
        for slot in list(self._sockets):
            self.end(slot)

    def _hear(self, slot: int, receiver: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                said, sender = receiver.recvfrom(16)
                if said == asking.QUESTION:
                    asking.answer(receiver, sender, slot, self.problems())
        self._heard()
