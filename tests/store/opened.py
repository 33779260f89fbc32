"""Opens SQLite handles for tests that look behind the seam."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import apsw

from pillarbox.store.registry import open_store
from pillarbox.store.sqlite import opening
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pillarbox.store.base import Durability


_seeds = itertools.count(1)  # no two handles make the same ids


@contextlib.asynccontextmanager
async def driver_on(
    path: Path, *, clock: FakeClock | None = None, seed: int | None = None, **options: Any
) -> AsyncIterator[StoreDriver]:
    """Open a handle on the file for a while."""
    used = clock or FakeClock()
    store = open_store(path, clock=used, **options)
    await store.open()
    try:
        yield StoreDriver(store, used, SeededEntropy(next(_seeds) if seed is None else seed))
    finally:
        await store.close()


@contextlib.contextmanager
def raw(path: Path) -> Iterator[apsw.Connection]:
    """Open the file without a store."""
    connection = apsw.Connection(str(path))
    try:
        yield connection
    finally:
        connection.close()


def connecting(then: Callable[[apsw.Connection], object]) -> Callable[[str, Durability], apsw.Connection]:
    """Make a ``connect`` seam that does something to every connection it opens."""

    def connect(path: str, durability: Durability) -> apsw.Connection:
        connection = opening.connect(path, durability)
        then(connection)
        return connection

    return connect
