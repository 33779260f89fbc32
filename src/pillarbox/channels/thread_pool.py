"""
Threads for functions that block, no more than so many at once, none of which keeps the process alive.

Not ``ThreadPoolExecutor``: the interpreter waits for its threads at exit, so that one call that hangs would hang the
process too (contract DR3). Threads are kept, because what people keep per thread (a session, a database connection)
should last.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from pillarbox.user_code import thread_at_work

if TYPE_CHECKING:
    from pillarbox.channels.base import Progress
    from pillarbox.domain.outcome import AnyOutcome

T = TypeVar("T")


async def answer_of(answer: asyncio.Future[T], progress: Progress, outcome: Callable[[T], AnyOutcome]) -> T:
    """
    Wait for a call on a thread, which cannot be stopped. Where this is cancelled, what the call comes to goes on.

    Args:
        outcome: Says what an answer is that comes after the send was cut off.
    """
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        progress.rest = _rest(answer, outcome)
        raise


def _rest(answer: asyncio.Future[T], outcome: Callable[[T], AnyOutcome]) -> asyncio.Future[AnyOutcome]:
    rest: asyncio.Future[AnyOutcome] = answer.get_loop().create_future()

    def came(answer: asyncio.Future[T]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            rest.cancel()
        elif not rest.done():
            rest.set_result(outcome(answer.result()))

    answer.add_done_callback(came)
    return rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a call ended: with a value, or with an exception of whatever kind, which is then no ``None``."""

    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    call: Callable[[], Any]
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[Any] | None
    answer: asyncio.Future[Ended]

    def run(self) -> Ended:
        thread_at_work.task = self.task
        try:
            return Ended(value=self.context.run(self.call))
        except BaseException as exc:  # noqa: BLE001 — a thread has no caller; SystemExit in it is the caller's to judge
            return Ended(error=exc)
        finally:
            thread_at_work.task = None

    def tell(self, ended: Ended) -> None:
        # A closed loop has nobody left who would want to know.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, ended)

    def _settle(self, ended: Ended) -> None:
        if not self.answer.done():
            self.answer.set_result(ended)


class Threads:
    """
    At most *limit* calls at once. A call that nobody waits for any more counts until it returns.

    Used from one event loop.
    """

    def __init__(self, *, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # Reentrant: `close` may be called while garbage is collected, in the midst of anything.
        self._lock = threading.RLock()
        self._busy = 0
        self._threads = 0

    @property
    def is_full(self) -> bool:
        """Whether every thread has a call."""
        return self._busy >= self._limit

    def start(self, call: Callable[[], Any]) -> asyncio.Future[Ended]:
        """
        Begin *call* at once, in the caller's context.

        Cancelling what this returns stops waiting and not the call.

        Raises:
            RuntimeError: `is_full`.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.is_full:
                raise RuntimeError("every thread is busy")
            self._busy += 1
            is_new = self._threads < self._busy
            self._threads += is_new
            jobs = self._jobs
        answer: asyncio.Future[Ended] = loop.create_future()
        context, task = contextvars.copy_context(), asyncio.current_task()
        jobs.put(_Job(call=call, context=context, loop=loop, task=task, answer=answer))
        if is_new:
            threading.Thread(target=self._work, args=(jobs,), name=self._name, daemon=True).start()
        return answer

    def close(self) -> None:
        """End idle threads now, the others when their call returns. Safe to repeat, and to start again after."""
        with self._lock:
            ending, self._threads = self._threads, 0
            # A queue of their own for the threads that come after: nobody else's last word is in it.
            jobs, self._jobs = self._jobs, SimpleQueue()
        for _ in range(ending):
            jobs.put(None)

    def _work(self, jobs: SimpleQueue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            ended = job.run()
            # Free before the answer is known: who hears of it may start the next call.
            with self._lock:
                self._busy -= 1
            job.tell(ended)
            # An idle thread must not keep the last message in memory.
            del job, ended
