"""
`Outbox`: what applications call. Accepts messages, and delivers them where it has channels and is asked to.

Nothing is decided here: it checks, hands over, and translates between callers' values and the engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack

from pillarbox.clock import Clock, SystemClock
from pillarbox.domain.envelope import Kind
from pillarbox.domain.ids import MessageId
from pillarbox.domain.outgoing import Outgoing, outgoing_of
from pillarbox.domain.timeline import shifted
from pillarbox.engine.hooks import Hooks
from pillarbox.entropy import Entropy, SystemEntropy
from pillarbox.errors import (
    NotFound,
    NotStarted,
    Refused,
    UnknownChannel,
)
from pillarbox.events.bus import Bus, Subscriber
from pillarbox.outbox.checks import Acceptance, Options
from pillarbox.outbox.mirror import MirrorBook
from pillarbox.outbox.reads import Operations
from pillarbox.outbox.reload import Reloading
from pillarbox.outbox.routes import Target, make_route, unserved_route
from pillarbox.outbox.runtime import Route, Runtime, limits_of
from pillarbox.outbox.sending import Intake, positioned
from pillarbox.queue_clock import QueueClock
from pillarbox.settings.load import is_default_db, mask_dsn
from pillarbox.settings.overrides import override, with_channel
from pillarbox.store.base import (
    Durability,
    Store,
)
from pillarbox.store.registry import no_store, open_store

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from pillarbox.channels.base import Channel
    from pillarbox.events.events import BusEvent
    from pillarbox.outbox.message import BaseMessage, Message
    from pillarbox.settings import load as config

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("pillarbox")
_ELSEWHERE: Final = (
    "the outbox is open in another event loop, or another thread's: use it there, close() it there first, or let"
    " threads share a pillarbox.sync.Outbox"
)


class Outbox(Operations, Intake, Reloading):
    """
    A durable outbox on one database.

    Making one does no I/O, so it can be a module's global. `start` and `close` are safe to repeat; ``async with`` is
    the two.

    Args:
        db: ``outbox.db``, ``sqlite:///…`` or ``:memory:``; ``None`` takes the settings' own.
        channels: Ways out by name: a URL, a `Channel`, or a function of an `Attempt`.
        deliver: Whether this process sends. Without it messages are only accepted, for another process to send.
        settings: Read by `settings.load`; further keyword arguments win over it (`config.explain` lists them).
        clock: Where time comes from; tests and the simulator pass their own, as with *entropy* and *store*. Where it
            is set, the queue's own time goes on (`pillarbox.domain.timeline`).

    Raises:
        ConfigError: A setting or a channel that cannot be.
    """

    def __init__(
        self,
        db: str | Path | None = None,
        channels: Mapping[str, Target] | None = None,
        *,
        deliver: bool = True,
        settings: config.Settings | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        store: Callable[[], Store] | None = None,
        **overrides: Any,  # noqa: ANN401 — settings by name; config checks each
    ) -> None:
        super().__init__()
        self.settings = override(settings, overrides, db=None if db is None else str(db))
        self._deliver = deliver
        self._clock = QueueClock.of(clock or SystemClock())
        self._entropy = entropy or SystemEntropy()
        self._make_store = store or self._open_store
        self._acceptance = Acceptance(content_bytes_max=self.settings.content_bytes_max)
        self._routes: dict[str, Route] = {}
        self.events = Bus()
        self.hooks = Hooks(self._alarm, self.events, clock=self._clock)
        self.mirror = MirrorBook(self._opened, self._clock)
        self._runtime: Runtime | None = None
        self._stopping: Runtime | None = None
        self._starting = asyncio.Lock()
        self._turns_on: asyncio.AbstractEventLoop | None = None
        self._pid = self._starting_pid = os.getpid()
        for name, item in self.settings.channels.items():
            if item.url is not None:
                self.channel(name, item.url)
        for name, target in (channels or {}).items():
            self.channel(name, target)

    # Channels

    def channel(self, name: str, target: Target | None = None, **policy: Any) -> Any:  # noqa: ANN401 — a decorator too
        """
        Add a way out. As a decorator, ``@box.channel("pager")``, it adds the function below.

        Args:
            target: A URL, a `Channel`, or a function of an `Attempt`: async, or plain, which then runs in a bounded
                pool of threads. It returns a receipt, or raises an outcome.
            policy: What `config` knows of a channel: ``max_attempts``, ``ttl``, ``schedule``, ``uncertain``,
                ``concurrency``, ``timeout``, ``lane``, …; anything else is an option of the adapter.

        Raises:
            ConfigError: A malformed URL, an unknown scheme or option; names the field.
            Refused: The outbox has started.
        """
        if target is None:

            def decorate(function: F) -> F:
                self.channel(name, function, **policy)
                return function

            return decorate
        if self._runtime is not None:
            msg = "channels are added before start()"
            raise Refused(msg)
        self.settings = with_channel(self.settings, name, policy)
        self._routes[name] = make_route(self.settings, name, target)
        return target

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels this process has."""
        return tuple(self._routes)

    def way_out(self, name: str) -> Channel | None:
        """Give the channel of that name; ``None`` where this process does not have it."""
        route = self._routes.get(name)
        return None if route is None else route.channel

    def route(self, name: str) -> Route:
        """Give what the messages of a channel get; any name may be asked for."""
        return self._routes.get(name) or unserved_route(self.settings, name)

    # Life

    async def start(self) -> None:
        """
        Open the database, and begin to deliver where there is a channel. Returns without waiting for any delivery.

        Raises:
            StoreError: The database cannot be opened; its subclass says why.
            ConfigError: The settings contradict each other.
            Refused: It is open in another event loop. What a loop that has ended left open is let go first.
        """
        async with self._turn():
            await self._let_go()
            if self._runtime is None:
                self._runtime = await self._open(self._deliveries())

    def _turn(self) -> asyncio.Lock:
        """
        Start and stop go one after the other.

        Raises:
            Refused: Another event loop is about to do either.
        """
        loop = asyncio.get_running_loop()
        if not self._is_taken():
            # A lock of the parent's, or of a loop that has ended, may be held by a task that does not exist here.
            if self._turns_on is not loop:
                self._starting = asyncio.Lock()
            self._turns_on, self._starting_pid = loop, os.getpid()
        elif self._turns_on is not loop:
            raise Refused(_ELSEWHERE)
        return self._starting

    def _is_taken(self) -> bool:
        """Whether somebody who still exists has the turn."""
        gone = self._starting_pid != os.getpid() or self._turns_on is None or self._turns_on.is_closed()
        return self._starting.locked() and not gone

    async def _let_go(self) -> None:
        """Let go of what cannot be used any more: what a forked child inherited, or what an ended loop left open."""
        for runtime in filter(None, (self._runtime, self._stopping)):
            if runtime.foreign():
                runtime.leak()
            elif runtime.here():
                if runtime is self._stopping:
                    await runtime.close(self.settings.stop_seconds)
                continue
            elif runtime.stranded():
                _log.warning("the event loop of this outbox ended before close(): what it was sending is uncertain")
                await runtime.salvage()
            else:
                raise Refused(_ELSEWHERE)
            self._runtime = None if runtime is self._runtime else self._runtime
            self._stopping = None if runtime is self._stopping else self._stopping

    def _deliveries(self) -> dict[str, Channel]:
        if not self._deliver:
            return {}
        if self._pid != os.getpid():
            # LE9: a fork stands between the making of this outbox and now, and no worker starts there by itself.
            _log.warning("this outbox was made before a fork: it accepts here, and another process has to deliver")
            return {}
        return {name: route.channel for name, route in self._routes.items() if route.channel is not None}

    async def _open(self, deliveries: Mapping[str, Channel], *, only: MessageId | None = None) -> Runtime:
        runtime = Runtime(
            self._make_store(), self.events, self.settings, clock=self._clock, entropy=self._entropy, hooks=self.hooks
        )
        await runtime.open(deliveries, only=only)
        return runtime

    async def close(self) -> None:
        """Stop delivering, write what is known, and let every handle go."""
        await self.stop()

    async def stop(self, deadline: float | None = None) -> int:
        """
        Close, waiting at most *deadline* seconds (default: the setting ``stop_seconds``) for sends under way.

        Returns:
            How many sends were cut off; what became of those messages is uncertain.
        """
        async with self._turn():
            if not all(runtime.here() for runtime in (self._runtime, self._stopping) if runtime is not None):
                await self._let_go()
            runtime, self._runtime = self._runtime or self._stopping, None
            self._stopping = runtime
        if runtime is None:
            return 0
        try:
            return await runtime.close(self.settings.stop_seconds if deadline is None else deadline)
        finally:
            # A caller that stopped waiting leaves it to the next one, who waits for the same end.
            if self._stopping is runtime and runtime.closed:
                self._stopping = None
                self._following.clear()

    def stop_now(self) -> int:
        """Cut off what a `stop` under way still waits for; gives how many sends that were. Each is uncertain then."""
        worker = None if self._stopping is None else self._stopping.worker
        return 0 if worker is None else worker.executor.cut_off()

    @property
    def started(self) -> bool:
        """Whether it is open: between `start` and `close`, while the event loop of the `start` lasts."""
        return self._runtime is not None and not self._runtime.stranded()

    def deliver_here(self) -> None:
        """Deliver in this process, whatever ``deliver=`` said. Raises Refused after `start`."""
        if self._runtime is not None:
            msg = "whether this process delivers is said before start()"
            raise Refused(msg)
        self._deliver = True

    async def served(self, channel: str) -> bool:
        """Whether a live worker has *channel*, in whatever process."""
        return any(worker.alive is not False and channel in worker.channels for worker in await self.workers())

    @contextlib.asynccontextmanager
    async def delivering(self, message: Message) -> AsyncIterator[None]:
        """
        Deliver this one message here while the context lasts, and no other (contract CL7).

        At its end a send under way is cut off: its message is uncertain then, and stays queued.

        Raises:
            UnknownChannel: This process does not have the message's channel.
        """
        view = None if message.id is None else await (await self._opened()).store.get(MessageId(message.id))
        if view is None or view.state.terminal:
            yield
            return
        route = self._routes.get(view.channel)
        if route is None or route.channel is None:
            raise UnknownChannel(view.channel, self.channels)
        runtime = await self._open({view.channel: route.channel}, only=view.id)
        try:
            yield
        finally:
            await runtime.close(0)

    @contextlib.asynccontextmanager
    async def opened_store(self) -> AsyncIterator[Store]:
        """Give the database itself, for what moves whole queues; before `start` it is open for the context alone."""
        if self._runtime is not None:
            runtime = await self._opened()
            try:
                yield runtime.store
            finally:
                if runtime.worker is not None:
                    # What was written here is no foreign write, and no batch of the worker's either.
                    runtime.worker.look()
            return
        store = self._make_store()
        try:
            await store.open()
            yield store
        finally:
            await store.close()

    def __repr__(self) -> str:
        return f"<Outbox {mask_dsn(self.settings.db)}>"

    def __del__(self) -> None:
        """Say so where it was never closed. What it had open goes with its store; a loop that runs keeps a worker."""
        runtime = getattr(self, "_runtime", None)
        if runtime is None or runtime.foreign() or runtime.closed:
            return
        said = f"{self!r} was never closed: await close(), or use it as a context manager"
        warnings.warn(said, ResourceWarning, stacklevel=2)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def _live(self) -> Runtime:
        runtime = self._runtime
        if runtime is None or runtime.foreign():
            msg = "the outbox is not open: await start(), or use it as a context manager"
            raise NotStarted(msg)
        if not runtime.here():
            if runtime.stranded():
                raise NotStarted("the event loop that this outbox was opened in has ended: await start() again")
            raise Refused(_ELSEWHERE)
        return runtime

    async def _opened(self) -> Runtime:
        """Give what is open; a forked child opens its own at first use, and delivers nothing (contract LE9)."""
        if self._runtime is not None and self._runtime.foreign():
            await self.start()
        return self._live()

    # Sending

    async def send(self, channel: str, *, to: str, ephemeral: bool = False, **options: Unpack[Options]) -> Message:
        """
        Accept one message. When this returns, it is committed; nothing that happens later loses it.

        Cancelling the call undoes nothing: the message may be stored all the same, and `get` tells.

        Args:
            to: The recipient, as the channel writes it; one line, at most 2048 characters.
            ephemeral: Short for ``kind="block"``.
            options: What to say, and how: see `Options`. Blank text without files stores nothing; ``skipped`` is
                ``"empty"`` then, ``"hook"`` where a hook cancelled it, ``"aborted"`` where ``abort`` had been called.

        Raises:
            InvalidMessage: A value was refused; names the field. Nothing was written.
            KeyConflict: The key stands for another message. Nothing was written.
            UnknownChannel: This process delivers, and has no such channel.
            QueueFull: A limit is reached. Nothing was written.
            StoreError: It could not be committed; it is not stored.
            NotStarted: The outbox is not open.
            TypeError: An option that does not exist.
        """
        if ephemeral:
            options["kind"] = Kind.BLOCK
        return await self._accept(Outgoing(channel=channel, to=to, **options))

    async def send_many(self, messages: Iterable[Outgoing | Mapping[str, Any]]) -> list[Message]:
        """
        Accept several messages in one transaction: all or none.

        Args:
            messages: What `send` takes, as mappings or `Outgoing`. A list in ``to`` makes a message for each recipient,
                which share one stored content and one correlation id.

        Returns:
            One message for each, in order; several for one with several recipients.

        Raises:
            InvalidMessage: Names the position and the field; nothing was written. Otherwise as `send`.
        """
        expanded: list[Outgoing] = []
        for position, item in enumerate(messages):
            with positioned(position):
                expanded += self.expanded(outgoing_of(item))
        return await self._accept_all(expanded)

    def _alarm(self, what: str, detail: str) -> None:
        if self._runtime is not None:
            self._runtime.reporter.alarm(what, detail)

    async def _wait(self, message: BaseMessage, timeout: float | None) -> None:
        if message.state.terminal:
            return
        runtime = await self._opened()
        identity = MessageId(message.id or "")
        deadline = None if timeout is None else self._clock.mono() + timeout
        with runtime.waits.waiting(identity) as wait:
            while True:
                wait.begin()
                view = await runtime.store.get(identity)
                if view is None:
                    raise NotFound("message", identity)
                message.see(shifted(view, self._clock.ahead_ms()))
                left = None if deadline is None else deadline - self._clock.mono()
                if message.settled or (left is not None and left <= 0):
                    return
                await wait.changed(left)

    def subscribe(self, subscriber: Subscriber, *types: type[BusEvent]) -> Callable[[], None]:
        """Call *subscriber* for events of *types*, or all; gives a function that ends it. See `pillarbox.events`."""
        return self.events.subscribe(subscriber, *types)

    def _open_store(self) -> Store:
        if not self.settings.enabled:
            return no_store(self._entropy.token(16))
        durability = Durability(self.settings.durability)
        return open_store(
            self.settings.db,
            durability=durability,
            limits=limits_of(self.settings),
            make_parents=is_default_db(self.settings.db),
            clock=self._clock.machine,
        )
