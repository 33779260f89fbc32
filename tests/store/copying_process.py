"""Copies one database into another, and kills itself at a chosen transaction: before, inside or behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from pillarbox.store import database_copy
from pillarbox.store.base import Durability
from pillarbox.store.registry import open_store

if TYPE_CHECKING:
    from pillarbox.store.base import Store
    from pillarbox.store.steps.tx import Tx

LIMIT = 3


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A store in one of whose transactions the process is killed."""

    in_memory = False

    def __init__(self, store: Store, at: int, when: str) -> None:
        self._store = store
        self._left = at
        self._when = when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def moving(self, work: Any) -> Any:
        self._left -= 1
        dies = self._left == 0

        def inside(tx: Tx) -> Any:
            result = work(tx)
            if dies and self._when == "inside":
                _die()
            return result

        if dies and self._when == "before":
            _die()
        result = await self._store.moving(inside)
        if dies:
            _die()
        return result


async def main(source: str, target: str, at: int, when: str) -> None:
    stores = [open_store(place, durability=Durability.PROCESS) for place in (source, target)]
    for store in stores:
        await store.open()
    into: Any = Mortal(stores[1], at, when)
    await database_copy.copy(stores[0], into, now_ms=int(sys.argv[5]), limit=LIMIT)
    for store in stores:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
