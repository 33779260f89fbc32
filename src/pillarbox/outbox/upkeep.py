"""`Upkeep`: what keeps a database well, and empties its queue: check, backup, prune, drain."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from pillarbox.domain.message import State
from pillarbox.domain.moments import budget_ms, span_ms
from pillarbox.engine.drain import DrainReport
from pillarbox.errors import InvalidMessage, Refused, StoreError
from pillarbox.outbox.health import present
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.message import Timeout
from pillarbox.outbox.routes import Routes
from pillarbox.store import database_copy
from pillarbox.store.base import Schema
from pillarbox.store.database_copy import Copied
from pillarbox.store.registry import open_store


class Upkeep:
    """Looks after the database of one outbox."""

    def __init__(self, lifetime: Lifetime, routes: Routes) -> None:
        self._lifetime = lifetime
        self._routes = routes

    async def check(self) -> list[str]:
        """
        Look for damage, and for what keeps messages from being stored or sent; empty when all is well.

        The result also names what is wrong with this process, and with the other workers of its database.
        """
        runtime = await self._lifetime.opened()
        found = await runtime.store.check()
        return [*found, *(problem for problem in present(runtime) if problem not in found)]

    async def remarks(self) -> list[str]:
        """Return what a person should know of how the database is kept, though nothing is wrong with it."""
        return (await self._lifetime.opened()).store.remarks()

    async def schema(self) -> Schema:
        """Return which version the database's schema has. Raises Refused where the queue is disabled."""
        return await (await self._lifetime.opened()).store.schema()

    def script(self) -> str:
        """Return the SQL that makes the schema. Connects nowhere. Raises Refused where nobody makes it by hand."""
        return self._lifetime.make_store().script()

    async def backup(self, path: str | os.PathLike[str]) -> int:
        """
        Write a checked copy of this moment's content to the new file *path*, durable when this returns (contract SG7).

        Nothing waits for it: messages are accepted and sent meanwhile. The copy is one file, 0600, whole or not there;
        its bytes are returned.

        Raises:
            InvalidMessage: *path* is none, something has that name already, or its directory is missing; nothing was
                written.
            StoreError: The database could not be read, the copy not written, or it is damaged; it was not kept.
            Refused: The queue is disabled: there is nothing to copy.
        """
        try:
            usable = b"\0" not in os.fsencode(Path(path))
        except (TypeError, UnicodeEncodeError):
            usable = False
        if not usable:
            raise InvalidMessage(
                "path",
                f"expected a path without NUL, not {path!a}"
                if isinstance(path, str | bytes)
                else f"expected a path, not {type(path).__name__}",
            )
        return await (await self._lifetime.opened()).store.backup(Path(path))

    async def copy_to(self, db: str) -> Copied:
        """
        Copy the database into the empty one that *db* names, compare both, and leave this one paused (contract SG7).

        Safe to repeat: a copy that was ended goes on where it was.

        Raises:
            ConfigError: *db* names no database.
            Refused: As `database_copy.copy`.
            StoreError: One of both failed; what was copied stays.
        """
        runtime = await self._lifetime.opened()
        target = open_store(db, durability=runtime.store.durability)
        try:
            try:
                await target.open()
            except StoreError as exc:
                exc.database = db
                raise
            return await database_copy.copy(runtime.store, target, now_ms=runtime.clock.wall_ms())
        finally:
            await target.close()

    async def drain(self, budget: Timeout = None) -> DrainReport:
        """
        Wait until nothing is due or being sent, at most *budget*.

        A disabled queue (``enabled = false``) has nothing to drain: its report is empty.

        Args:
            budget: Seconds, a timedelta or text such as ``"30s"``; ``None`` for the setting ``drain_budget_ms``.

        Raises:
            InvalidMessage: *budget* is below 0, NaN or beyond the calendar.
            Refused: This outbox does not deliver, or a channel calls, whose own send would be waited for.
        """
        most_ms = self._routes.settings.drain_budget_ms if budget is None else budget_ms("budget", budget)
        worker = (await self._lifetime.opened()).worker
        if not self._routes.settings.enabled:
            return DrainReport()
        if worker is None:
            raise Refused("this outbox does not deliver")
        self._lifetime.must_not_wait_for_itself("box.drain()")
        return await self._lifetime.live().until_closed(asyncio.ensure_future(worker.drain(most_ms)))

    async def drained(self) -> DrainReport:
        """
        Wait for the end of the drain that `start` began; of a disabled queue the report is empty.

        Raises:
            Refused: Nothing is drained at start; or as `drain`.
        """
        runtime = await self._lifetime.opened()
        drain = runtime.startup_drain
        if not self._routes.settings.enabled:
            return DrainReport()
        if drain is None:
            raise Refused("nothing is drained at start: this outbox does not deliver, or drain_on_startup is off")
        self._lifetime.must_not_wait_for_itself("box.drained()")
        return await runtime.until_closed(asyncio.shield(drain))

    async def prune(self, age: float | timedelta) -> dict[State, int]:
        """
        Delete terminal messages that ended longer ago than *age* (seconds or a timedelta).

        Raises:
            InvalidMessage: *age* is below a millisecond, NaN or beyond the calendar; nothing was deleted.
        """
        age_ms = span_ms("age", age)
        runtime = await self._lifetime.opened()
        total: dict[State, int] = {}
        more = True
        while more:
            gone, more = await runtime.pruner().once({state: age_ms for state in State if state.terminal})
            for state, count in gone.items():
                total[state] = total.get(state, 0) + count
        return total
