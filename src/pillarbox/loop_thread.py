"""
`LoopThread`: an event loop on a thread of its own, for callers that block.

Every call ends: with its result, or with NotStarted where the thread ends first. Nothing that runs on the loop ends
the thread, ``sys.exit()`` neither, and the thread keeps no program from ending.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from pillarbox.errors import NotStarted

R = TypeVar("R")

_log = logging.getLogger("pillarbox")
_LEFT_SECONDS_MAX: Final = 5.0
_ROUNDS_MAX: Final = 3


def not_open() -> NotStarted:
    """Return the error of a call that comes too early, or too late."""
    return NotStarted("the outbox is not open, or was closed meanwhile: start() it, or use it as a context manager")


def in_a_loop() -> bool:
    """Whether an event loop runs on this thread, which whoever blocks holds up."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Call:
    """One coroutine, the task that runs it, and the future on which another thread waits for it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.task: asyncio.Task[Any] | None = None

    def refuse(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def give_up(self) -> None:
        """Cancel it: nobody waits for it any more. Called on its loop."""
        if self.task is not None:
            self.task.cancel()


class _Shared:
    """What the thread and its callers have in common. It knows nothing of who owns the thread, who may be dropped."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.guard = threading.Lock()
        self.calls: set[_Call] = set()
        self.open = True
        self.ending = False

    def end(self) -> None:
        self.ending = True
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)

    def begin(self, call: _Call) -> None:
        call.task = self.loop.create_task(call.coroutine)
        call.task.add_done_callback(lambda task: self._over(call, task))

    def _over(self, call: _Call, task: asyncio.Task[Any]) -> None:
        self.calls.discard(call)
        if task.cancelled():
            call.refuse(not_open() if self.ending else concurrent.futures.CancelledError())
            return
        error = task.exception()
        if error is not None:
            call.refuse(error)
        elif not call.future.done():
            call.future.set_result(task.result())

    def serve(self) -> None:
        """Run the loop until `end`, whatever a user's code on it raises."""
        asyncio.set_event_loop(self.loop)
        try:
            while not self.ending:
                self._survive(self.loop.run_forever)
        finally:
            self.ending = True
            with self.guard:
                self.open = False
            # What was taken before that is on the loop by now, in front of this.
            self._survive(lambda: self.loop.run_until_complete(self._end_all()))
            self._survive(lambda: self.loop.run_until_complete(self.loop.shutdown_asyncgens()))
            for call in list(self.calls):
                call.refuse(not_open())
            self.loop.close()

    def _survive(self, run: Callable[[], object]) -> None:
        try:
            run()
        except (SystemExit, KeyboardInterrupt) as exc:
            _log.error("%s on the outbox's own thread ends nothing: it was raised by a channel, a hook or a subscriber",
                       type(exc).__name__)  # fmt: skip

    async def _end_all(self) -> None:
        ends = self.loop.time() + _LEFT_SECONDS_MAX
        for _ in range(_ROUNDS_MAX):
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=max(0, ends - self.loop.time()))


class LoopThread:
    """
    Runs coroutines for other threads until `end`.

    A forked child has the object and not the thread: there it is `foreign`, and of no use.
    """

    def __init__(self) -> None:
        self._shared = _Shared()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._shared.serve, name="pillarbox-loop", daemon=True)
        self._thread.start()
        self.leaving = False

    @property
    def foreign(self) -> bool:
        """Whether this process is a fork of the one that has the thread."""
        return self._pid != os.getpid()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on this very thread, which it would block for ever."""
        return threading.current_thread() is self._thread and not self.foreign

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """
        Run a coroutine, and wait for its result.

        Raises:
            NotStarted: The thread has ended, or ended first.
        """
        call = _Call(coroutine)
        with self._shared.guard:
            if not self._shared.open:
                coroutine.close()
                raise not_open()
            self._shared.calls.add(call)
            self._shared.loop.call_soon_threadsafe(self._shared.begin, call)
        try:
            result: R = call.future.result()
        except (KeyboardInterrupt, SystemExit):
            with contextlib.suppress(RuntimeError):
                self._shared.loop.call_soon_threadsafe(call.give_up)
            raise
        return result

    def end(self) -> None:
        """Take no call any more, end those that are left, and wait for the thread. Safe to repeat, from any thread."""
        self._shared.end()
        self._thread.join()

    def join(self) -> None:
        """Wait until an `end` that another thread called is over."""
        self._thread.join()

    def leave(self, last: Callable[[], Awaitable[object]]) -> None:
        """Run one last thing and end, without waiting. May be called while garbage is collected, on whatever thread."""
        shared = self._shared

        async def leave() -> None:
            try:
                await last()
            finally:
                shared.end()

        with contextlib.suppress(RuntimeError):
            shared.loop.call_soon_threadsafe(lambda: shared.begin(_Call(leave())))
