"""
One thread that owns a connection, behind awaitable calls: SQLite blocks, the event loop must not.

Commits are handed over whole, so one hand-over pays for a batch of messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pillarbox.store.sqlite import forking

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Caller(Protocol):
    """Runs functions where the connection may be used."""

    async def run(self, function: Callable[[], T]) -> T:
        """Run and give the result, or raise what it raised."""

    def stop(self) -> None:
        """Let the place go. Nothing may be run afterwards."""


class DatabaseThread:
    """
    Runs one function after another on a thread of its own.

    A caller that is cancelled while it waits changes nothing: what was handed over runs to its end. The thread is a
    daemon because an outbox that nobody closed must not keep the process alive; dying between two commits is safe.
    ``idle`` is held while a function runs, so that no fork falls into one (`forking`).
    """

    def __init__(self, name: str) -> None:
        self.idle = threading.Lock()
        forking.pauses(self)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """See `Caller`."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((function, future))
        return await future

    def stop(self) -> None:
        """See `Caller`. Returns when the thread has ended."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future = job
            error: BaseException | None = None
            result: Any = None
            try:
                with self.idle:
                    result = function()
            except BaseException as exc:  # noqa: BLE001 — handed to the caller, whatever it is
                error = exc
            # A loop that was closed meanwhile has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)


class Inline:
    """Runs functions where it is called: for the simulator, whose disk takes no real time."""

    async def run(self, function: Callable[[], T]) -> T:
        """See `Caller`."""
        return function()

    def stop(self) -> None:
        """See `Caller`."""


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
