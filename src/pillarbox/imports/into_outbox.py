"""Imports another system's queue into an outbox: with its database, its limits, and the policies of its channels."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from pillarbox.clock import Clock, SystemClock
from pillarbox.domain.moments import moment_ms
from pillarbox.entropy import Entropy, SystemEntropy
from pillarbox.errors import InvalidMessage, NotFound, Refused, StoreNotFound
from pillarbox.imports.entry import MAX_AGE_MS, FailedFiles, OnUncertain, SourceReport, System
from pillarbox.imports.importer import ImportOptions, run_import
from pillarbox.outbox.lifetime import NO_IMPORTS
from pillarbox.outbox.outbox import Outbox, inside
from pillarbox.store.base import Store
from pillarbox.store.registry import file_of, open_store

_MS: Final = timedelta(milliseconds=1)
MAX_AGE: Final = MAX_AGE_MS * _MS
E = TypeVar("E", bound=StrEnum)


async def import_queue(
    box: Outbox,
    system: System | str,
    path: str | Path,
    *,
    dry_run: bool = False,
    channels: Mapping[str, str] | None = None,
    max_age: timedelta = MAX_AGE,
    on_uncertain: OnUncertain | str = OnUncertain.HOLD,
    failed: FailedFiles | str = FailedFiles.IMPORT,
    now: datetime | None = None,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
) -> SourceReport:
    """
    Move what waits in another system's queue into *box*. Safe to repeat, and to be interrupted anywhere.

    The other program must not run meanwhile. Before ``box.start()`` the database is open for the import alone, and what
    was imported belongs to the drain at start; afterwards the worker takes it up like every new message.

    Args:
        system: ``openclaw-files``, ``openclaw-sqlite``, ``openclaw-outbox`` or ``comis``.
        path: The queue's directory, or its database file.
        dry_run: Only report. Makes no database, but asks the one that there is what was imported before.
        channels: Channel of *box* by theirs, or by ``theirs/account``; one that is missing keeps its name.
        max_age: OpenClaw's pending messages that are this old, or older, stay where they are.
        on_uncertain: ``hold`` or ``resend`` what was being sent.
        failed: ``import`` OpenClaw's failed files as dead, ``archive`` them as well, or ``leave`` them.
        now: Judge ages as of then; ``None`` for the clock's time.

    Raises:
        InvalidMessage: An argument is none of these; or ``path`` is not what it should be, or cannot be trusted.
        NotFound: There is nothing at *path*.
        Refused: The outbox is in memory, disabled, or on shards.
        StoreError: What was committed before stays; call it again.
    """
    if box.settings.shards:
        raise Refused(NO_IMPORTS)
    options = ImportOptions(
        now_ms=None if now is None else moment_ms("now", now, 0),
        max_age_ms=_span_ms(max_age),
        on_uncertain=_one_of("on_uncertain", OnUncertain, on_uncertain),
        failed=_one_of("failed", FailedFiles, failed),
        channel_map=dict(channels or {}),
        dry_run=dry_run,
        route=inside(box).routes.of,
        content_bytes_max=box.settings.content_bytes_max,
        own_database=file_of(box.settings.db),
    )
    source = _one_of("system", System, system)
    if not await asyncio.to_thread(os.path.lexists, path):
        # Before a database is made for nothing.
        raise NotFound("directory" if source is System.OPENCLAW_FILES else "file", str(path))
    async with contextlib.AsyncExitStack() as stack:
        store = await _store(box, stack, dry_run=dry_run)
        return await run_import(
            store, source, Path(path), options, clock=clock or SystemClock(), entropy=entropy or SystemEntropy()
        )


async def _store(box: Outbox, stack: contextlib.AsyncExitStack, *, dry_run: bool) -> Store | None:
    """Open what is imported into; on a dry run a database that is not there is not made."""
    if not dry_run or box.started:
        return await stack.enter_async_context(inside(box).lifetime.opened_store())
    if file_of(box.settings.db) is None or not box.settings.enabled:
        return None
    store = open_store(box.settings.db, create=False)
    stack.push_async_callback(store.close)
    try:
        await store.open()
    except StoreNotFound:
        return None
    return store


def _one_of(field: str, kind: type[E], value: object) -> E:
    try:
        return kind(str(value))
    except ValueError:
        known = ", ".join(kind)
        raise InvalidMessage(field, f"expected one of {known}, not {value!r}") from None


def _span_ms(span: timedelta) -> int:
    if span < _MS:
        raise InvalidMessage("max_age", f"expected a span of at least a millisecond, not {span}")
    return span // _MS
