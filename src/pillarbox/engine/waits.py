"""
Ends the waits for messages: at once for what this process settles; for the rest, one look serves all who wait.

A look is one statement for every message that is waited for, made only where another process may have settled one of
them: the store reports that another process wrote, or has reported nothing for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from pillarbox.clock import Clock
from pillarbox.deadline import ended_within
from pillarbox.domain.ids import MessageId
from pillarbox.engine.loop import Loop
from pillarbox.errors import NotStarted, StoreError
from pillarbox.events.reporter import Reporter
from pillarbox.store.base import Store

# How late a notice may be where the store has to look for what was written.
NOTICE_SECONDS: Final = 0.05
# However sure it seems that nothing was written: a file that is gone says nothing more, and a notice may be lost.
UNTOLD_SECONDS: Final = 5.0
_INTERVAL_SECONDS: Final = 1.0
# Of the time, at most a twentieth is spent on looking; unless one look takes long because the database hung for once.
_SHARE: Final = 20


class Wait:
    """One wait for one message."""

    __slots__ = ("_clock", "_future", "_message", "_reporter", "_waits")

    def __init__(self, waits: Waits, reporter: Reporter, message: MessageId, clock: Clock) -> None:
        self._waits = waits
        self._reporter = reporter
        self._clock = clock
        self._message = message
        self._future: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """
        Take note of what happens from now on. Before the message is read, or its end could fall between.

        Raises:
            NotStarted: The outbox was closed.
        """
        self.end()
        self._waits.check_open()
        self._future = self._reporter.wait_for(self._message)

    def end(self) -> None:
        """Take no more notice."""
        if self._future is not None:
            self._future.cancel()
            self._future = None

    async def changed(self, seconds: float | None) -> None:
        """Wait until the message should be read again, *seconds* at most."""
        if self._future is not None:
            await ended_within((self._future,), seconds, clock=self._clock)


class Waits:
    """Everybody in this process who waits for a message."""

    def __init__(self, store: Store, reporter: Reporter, clock: Clock) -> None:
        self._store = store
        self._reporter = reporter
        self._clock = clock
        self._loop = Loop("waits", self.tick, clock=clock)
        self._waiting: dict[MessageId, list[Wait]] = {}
        self._changed = False
        self._end_notices: Callable[[], None] | None = None
        self._next_look = 0.0
        self._last_look = 0.0
        self._closed = False

    def use(self, store: Store) -> None:
        """Look into another store. Only before the first wait."""
        self._store = store

    @contextlib.contextmanager
    def waiting(self, message: MessageId) -> Iterator[Wait]:
        """Wait for *message* while the context lasts. Raises NotStarted where the outbox was closed."""
        self.check_open()
        if not self._waiting:
            # Before the message is read: what is written after that is news.
            self._changed = False
            self._end_notices = self._store.on_change(self._on_change, seconds=NOTICE_SECONDS)
            self._last_look = self._clock.mono()
            self._loop.start()
            self._loop.poke()
        wait = Wait(self, self._reporter, message, self._clock)
        self._waiting.setdefault(message, []).append(wait)
        try:
            yield wait
        finally:
            wait.end()
            waits = self._waiting[message]
            waits.remove(wait)
            if not waits:
                del self._waiting[message]
            if not self._waiting and self._end_notices is not None:
                self._end_notices()
                self._end_notices = None

    def check_open(self) -> None:
        """Raise NotStarted where the outbox was closed: no wait would ever end."""
        if self._closed:
            raise NotStarted("the outbox was closed while a message was waited for")

    def _on_change(self) -> None:
        self._changed = True
        self._loop.poke()

    async def stop(self) -> None:
        """Wake every waiter, who then looks in the store; wake none afterwards."""
        self._closed = True
        for message in tuple(self._waiting):
            self._reporter.wake(message)
        await self._loop.stop()

    async def tick(self) -> float | None:
        """Look once, if there is a reason to."""
        if not self._waiting or self._store.in_memory:
            return None
        now = self._clock.mono()
        if now < self._next_look:
            return self._next_look - now
        if self._changed or now - self._last_look >= UNTOLD_SECONDS:
            await self._look()
        return _INTERVAL_SECONDS

    async def _look(self) -> None:
        began = self._clock.mono()
        self._changed = False
        try:
            ended = await self._store.ended(tuple(self._waiting))
        except StoreError:
            # Whoever waits reads for themselves, and hears of it.
            for message in tuple(self._waiting):
                self._reporter.wake(message)
            raise
        for message in ended:
            self._reporter.wake(message)
        self._last_look = self._clock.mono()
        self._next_look = self._last_look + min(_SHARE * (self._last_look - began), UNTOLD_SECONDS)
