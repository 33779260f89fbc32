"""How an outbox on several databases is put together, out of outboxes on one. Opens nothing."""

from __future__ import annotations

from pillarbox.domain.shards import Place
from pillarbox.outbox.composition import Given, Inside, on_one
from pillarbox.outbox.shards.sharded_lifetime import ShardedLifetime, ShardedReload
from pillarbox.outbox.shards.sharded_orders import ShardedOrders
from pillarbox.outbox.shards.sharded_reads import ShardedReads
from pillarbox.outbox.shards.sharded_routes import ShardedRoutes
from pillarbox.outbox.shards.sharded_sends import ShardedEdits, ShardedJoins, ShardedSending, ShardedStreams
from pillarbox.outbox.shards.sharded_upkeep import ShardedMirrorBook, ShardedUpkeep
from pillarbox.outbox.shards.shards import Shard, Shards
from pillarbox.settings.derived import each_shard
from pillarbox.settings.explain import mask_dsn
from pillarbox.settings.model import Settings


def on_all(settings: Settings, given: Given) -> Inside:
    """Put together an outbox on all shards of *settings*."""
    count = len(settings.shards)
    shards = Shards(
        [
            Shard(place, f"{place} ({mask_dsn(own.db)})", on_one(own, given))
            for number, own in enumerate(each_shard(settings), start=1)
            for place in (Place(number=number, count=count),)
        ]
    )
    routes = ShardedRoutes(settings, [shard.inside.routes for shard in shards], deliver=given.deliver)
    return Inside(
        routes=routes,
        lifetime=ShardedLifetime(shards, routes, given.bus, clock=given.clock),
        sending=ShardedSending(shards),
        joins=ShardedJoins(shards),
        edits=ShardedEdits(shards),
        streams=ShardedStreams(shards),
        reads=ShardedReads(shards),
        orders=ShardedOrders(shards),
        upkeep=ShardedUpkeep(shards),
        mirror=ShardedMirrorBook(shards),
        reload=ShardedReload(shards, routes),
        shards=shards,
    )
