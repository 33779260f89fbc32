"""What an outbox is composed of, and how one on one database is put together. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pillarbox.clock import Clock
from pillarbox.entropy import Entropy
from pillarbox.events.bus import Bus
from pillarbox.outbox.abort_watch import AbortWatch
from pillarbox.outbox.edits import Edits
from pillarbox.outbox.joins import Joins
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.mirror import MirrorBook
from pillarbox.outbox.orders import Orders
from pillarbox.outbox.reads import Reads
from pillarbox.outbox.reload import Reload
from pillarbox.outbox.routes import Routes
from pillarbox.outbox.sending import Sending
from pillarbox.outbox.shards.shards import Shards
from pillarbox.outbox.stream import Streams
from pillarbox.outbox.upkeep import Upkeep
from pillarbox.queue_clock import QueueClock
from pillarbox.settings.model import Settings
from pillarbox.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What an outbox is composed of. ``shards``: what it asks, where it is on several databases."""

    routes: Routes
    lifetime: Lifetime
    sending: Sending
    joins: Joins
    edits: Edits
    streams: Streams
    reads: Reads
    orders: Orders
    upkeep: Upkeep
    mirror: MirrorBook
    reload: Reload
    shards: Shards | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """
    What an outbox is put together with.

    Attributes:
        routes: What holds the channels; a test's own keeps what they are given.
        store: Makes the store that settings name; ``None`` for the usual one.
        labels: Whether a new database is labelled as the shard that it is to be.
    """

    bus: Bus
    deliver: bool
    clock: Clock
    entropy: Entropy
    routes: type[Routes] = Routes
    store: Callable[[Settings], Store] | None = None
    labels: bool = True


def on_one(settings: Settings, given: Given) -> Inside:
    """Put together an outbox on one database."""
    make = given.store
    routes = given.routes(settings, deliver=given.deliver)
    lifetime = Lifetime(
        routes,
        given.bus,
        clock=QueueClock.of(given.clock),
        entropy=given.entropy,
        store=None if make is None else lambda: make(routes.settings),
        labels=given.labels,
    )
    orders = Orders(lifetime, routes)
    sending = Sending(lifetime, routes, AbortWatch(lifetime, orders))
    edits = Edits(lifetime, routes, sending)
    return Inside(
        routes=routes,
        lifetime=lifetime,
        sending=sending,
        joins=Joins(lifetime, sending),
        edits=edits,
        streams=Streams(lifetime, routes, sending, edits),
        reads=Reads(lifetime, routes),
        orders=orders,
        upkeep=Upkeep(lifetime, routes),
        mirror=MirrorBook(lifetime),
        reload=Reload(lifetime, routes),
    )
