"""One opened outbox: its store, its committer, and the worker where it delivers. Made by `start`, ended by `close`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import platform
from collections.abc import Callable, Mapping
from typing import Final

from pillarbox.__about__ import __version__
from pillarbox.channels.base import Channel, Seams
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Draft
from pillarbox.domain.shards import Place
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.committer import Committer
from pillarbox.engine.drain import DrainReport
from pillarbox.engine.hooks import Hooks
from pillarbox.engine.pruner import Pruner
from pillarbox.engine.resources import deregister
from pillarbox.engine.waits import Waits
from pillarbox.engine.worker import Worker
from pillarbox.entropy import Entropy
from pillarbox.errors import NotStarted, Refused
from pillarbox.events.bus import Bus
from pillarbox.events.log_lines import Recipients
from pillarbox.events.reporter import Reporter
from pillarbox.outbox.database import opened_or_memory
from pillarbox.outbox.direct import Direct
from pillarbox.outbox.engine_settings import limits_of, retention_of, worker_settings
from pillarbox.outbox.health import present
from pillarbox.outbox.live_channels import LiveChannels
from pillarbox.outbox.place import check_tenant, settled_place
from pillarbox.outbox.shutdown import End, Patience
from pillarbox.queue_clock import QueueClock
from pillarbox.settings.derived import lease_seconds
from pillarbox.settings.model import Settings
from pillarbox.store.base import Store, WorkerStart

_SUBSCRIBER_SECONDS_MAX: Final = 5.0
# How many forks this process is away from the one that loaded this: every send asks whether there was one.
_forks = 0


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 — one number a process
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class Runtime:
    """
    What is open between `start` and `close`.

    Args:
        labels: Whether a database without a label gets one, where it is a shard.

    Attributes:
        on_closed: Called at the end of a `close`.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        settings: Settings,
        *,
        clock: QueueClock,
        entropy: Entropy,
        hooks: Hooks,
        labels: bool,
    ) -> None:
        self.store = store
        self.clock = clock
        self.reporter = Reporter(bus, clock)
        # The worker's own, where this process delivers.
        self.committer = Committer(store, clock, self.reporter)
        self.waits = Waits(store, self.reporter, clock)
        self.worker: Worker | None = None
        self.direct: Direct | None = None
        self.fell_back = False
        self.startup_drain: asyncio.Task[DrainReport] | None = None
        self.hooks = hooks
        self.on_closed: list[Callable[[], object]] = []
        self._acceptor: tuple[int, bytes] | None = None
        self._registering = asyncio.Lock()
        self._bus = bus
        self._place: Place | None = None
        self._labels = labels
        self._settings = settings
        self._entropy = entropy
        self._channels: LiveChannels | None = None
        self._lease_ms = 0
        self._awaited: set[asyncio.Future[DrainReport]] = set()
        self._end = End(self._close, self._hurry, clock)
        self._events = asyncio.get_running_loop()
        self._forks = _forks

    def foreign(self) -> bool:
        """Whether this process is a fork of the one that opened it (contract LE9)."""
        return self._forks != _forks

    def here(self) -> bool:
        """Whether the event loop that runs is the one that opened it: with another, nothing of it can be used."""
        return self._events is asyncio.get_running_loop()

    def at_hand(self) -> bool:
        """Whether it can be used right here: neither `foreign` nor another event loop's."""
        return self._forks == _forks and self._events is asyncio.get_running_loop()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that opened it."""
        return self._events

    def stranded(self) -> bool:
        """Whether its event loop has ended without a `close`: nothing can run there any more."""
        return self._events.is_closed()

    @property
    def closed(self) -> bool:
        """Whether a `close` has come to its end."""
        return self._end.over

    def leak(self) -> None:
        """
        Keep every handle for ever.

        In a forked child they are the parent's: its loop, its sockets, its sends under way. The database's connections
        are closed already; the store sees to that, because SQLite must not believe in locks that only the parent has.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    # Open

    async def open(self, channels: Mapping[str, Channel], *, only: MessageId | None = None, make: bool = True) -> None:
        """
        Open the database; deliver through *channels*, where there are any. What fails leaves nothing open.

        *make*: as of `Store.open`.
        """
        try:
            await self._open(channels, only, make=make)
        except BaseException:
            await self.close(0)
            raise

    async def _open(self, channels: Mapping[str, Channel], only: MessageId | None, *, make: bool) -> None:
        self._lease_ms = int(lease_seconds(self._settings, (c.send_timeout_seconds for c in channels.values())) * 1000)
        await self._open_store(make=make)
        if self._settings.enabled:
            self._place = await settled_place(self.store, self._settings, labels=self._labels)
        # Before anything is judged by its time.
        self.clock.learn(await self.store.clock_news())
        self.reporter.lines.recipients = await self._recipients(self._settings)
        self.store.on_question(functools.partial(present, self))
        if channels and self._settings.enabled:
            await self._start_worker(channels, only)
            return
        self.committer.start()
        if channels:
            # Sends without a queue (contract EN12).
            self.direct = Direct(channels, self.reporter, clock=self.clock, entropy=self._entropy, hooks=self.hooks)
            await self.direct.start()

    async def _start_worker(self, channels: Mapping[str, Channel], only: MessageId | None) -> None:
        seams = Seams(clock=self.clock.machine, entropy=self._entropy)
        self._channels = LiveChannels(channels, lease_ms=self._lease_ms, seams=seams, store=self.store)
        self.worker = self._worker(self._channels.by_name, only)
        self.committer = self.worker.committer
        self.committer.start()
        drains = self._settings.drain_on_startup and only is None
        await self.worker.start(drains=drains and self._settings.drain_budget_ms > 0)
        if drains:
            self.startup_drain = asyncio.get_running_loop().create_task(
                self.worker.drain(self._settings.drain_budget_ms, at_start=True)
            )

    async def _open_store(self, *, make: bool) -> None:
        alarm, clock = self.reporter.alarm, self.clock.machine
        store = await opened_or_memory(self.store, self._settings, alarm, clock=clock, make=make)
        if store is not self.store:
            self.fell_back = True
            self.store = store
            self.committer = Committer(store, self.clock, self.reporter)
            self.waits.use(store)

    def _worker(self, channels: Mapping[str, Channel], only: MessageId | None) -> Worker:
        # Who delivers one message alone serves no channel: others must not rely on it (contract CL7).
        identity = self._identity(tuple(sorted(channels)) if only is None else ())
        return Worker(
            self.store,
            self.reporter,
            channels,
            worker_settings(self._settings, lease_ms=self._lease_ms, only=only),
            clock=self.clock,
            entropy=self._entropy,
            identity=identity,
            hooks=self.hooks,
        )

    def _identity(self, channels: tuple[str, ...]) -> WorkerStart:
        return WorkerStart(
            id=self._entropy.token(16),
            host=platform.node(),
            pid=os.getpid(),
            version=__version__,
            channels=channels,
            now_ms=self.clock.wall_ms(),
        )

    async def _recipients(self, settings: Settings) -> Recipients:
        """Return how recipients are logged; their hashes are alike in every process of a database."""
        return Recipients(None if settings.log_recipients else await self.store.log_key())

    async def presence(self) -> bytes:
        """
        Return the id by which others can tell whether this process still runs (contract DK1).

        Where it delivers nothing, it is registered for this alone, at the first use.
        """
        if self.worker is not None:
            return self.worker.id
        async with self._registering:
            if self._acceptor is None:
                start = self._identity(())
                self._acceptor = await self.store.register(start), start.id
        return self._acceptor[1]

    # At work

    def check_home(self, tenant: str) -> None:
        """Raise InvalidMessage where the database is a shard on which *tenant* is not at home."""
        if self._place is not None:
            check_tenant(self._place, tenant)

    def expect(self, draft: Draft) -> None:
        """Allow the worker to claim a message with the commit that stores it, if it may go now."""
        if self.worker is not None and draft.not_before_ms is None:
            self.worker.feed.expect(draft.tenant, draft.channel)

    def pruner(self) -> Pruner:
        """Return what prunes on demand."""
        if self.worker is not None:
            return self.worker.pruner
        guard = ClockGuard(self.clock, self.reporter.alarm)
        return Pruner(self.committer, guard, self.clock, retention_of(self._settings))

    async def reload(self, settings: Settings, channels: Mapping[str, Channel]) -> None:
        """
        Work by *settings*, and send through *channels* in the place of those of the same names.

        Raises:
            ConfigError: A send may take as long as the worker's lease; nothing changed.
            Refused: The queue is disabled, and a channel would have to change; nothing changed.
            StoreError: What recipients in the log are hashed with cannot be read; nothing changed.
        """
        if self.direct is not None and channels:
            msg = "channels cannot change while the queue is disabled (enabled = false): that takes a restart"
            raise Refused(msg)
        recipients = await self._recipients(settings)
        if self._channels is not None and self.worker is not None and channels:
            await self._channels.replace(channels, settings, self.worker)
            await self.worker.try_again(channels, other=True)
        await self.store.limit(limits_of(settings))
        self.reporter.lines.recipients = recipients
        self._settings = settings
        if self.worker is not None:
            self.worker.take_over(worker_settings(settings, lease_ms=self._lease_ms, only=None))

    async def until_closed(self, drain: asyncio.Future[DrainReport]) -> DrainReport:
        """Wait for a drain. Raises NotStarted where a `close` comes before its end."""
        self._awaited.add(drain)
        try:
            await asyncio.wait((drain,))
            return drain.result()
        except asyncio.CancelledError:
            if self._end.begun and drain.cancelled():
                raise NotStarted("the outbox was closed before the drain had ended") from None
            drain.cancel()
            raise
        finally:
            self._awaited.discard(drain)

    # Close

    async def close(self, deadline_seconds: float) -> int:
        """Stop in order: the sends, the writing, the database. Return how many sends were cut off. See `End.reach`."""
        return await self._end.reach(deadline_seconds)

    def _hurry(self) -> None:
        if self.worker is not None:
            self.worker.executor.cut_off()

    async def _close(self, patience: Patience) -> int:
        """Take one step of the end after the other, each to its end; once this is cancelled, nothing waits any more."""
        cut = 0
        try:
            direct, channels = self.direct, self._channels
            drains = {*self._awaited, *filter(None, (self.startup_drain,))}
            for drain in drains:
                drain.cancel()
            if drains:
                await patience.through(lambda _: asyncio.wait(drains))
            if self.worker is not None:
                cut = await patience.through(self.worker.stop) or 0
            if direct is not None:
                await patience.through(lambda _: direct.stop())
            if channels is not None:
                await patience.through(lambda _: channels.retired())
            if self._acceptor is not None:
                slot = self._acceptor[0]
                await patience.through(lambda _: deregister(self.store, slot, self.reporter))
        finally:
            await self._close_store(patience)
        await patience.through(lambda _: self._bus.settle(_SUBSCRIBER_SECONDS_MAX, clock=self.clock))
        return cut

    async def _close_store(self, patience: Patience) -> None:
        try:
            await patience.through(lambda _: self.committer.stop())
        finally:
            # Whoever waits for a message looks once more, and hears that this is closed.
            await patience.through(lambda _: self.waits.stop())
            if not self.fell_back:
                await patience.through(lambda _: self.store.close())
            for on_closed in self.on_closed:
                on_closed()

    async def salvage(self) -> None:
        """
        Drop what the event loop that has ended left open, and write what is known, on the loop that runs now.

        What was answered is recorded as answered; what was cut off by the end of the loop is uncertain. Raises nothing.
        """
        slots = []
        if self.worker is not None:
            slots = [self.worker.slot]
            self.worker.executor.break_off()
        if self._channels is not None:
            await self._channels.salvage()
        if self._acceptor is not None:
            slots.append(self._acceptor[0])
        try:
            await self.committer.salvage()
            for slot in slots:
                await deregister(self.store, slot, self.reporter)
        except Exception as exc:  # noqa: BLE001 — its leases run out then, as after a crash
            self.reporter.alarm("recording_failed", f"what an ended event loop left behind: {exc}")
        with contextlib.suppress(Exception):
            if not self.fell_back:
                await self.store.close()
