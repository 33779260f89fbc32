"""
The same outbox without ``await``: a thin façade over an event loop on a thread of its own.

No method is written twice: each one here runs its namesake of `Outbox`, whose documentation holds.
Safe to use from several threads.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar, Unpack

from pillarbox.domain.moments import patience_seconds
from pillarbox.engine.hooks import Hooks
from pillarbox.errors import NotStarted, Refused
from pillarbox.events.bus import Subscriber
from pillarbox.events.events import BusEvent
from pillarbox.loop_thread import LoopThread, in_a_loop, not_open
from pillarbox.outbox import mirror, outbox, stream
from pillarbox.outbox.add_channel import AddChannel
from pillarbox.outbox.checks import Options
from pillarbox.outbox.filters import Where
from pillarbox.outbox.joins import Joins, ReadyToWrite
from pillarbox.outbox.lifetime import waits_for_itself
from pillarbox.outbox.message import BaseMessage, Timeout
from pillarbox.outbox.message import Message as AsyncMessage
from pillarbox.outbox.message_pages import Pages
from pillarbox.outbox.stream import Every
from pillarbox.user_code import thread_at_work

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
_Core = outbox.Outbox
_log = logging.getLogger("pillarbox")
_Book = mirror.MirrorBook
# In a forked child: the parent's threads, which are not there. Collected, they would close what the two share.
_inherited: list[LoopThread] = []


class Message(BaseMessage):
    """A message, for programs that block."""

    __slots__ = ("_box",)

    def __init__(self, box: Outbox, message: AsyncMessage) -> None:
        for name in BaseMessage.__slots__:
            setattr(self, name, getattr(message, name))
        self._box = box

    def wait(self, timeout: Timeout = None) -> Message:
        """Block until it is settled or held, at most so long. See `pillarbox.outbox.message.Message.wait`."""
        patience_seconds("timeout", timeout)
        if self.id is not None:
            _must_not_wait_for_itself(self._box.core, "message.wait", message=self.id)
            self._box.run(self._until_settled(timeout))
        return self


def _must_not_wait_for_itself(core: _Core, call: str, *, message: str | None = None) -> None:
    """See `pillarbox.outbox.lifetime.Lifetime.must_not_wait_for_itself`: for a channel on a thread."""
    task = thread_at_work.task
    sent = None if task is None else outbox.inside(core).lifetime.sent_on(task)
    if sent is not None and message in {None, sent}:
        raise waits_for_itself(f"{call}()", f"a thread of its own, threading.Thread(target={call}).start()")


def _blocking(method: Callable[Concatenate[_Core, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Outbox, P], R]:
    return _as(lambda _box, found: found, method)


def _waiting(method: Callable[Concatenate[_Core, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Outbox, P], R]:
    """As `_blocking`, for what waits for sends under way."""
    run = _blocking(method)

    def call(self: Outbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
        _must_not_wait_for_itself(self.core, f"box.{method.__name__}")
        return run(self, *args, **kwargs)

    functools.update_wrapper(call, method)
    return call


def _as(
    shown: Callable[[Outbox, S], R], method: Callable[Concatenate[_Core, P], Coroutine[Any, Any, S]]
) -> Callable[Concatenate[Outbox, P], R]:
    def call(self: Outbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._must_be_open()
        return shown(self, self.run(method(self.core, *args, **kwargs)))

    functools.update_wrapper(call, method)
    return call


def _joined(
    method: Callable[..., object],
    shown: Callable[[Outbox, S], R],
    judge: Callable[Concatenate[Joins, P], Coroutine[Any, Any, ReadyToWrite[S]]],
) -> Callable[Concatenate[Outbox, object, P], R]:
    """Judge on the outbox's thread, and write on the caller's: the connection is at home there."""

    def call(self: Outbox, connection: object, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._must_be_open()
        # By its name, as in `Outbox`.
        judged: Coroutine[Any, Any, ReadyToWrite[S]] = getattr(outbox.inside(self.core).joins, judge.__name__)(
            *args, **kwargs
        )
        return shown(self, self.run(judged).write(connection))

    functools.update_wrapper(call, method)
    return call


def _one_or_none(box: Outbox, message: AsyncMessage | None) -> Message | None:
    return None if message is None else Message(box, message)


def _some(box: Outbox, messages: list[AsyncMessage]) -> list[Message]:
    return [Message(box, message) for message in messages]


def _booked(method: Callable[Concatenate[_Book, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[MirrorBook, P], R]:
    def call(self: MirrorBook, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._box.run(method(self._box.core.mirror, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call


class MirrorBook:
    """The records of one outbox, for programs that block. See `pillarbox.outbox.mirror.MirrorBook`."""

    def __init__(self, box: Outbox) -> None:
        self._box = box

    pending = _booked(_Book.pending)
    acknowledge = _booked(_Book.acknowledge)
    prune = _booked(_Book.prune)


class Stream:
    """A text that grows, for programs that block: to be used in ``with``. See `pillarbox.outbox.stream.Stream`."""

    def __init__(self, box: Outbox, stream: stream.Stream) -> None:
        self._box = box
        self._stream = stream

    @property
    def text(self) -> str:
        """All that was written."""
        return self._stream.text

    @property
    def messages(self) -> tuple[Message, ...]:
        """See `pillarbox.outbox.stream.Stream.messages`."""
        return tuple(_some(self._box, [*self._stream.messages]))

    @property
    def last(self) -> Message | None:
        """See `pillarbox.outbox.stream.Stream.last`."""
        return _one_or_none(self._box, self._stream.last)

    def write(self, more: str) -> None:
        """See `pillarbox.outbox.stream.Stream.write`."""
        self._box.run(self._stream.write(more))

    def __enter__(self) -> Self:
        """Open. Nothing is committed yet."""
        self._box.run(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit the whole text. Raises as `Outbox.send`."""
        self._box.run(self._stream.__aexit__(kind, error, trace))


class Outbox:
    """
    A durable outbox for programs without an event loop. Arguments as `pillarbox.Outbox`.

    ``core`` is the outbox behind it; its coroutines must run on this object's loop (`run`).
    """

    _make_core: ClassVar[type[_Core]] = _Core

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 — the arguments of the core
        self.core = self._make_core(*args, **kwargs)
        self._thread: LoopThread | None = None
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._hinted = False

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """
        Run a coroutine on this outbox's loop and wait for its result; before `start`, on one for this call alone.

        Raises:
            Refused: Called on that very loop, by a subscriber or an async channel: it would wait for itself for ever.
            NotStarted: The outbox was closed before the coroutine had ended.
        """
        try:
            self._must_not_block_itself()
            thread = self._running()
        except BaseException:
            coroutine.close()
            raise
        if thread is not None:
            return thread.run(coroutine)
        thread = LoopThread()
        try:
            return thread.run(coroutine)
        finally:
            thread.end()

    def _must_be_open(self) -> None:
        """Raise NotStarted where it is not: no thread is begun to find that out."""
        self._must_not_block_itself()
        if self._running() is None:
            raise not_open()

    def _must_not_block_itself(self) -> None:
        thread = self._thread
        if thread is not None and thread.is_current:
            raise Refused(
                "called on the outbox's own thread, which it would block: use `core`, the asynchronous outbox, there"
            )
        if not self._hinted and in_a_loop():
            self._hinted = True
            _log.warning(
                "the blocking Outbox is called in a running event loop, which stands still meanwhile:"
                " `pillarbox.Outbox` and `await` do not hold it up"
            )

    def _running(self) -> LoopThread | None:
        """Return the thread that runs; a forked child begins its own at first use (contract LE9)."""
        thread = self._thread
        if thread is None or not thread.foreign:
            return thread
        with self._turn():
            if self._thread is thread:
                _inherited.append(thread)
                self._thread = LoopThread() if self.core.started else None
            return self._thread

    def _turn(self) -> threading.Lock:
        """Guard who changes the thread. A forked child's may be held by a thread that does not exist there."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock

    @property
    def channel(self) -> AddChannel:
        """See `pillarbox.Outbox.channel`."""
        return self.core.channel

    @property
    def channels(self) -> tuple[str, ...]:
        """See `pillarbox.Outbox.channels`."""
        return self.core.channels

    def start(self) -> None:
        """See `pillarbox.Outbox.start`. After a `close` that goes on in another thread, it waits for that."""
        self._must_not_block_itself()
        self._running()
        while True:
            with self._turn():
                thread = self._thread
                if thread is None or not thread.leaving:
                    self._start(thread)
                    return
            thread.join()
            self._forget(thread)

    def _start(self, thread: LoopThread | None) -> None:
        if thread is not None:
            thread.run(self.core.start())
            return
        thread = LoopThread()
        try:
            thread.run(self.core.start())
        except BaseException:
            thread.end()
            raise
        self._thread = thread

    def _forget(self, thread: LoopThread) -> None:
        with self._turn():
            if self._thread is thread:
                self._thread = None

    send = _as(Message, _Core.send)
    send_many = _as(_some, _Core.send_many)
    enqueue = _joined(_Core.enqueue, Message, Joins.ready)
    enqueue_many = _joined(_Core.enqueue_many, _some, Joins.ready_many)
    edit = _as(Message, _Core.edit)
    delete = _as(Message, _Core.delete)

    def stream(
        self, channel: str, *, to: str, every: Every = stream.EVERY_SECONDS, **options: Unpack[Options]
    ) -> Stream:
        """See `pillarbox.Outbox.stream`; to be used in ``with``."""
        self._must_be_open()
        return Stream(self, self.core.stream(channel, to=to, every=every, **options))

    get = _as(_one_or_none, _Core.get)
    find = _as(Message, _Core.find)
    list = _as(_some, _Core.list)

    def export(self, where: Where = ()) -> Iterator[Message]:
        """See `pillarbox.Outbox.export`; to be used in ``for``."""
        self._must_be_open()
        return self._each(outbox.inside(self.core).reads.pages(where))

    def _each(self, pages: Pages) -> Iterator[Message]:
        while page := self.run(pages.following()):
            yield from _some(self, page)

    history = _blocking(_Core.history)
    explain = _blocking(_Core.explain)
    summary = _blocking(_Core.summary)
    stats = _blocking(_Core.stats)
    workers = _blocking(_Core.workers)
    queues = _blocking(_Core.queues)
    flow = _blocking(_Core.flow)
    redirects = _blocking(_Core.redirects)
    suppressed = _blocking(_Core.suppressed)
    guarantee = _blocking(_Core.guarantee)
    check = _blocking(_Core.check)
    backup = _blocking(_Core.backup)
    health = _blocking(_Core.health)
    cancel = _blocking(_Core.cancel)
    retry = _blocking(_Core.retry)
    resolve = _blocking(_Core.resolve)
    replay = _as(Message, _Core.replay)
    purge = _blocking(_Core.purge)
    cancel_many = _blocking(_Core.cancel_many)
    retry_many = _blocking(_Core.retry_many)
    resolve_many = _blocking(_Core.resolve_many)
    replay_many = _blocking(_Core.replay_many)
    purge_many = _blocking(_Core.purge_many)
    pause = _blocking(_Core.pause)
    resume = _blocking(_Core.resume)
    forget_redirect = _blocking(_Core.forget_redirect)
    clear_recipient = _blocking(_Core.clear_recipient)
    drain = _waiting(_Core.drain)
    drained = _waiting(_Core.drained)
    prune = _blocking(_Core.prune)
    reload = _blocking(_Core.reload)

    @property
    def hooks(self) -> Hooks:
        """See `pillarbox.engine.hooks.Hooks`; hooks run on the outbox's own thread."""
        return self.core.hooks

    @property
    def mirror(self) -> MirrorBook:
        """See `pillarbox.outbox.mirror.MirrorBook`."""
        return MirrorBook(self)

    def subscribe(self, subscriber: Subscriber, *types: type[BusEvent]) -> Callable[[], None]:
        """See `pillarbox.Outbox.subscribe`; *subscriber* is called on the outbox's own thread."""
        return self.core.subscribe(subscriber, *types)

    def stop(self, deadline: Timeout = None) -> int:
        """
        See `pillarbox.Outbox.stop`.

        Calls that other threads still wait for, `Message.wait` too, end with NotStarted. A channel that is a plain
        function is refused as an async one is.
        """
        self._must_not_block_itself()
        _must_not_wait_for_itself(self.core, "box.close")
        # Before the thread that it runs on is given up.
        patience_seconds("deadline", deadline)
        thread = self._running()
        if thread is None:
            return 0
        thread.leaving = True
        try:
            return thread.run(self.core.stop(deadline))
        except NotStarted:
            # Another thread's stop came to its end first.
            return 0
        finally:
            thread.end()
            self._forget(thread)

    def close(self) -> None:
        """See `pillarbox.Outbox.close`."""
        self.stop()

    def __repr__(self) -> str:
        return f"<sync {repr(self.core)[1:]}"

    def __del__(self) -> None:
        """Close it where its owner did not, and warn."""
        thread = getattr(self, "_thread", None)
        if thread is None or thread.foreign:
            return
        if not sys.is_finalizing():
            thread.leave(self.core.stop)
        said = f"{self!r} was never closed: close() it, or use it as a context manager"
        warnings.warn(said, ResourceWarning, stacklevel=2)

    if not TYPE_CHECKING:  # a type checker says it before

        def __aenter__(self) -> None:
            raise TypeError("this outbox is opened by `with`; `pillarbox.Outbox` is the one for `async with`")

        def __aexit__(self, *error: object) -> None:
            pass

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
