"""What has to be let go at an end, whatever fails meanwhile: channels, and a process's row among the workers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pillarbox.errors import StoreError

if TYPE_CHECKING:
    from pillarbox.channels.base import Channel
    from pillarbox.engine.reporter import Reporter
    from pillarbox.store.base import Store

_log = logging.getLogger("pillarbox.engine")


async def close_channel(name: str, channel: Channel) -> None:
    """Close a channel. Raises nothing: a bug of an adapter is no reason to leave the rest open."""
    try:
        await channel.close()
    except Exception:  # noqa: BLE001 — an adapter's own code, whatever it raises
        _log.exception("channel %s failed to close", name)


async def deregister(store: Store, slot: int, reporter: Reporter) -> None:
    """Remove a worker's row. Where the database fails, its lock goes with the process, for others to notice."""
    try:
        await store.deregister(slot)
    except StoreError as exc:
        reporter.alarm("recording_failed", f"worker {slot}: {exc}")
