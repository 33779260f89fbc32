"""
`Outbox`: what applications call. Accepts messages, and delivers them where it has channels and is asked to.

Nothing is done here: each method is one of an object that an outbox is composed of.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar

from pillarbox.clock import Clock, SystemClock
from pillarbox.domain.moments import patience_seconds
from pillarbox.engine.hooks import Hooks
from pillarbox.entropy import Entropy, SystemEntropy
from pillarbox.errors import ConfigError
from pillarbox.events.bus import Bus, Subscriber
from pillarbox.events.events import BusEvent
from pillarbox.outbox.add_channel import AddChannel
from pillarbox.outbox.composition import Given, Inside, on_one
from pillarbox.outbox.edits import Edits
from pillarbox.outbox.joins import Joins
from pillarbox.outbox.message import Timeout
from pillarbox.outbox.orders import Orders
from pillarbox.outbox.reads import Reads
from pillarbox.outbox.reload import Reload
from pillarbox.outbox.routes import Routes, Target
from pillarbox.outbox.sending import Sending
from pillarbox.outbox.stream import Streams
from pillarbox.outbox.upkeep import Upkeep
from pillarbox.settings.derived import at_shard, several, without_shards
from pillarbox.settings.explain import mask_dsn
from pillarbox.settings.model import Settings
from pillarbox.settings.overrides import override
from pillarbox.store.base import Durability, Store

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


def assembled(settings: Settings, *, store: Callable[[Settings], Store], labels: bool) -> Outbox:
    """
    Return an outbox that delivers nothing, for our own commands.

    Args:
        store: Makes the store of the settings' database, or of each shard's.
        labels: Whether new databases are labelled as the shards that they are to be.

    Raises:
        ConfigError: As `Outbox`.
    """
    box = Outbox.__new__(Outbox)
    given = Given(bus=Bus(), deliver=False, clock=SystemClock(), entropy=SystemEntropy(), store=store, labels=labels)
    box._assemble(settings, given)  # noqa: SLF001 — it is private to everybody else
    return box


def _named(db: object) -> str:
    """Return what was given as a database, as text."""
    path = os.fspath(db) if isinstance(db, os.PathLike) else db
    if not isinstance(path, str):
        raise ConfigError("db", f"expected a path or a URL as text, not {type(path).__name__}")
    return path


def _composed(settings: Settings, given: Given) -> Inside:
    if not several(settings):
        return on_one(settings, given)
    # Loaded by those who have shards.
    from pillarbox.outbox.shards.sharded_composition import on_all

    return on_all(settings, given)


def inside(box: Outbox) -> Inside:
    """Return what *box* is composed of, for our own commands: they need more than a user does."""
    return box._inside  # noqa: SLF001 — it is private to everybody else


class _Of(Generic[T]):
    """Makes methods of `Outbox` out of those of an object that it is composed of."""

    def __init__(self, part: Callable[[Inside], T]) -> None:
        self._part = part

    def __call__(self, method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[Outbox, P], R]:
        part, name = self._part, method.__name__

        def call(self: Outbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
            # By its name: where there are several databases, another object has a method of that name.
            called: Callable[P, R] = getattr(part(self._inside), name)
            return called(*args, **kwargs)

        functools.update_wrapper(call, method)
        return call


_sending = _Of(lambda inside: inside.sending)
_joins = _Of(lambda inside: inside.joins)
_edits = _Of(lambda inside: inside.edits)
_streams = _Of(lambda inside: inside.streams)
_reads = _Of(lambda inside: inside.reads)
_orders = _Of(lambda inside: inside.orders)
_upkeep = _Of(lambda inside: inside.upkeep)
_reload = _Of(lambda inside: inside.reload)


class Outbox:
    """
    A durable outbox on one database.

    Making one does no I/O, so it can be a module's global. `start` and `close` are safe to repeat; ``async with`` is
    the two. docs/reference/outbox.md lists what it offers by what one wants to do.

    Args:
        db: ``outbox.db``, ``sqlite:///…``, ``postgresql://…`` or ``:memory:``, ``sqlite3:///…`` for a shared file;
            ``None`` takes the settings' own. With ``shards=[…]`` in its place, tenants are divided among several
            databases (docs/how-to/shards.md).
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
        wanted = override(settings, overrides, db=None if db is None else _named(db))
        if not isinstance(deliver, bool):
            raise ConfigError("deliver", f"expected True or False, not {type(deliver).__name__}")
        if db is not None:
            if "shards" in overrides:
                raise ConfigError("db", "expected either db or shards, which are several databases in its place")
            wanted = without_shards(wanted)
        wanted = at_shard(wanted)
        if store is not None and several(wanted):
            raise ConfigError("store", "expected none with shards, of which each has its own")
        given = Given(
            bus=Bus(),
            deliver=deliver,
            routes=self._make_routes,
            clock=clock or SystemClock(),
            entropy=entropy or SystemEntropy(),
            store=None if store is None else lambda _: store(),
        )
        self._assemble(wanted, given)
        ways = {} if channels is None else channels
        if not isinstance(ways, Mapping):
            raise ConfigError(
                "channels", f"expected ways out by name, as in {{'ops': 'https://…'}}, not {type(ways).__name__}"
            )
        for name, target in ways.items():
            self._inside.routes.add(name, target, {})

    def _assemble(self, settings: Settings, given: Given) -> None:
        self._inside = _composed(settings, given)
        self.events = given.bus
        self.mirror = self._inside.mirror

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
        """Stop delivering, write what is known, and let every handle go. Not inside a channel: see `stop`."""
        await self.stop()

    async def stop(self, deadline: Timeout = None) -> int:
        """
        Close, waiting at most *deadline* for sends under way.

        Args:
            deadline: Seconds, a timedelta or text such as ``"30s"``; ``None`` for the setting ``stop_seconds``.

        Returns:
            How many sends were cut off; what became of those messages is uncertain.

        Raises:
            InvalidMessage: *deadline* is no span of 0 or more; it goes on.
            Refused: Called inside a channel, by a send for whose end it would wait; it goes on.
        """
        return await self._inside.lifetime.stop(patience_seconds("deadline", deadline))

    @property
    def started(self) -> bool:
        """Whether it is open: between `start` and `close`, while the event loop of the `start` lasts."""
        return self._inside.lifetime.started

    reload = _reload(Reload.reload)

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
    export = _reads(Reads.export)
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
        return self._inside.reads.in_memory

    @property
    def durability(self) -> Durability:
        """What an accepted message survives."""
        return self._inside.reads.durability

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
        settings = self.settings
        where = f"{len(settings.shards)} shards" if several(settings) else mask_dsn(settings.db)
        return f"<Outbox {where}>"

    if not TYPE_CHECKING:  # a type checker says it before

        def __enter__(self) -> None:
            raise TypeError("this outbox is opened by `async with`; that of `pillarbox.sync` is for `with`")

        def __exit__(self, *error: object) -> None:
            pass

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()
