"""One opened outbox: its store, its committer, and the worker where it delivers. Made by `start`, ended by `close`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import logging
import os
import platform
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from pillarbox.__about__ import __version__
from pillarbox.channels.base import Channel, Seams
from pillarbox.deadline import ended_within
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Draft, State
from pillarbox.domain.retry import Policy
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.committer import Committer
from pillarbox.engine.pruner import Pruner
from pillarbox.engine.resources import close_channel, deregister, start_channel
from pillarbox.engine.waits import Waits
from pillarbox.engine.worker import Worker
from pillarbox.engine.worker_settings import WorkerSettings
from pillarbox.errors import ConfigError, NotStarted, Refused, StoreError
from pillarbox.events.log_lines import Recipients
from pillarbox.events.reporter import Reporter
from pillarbox.outbox.direct import Direct
from pillarbox.outbox.health import present
from pillarbox.settings.load import NO_LIMIT, Settings, lease_seconds
from pillarbox.store.base import Store, WorkerStart
from pillarbox.store.registry import file_of, open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pillarbox.domain.ids import MessageId
    from pillarbox.engine.drain import DrainReport
    from pillarbox.engine.hooks import Hooks
    from pillarbox.entropy import Entropy
    from pillarbox.events.bus import Bus
    from pillarbox.queue_clock import QueueClock

T = TypeVar("T")
_MS = timedelta(milliseconds=1)
# Databases that could not be opened, by process and place, and what stands in for them until the process ends.
_fallbacks: dict[tuple[int, str], Store] = {}
_SUBSCRIBER_SECONDS_MAX: Final = 5.0
_RETIRING_SECONDS_MAX: Final = 5.0
_log = logging.getLogger("pillarbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    A configured way out, and what its messages get.

    ``channel`` is ``None`` where this process does not have it, ``url`` where it was not made of one.
    """

    channel: Channel | None
    policy: Policy
    ordered: bool
    url: str | None = field(default=None, repr=False)


def limits_of(settings: Settings) -> Limits:
    """Give the bounds on active messages that *settings* ask for."""
    limits = settings.limits
    own = {name: item.limit_messages for name, item in settings.channels.items() if item.limit_messages is not None}
    return Limits(
        messages=limits.messages,
        bytes=limits.bytes,
        channels=own,
        channel_messages=limits.channel_messages,
        recipient_messages=limits.recipient_messages,
        tenant_messages=limits.tenant_messages,
    )


def _place(db: str) -> str:
    """Give one name to a database, however it is spelt."""
    file = file_of(db)
    return db if file is None else str(file.resolve())


class Runtime:
    """What is open between `start` and `close`."""

    def __init__(
        self, store: Store, bus: Bus, settings: Settings, *, clock: QueueClock, entropy: Entropy, hooks: Hooks
    ) -> None:
        self.store = store
        self.clock = clock
        self.reporter = Reporter(bus, clock)
        self.committer = Committer(
            store,
            clock,
            alarm=self.reporter.alarm,
            accepted=self.reporter.accepted,
            quiet=self.reporter.quiet,
            troubles=self.reporter.troubles,
        )
        self.waits = Waits(store, self.reporter, clock)
        self.worker: Worker | None = None
        self.direct: Direct | None = None
        self.fell_back = False
        self._acceptor: tuple[int, bytes] | None = None
        self._registering = asyncio.Lock()
        self.startup_drain: asyncio.Task[DrainReport] | None = None
        self._bus = bus
        self._settings = settings
        self._clock = clock
        self._entropy = entropy
        self.hooks = hooks
        self._channels: dict[str, Channel] = {}
        self._lease_ms = 0
        self._retiring: set[asyncio.Task[None]] = set()
        self._end: asyncio.Future[int] | None = None
        self._ends_at = 0.0
        self._awaited: set[asyncio.Future[DrainReport]] = set()
        self._events = asyncio.get_running_loop()
        self._pid = os.getpid()

    def foreign(self) -> bool:
        """Whether this process is a fork of the one that opened it (contract LE9)."""
        return self._pid != os.getpid()

    def here(self) -> bool:
        """Whether the event loop that runs is the one that opened it: with another, nothing of it can be used."""
        return self._events is asyncio.get_running_loop()

    def stranded(self) -> bool:
        """Whether its event loop has ended without a `close`: nobody will go on there."""
        return self._events.is_closed()

    @property
    def closed(self) -> bool:
        """Whether a `close` has come to its end."""
        return self._end is not None and self._end.done()

    def leak(self) -> None:
        """
        Keep every handle for ever.

        In a forked child they are the parent's: its loop, its sockets, its sends under way. The database's connections
        are closed already; the store sees to that, because SQLite must not believe in locks that only the parent has.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    async def open(self, channels: Mapping[str, Channel], *, only: MessageId | None = None) -> None:
        """Open the database; deliver through *channels*, where there are any. What fails leaves nothing open."""
        try:
            await self._open(channels, only)
        except BaseException:
            await self.close(0)
            raise

    async def _open(self, channels: Mapping[str, Channel], only: MessageId | None) -> None:
        lease_ms = int(lease_seconds(self._settings, (c.send_timeout_seconds for c in channels.values())) * 1000)
        await self._open_store()
        # Before anything is judged by its time.
        self._clock.learn(await self.store.clock_news())
        self.reporter.lines.recipients = await self._recipients(self._settings)
        self.store.on_question(functools.partial(present, self))
        self.committer.start()
        if not channels:
            return
        if not self._settings.enabled:
            # Sends without a queue (contract EN12).
            self.direct = Direct(channels, self.reporter, clock=self._clock, entropy=self._entropy, hooks=self.hooks)
            await self.direct.start()
            return
        self._channels, self._lease_ms = dict(channels), lease_ms
        # It looks a channel up there for each message, so that `reload` can put another in its place.
        self.worker = self._worker(self._channels, lease_ms, only)
        await self.worker.start()
        if self._settings.drain_on_startup and only is None:
            self.startup_drain = asyncio.get_running_loop().create_task(
                self.worker.drain(self._settings.drain_budget_ms, at_start=True)
            )

    async def presence(self) -> bytes:
        """
        Give the id by which others can tell whether this process still runs (contract DK1).

        Where it delivers nothing, it is registered for this alone, at the first use.
        """
        if self.worker is not None:
            return self.worker.id
        async with self._registering:
            if self._acceptor is None:
                start = self._identity(())
                self._acceptor = await self.store.register(start), start.id
        return self._acceptor[1]

    def _identity(self, channels: tuple[str, ...]) -> WorkerStart:
        return WorkerStart(
            id=self._entropy.token(16),
            host=platform.node(),
            pid=os.getpid(),
            version=__version__,
            channels=channels,
            now_ms=self._clock.wall_ms(),
        )

    async def _open_store(self) -> None:
        """Open the database; where that fails and the settings say so, work in memory from then on (contract SG1)."""
        if self._settings.fallback != "memory":
            await self.store.open()
            return
        # However the path is spelt; and a forked child has not got what its parent holds.
        place = os.getpid(), _place(self._settings.db)
        fallen = _fallbacks.get(place)
        if fallen is None:
            try:
                await self.store.open()
            except StoreError as exc:
                # Sticky for the process: going back to the file later would strand what is in memory.
                fallen = _fallbacks[place] = open_store(":memory:", clock=self._clock.machine)
                await fallen.open()
                self.reporter.alarm("fallback_memory", f"{exc}; nothing survives this process now")
            else:
                return
        self.fell_back = True
        self.store = fallen
        self.committer.use(fallen)
        self.waits.use(fallen)

    def _worker(self, channels: Mapping[str, Channel], lease_ms: int, only: MessageId | None) -> Worker:
        # Who delivers one message alone serves no channel: others must not rely on it (contract CL7).
        identity = self._identity(tuple(sorted(channels)) if only is None else ())
        return Worker(
            self.store,
            self.committer,
            self.reporter,
            channels,
            self._worker_settings(lease_ms, only),
            clock=self._clock,
            entropy=self._entropy,
            identity=identity,
            hooks=self.hooks,
        )

    def _worker_settings(self, lease_ms: int, only: MessageId | None) -> WorkerSettings:
        own = self._settings
        return WorkerSettings(
            lease_ms=lease_ms,
            concurrency=own.concurrency,
            only=only,
            full_history=frozenset(name for name, channel in own.channels.items() if channel.history == "full"),
            prune_interval_ms=own.prune_interval_ms,
            retention_ms=self._retention_ms(),
            key_retention_ms=own.key_retention // _MS,
            audit_retention_ms=own.audit_retention // _MS,
            held_retention_ms=own.held_retention // _MS,
            content_retention_ms=self._content_retention_ms(),
            mirror_retention_ms=own.retention.mirror // _MS,
        )

    def _retention_ms(self) -> dict[State, int]:
        retention = self._settings.retention
        return {
            State.DELIVERED: retention.delivered // _MS,
            State.CANCELLED: retention.cancelled // _MS,
            State.EXPIRED: retention.expired // _MS,
            State.DEAD: retention.dead // _MS,
        }

    def _content_retention_ms(self) -> int | None:
        content = self._settings.retention.content
        return None if content == NO_LIMIT else content // _MS

    async def reload(self, settings: Settings, channels: Mapping[str, Channel]) -> None:
        """
        Work by *settings*, and send through *channels* in the place of those of the same names.

        Sends under way end through the channel in which they began; it is closed after the last of them.

        Raises:
            ConfigError: A send may take as long as the worker's lease; nothing changed.
            Refused: The queue is disabled, and a channel would have to change; nothing changed.
            StoreError: What recipients in the log are hashed with cannot be read; nothing changed.
        """
        if self.direct is not None and channels:
            msg = "channels cannot change while the queue is disabled (enabled = false): that takes a restart"
            raise Refused(msg)
        recipients = await self._recipients(settings)
        if self.worker is not None and channels:
            self._check_lease(settings, channels)
            begun = contextlib.AsyncExitStack()
            async with begun:
                for name, channel in channels.items():
                    begun.push_async_callback(close_channel, name, channel, self._clock)
                    await start_channel(name, channel, Seams(clock=self._clock.machine, entropy=self._entropy))
                begun.pop_all()
            for name, channel in channels.items():
                before, self._channels[name] = self._channels[name], channel
                task = asyncio.get_running_loop().create_task(self._retire(name, before))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
        await self.store.limit(limits_of(settings))
        self.reporter.lines.recipients = recipients
        self._settings = settings
        if self.worker is not None:
            self.worker.take_over(self._worker_settings(self._lease_ms, None))

    async def _recipients(self, settings: Settings) -> Recipients:
        """Say how recipients are logged; their hashes are alike in every process of a database."""
        return Recipients(None if settings.log_recipients else await self.store.log_key())

    def _check_lease(self, settings: Settings, channels: Mapping[str, Channel]) -> None:
        lease_seconds(settings, (channel.send_timeout_seconds for channel in channels.values()))
        for name, channel in channels.items():
            if channel.send_timeout_seconds * 1000 >= self._lease_ms:
                raise ConfigError(
                    f"channels.{name}.timeout",
                    f"expected less than {self._lease_ms / 1000:g}s, the lease of the worker that runs; a restart makes"
                    " it longer",
                )

    async def _retire(self, name: str, channel: Channel) -> None:
        """Close a channel after the last send that began in it."""
        flights = () if self.worker is None else self.worker.executor.flights.values()
        under_way = [flight.task for flight in flights if flight.message.channel == name and flight.task is not None]
        if under_way:
            await asyncio.wait(under_way)
        await close_channel(name, channel, self._clock)

    async def _retired(self) -> None:
        await ended_within(tuple(self._retiring), _RETIRING_SECONDS_MAX, clock=self._clock)

    def expect(self, draft: Draft) -> None:
        """Let the worker claim a message with the commit that stores it, if it may go now."""
        if self.worker is not None and draft.not_before_ms is None:
            self.worker.expect(draft.tenant, draft.channel)

    def pruner(self) -> Pruner:
        """Give what prunes on demand."""
        if self.worker is not None:
            return self.worker.pruner
        return Pruner(
            self.committer,
            ClockGuard(self._clock, self.reporter.alarm),
            self._clock,
            retention_ms=self._retention_ms(),
            key_retention_ms=self._settings.key_retention // _MS,
            audit_retention_ms=self._settings.audit_retention // _MS,
            content_retention_ms=self._content_retention_ms(),
            mirror_retention_ms=self._settings.retention.mirror // _MS,
            interval_ms=self._settings.prune_interval_ms,
        )

    async def until_closed(self, drain: asyncio.Future[DrainReport]) -> DrainReport:
        """Wait for a drain. Raises NotStarted where a `close` comes before its end."""
        self._awaited.add(drain)
        try:
            await asyncio.wait((drain,))
            return drain.result()
        except asyncio.CancelledError:
            if self._end is not None and drain.cancelled():
                raise NotStarted("the outbox was closed before the drain had ended") from None
            drain.cancel()
            raise
        finally:
            self._awaited.discard(drain)

    async def close(self, deadline_seconds: float) -> int:
        """
        Stop in order: the sends, the writing, the database. Gives how many sends were cut off.

        Called again meanwhile, it waits for the same end; with an earlier deadline, that one holds. A caller that is
        cancelled stops waiting, and the end comes all the same.
        """
        ends_at = self._clock.mono() + deadline_seconds
        if self._end is None:
            # No task: whoever cancels every task that there is must not end this wait.
            self._end = self._events.create_future()
            self._ends_at = ends_at
            self._begin_closing(deadline_seconds)
        elif ends_at < self._ends_at and self.worker is not None:
            self._ends_at = ends_at
            self._clock.call_later(deadline_seconds, self.worker.executor.cut_off)
        return await asyncio.shield(self._end)

    def _begin_closing(self, deadline_seconds: float) -> None:
        self._events.create_task(self._close(deadline_seconds)).add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[int]) -> None:
        if self._end is None or self._end.done():
            return
        if task.cancelled():
            # Before its first step.
            self._begin_closing(0)
            return
        error = task.exception()
        if error is None:
            self._end.set_result(task.result())
            return
        self._end.set_exception(error)
        # Whoever waited may be gone.
        self._end.exception()

    async def _close(self, deadline_seconds: float) -> int:
        """Take one step of the end after the other, each to its end; once this is cancelled, nothing waits any more."""
        patience = _Patience(deadline_seconds)
        cut = 0
        try:
            direct = self.direct
            drains = {*self._awaited, *filter(None, (self.startup_drain,))}
            for drain in drains:
                drain.cancel()
            if drains:
                await patience.through(lambda _: asyncio.wait(drains))
            if self.worker is not None:
                cut = await patience.through(self.worker.stop) or 0
            if direct is not None:
                await patience.through(lambda _: direct.stop())
            if self._retiring:
                await patience.through(lambda _: self._retired())
            if self._acceptor is not None:
                slot = self._acceptor[0]
                await patience.through(lambda _: deregister(self.store, slot, self.reporter))
        finally:
            await self._close_store(patience)
        await patience.through(lambda _: self._bus.settle(_SUBSCRIBER_SECONDS_MAX, clock=self._clock))
        return cut

    async def _close_store(self, patience: _Patience) -> None:
        try:
            await patience.through(lambda _: self.committer.stop())
        finally:
            # Whoever waits for a message looks once more, and hears that this is closed.
            await patience.through(lambda _: self.waits.stop())
            if not self.fell_back:
                await patience.through(lambda _: self.store.close())

    async def salvage(self) -> None:
        """
        Let go of what the event loop that has ended left open, and write what is known, on the loop that runs now.

        What was answered is recorded as answered; what was cut off by the end of the loop is uncertain. Raises nothing.
        """
        slots = []
        if self.worker is not None:
            slots = [self.worker.slot]
            self.worker.executor.break_off()
            for name, channel in self._channels.items():
                await close_channel(name, channel, self._clock)
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


class _Patience:
    """Takes steps of an end to their end: the first cancellation takes the patience, and then they go on in a hurry."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def through(self, step: Callable[[float], Awaitable[T]]) -> T | None:
        """Take *step*, which is told how long it may wait, and is safe to repeat; again where it is cancelled."""
        while True:
            try:
                return await step(self._seconds)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or not task.cancelling():
                    # Raised by something of the program's own that was asked to close: that step is over.
                    return None
                while task.uncancel():
                    pass
                self._seconds = 0.0
