"""`Lifetime`: what is open of an outbox between `start` and `close`, in which process and in which event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from pillarbox.channels.base import Channel
from pillarbox.domain.ids import MessageId
from pillarbox.engine.hooks import Hooks
from pillarbox.entropy import Entropy
from pillarbox.errors import NotStarted, Refused, UnknownChannel
from pillarbox.events.bus import Bus
from pillarbox.outbox.database import make_store
from pillarbox.outbox.message import Message
from pillarbox.outbox.routes import Routes
from pillarbox.outbox.runtime import Runtime
from pillarbox.queue_clock import QueueClock
from pillarbox.settings.explain import mask_dsn
from pillarbox.store.base import Store

_log = logging.getLogger("pillarbox")
NO_IMPORTS: Final = "queues are not imported into shards: import into a database of its own, and let a worker send it"
_ELSEWHERE: Final = (
    "the outbox is open in another event loop, or another thread's: use it there, close() it there first, or let"
    " threads share a pillarbox.sync.Outbox"
)


class Lifetime:
    """
    Opens a `Runtime`, returns it to those who ask, and closes it.

    Attributes:
        hooks: Those of the outbox.
        make_store: Makes the store of the next start; nothing is opened.
    """

    def __init__(
        self,
        routes: Routes,
        bus: Bus,
        *,
        clock: QueueClock,
        entropy: Entropy,
        store: Callable[[], Store] | None,
        labels: bool = True,
    ) -> None:
        self.clock = clock
        self.entropy = entropy
        self.hooks = Hooks(self.alarm, bus, clock=clock)
        self.make_store = store or (lambda: make_store(routes.settings, clock=clock.machine, entropy=entropy))
        self._routes = routes
        self._bus = bus
        self._labels = labels
        self._runtime: Runtime | None = None
        self._stopping: Runtime | None = None
        self._starting = asyncio.Lock()
        self._turns_on: asyncio.AbstractEventLoop | None = None
        self._pid = self._starting_pid = os.getpid()

    # Ask

    def live(self) -> Runtime:
        """
        Return what is open.

        Raises:
            NotStarted: Nothing is.
            Refused: It is open in another event loop.
        """
        runtime = self._runtime
        if runtime is None or runtime.foreign():
            raise NotStarted("the outbox is not open: await start(), or use it as a context manager")
        if not runtime.here():
            if runtime.stranded():
                raise NotStarted("the event loop that this outbox was opened in has ended: await start() again")
            raise Refused(_ELSEWHERE)
        return runtime

    def at_hand(self) -> Runtime | None:
        """Return what is open where it can be used at once; `opened` says why it cannot."""
        runtime = self._runtime
        return runtime if runtime is not None and runtime.at_hand() else None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which it is open, whichever asks; ``None`` where it is not open, or in another process."""
        runtime = self._runtime
        return None if runtime is None or runtime.foreign() or runtime.stranded() else runtime.loop

    async def opened(self) -> Runtime:
        """Return what is open; a forked child opens its own at first use, and delivers nothing (contract LE9)."""
        if self._runtime is not None and self._runtime.foreign():
            await self.start()
        return self.live()

    @property
    def begun(self) -> bool:
        """Whether a `start` was not followed by a `stop` yet."""
        return self._runtime is not None

    @property
    def started(self) -> bool:
        """Whether it is open: between `start` and `stop`, while the event loop of the `start` lasts."""
        return self._runtime is not None and not self._runtime.stranded()

    def alarm(self, what: str, detail: str) -> None:
        """Raise an alarm: something that a person should look at. Nothing happens where the outbox is not open."""
        if self._runtime is not None:
            self._runtime.reporter.alarm(what, detail)

    # Open

    def deliver_here(self) -> None:
        """Deliver in this process, whatever ``deliver=`` said. Raises Refused after `start`."""
        if self._runtime is not None:
            raise Refused("whether this process delivers is said before start()")
        self._routes.deliver = True

    async def start(self, *, make: bool = True) -> None:
        """Open the database, and begin to deliver. See `pillarbox.Outbox.start`; *make*, as of `Store.open`."""
        async with self.turn():
            await self._let_go()
            if self._runtime is None:
                self._runtime = await self._open(self._deliveries(), make=make)

    def turn(self) -> asyncio.Lock:
        """
        Return the lock by which start, stop and reload run one after the other.

        Raises:
            Refused: Another event loop is about to do one of them.
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
        """Whether a task that still exists has the turn."""
        gone = self._starting_pid != os.getpid() or self._turns_on is None or self._turns_on.is_closed()
        return self._starting.locked() and not gone

    async def _let_go(self) -> None:
        """Drop what cannot be used any more: what a forked child inherited, or what an ended loop left open."""
        for runtime in filter(None, (self._runtime, self._stopping)):
            if runtime.foreign():
                runtime.leak()
            elif runtime.here():
                if runtime is self._stopping:
                    await runtime.close(self._routes.settings.stop_seconds)
                continue
            elif runtime.stranded():
                _log.warning("the event loop of this outbox ended before close(): what it was sending is uncertain")
                await runtime.salvage()
            else:
                raise Refused(_ELSEWHERE)
            self._runtime = None if runtime is self._runtime else self._runtime
            self._stopping = None if runtime is self._stopping else self._stopping

    def _deliveries(self) -> dict[str, Channel]:
        if not self._routes.deliver:
            return {}
        if self._pid != os.getpid():
            # LE9: a fork stands between the making of this outbox and now, and no worker starts there by itself.
            _log.warning("this outbox was made before a fork: it accepts here, and another process has to deliver")
            return {}
        return self._routes.channels()

    async def _open(
        self, deliveries: Mapping[str, Channel], *, only: MessageId | None = None, make: bool = True
    ) -> Runtime:
        runtime = Runtime(
            self.make_store(),
            self._bus,
            self._routes.settings,
            clock=self.clock,
            entropy=self.entropy,
            hooks=self.hooks,
            labels=self._labels,
        )
        await runtime.open(deliveries, only=only, make=make)
        return runtime

    # Close

    async def stop(self, deadline: float | None) -> int:
        """Close what is open. See `pillarbox.Outbox.stop`."""
        self.must_not_wait_for_itself("box.close()")
        async with self.turn():
            if not all(runtime.here() for runtime in (self._runtime, self._stopping) if runtime is not None):
                await self._let_go()
            runtime, self._runtime = self._runtime or self._stopping, None
            self._stopping = runtime
        if runtime is None:
            return 0
        try:
            return await runtime.close(self._routes.settings.stop_seconds if deadline is None else deadline)
        finally:
            # A caller that stopped waiting leaves it to the next one, who waits for the same end.
            if self._stopping is runtime and runtime.closed:
                self._stopping = None

    def must_not_wait_for_itself(self, call: str, *, message: str | None = None) -> None:
        """Raise Refused where a send calls, of *message* where one is named, for whose end *call* waits."""
        task = asyncio.current_task()
        sent = None if task is None else self.sent_on(task)
        if sent is not None and message in {None, sent}:
            raise waits_for_itself(call, f"a task of its own, asyncio.create_task({call})")

    def sent_on(self, task: asyncio.Task[Any]) -> MessageId | None:
        """Return which message *task* sends, for whose end a `stop` waits. To be asked by any thread."""
        found = filter(None, (self._runtime, self._stopping))
        workers = [runtime.worker for runtime in found if runtime.worker is not None]
        # Copied first: the loop's thread changes them meanwhile.
        flights = (flight for worker in workers for flight in [*worker.executor.flights.values()])
        return next((flight.message.id for flight in flights if flight.task is task), None)

    def stop_now(self) -> int:
        """Cut off what a `stop` under way still waits for; return how many sends that were. Each is uncertain then."""
        worker = None if self._stopping is None else self._stopping.worker
        return 0 if worker is None else worker.executor.cut_off()

    def __del__(self) -> None:
        """Warn where it was never closed. What it had open goes with its store; a loop that runs keeps a worker."""
        runtime = getattr(self, "_runtime", None)
        if runtime is None or runtime.foreign() or runtime.closed:
            return
        named = f"<Outbox {mask_dsn(self._routes.settings.db)}>"
        said = f"{named} was never closed: await close(), or use it as a context manager"
        warnings.warn(said, ResourceWarning, stacklevel=2)

    # For a context

    @contextlib.asynccontextmanager
    async def delivering(self, message: Message) -> AsyncIterator[None]:
        """
        Deliver this one message here while the context lasts, and no other (contract CL7).

        At its end a send under way is cut off: its message is uncertain then, and stays queued.

        Raises:
            UnknownChannel: This process does not have the message's channel.
        """
        view = None if message.id is None else await (await self.opened()).store.get(MessageId(message.id))
        if view is None or view.state.terminal:
            yield
            return
        channel = self._routes.of(view.channel).channel
        if channel is None:
            raise UnknownChannel(view.channel, self._routes.names)
        runtime = await self._open({view.channel: channel}, only=view.id)
        try:
            yield
        finally:
            await runtime.close(0)

    @contextlib.asynccontextmanager
    async def opened_store(self) -> AsyncIterator[Store]:
        """
        Open the database itself, for what moves whole queues; before `start` for the context alone.

        Raises:
            Refused: It is a shard: of what is moved, others may be the home.
        """
        if self._runtime is not None:
            runtime = await self.opened()
            await _must_be_whole(runtime.store)
            try:
                yield runtime.store
            finally:
                if runtime.worker is not None:
                    # What was written here is no foreign write, and no batch of the worker's either.
                    runtime.worker.look()
            return
        store = self.make_store()
        try:
            await store.open()
            await _must_be_whole(store)
            yield store
        finally:
            await store.close()


def waits_for_itself(call: str, elsewhere: str) -> Refused:
    """Return the error of a *call* that could not end; *elsewhere* is where it can."""
    return Refused(
        f"{call} inside a channel waits for the very send that calls it: set something that the rest of the program"
        f" waits for, or leave it to {elsewhere}"
    )


async def _must_be_whole(store: Store) -> None:
    if await store.label() is not None:
        raise Refused(NO_IMPORTS)
