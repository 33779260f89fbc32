"""
Time as an argument: the only module that asks what time it is, or waits.

Wall time is for what people read and schedule; boot time is for leases, because nobody can set it. They are
kept apart on purpose: a wall clock that is set back must not revive an expired lease.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol

# Linux counts suspended time in CLOCK_BOOTTIME; elsewhere the monotonic clock is the nearest there is.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What the engine may know about time."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC. May jump."""

    def boot_ms(self) -> int:
        """Milliseconds since some fixed instant of this boot. Never jumps, counts suspended time."""

    def boot_id(self) -> str:
        """Changes with every boot; boot times of different ids cannot be compared."""

    def mono(self) -> float:
        """Seconds, for durations inside this process."""

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the loop."""


class SystemClock:
    """The machine's clocks."""

    __slots__ = ("_boot_id",)

    def __init__(self) -> None:
        self._boot_id = _read_boot_id()

    def wall_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        """See `Clock`."""
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000

    def boot_id(self) -> str:
        """See `Clock`."""
        return self._boot_id

    def mono(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


def _read_boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        # Without a boot id, the time of boot to the nearest ten seconds tells boots apart well enough.
        return f"boot-{round((time.time() - time.clock_gettime(_BOOT_CLOCK)) / 10)}"


def pause_thread(seconds: float) -> None:
    """Block the calling thread. Only for threads that own nothing but a wait, never on an event loop."""
    time.sleep(seconds)
