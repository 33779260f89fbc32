"""Which database an outbox works on: its own, none where the queue is disabled, or memory where it cannot be opened."""

from __future__ import annotations

import os
from collections.abc import Callable

from pillarbox.clock import Clock
from pillarbox.entropy import Entropy
from pillarbox.errors import StoreError, StoreNotFound
from pillarbox.outbox.engine_settings import limits_of
from pillarbox.settings.load import is_default_db
from pillarbox.settings.model import Settings
from pillarbox.store.base import Durability, Store
from pillarbox.store.registry import file_of, no_store, open_store

# Databases that could not be opened, by process and place, and what stands in for them until the process ends.
_fallbacks: dict[tuple[int, str], Store] = {}


def make_store(settings: Settings, *, clock: Clock, entropy: Entropy, migrate: bool = False) -> Store:
    """Make the store that *settings* name; nothing is opened. *migrate* it, where not everybody who works does that."""
    if not settings.enabled:
        return no_store(entropy.token(16))
    return open_store(
        settings.db,
        durability=Durability(settings.durability),
        limits=limits_of(settings),
        make_parents=is_default_db(settings.db),
        migrate=migrate,
        clock=clock,
    )


async def opened_or_memory(
    store: Store, settings: Settings, alarm: Callable[[str, str], None], *, clock: Clock, make: bool
) -> Store:
    """
    Open *store*; where that fails and *settings* say so, work in memory from then on (contract SG1).

    Where it is not there and not to be made, StoreNotFound says so: nothing is wrong with it yet.

    Returns:
        What is open: *store*, or what stands in for it until the process ends.
    """
    if settings.fallback != "memory":
        await store.open(make=make)
        return store
    # However the path is spelt; and a forked child has not got what its parent holds.
    place = os.getpid(), _place(settings.db)
    fallen = _fallbacks.get(place)
    if fallen is not None:
        return fallen
    try:
        await store.open(make=make)
    except StoreError as exc:
        if not make and isinstance(exc, StoreNotFound):
            raise
        # Sticky for the process: going back to the file later would strand what is in memory.
        fallen = _fallbacks[place] = open_store(":memory:", clock=clock)
        await fallen.open()
        alarm("fallback_memory", f"{exc}; nothing survives this process now")
        return fallen
    return store


def _place(db: str) -> str:
    """Return one name for a database, however it is spelt."""
    file = file_of(db)
    return db if file is None else str(file.resolve())
