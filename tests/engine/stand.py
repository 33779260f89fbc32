"""
A stand for the engine: real outboxes on one real SQLite file, a clock that stands still, channels that play a script.

Loops run as they do in production, by the event loop's own timers; what is due or over waits for the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import msgspec

from pillarbox.errors import StoreUnavailable
from pillarbox.events import BusEvent
from pillarbox.outbox.outbox import Outbox, inside
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.testing.fakes import FakeClock, SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType

    from pillarbox.channels.base import Channel
    from pillarbox.clock import Timer
    from pillarbox.domain.message import MessageView
    from pillarbox.engine.worker import Worker
    from pillarbox.outbox.message import Message
    from pillarbox.outbox.runtime import Runtime
    from pillarbox.store.base import Batch, BatchResult, Store

SECONDS: Final = 60.0
LEASE_MS: Final = 60_000
E = TypeVar("E", bound=BusEvent)
MakeStore = Callable[[Path, FakeClock], SQLiteStore]


class StandClock(FakeClock):
    """
    Says a time that only a test moves on, and lets timers run by the event loop, as in production.

    What a loop waits for comes by itself so, and what is due, expired or lapsed is said by the test alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()

    def mono(self) -> float:
        return super().mono() + time.monotonic() - self._began

    def call_later(self, seconds: float, callback: Callable[..., object], *values: object) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback, *values)


class StillClock(StandClock):
    """Stands still for loops too: nobody looks because nothing was heard for long, however slow the machine is."""

    def mono(self) -> float:
        return FakeClock.mono(self)


class WatchedStore:
    """
    A real store, between which and the engine a test may stand.

    Attributes:
        batches: What was to be committed, in order, whether it was or not; what is given again counts once.
        refuse: Asked about each batch before it is committed; the error it gives is raised instead.
        broken: The same, after the commit: the caller is not told that it was done.
        gate: Commits wait for it; after `stall`, only those of a kind.
        under_way: How many commits have begun and not ended.
    """

    def __init__(self, store: SQLiteStore) -> None:
        self.real = store
        self.batches: list[Batch] = []
        self.refuse: Callable[[Batch], Exception | None] = _nothing
        self.broken: Callable[[Batch], Exception | None] = _nothing
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self._stalled: Callable[[Batch], bool] = _everything
        self._changed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def commit(self, batch: Batch) -> BatchResult:
        if not batch.again or self.batches[-1:] != [msgspec.structs.replace(batch, again=False)]:
            self.batches.append(batch)
        self._changed.set()
        self._changed = asyncio.Event()
        self.under_way += 1
        try:
            return await self._commit(batch)
        finally:
            self.under_way -= 1

    async def _commit(self, batch: Batch) -> BatchResult:
        if self._stalled(batch):
            await self.gate.wait()
        error = self.refuse(batch)
        if error is not None:
            raise error
        result = await self.real.commit(batch)
        error = self.broken(batch)
        if error is not None:
            raise error
        return result

    def stall(self, wanted: Callable[[Batch], bool]) -> None:
        """Let batches of a kind wait for the gate, which is closed; the others pass it."""
        self._stalled = wanted
        self.gate.clear()

    def offered(self, wanted: Callable[[Batch], bool]) -> int:
        """Count the batches of a kind."""
        return sum(map(wanted, self.batches))

    async def until(self, wanted: Callable[[Batch], bool], count: int = 1) -> None:
        """Wait until *count* batches of a kind were to be committed."""
        async with asyncio.timeout(SECONDS):
            while self.offered(wanted) < count:
                await self._changed.wait()


def _nothing(batch: Batch) -> None:
    return None


def _everything(batch: Batch) -> bool:
    return True


class Heard:
    """Every event of an outbox, in order."""

    def __init__(self, box: Outbox) -> None:
        self.events: list[BusEvent] = []
        self._changed = asyncio.Event()
        box.subscribe(self._hear)

    def _hear(self, event: BusEvent) -> None:
        self.events.append(event)
        self._changed.set()
        self._changed = asyncio.Event()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], count: int = 1) -> list[E]:
        """Wait until *count* events of a kind were heard, and give them."""
        async with asyncio.timeout(SECONDS):
            while len(found := self.of(kind)) < count:
                await self._changed.wait()
        return found


class Box:
    """One outbox of the stand."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.heard = Heard(outbox)

    @property
    def store(self) -> WatchedStore:
        return cast("WatchedStore", self.runtime.store)

    @property
    def runtime(self) -> Runtime:
        runtime = inside(self.outbox).lifetime._runtime
        assert runtime is not None
        return runtime

    @property
    def worker(self) -> Worker:
        assert self.runtime.worker is not None
        return self.runtime.worker

    @property
    def counts(self) -> dict[str, int]:
        return {word: count for word, count in self.outbox.counts.items() if count}

    async def send(self, to: str = "ann", *, channel: str = "chat", text: str = "hi", **said: Any) -> Message:
        return await self.outbox.send(channel, to=to, text=text, **said)

    async def view(self, message: Message | str) -> MessageView:
        """Read a message that must be there."""
        identity = message if isinstance(message, str) else message.id
        found = await self.outbox.get(identity or "")
        assert found is not None
        assert found.view is not None
        return found.view

    async def settled(self, message: Message) -> MessageView:
        """Wait until nothing more happens to a message by itself; any outbox's message will do."""
        async with asyncio.timeout(SECONDS):
            found = await self.outbox.find(message.id or "")
            await found.wait()
            # It may have been read before the commit that ended it was told of: let that be heard.
            await self._told()
        assert found.view is not None
        return found.view

    async def _told(self) -> None:
        """Wait until what is committed by now was told."""
        store = self.runtime.store if inside(self.outbox).lifetime.begun else None
        writer = store.real._writer if isinstance(store, WatchedStore) else None
        if writer is not None:
            await writer.run(lambda: None)
        for _ in range(5):
            await asyncio.sleep(0)

    async def reap(self) -> None:
        """Let the reaper look once."""
        async with asyncio.timeout(SECONDS):
            await self.worker._reaper.tick()

    async def renew(self) -> None:
        """Let the renewer look once."""
        async with asyncio.timeout(SECONDS):
            await self.worker._renewer.tick()

    async def idle(self) -> None:
        """Wait until nothing is being sent or settled."""
        async with asyncio.timeout(SECONDS):
            await self.worker.executor.idle()

    async def looked(self) -> None:
        """Say that something may be due, several times, and wait until whatever that led to was written."""
        for _ in range(10):
            self.look()
            for _ in range(5):
                await asyncio.sleep(0)
            await self._told()
            await until(self._has_written)

    def _has_written(self) -> bool:
        """Whether nothing is being written, for which a lost answer takes longer; or whether the test lets it wait."""
        return not self.store.gate.is_set() or self.worker.committer._loop._task is None

    def look(self) -> None:
        """Say that something may be due: the clock does not say so by itself."""
        self.worker.look()

    def hurry_to_record(self, milliseconds: int) -> None:
        """Give up recording at a stop so soon."""
        self.worker._settings = replace(self.worker._settings, record_ms=milliseconds)


def make_sqlite(path: Path, clock: FakeClock) -> SQLiteStore:
    """Make a handle on a file, as an outbox does."""
    return SQLiteStore(path, clock=clock)


class Stand:
    """
    Opens outboxes on one file.

    Args:
        folder: Where the file is made.
        make_store: Makes a handle on a file: another database's driver, where it is not SQLite's.
    """

    def __init__(self, folder: Path, make_store: MakeStore = make_sqlite) -> None:
        self._make_store = make_store
        self.path = folder / "outbox.db"
        self.clock: FakeClock = StandClock()
        self._seed = 0
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def make(self, channels: dict[str, Channel] | Channel | None = None, **settings: Any) -> Box:
        """Make an outbox that is not open. One channel alone is called "chat"."""
        if channels is not None and not isinstance(channels, dict):
            channels = {"chat": channels}
        self._seed += 1
        usual: dict[str, Any] = {"lease_seconds": LEASE_MS / 1000, "drain_on_startup": False}
        outbox = Outbox(
            str(self.path),
            channels=channels,
            deliver=channels is not None,
            clock=self.clock,
            entropy=SeededEntropy(self._seed),
            store=self._watched_store,
            **(usual | settings),
        )
        return Box(outbox)

    def _watched_store(self) -> Store:
        return cast("Store", WatchedStore(self._make_store(self.path, self.clock)))

    async def open(self, channels: dict[str, Channel] | Channel | None = None, **settings: Any) -> Box:
        """Open an outbox; it is closed at the end of the test, without waiting for sends."""
        box = self.make(channels, **settings)
        await box.outbox.start()
        self._stack.push_async_callback(self._close, box)
        return box

    async def _close(self, box: Box) -> None:
        async with asyncio.timeout(SECONDS):
            if inside(box.outbox).lifetime.begun:
                box.store.gate.set()
                box.store.refuse = box.store.broken = _nothing
                await box.outbox.stop(0)

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.advance(milliseconds / 1000)


async def until(reached: Callable[[], bool | Awaitable[bool]]) -> None:
    """Let everybody else go on until something is so."""
    async with asyncio.timeout(SECONDS):
        while True:
            answer = reached()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0)


async def crash(box: Box) -> None:
    """End a worker as SIGKILL does: nothing more is written, its leases stay, its lock falls."""
    box.store.refuse = lambda batch: StoreUnavailable("the process is gone")
    box.hurry_to_record(1)
    async with asyncio.timeout(SECONDS):
        await box.outbox.stop(0)
