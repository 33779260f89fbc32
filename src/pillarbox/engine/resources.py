"""
What is opened at a start and has to be let go at an end, whatever fails meanwhile: channels, a process's row.

A channel's own code has a bounded time for both.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pillarbox.channels.base import Channel, Seams
from pillarbox.clock import Clock
from pillarbox.engine.attempts import log_failure
from pillarbox.engine.calls import Calls
from pillarbox.errors import ConfigError, StoreError
from pillarbox.events.reporter import Reporter
from pillarbox.store.base import Store
from pillarbox.user_code import Log, pass_on_after_this_task

_log = Log("pillarbox.engine")
START_SECONDS: Final = 60.0
CLOSE_SECONDS: Final = 5.0


async def start_channel(name: str, channel: Channel, seams: Seams, *, seconds: float = START_SECONDS) -> None:
    """
    Open a channel. Raises what the channel raises.

    Raises:
        ConfigError: It took longer than *seconds*, or something in it was cancelled.
    """
    ended = await Calls(seams.clock).run(name, channel.start, seams, seconds=seconds)
    if ended.overran:
        raise ConfigError(f"channels.{name}", f"its start did not end within {seconds:g} s")
    if isinstance(ended.error, asyncio.CancelledError | GeneratorExit):
        # Raised as it is, it would read as if somebody had cancelled the start of the outbox.
        raise ConfigError(f"channels.{name}", f"its start raised {type(ended.error).__name__}") from ended.error
    if ended.error is not None:
        raise ended.error


async def close_channel(name: str, channel: Channel, clock: Clock, *, seconds: float = CLOSE_SECONDS) -> None:
    """Close a channel, in *seconds* at most. Raises nothing: an adapter's bug is no reason to leave the rest open."""
    ended = await Calls(clock).run(name, channel.close, seconds=seconds)
    if ended.overran:
        _log.error("channel %s did not close within %g s and was left behind", name, seconds)
    elif ended.error is not None:
        log_failure(ended.error, "channel %s failed to close", name)
        pass_on_after_this_task(ended.error)


async def deregister(store: Store, slot: int, reporter: Reporter) -> None:
    """Remove a worker's row. Where the database fails, its lock goes with the process, for others to notice."""
    try:
        await store.deregister(slot)
    except StoreError as exc:
        reporter.alarm("recording_failed", f"worker {slot}: {exc}")
