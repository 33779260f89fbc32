"""
`Outbox`: what applications call. Accepts messages, and delivers them where it has channels and is asked to.

Nothing is done here: each method is one of an object that an outbox is composed of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar

from pillarbox.clock import Clock, SystemClock
from pillarbox.engine.hooks import Hooks
from pillarbox.entropy import Entropy, SystemEntropy
from pillarbox.events.bus import Bus, Subscriber
from pillarbox.events.events import BusEvent
from pillarbox.outbox.abort_watch import AbortWatch
from pillarbox.outbox.add_channel import AddChannel
from pillarbox.outbox.edits import Edits
from pillarbox.outbox.joins import Joins
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.mirror import MirrorBook
from pillarbox.outbox.orders import Orders
from pillarbox.outbox.reads import Reads
from pillarbox.outbox.reload import reload
from pillarbox.outbox.routes import Routes, Target
from pillarbox.outbox.sending import Sending
from pillarbox.outbox.stream import Streams
from pillarbox.outbox.upkeep import Upkeep
from pillarbox.queue_clock import QueueClock
from pillarbox.settings.changes import Changes
from pillarbox.settings.explain import mask_dsn
from pillarbox.settings.model import Settings
from pillarbox.settings.overrides import override
from pillarbox.store.base import Durability, Store

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What an outbox is composed of."""

    routes: Routes
    lifetime: Lifetime
    sending: Sending
    joins: Joins
    edits: Edits
    streams: Streams
    reads: Reads
    orders: Orders
    upkeep: Upkeep


def inside(box: Outbox) -> Inside:
    """Return what *box* is composed of, for our own commands: they need more than a user does."""
    return box._inside  # noqa: SLF001 — it is private to everybody else


class _Of(Generic[T]):
    """Makes methods of `Outbox` out of those of an object that it is composed of."""

    def __init__(self, part: Callable[[Inside], T]) -> None:
        self._part = part

    def __call__(self, method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[Outbox, P], R]:
        part = self._part

        def call(self: Outbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(part(inside(self)), *args, **kwargs)

        functools.update_wrapper(call, method)
        return call


_sending = _Of(lambda inside: inside.sending)
_joins = _Of(lambda inside: inside.joins)
_edits = _Of(lambda inside: inside.edits)
_streams = _Of(lambda inside: inside.streams)
_reads = _Of(lambda inside: inside.reads)
_orders = _Of(lambda inside: inside.orders)
_upkeep = _Of(lambda inside: inside.upkeep)


class Outbox:
    """
    A durable outbox on one database.

    Making one does no I/O, so it can be a module's global. `start` and `close` are safe to repeat; ``async with`` is
    the two. docs/reference/outbox.md lists what it offers by what one wants to do.

    Args:
        db: ``outbox.db``, ``sqlite:///…``, ``postgresql://…`` or ``:memory:``, ``sqlite3:///…`` for a shared file;
            ``None`` takes the settings' own.
        channels: Ways out by name: a URL, a `Channel`, or a function of an `Attempt`.
        deliver: Whether this process sends. Without it messages are only accepted, for another process to send.
        settings: Read by `settings.load`; further keyword arguments win over it (`config.explain` lists them).
        clock: Where time comes from; tests and the simulator pass their own, as with *entropy* and *store*. Where it
            is set, the queue's own time goes on (`pillarbox.domain.clock_steps`).

    Attributes:
        events: Tells subscribers what was committed; see `pillarbox.events`.
        mirror: What a host reads of the deliveries in a session.

    Raises:
        ConfigError: A setting or a channel that cannot be.
    """

    _make_routes: ClassVar[type[Routes]] = Routes

    def __init__(
        self,
        db: str | Path | None = None,
        channels: Mapping[str, Target] | None = None,
        *,
        deliver: bool = True,
        settings: Settings | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        store: Callable[[], Store] | None = None,
        **overrides: Any,  # noqa: ANN401 — settings by name; config checks each
    ) -> None:
        self.events = Bus()
        routes = self._make_routes(override(settings, overrides, db=None if db is None else str(db)), deliver=deliver)
        lifetime = Lifetime(
            routes,
            self.events,
            clock=QueueClock.of(clock or SystemClock()),
            entropy=entropy or SystemEntropy(),
            store=store,
        )
        orders = Orders(lifetime, routes)
        sending = Sending(lifetime, routes, AbortWatch(lifetime, orders))
        edits = Edits(lifetime, routes, sending)
        self._inside = Inside(
            routes=routes,
            lifetime=lifetime,
            sending=sending,
            joins=Joins(lifetime, sending),
            edits=edits,
            streams=Streams(lifetime, routes, sending, edits),
            reads=Reads(lifetime, routes),
            orders=orders,
            upkeep=Upkeep(lifetime, routes),
        )
        self.mirror = MirrorBook(lifetime)
        for name, target in (channels or {}).items():
            routes.add(name, target, {})

    # Open and close

    async def start(self) -> None:
        """
        Open the database, and begin to deliver where there is a channel. Returns without waiting for any delivery.

        Raises:
            StoreError: The database cannot be opened; its subclass says why.
            ConfigError: The settings contradict each other.
            Refused: It is open in another event loop. What a loop that has ended left open is let go first.
        """
        await self._inside.lifetime.start()

    async def close(self) -> None:
        """Stop delivering, write what is known, and let every handle go."""
        await self.stop()

    async def stop(self, deadline: float | None = None) -> int:
        """
        Close, waiting at most *deadline* seconds (default: the setting ``stop_seconds``) for sends under way.

        Returns:
            How many sends were cut off; what became of those messages is uncertain.
        """
        return await self._inside.lifetime.stop(deadline)

    @property
    def started(self) -> bool:
        """Whether it is open: between `start` and `close`, while the event loop of the `start` lasts."""
        return self._inside.lifetime.started

    async def reload(self, settings: Settings) -> Changes:
        """
        Work by *settings* from now on, as far as an open outbox can.

        At once: the policies of messages that are accepted from now on, the largest content, the deadline of a stop,
        how recipients are logged; and the URL, the options and the timeout of each channel that the settings have
        configured before and still do. ``log_level`` and ``log_format`` are the program's own affair. What the
        program itself says of its own channels stays, unless *settings* name them.

        Returns:
            The keys that changed, by whether they took effect; ``settings`` says what holds now. What takes a restart
            is named again each time.

        Raises:
            ConfigError: A channel is wrong, or a timeout is not shorter than the worker's lease; nothing changed.
            NotStarted: The outbox is not open.
            Refused: The queue is disabled, and a channel would have to change; nothing changed.
        """
        return await reload(self._inside.lifetime, self._inside.routes, settings)

    @property
    def settings(self) -> Settings:
        """What it works by."""
        return self._inside.routes.settings

    # Channels

    @property
    def channel(self) -> AddChannel:
        """Add a way out: ``box.channel(name, target)``, or ``@box.channel(name)``. See `AddChannel`."""
        return AddChannel(self._inside.routes, self._inside.lifetime)

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels this process has."""
        return self._inside.routes.names

    # Send

    send = _sending(Sending.send)
    send_many = _sending(Sending.send_many)
    enqueue = _joins(Joins.enqueue)
    enqueue_many = _joins(Joins.enqueue_many)
    edit = _edits(Edits.edit)
    delete = _edits(Edits.delete)
    stream = _streams(Streams.stream)

    # Look at messages

    get = _reads(Reads.get)
    find = _reads(Reads.find)
    list = _reads(Reads.list)
    history = _reads(Reads.history)
    explain = _reads(Reads.explain)
    summary = _reads(Reads.summary)

    # Step in: one message, all that a filter picks, a channel

    cancel = _orders(Orders.cancel)
    retry = _orders(Orders.retry)
    resolve = _orders(Orders.resolve)
    replay = _orders(Orders.replay)
    purge = _orders(Orders.purge)
    cancel_many = _orders(Orders.cancel_many)
    retry_many = _orders(Orders.retry_many)
    resolve_many = _orders(Orders.resolve_many)
    replay_many = _orders(Orders.replay_many)
    purge_many = _orders(Orders.purge_many)
    pause = _orders(Orders.pause)
    resume = _orders(Orders.resume)
    forget_redirect = _orders(Orders.forget_redirect)
    clear_recipient = _orders(Orders.clear_recipient)

    # Watch over it

    stats = _reads(Reads.stats)
    queues = _reads(Reads.queues)
    flow = _reads(Reads.flow)
    redirects = _reads(Reads.redirects)
    suppressed = _reads(Reads.suppressed)
    guarantee = _reads(Reads.guarantee)
    workers = _reads(Reads.workers)
    health = _reads(Reads.health)

    @property
    def counts(self) -> Mapping[str, int]:
        """What this process has done since it started, by `Reporter`'s words; of a disabled queue the alarms alone."""
        return self._inside.reads.counts

    @property
    def in_memory(self) -> bool:
        """Whether nothing outlives the process."""
        return self._inside.lifetime.live().store.in_memory

    @property
    def durability(self) -> Durability:
        """What an accepted message survives."""
        return self._inside.lifetime.live().store.durability

    # Look after the database

    drain = _upkeep(Upkeep.drain)
    drained = _upkeep(Upkeep.drained)
    prune = _upkeep(Upkeep.prune)
    check = _upkeep(Upkeep.check)
    backup = _upkeep(Upkeep.backup)

    # Hear, and have a say

    def subscribe(self, subscriber: Subscriber, *types: type[BusEvent]) -> Callable[[], None]:
        """Call *subscriber* for events of *types*, or all; return a function that ends it. See `pillarbox.events`."""
        return self.events.subscribe(subscriber, *types)

    @property
    def hooks(self) -> Hooks:
        """What the program may say about a message on its way."""
        return self._inside.lifetime.hooks

    def __repr__(self) -> str:
        return f"<Outbox {mask_dsn(self.settings.db)}>"

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()
