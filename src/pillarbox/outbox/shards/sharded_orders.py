"""`ShardedOrders`: orders go to the shard that has the message, and those for many, or for a channel, to all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, Unpack

from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.plain_values import flag_of
from pillarbox.outbox.bulk import BulkReport, summed
from pillarbox.outbox.filters import Where, parse
from pillarbox.outbox.message import Message
from pillarbox.outbox.orders import ACTOR, Orders, ToMany, new_ttl_ms, ordered, resolving
from pillarbox.outbox.shards.shards import Shard, Shards

T = TypeVar("T")
Ttl = float | timedelta | str | None


class ShardedOrders(Orders):
    """See `Orders`. What is for many is done on one shard after the other; a full queue ends it on that shard alone."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    # One message

    async def cancel(self, id: str, *, reason: str | None = None, actor: str = ACTOR) -> bool:  # noqa: A002 — its name
        """See `Orders`."""
        said = ordered(id, actor, reason)
        return await self._on(said, lambda orders: orders.cancel(**said))

    async def retry(
        self, id: str, *, ttl: Ttl = None, reason: str | None = None, actor: str = ACTOR  # noqa: A002
    ) -> bool:  # fmt: skip
        """See `Orders`."""
        new_ttl_ms(ttl)
        said = ordered(id, actor, reason)
        return await self._on(said, lambda orders: orders.retry(ttl=ttl, **said))

    async def resolve(
        self,
        id: str,  # noqa: A002 — the field's name
        verdict: Verdict | str,
        *,
        force_copy: bool = False,
        receipt: str | None = None,
        ttl: Ttl = None,
        reason: str | None = None,
        actor: str = ACTOR,
    ) -> bool:
        """See `Orders`."""
        resolving(verdict, force_copy=force_copy, receipt=receipt, ttl=ttl)
        said = ordered(id, actor, reason)
        return await self._on(
            said,
            lambda orders: orders.resolve(verdict=verdict, force_copy=force_copy, receipt=receipt, ttl=ttl, **said),
        )

    async def replay(
        self, id: str, *, fresh: bool = False, reason: str | None = None, actor: str = ACTOR  # noqa: A002
    ) -> Message:  # fmt: skip
        """See `Orders`."""
        flag_of("fresh", fresh)
        said = ordered(id, actor, reason)
        return await self._on(said, lambda orders: orders.replay(fresh=fresh, **said))

    async def purge(self, id: str, *, reason: str | None = None, actor: str = ACTOR) -> bool:  # noqa: A002
        """See `Orders`."""
        said = ordered(id, actor, reason)
        return await self._on(said, lambda orders: orders.purge(**said))

    async def _on(self, said: dict[str, Any], order: Callable[[Orders], Awaitable[T]]) -> T:
        """Return what the shard that has the message answers to an order, all of whose arguments are judged."""
        shard = await self._shards.holding(said["id"])
        return await shard.asked(order(shard.inside.orders))

    async def _at(self, tenant: str, order: Callable[[Orders], Awaitable[T]]) -> T:
        """Return what the home of the tenant answers to an order."""
        return await self._shards.ask_home(tenant, lambda inside: order(inside.orders))

    # All that a filter picks

    async def cancel_many(self, where: Where | None = None, **how: Unpack[ToMany]) -> BulkReport:
        """See `Orders`."""
        return await self._all(where, lambda orders: orders.cancel_many(where, **how))

    async def retry_many(self, where: Where | None = None, *, ttl: Ttl = None, **how: Unpack[ToMany]) -> BulkReport:
        """See `Orders`."""
        return await self._all(where, lambda orders: orders.retry_many(where, ttl=ttl, **how))

    async def resolve_many(
        self, verdict: Verdict | str, where: Where | None = None, *, force_copy: bool = False, ttl: Ttl = None,
        **how: Unpack[ToMany],
    ) -> BulkReport:  # fmt: skip
        """See `Orders`."""
        return await self._all(
            where, lambda orders: orders.resolve_many(verdict, where, force_copy=force_copy, ttl=ttl, **how)
        )

    async def replay_many(
        self, where: Where | None = None, *, fresh: bool = False, **how: Unpack[ToMany]
    ) -> BulkReport:
        """See `Orders`."""
        return await self._all(where, lambda orders: orders.replay_many(where, fresh=fresh, **how))

    async def purge_many(self, where: Where | None = None, **how: Unpack[ToMany]) -> BulkReport:
        """See `Orders`."""
        return await self._all(where, lambda orders: orders.purge_many(where, **how))

    async def _all(self, where: Where | None, order: Callable[[Orders], Awaitable[BulkReport]]) -> BulkReport:
        def merged(answers: list[tuple[Shard, BulkReport]]) -> BulkReport:
            return summed(report for _, report in answers)

        possible = self._shards.possible(parse(where or "", now_ms=0))
        return await self._shards.ask_each(lambda shard: order(shard.inside.orders), merged, of=possible)

    # A channel

    async def pause(
        self, channel: str, *, tenant: str | None = None, reason: str | None = None, span: timedelta | None = None,
        actor: str = ACTOR,
    ) -> None:  # fmt: skip
        """See `Orders`."""
        if tenant is not None:
            await self._at(
                tenant, lambda orders: orders.pause(channel, tenant=tenant, reason=reason, span=span, actor=actor)
            )
            return
        await self._shards.ask_all(
            lambda inside: inside.orders.pause(channel, reason=reason, span=span, actor=actor), lambda _: None
        )

    async def resume(
        self, channel: str, *, tenant: str | None = None, reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """See `Orders`."""
        if tenant is not None:
            return await self._at(
                tenant, lambda orders: orders.resume(channel, tenant=tenant, reason=reason, actor=actor)
            )
        return await self._shards.ask_all(lambda inside: inside.orders.resume(channel, reason=reason, actor=actor), any)

    async def forget_redirect(
        self, channel: str, recipient: str, *, tenant: str = "", reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """See `Orders`."""
        return await self._at(
            tenant, lambda orders: orders.forget_redirect(channel, recipient, tenant=tenant, reason=reason, actor=actor)
        )

    async def clear_recipient(
        self, channel: str, recipient: str | None, *, tenant: str = "", reason: str | None = None, actor: str = ACTOR
    ) -> bool:
        """See `Orders`."""
        return await self._at(
            tenant, lambda orders: orders.clear_recipient(channel, recipient, tenant=tenant, reason=reason, actor=actor)
        )
