"""
`SimulatedLoop`: an event loop on virtual time, which calls in an order that a seed draws.

When nothing is ready, time jumps to the next timer. When there is none either, and what was to be done is not done,
nothing can ever go on: that is a `Deadlock`, which names the tasks that wait, and where.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import enum
import heapq
import logging
import random
import select
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, Unpack

from pillarbox.testing.simulation.process import Process, process_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
    from concurrent.futures import Executor

    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_TASKS_SWEPT_MIN: Final = 256
_TICK_SECONDS: Final = 1e-9  # no clock tells less, and whoever waits for less must not wait for ever
_log = logging.getLogger("pillarbox.testing")


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, or the time is over, and what was to be done is not done."""


class Order(enum.StrEnum):
    """
    In which order what is ready is called.

    ``kept``: what asyncio promises is kept, and all else is drawn. One process's callbacks come in the order in which
    they were scheduled (`call_soon` is first in, first out); which process goes on next is drawn, and so is the order
    of timers that come at the same time.

    ``any``: nothing but turns is kept: what is scheduled in one turn of the loop runs in the next, in any order. Finds
    what relies on first in, first out, which another event loop, a thread or a process between would not give.
    """

    KEPT = "kept"
    ANY = "any"


class SimulatedLoop(asyncio.BaseEventLoop):
    """
    Runs one coroutine and what it begins, in virtual seconds.

    Executors run inline. Sockets are those between simulated processes of this very process (`add_reader`): what was
    written is there at once. Nothing may be scheduled from another thread.

    Args:
        seed: Draws every order; the same seed and the same program give the same run.
        order: See `Order`.
        seconds_max: After so much virtual time what still runs is taken for a `Deadlock`; ``None`` for no end.
    """

    def __init__(self, seed: int, *, order: Order = Order.KEPT, seconds_max: float | None = None) -> None:
        super().__init__()
        self._random = random.Random(f"loop {seed}")  # noqa: S311 — reproducible on purpose
        self._order = order
        self._seconds_max = seconds_max
        self._now = 0.0
        self._ready: list[_Call] = []
        self._timers: list[tuple[float, float, int, _Call]] = []
        self._count = 0
        self._readers: dict[int, _Call] = {}
        self._thread = threading.get_ident()
        self._strangers: set[str] = set()
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._failure: BaseException | None = None
        self._running = self._closed = self._stopping = False
        # So that none is collected before `close`.
        self._tasks: dict[asyncio.Task[Any], contextvars.Context] = {}
        self._sweep_at = _TASKS_SWEPT_MIN

    # What simulations ask for

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """
        Run *main* to its end and return what it returns. May be called again; time goes on where it was.

        Raises:
            Deadlock: It can never end, or *seconds_max* are over.
            BaseException: What *main* raised, or the first exception that left a callback.
        """
        task = self.create_task(main, name="main")
        with self._as_running():
            while not task.done():
                self._turn(task)
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
        return task.result()

    def process(self, name: str) -> Process:
        """Make a process, which can be killed."""
        return Process(self, name)

    def stall(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as a suspended machine does: timers that came meanwhile come late."""
        self._now += seconds

    # What runs

    def _turn(self, main: asyncio.Task[Any] | None) -> None:
        if not self._ready:
            self._hear()
        if not self._ready:
            self._jump(main)
        self._take_timers()
        batch, self._ready = self._ready, []
        for call in self._ordered([call for call in batch if call.is_wanted()]):
            if not call.is_wanted():
                continue  # cancelled in this very turn, or its process died
            call.run()
            if call.process is not None:
                call.process.stepped()

    def _ordered(self, calls: list[_Call]) -> list[_Call]:
        if len(calls) < 2:  # noqa: PLR2004 — one has no order
            return calls
        if self._order is Order.ANY:
            self._random.shuffle(calls)
            return calls
        queues: dict[Process | None, list[_Call]] = {}
        for call in calls:
            queues.setdefault(call.process, []).append(call)
        if len(queues) == 1:
            return calls
        # A draw for each call, of whose it is, mixes the queues and keeps the order within each.
        owners = [call.process for call in calls]
        self._random.shuffle(owners)
        parts = {owner: iter(queue) for owner, queue in queues.items()}
        return [next(parts[owner]) for owner in owners]

    def _jump(self, main: asyncio.Task[Any] | None) -> None:
        while self._timers and not self._timers[0][-1].is_wanted():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Deadlock(f"nothing is ready and no timer is set; {self._who_waits(main)}")
        self._now = max(self._now, self._timers[0][0])
        if self._seconds_max is not None and self._now > self._seconds_max:
            raise Deadlock(f"{self._seconds_max:g} s are over; {self._who_waits(main)}")

    def _take_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[-1])

    def _hear(self) -> None:
        readers = {fd: call for fd, call in self._readers.items() if call.is_wanted()}
        self._readers = readers
        if readers:
            heard = set(select.select(list(readers), (), (), 0)[0])
            self._ready += [call.again() for fd, call in readers.items() if fd in heard]

    def _who_waits(self, main: asyncio.Task[Any] | None) -> str:
        waiting = [
            f"{_whose(task, context)} in {_place(task.get_coro())}"
            for task, context in self._tasks.items()
            if not task.done() and task is not main and _is_alive(context)
        ]
        first = [] if main is None else [f"main in {_place(main.get_coro())}"]
        strangers = [f"threads called that have no place here: {', '.join(sorted(self._strangers))}"]
        return "; ".join([f"waiting: {', '.join(first + waiting)}", *(strangers if self._strangers else ())])

    @contextlib.contextmanager
    def _as_running(self) -> Iterator[None]:
        if self._closed or self._running:
            raise RuntimeError("the simulated loop is closed, or runs already")
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finish)
        self._running, self._thread = True, threading.get_ident()
        # asyncio gives this to event loops; only they may call it.
        asyncio._set_running_loop(self)  # noqa: SLF001
        try:
            yield
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
            self._running = False
            sys.set_asyncgen_hooks(*hooks)

    def _finish(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.call_soon(lambda: self.create_task(generator.aclose()))

    # What asyncio asks of an event loop

    def time(self) -> float:
        """Return the virtual time in seconds; it begins with 0."""
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Call in the next turn."""
        call = self._call(callback, args, context, self._now)
        self._ready.append(call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call when *delay* virtual seconds have passed; some time passes, however short the delay."""
        when = self._now + (max(delay, _TICK_SECONDS) if delay > 0 else delay)
        return self.call_at(when, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call at a virtual time; of those at the same time, a draw says which comes first."""
        call = self._call(callback, args, context, when)
        self._count += 1
        heapq.heappush(self._timers, (when, self._random.random(), self._count, call))
        return call

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Call in the next turn. Raises RuntimeError in another thread, whose time is not simulated."""
        if threading.get_ident() != self._thread:
            self._strangers.add(threading.current_thread().name)
            raise RuntimeError("a simulation has one thread")
        return self.call_soon(callback, *args, context=context)

    def _call(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None, when: float
    ) -> _Call:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        return _Call(self, callback, args, _copied(context), when)

    def create_future(self) -> asyncio.Future[Any]:
        """See `asyncio`."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """See `asyncio`."""
        context = _copied(context)
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=None if name is None else str(name), context=context)
        if len(self._tasks) >= self._sweep_at:
            self._tasks = {task: context for task, context in self._tasks.items() if not task.done()}
            self._sweep_at = 2 * len(self._tasks) + _TASKS_SWEPT_MIN
        self._tasks[task] = context
        return task

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 — asyncio's signature
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Run it here and now."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 — whoever awaits hears of it
            future.set_exception(exc)
        return future

    def add_reader(self, fd: FileDescriptorLike, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> None:
        """Call whenever *fd* has something to read, asked when nothing else is ready, and without waiting."""
        self._readers[_number(fd)] = self._call(callback, args, None, self._now)

    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Call no more; returns whether it would have been called."""
        return self._readers.pop(_number(fd), None) is not None

    def run_forever(self) -> None:
        """Run until `stop`. Raises `Deadlock` as `run`."""
        with self._as_running():
            self._stopping = False
            while not self._stopping:
                self._turn(None)

    def run_until_complete(self, future: Any) -> Any:  # noqa: ANN401 — asyncio's
        """See `run`."""

        async def wait() -> Any:  # noqa: ANN401 — whatever it gives
            return await future

        return self.run(wait())

    def stop(self) -> None:
        """End `run_forever` after this turn."""
        self._stopping = True

    def is_running(self) -> bool:
        """See `asyncio`."""
        return self._running

    def is_closed(self) -> bool:
        """See `asyncio`."""
        return self._closed

    def close(self) -> None:
        """
        Run nothing any more. Safe to repeat.

        Tasks that have not ended, of killed processes above all, are kept in memory until the interpreter ends: to
        collect them would run what is in their ``finally``, which a SIGKILL does not.
        """
        if not self._closed:
            self._closed = True
            for task in self._tasks:
                if not task.done():
                    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
            self._tasks.clear()
            self._ready.clear()
            self._timers.clear()
            self._readers.clear()

    async def shutdown_asyncgens(self) -> None:
        """See `asyncio`: those that are left are closed when they are collected."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """See `asyncio`: there is none."""

    def get_debug(self) -> bool:
        """See `asyncio`."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 — asyncio's
        """See `asyncio`: without effect."""

    def set_exception_handler(
        self, handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    ) -> None:
        """Call *handler* for an exception that was not caught; without one, `run` raises the first of a callback."""
        self._handler = handler

    def get_exception_handler(self) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None:
        """See `asyncio`."""
        return self._handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Raise an exception of a callback out of `run`; log all else."""
        error = context.get("exception")
        if "handle" in context and isinstance(error, BaseException):
            self._failure = self._failure or error
        else:
            _log.error("%s", context.get("message"), exc_info=error)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """See `asyncio`."""
        if self._closed:
            return
        if self._handler is None:
            self.default_exception_handler(context)
        else:
            self._handler(self, context)


class _Call(asyncio.TimerHandle):
    """A callback, and whose it is."""

    def __init__(
        self,
        loop: SimulatedLoop,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
        when: float,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self._simulated = loop
        self._what = (callback, args, context)
        self._off = False
        self.process: Final = process_of(context)

    def cancel(self) -> None:
        self._off = True

    def cancelled(self) -> bool:
        return self._off

    def is_wanted(self) -> bool:
        return not self._off and (self.process is None or self.process.alive)

    def again(self) -> _Call:
        callback, args, context = self._what
        return _Call(self._simulated, callback, args, context, self._simulated.time())

    def run(self) -> None:
        callback, args, context = self._what
        try:
            context.run(callback, *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001 — as asyncio's loop does
            self._simulated.call_exception_handler(
                {"message": f"Exception in callback {callback!r}", "exception": exc, "handle": self}
            )


def _copied(context: contextvars.Context | None) -> contextvars.Context:
    # An empty one is falsy.
    return contextvars.copy_context() if context is None else context


def _number(fd: FileDescriptorLike) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())


def _is_alive(context: contextvars.Context) -> bool:
    process = process_of(context)
    return process is None or process.alive


def _whose(task: asyncio.Task[Any], context: contextvars.Context) -> str:
    process = process_of(context)
    return task.get_name() if process is None else f"{process.name}/{task.get_name()}"


def _place(coroutine: Any) -> str:  # noqa: ANN401 — a coroutine, or what awaits as one
    """Return where it waits: the innermost function of ours that awaits."""
    place = "nowhere"
    while coroutine is not None:
        frames = (getattr(coroutine, name, None) for name in ("cr_frame", "gi_frame", "ag_frame"))
        frame = next(filter(None, frames), None)
        if frame is not None:
            place = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno})"
        waits = (getattr(coroutine, name, None) for name in ("cr_await", "gi_yieldfrom", "ag_await"))
        coroutine = next(filter(None, waits), None)
    return place
