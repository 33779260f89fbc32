"""One opened outbox: its store, its committer, and the worker where it delivers. Made by `start`, ended by `close`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import platform
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pillarbox.__about__ import __version__
from pillarbox.channels.base import Channel
from pillarbox.config import NO_LIMIT, Settings, lease_seconds
from pillarbox.domain.message import Draft, State
from pillarbox.domain.retry import Policy
from pillarbox.engine.clockguard import ClockGuard
from pillarbox.engine.committer import Committer
from pillarbox.engine.pruner import Pruner
from pillarbox.engine.reporter import Reporter
from pillarbox.engine.worker import DrainReport, Worker, WorkerSettings
from pillarbox.errors import StoreError
from pillarbox.store.base import Store, WorkerStart
from pillarbox.store.registry import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pillarbox.clock import Clock
    from pillarbox.domain.ids import MessageId
    from pillarbox.engine.hooks import Hooks
    from pillarbox.entropy import Entropy
    from pillarbox.events import Bus

_MS = timedelta(milliseconds=1)
# Databases that could not be opened, and what stands in for them until the process ends.
_fallbacks: dict[str, Store] = {}
_SUBSCRIBER_SECONDS_MAX: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A configured way out, and what its messages get. ``channel`` is ``None`` where this process does not have it."""

    channel: Channel | None
    policy: Policy
    ordered: bool


class Runtime:
    """What is open between `start` and `close`."""

    def __init__(
        self, store: Store, bus: Bus, settings: Settings, *, clock: Clock, entropy: Entropy, hooks: Hooks
    ) -> None:
        self.store = store
        self.reporter = Reporter(bus, clock)
        self.committer = Committer(store, clock, alarm=self.reporter.alarm, accepted=self.reporter.accepted)
        self.worker: Worker | None = None
        self.startup_drain: asyncio.Task[DrainReport] | None = None
        self._bus = bus
        self._settings = settings
        self._clock = clock
        self._entropy = entropy
        self._hooks = hooks
        self._closing: asyncio.Future[int] | None = None
        self._pid = os.getpid()

    def foreign(self) -> bool:
        """Whether this process is a fork of the one that opened it (contract LE9)."""
        return self._pid != os.getpid()

    def leak(self) -> None:
        """
        Keep every handle for ever.

        In a forked child they are the parent's: its loop, its sockets, its sends under way. The database's connections
        are closed already; the store sees to that, because SQLite must not believe in locks that only the parent has.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    async def open(self, channels: Mapping[str, Channel], *, only: MessageId | None = None) -> None:
        """Open the database; deliver through *channels*, where there are any."""
        lease_ms = int(lease_seconds(self._settings, (c.send_timeout_seconds for c in channels.values())) * 1000)
        await self._open_store()
        self.committer.start()
        if not channels:
            return
        try:
            self.worker = self._worker(channels, lease_ms, only)
            await self.worker.start()
        except BaseException:
            await self.close(0)
            raise
        if self._settings.drain_on_startup and only is None:
            self.startup_drain = asyncio.get_running_loop().create_task(
                self.worker.drain(self._settings.drain_budget_ms)
            )

    async def _open_store(self) -> None:
        """Open the database; where that fails and the settings say so, work in memory from then on (contract SG1)."""
        fallen = _fallbacks.get(self._settings.db)
        if fallen is None:
            try:
                await self.store.open()
            except StoreError as exc:
                if self._settings.fallback != "memory":
                    raise
                # Sticky for the process: going back to the file later would strand what is in memory.
                fallen = _fallbacks[self._settings.db] = open_store(":memory:")
                await fallen.open()
                self.reporter.alarm("fallback_memory", f"{exc}; nothing survives this process now")
            else:
                return
        self.store = fallen
        self.committer.use(fallen)

    def _worker(self, channels: Mapping[str, Channel], lease_ms: int, only: MessageId | None) -> Worker:
        identity = WorkerStart(
            id=self._entropy.token(16),
            host=platform.node(),
            pid=os.getpid(),
            version=__version__,
            # Who delivers one message alone serves no channel: others must not rely on it (contract CL7).
            channels=tuple(sorted(channels)) if only is None else (),
            now_ms=self._clock.wall_ms(),
        )
        settings = WorkerSettings(
            lease_ms=lease_ms,
            concurrency=self._settings.concurrency,
            only=only,
            full_history=frozenset(name for name, own in self._settings.channels.items() if own.history == "full"),
            prune_interval_ms=self._settings.prune_interval_ms,
            retention_ms=self._retention_ms(),
            key_retention_ms=self._settings.key_retention // _MS,
            audit_retention_ms=self._settings.audit_retention // _MS,
            held_retention_ms=self._settings.held_retention // _MS,
            content_retention_ms=self._content_retention_ms(),
        )
        return Worker(
            self.store,
            self.committer,
            self.reporter,
            channels,
            settings,
            clock=self._clock,
            entropy=self._entropy,
            identity=identity,
            hooks=self._hooks,
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
            interval_ms=self._settings.prune_interval_ms,
        )

    async def close(self, deadline_seconds: float) -> int:
        """
        Stop in order: the sends, the writing, the database. Gives how many sends were cut off.

        Called again meanwhile, it waits for the same end.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(deadline_seconds))
        return await asyncio.shield(self._closing)

    async def _close(self, deadline_seconds: float) -> int:
        cut = 0
        if self.startup_drain is not None and not self.startup_drain.done():
            self.startup_drain.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.startup_drain
        try:
            if self.worker is not None:
                cut = await self.worker.stop(deadline_seconds)
        finally:
            try:
                await self.committer.stop()
            finally:
                if self.store is not _fallbacks.get(self._settings.db):
                    await self.store.close()
        await self._bus.settle(_SUBSCRIBER_SECONDS_MAX)
        return cut
