"""`ShardedLifetime`: opens and closes the outboxes of all shards, and tries those that cannot be opened again."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from pillarbox.clock import Clock
from pillarbox.domain.ids import MessageId
from pillarbox.engine.hooks import Hooks
from pillarbox.engine.loop import Loop
from pillarbox.errors import ConfigError, Refused, ShardsUnavailable, StoreError, StoreNotFound, StoreUnavailable
from pillarbox.events.bus import Bus
from pillarbox.outbox.lifetime import NO_IMPORTS, Lifetime
from pillarbox.outbox.message import Message
from pillarbox.outbox.reload import Reload
from pillarbox.outbox.routes import Routes
from pillarbox.outbox.shards.shards import Shard, Shards
from pillarbox.settings.changes import Changes
from pillarbox.settings.model import Settings
from pillarbox.store.base import Store

AGAIN_SECONDS: Final = 5.0
_log = logging.getLogger("pillarbox")


class ShardedLifetime(Lifetime):
    """
    See `Lifetime`. The hooks are the same on every shard.

    A start succeeds where one shard can be opened. What is wrong with the others is noted in `Shards.down`, an alarm
    says it, and they are tried again every five seconds.
    """

    def __init__(self, shards: Shards, routes: Routes, bus: Bus, *, clock: Clock) -> None:
        self._shards = shards
        self._routes = routes
        self._machine = clock
        self._again: Loop | None = None
        self.hooks = Hooks(self.alarm, bus, clock=clock)
        for shard in shards:
            shard.inside.lifetime.hooks = self.hooks

    @property
    def begun(self) -> bool:
        """See `Lifetime`."""
        return any(shard.inside.lifetime.begun for shard in self._shards)

    @property
    def started(self) -> bool:
        """See `Lifetime`."""
        return any(shard.inside.lifetime.started for shard in self._shards)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """See `Lifetime`."""
        loops = (shard.inside.lifetime.loop for shard in self._shards)
        return next((loop for loop in loops if loop is not None), None)

    def alarm(self, what: str, detail: str) -> None:
        """See `Lifetime`. One of the shards that are open raises it."""
        for shard in self._shards:
            if shard.inside.lifetime.begun:
                shard.inside.lifetime.alarm(what, detail)
                return

    def deliver_here(self) -> None:
        """See `Lifetime`."""
        for shard in self._shards:
            shard.inside.lifetime.deliver_here()
        self._routes.deliver = True

    async def start(self, *, make: bool = True) -> None:  # noqa: ARG002 — each shard is asked about it
        """See `Lifetime`. Raises the first shard's StoreError where none can be opened."""
        try:
            await self._start()
        except BaseException:
            await self.stop(0)
            raise

    async def _start(self) -> None:
        down: dict[int, StoreError] = {}
        # What is there says whether the list is right: before anything is made by a wrong one.
        new = await self._begin(self._shards, down, make=False)
        await self._begin(new, down, make=True)
        if len(down) == len(self._shards.each):
            raise down[1]
        self._shards.down = down
        if not down:
            return
        for shard in self._down():
            self.alarm("shard_down", f"{shard.name} does not answer: {down[shard.place.number]}")
        if self._again is None:
            self._again = Loop("shards", self._try_again, clock=self._machine)
            self._again.start()

    async def _begin(self, shards: Iterable[Shard], down: dict[int, StoreError], *, make: bool) -> list[Shard]:
        """Start shards at the same time; note in *down* why one cannot be, and return those that have to be made."""
        begun = [(shard, shard.inside.lifetime.start(make=make)) for shard in shards]
        found = await asyncio.gather(*(start for _, start in begun), return_exceptions=True)
        new: list[Shard] = []
        for (shard, _), error in zip(begun, found, strict=True):
            if isinstance(error, StoreNotFound) and not make:
                new.append(shard)
            elif isinstance(error, StoreError):
                down[shard.place.number] = error
            elif error is not None:
                raise error
        return new

    def _down(self) -> list[Shard]:
        return [shard for shard in self._shards if shard.place.number in self._shards.down]

    async def _try_again(self) -> float | None:
        """Open what could not be opened; return when to try the rest."""
        # At the same time: one that does not answer for long keeps none of the others away.
        await asyncio.gather(*map(self._try_one, self._down()))
        return AGAIN_SECONDS if self._shards.down else None

    async def _try_one(self, shard: Shard) -> None:
        try:
            await shard.inside.lifetime.start()
        except StoreError as exc:
            self._shards.down[shard.place.number] = exc
        except ConfigError as exc:
            # What came back is another database than it was: it stays down until the right one is there.
            self._shards.down[shard.place.number] = StoreUnavailable(str(exc))
        else:
            self._shards.down.pop(shard.place.number, None)
            _log.warning("%s answers again", shard.name)

    async def stop(self, deadline: float | None) -> int:
        """See `Lifetime`."""
        self.must_not_wait_for_itself("box.close()")
        again, self._again = self._again, None
        if again is not None:
            await again.stop()
        self._shards.down = {}
        found = await asyncio.gather(
            *(shard.inside.lifetime.stop(deadline) for shard in self._shards), return_exceptions=True
        )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return sum(one for one in found if isinstance(one, int))

    def sent_on(self, task: asyncio.Task[Any]) -> MessageId | None:
        """See `Lifetime`."""
        return next(filter(None, (shard.inside.lifetime.sent_on(task) for shard in self._shards)), None)

    def stop_now(self) -> int:
        """See `Lifetime`."""
        return sum(shard.inside.lifetime.stop_now() for shard in self._shards)

    @contextlib.asynccontextmanager
    async def delivering(self, message: Message) -> AsyncIterator[None]:
        """See `Lifetime`."""
        async with (await self._shards.holding(message.id)).inside.lifetime.delivering(message):
            yield

    @contextlib.asynccontextmanager
    async def opened_store(self) -> AsyncIterator[Store]:
        """Refuse."""
        raise Refused(NO_IMPORTS)
        yield  # type: ignore[unreachable]  # what makes it a context


class ShardedReload(Reload):
    """See `Reload`. Shards that do not answer work by the new settings once they do."""

    def __init__(self, shards: Shards, routes: Routes) -> None:
        self._shards = shards
        self._routes = routes

    async def reload(self, settings: Settings) -> Changes:
        """
        See `Reload`. What is wrong with a setting is found by the first shard; then nothing changed.

        Raises:
            ShardsUnavailable: The databases of some failed meanwhile; the others work by the new settings, and
                ``partial`` says what changed. Call it again once they answer.
        """
        wanted, changes = self._routes.adopted(settings)
        made = self._routes.under(wanted)
        silent: dict[str, str] = {}
        for shard in self._shards:
            own = shard.inside.routes
            its = _of_shard(settings, own.settings)
            if shard.place.number in self._shards.down:
                fitted, _ = own.adopted(its)
                own.take_over(fitted, own.under(fitted))
            else:
                try:
                    await shard.inside.reload.reload(its)
                except StoreError as exc:
                    silent[shard.name] = str(exc)
        self._routes.take_over(wanted, made)
        if silent:
            raise ShardsUnavailable(silent, partial=changes)
        return changes


def _of_shard(settings: Settings, own: Settings) -> Settings:
    """Return new settings for a shard, which stays where it is."""
    return dataclasses.replace(settings, db=own.db, shards=own.shards, shard=own.shard)
