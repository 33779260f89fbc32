"""
`AbortWatch`: which stored messages an `AbortSignal` would withdraw.

A signal may be given to any number of messages, and live as long as its program. It is followed by one listener for
each outbox, which knows the messages that may still be withdrawn, and lets go of those that have ended: by being told,
where this process sees them end, and by asking from time to time, where another one delivers. The last of them takes
the listener along.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

from pillarbox.abort import AbortSignal
from pillarbox.domain.ids import MessageId
from pillarbox.errors import NotFound, PillarboxError
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.orders import Orders
from pillarbox.outbox.runtime import Runtime

ASKED_FROM: Final = 64
"""So many messages of one signal are kept without asking whether they have ended."""


class Followed:
    """The messages of one signal, and how to stop listening to it."""

    __slots__ = ("_asking", "_forget", "_limit", "_messages")

    def __init__(self, signal: AbortSignal, on_aborted: Callable[[Collection[MessageId], str], None]) -> None:
        self._messages: dict[MessageId, None] = {}
        self._limit = ASKED_FROM
        self._asking = False
        messages = self._messages
        self._forget = signal.listen(lambda reason: on_aborted(tuple(messages), reason))

    def __len__(self) -> int:
        """Return how many messages it would withdraw."""
        return len(self._messages)

    def add(self, message: MessageId) -> bool:
        """Follow one more; return whether they have become many, so that the store should be asked which have ended."""
        self._messages[message] = None
        if self._asking or len(self._messages) < self._limit:
            return False
        self._asking = True
        return True

    def to_ask(self) -> tuple[MessageId, ...]:
        """Return those to ask about; none where they are few enough again."""
        if len(self._messages) >= self._limit:
            return tuple(self._messages)
        self._asking = False
        return ()

    def note_active(self, active: int) -> None:
        """Note that *active* of them have not ended: the store is asked again when there are twice as many."""
        self._limit = max(ASKED_FROM, 2 * active)

    def remove(self, message: MessageId) -> None:
        """Forget a message."""
        self._messages.pop(message, None)

    def stop(self) -> None:
        """Stop listening."""
        self._messages.clear()
        self._forget()


class AbortWatch:
    """Cancels the stored messages of one outbox once their signals are given (contract PA5)."""

    def __init__(self, lifetime: Lifetime, orders: Orders) -> None:
        self._lifetime = lifetime
        self._orders = orders
        # Signals that nobody else knows any more are not kept.
        self._signals: weakref.WeakKeyDictionary[AbortSignal, Followed] = weakref.WeakKeyDictionary()
        self._runtime: weakref.ref[Runtime] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many messages would be withdrawn by one signal or another."""
        return sum(len(followed) for followed in self._signals.values())

    def follow(self, runtime: Runtime, abort: AbortSignal, identity: MessageId) -> None:
        """Cancel a message of *runtime* once *abort* is called."""
        loop = asyncio.get_running_loop()
        if self._runtime is None or self._runtime() is not runtime:
            self._runtime = weakref.ref(runtime)
            runtime.on_closed.append(self.clear)

        def on_aborted(messages: Collection[MessageId], reason: str) -> None:
            # A signal may be given on any thread, and after the loop of its message has ended.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(begin, messages, reason)

        def begin(messages: Collection[MessageId], reason: str) -> None:
            for message in messages:
                self._in_background(self._cancel(message, reason))

        followed = self._signals.get(abort)
        if followed is None:
            followed = self._signals[abort] = Followed(abort, on_aborted)
        many = followed.add(identity)
        if abort.aborted:
            # Just now, on another thread: its listeners may have been called before this message was one of theirs.
            begin((identity,), abort.reason)
            return
        known = weakref.ref(abort)
        if runtime.worker is not None:
            runtime.reporter.wait_for(identity).add_done_callback(lambda _: self._forget(known, identity))
        if many:
            self._in_background(self._let_go_of(runtime, known, followed))

    def clear(self) -> None:
        """Forget everything: the outbox is closed."""
        for followed in self._signals.values():
            followed.stop()
        self._signals.clear()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget(self, known: weakref.ref[AbortSignal], identity: MessageId) -> None:
        """Forget a message, and its signal with the last one."""
        abort = known()
        followed = None if abort is None else self._signals.get(abort)
        if abort is not None and followed is not None:
            followed.remove(identity)
            if not followed:
                self._signals.pop(abort).stop()

    async def _let_go_of(self, runtime: Runtime, known: weakref.ref[AbortSignal], followed: Followed) -> None:
        """Forget those that have ended: where another process delivers, only the store knows."""
        try:
            while messages := followed.to_ask():
                active = 0
                for message in messages:
                    view = await runtime.store.get(message)
                    if view is None or view.state.terminal:
                        self._forget(known, message)
                    else:
                        active += 1
                followed.note_active(active)
        except PillarboxError:
            # Closed, or not to be read now: asked again when they are twice as many.
            followed.note_active(len(followed))
            followed.to_ask()

    async def _cancel(self, identity: MessageId, reason: str) -> None:
        try:
            await self._orders.cancel(identity, reason=reason, actor="abort signal")
        except NotFound:
            # It ended so long ago that it was deleted.
            return
        except PillarboxError as exc:
            self._lifetime.alarm("abort_failed", f"message {identity} could not be cancelled: {exc}")
