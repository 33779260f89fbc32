"""
One thread that owns a connection, behind awaitable calls: databases block, the event loop must not.

Commits are handed over whole, so one hand-over pays for a batch of messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pillarbox.store import forking

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.clock import Clock

T = TypeVar("T")


class Caller(Protocol):
    """Runs functions where the connection may be used."""

    async def run(self, function: Callable[[], T]) -> T:
        """Run and return the result, or raise what it raised."""

    async def run_through(self, function: Callable[[], T]) -> T:
        """As `run`, but a caller that is cancelled meanwhile gets the result, and the cancellation at its next wait."""

    def stop(self) -> None:
        """Release the place. Nothing may be run afterwards."""

    def leave(self, function: Callable[[], object]) -> None:
        """Run one last thing and let the place go, without waiting for either. Raises nothing."""


class _Later(ABC):
    """Runs functions elsewhere or at another time, and lets their callers wait for that."""

    async def run(self, function: Callable[[], T]) -> T:
        """See `Caller`."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(function, future)
        return await future

    async def run_through(self, function: Callable[[], T]) -> T:
        """See `Caller`."""
        future: _Kept[T] = _Kept(loop=asyncio.get_running_loop())
        self._put(function, future)
        return await heard_through(future)

    @abstractmethod
    def _put(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        """Have *function* run, and *future* told of its end."""


class DatabaseThread(_Later):
    """
    Runs one function after another on a thread of its own.

    A caller that is cancelled while it waits changes nothing: what was handed over runs to its end. The thread is a
    daemon because an outbox that was not closed must not keep the process alive; dying between two commits is safe.
    ``idle`` is held while a function runs, so that no fork falls into one (`forking`).
    """

    def __init__(self, name: str) -> None:
        self.idle = threading.Lock()
        forking.pauses(self)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any] | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _put(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self._jobs.put((function, future))

    def stop(self) -> None:
        """See `Caller`. Returns when the thread has ended."""
        self._jobs.put(None)
        self._thread.join()

    def leave(self, function: Callable[[], object]) -> None:
        """See `Caller`. May be called while garbage is collected, on whatever thread."""
        self._jobs.put((function, None))
        self._jobs.put(None)

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
            # An idle thread must not keep alive what it worked for: an outbox that nobody closed could never go.
            del job, function
            if future is not None:
                # A loop that was closed meanwhile has nobody left to tell.
                with contextlib.suppress(RuntimeError):
                    future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            del future, result, error


class TwoThreads(ABC):
    """What writes on one thread and reads on another, and lets both go where nobody closed it."""

    # Of the class: there is nothing to let go where the making of one failed.
    _writer: Caller | None = None
    _reader: Caller | None = None

    @abstractmethod
    def _open(self) -> None:
        """Open what is written with; called on the thread that writes."""

    @abstractmethod
    def _close_reading(self) -> None:
        """Close what is read with; called on the thread that reads."""

    @abstractmethod
    def _close(self) -> None:
        """Close everything else; called on the thread that writes."""

    async def _begin_writing(self, writer: Caller) -> None:
        """Open on *writer*, which then is the thread that writes. Where that fails, nothing is left open."""
        try:
            await writer.run(self._open)
        except Exception:
            writer.stop()
            self._close()
            raise
        except BaseException:
            # Whoever gave up waiting leaves nothing open, and does not wait for it: a server may not answer for long.
            writer.leave(self._close)
            raise
        self._writer = writer

    async def _end_threads(self, last: Callable[[], object]) -> None:
        """Close what is read with, then run *last* on the thread that writes; return when both threads have ended."""
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.run_through(self._close_reading)
            reader.stop()
        if writer is not None:
            await writer.run_through(last)
            writer.stop()

    def __del__(self) -> None:
        """
        Release everything where it was not closed. Its threads do that: this may run on any thread, at any moment.

        A forked child has nothing left by now (`drop_inherited`), and at the end of the process nothing is to be done.
        """
        if not sys.is_finalizing():
            self.let_go()

    def let_go(self) -> None:
        """Drop every handle without waiting, as the end of the process does: what is not committed is not."""
        reader, writer = self._reader, self._writer
        self._reader = self._writer = None
        if reader is not None:
            reader.leave(self._close_reading)
        if writer is not None:
            writer.leave(self._close)


class Delayed(_Later):
    """
    Runs functions on the event loop, one after the other, each some time after it was handed over: a simulated disk.

    A caller that is cancelled or killed meanwhile changes nothing, as with `DatabaseThread`: what was done is done.

    Args:
        clock: By which the time passes.
        seconds: Returns how long it takes until a function runs, and then until its caller has the result.
    """

    def __init__(self, clock: Clock, seconds: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._jobs: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()

    def _put(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self._jobs.append((function, future))
        if len(self._jobs) == 1:
            self._clock.call_later(self._seconds(), self._work)

    def _work(self) -> None:
        if not self._jobs:
            # It was left meanwhile.
            return
        function, future = self._jobs[0]
        error: BaseException | None = None
        result: Any = None
        try:
            result = function()
        except BaseException as exc:  # noqa: BLE001 — handed to the caller, whatever it is
            error = exc
        self._clock.call_later(self._seconds(), _settle, future, result, error)
        self._jobs.popleft()
        if self._jobs:
            self._clock.call_later(self._seconds(), self._work)

    def stop(self) -> None:
        """See `Caller`."""

    def leave(self, function: Callable[[], object]) -> None:
        """See `Caller`. What was handed over and did not run yet never does."""
        self._jobs.clear()
        function()


class Inline:
    """Runs functions where it is called."""

    async def run(self, function: Callable[[], T]) -> T:
        """See `Caller`."""
        return function()

    async def run_through(self, function: Callable[[], T]) -> T:
        """See `Caller`."""
        return function()

    def stop(self) -> None:
        """See `Caller`."""

    def leave(self, function: Callable[[], object]) -> None:
        """See `Caller`."""
        function()


class _Kept(asyncio.Future[T]):
    """What cannot be cancelled: a task that is cancelled while it waits for this hears of that at the end of it."""

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ANN401, ARG002 — asyncio's signature
        """Refuse."""
        return False


async def heard_through(future: _Kept[T]) -> T:
    """Wait for *future* to its end; a caller that is cancelled meanwhile is cancelled at its next wait."""
    try:
        return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and future.done():
            # The count of cancellations stays as it was, for the scopes that watch it.
            task.uncancel()
            task.cancel()
        return future.result()


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
