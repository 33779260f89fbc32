"""What looks after several databases, and reads their mirrors: `ShardedUpkeep`, `ShardedMirrorBook`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, NoReturn

from pillarbox.domain.message import State
from pillarbox.domain.mirror import ENTRIES_MAX, TEXT_MAX, MirrorEntry, capped
from pillarbox.engine.drain import DrainReport, summed
from pillarbox.errors import Refused
from pillarbox.outbox.message import Timeout
from pillarbox.outbox.mirror import MirrorBook, keys_of
from pillarbox.outbox.shards.shards import Shard, Shards
from pillarbox.outbox.upkeep import Upkeep
from pillarbox.store.base import Schema
from pillarbox.store.database_copy import Copied

_ONE_ALONE: Final = "this is done to one database: name a shard, with shard=1 or --shard 1, for each in turn"


class ShardedUpkeep(Upkeep):
    """See `Upkeep`."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def check(self) -> list[str]:
        """See `Upkeep`. Each sentence names its shard."""
        return await self._shards.ask_each(lambda shard: shard.inside.upkeep.check(), _named)

    async def remarks(self) -> list[str]:
        """See `Upkeep`. Each sentence names its shard."""
        return await self._shards.ask_each(lambda shard: shard.inside.upkeep.remarks(), _named)

    async def schema(self) -> Schema:
        """See `Upkeep`. Of shards that differ, the oldest."""
        return await self._shards.ask_all(lambda inside: inside.upkeep.schema(), _oldest)

    def script(self) -> str:
        """See `Upkeep`. All of them, one after the other, each under the name of its shard."""
        return "\n".join(f"-- {shard.name}\n\n{shard.inside.upkeep.script()}" for shard in self._shards)

    async def backup(self, path: str | os.PathLike[str]) -> NoReturn:  # noqa: ARG002 — of `Upkeep`
        """Refuse: a backup is one moment of one database."""
        raise Refused(_ONE_ALONE)

    async def copy_to(self, db: str) -> Copied:  # noqa: ARG002 — of `Upkeep`
        """Refuse."""
        raise Refused(_ONE_ALONE)

    async def drain(self, budget: Timeout = None) -> DrainReport:
        """See `Upkeep`. All shards at the same time."""
        self._must_not_wait_for_itself("box.drain()")
        return await self._shards.ask_all(lambda inside: inside.upkeep.drain(budget), summed)

    async def drained(self) -> DrainReport:
        """See `Upkeep`."""
        self._must_not_wait_for_itself("box.drained()")
        return await self._shards.ask_all(lambda inside: inside.upkeep.drained(), summed)

    def _must_not_wait_for_itself(self, call: str) -> None:
        # Here: each shard is asked by a task of its own, on which nothing is sent.
        for shard in self._shards:
            shard.inside.lifetime.must_not_wait_for_itself(call)

    async def prune(self, age: float | timedelta) -> dict[State, int]:
        """See `Upkeep`."""
        return await self._shards.ask_all(lambda inside: inside.upkeep.prune(age), _added)


class ShardedMirrorBook(MirrorBook):
    """See `MirrorBook`. A session may be of several tenants."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def pending(
        self, session_key: str, *, entries: int = ENTRIES_MAX, characters: int = TEXT_MAX
    ) -> list[MirrorEntry]:
        """See `MirrorBook`."""

        def merged(answers: list[list[MirrorEntry]]) -> list[MirrorEntry]:
            found = sorted((entry for answer in answers for entry in answer), key=lambda entry: entry.delivered_ms)
            return capped(found, entries_max=entries, text_max=characters)

        return await self._shards.ask_all(
            lambda inside: inside.mirror.pending(session_key, entries=entries, characters=characters), merged
        )

    async def acknowledge(self, entries: Iterable[MirrorEntry | str]) -> int:
        """See `MirrorBook`."""
        keys = keys_of(entries)
        return await self._shards.ask_all(lambda inside: inside.mirror.acknowledge(keys), _sum)

    async def prune(self, age: timedelta) -> None:
        """See `MirrorBook`."""
        await self._shards.ask_all(lambda inside: inside.mirror.prune(age), lambda _: None)


def _named(answers: list[tuple[Shard, list[str]]]) -> list[str]:
    return [f"{shard.name}: {sentence}" for shard, sentences in answers for sentence in sentences]


def _sum(answers: list[int]) -> int:
    return sum(answers)


def _oldest(answers: list[Schema]) -> Schema:
    return min(answers, key=lambda schema: schema.version)


def _added(answers: list[dict[State, int]]) -> dict[State, int]:
    total: Counter[State] = Counter()
    for answer in answers:
        total.update(answer)
    return dict(total)
