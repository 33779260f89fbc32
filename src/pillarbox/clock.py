"""
Time as an argument: the only module that asks what time it is, waits, or sets a timer.

Wall time is for what people read and schedule; boot time is for leases, because nobody can set it. They are
kept apart on purpose: a wall clock that is set back must not revive an expired lease. What a queue stores is judged by
a time made of both: `pillarbox.queue_clock.QueueClock`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

NS_A_MS: Final = 1_000_000
# Linux counts suspended time in CLOCK_BOOTTIME; elsewhere the monotonic clock is the nearest there is.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BOOT_NAMES = (b"kern.bootsessionuuid", b"kern.boot_id")  # macOS; FreeBSD


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Make sure that the callback is not called. Safe to repeat, also after the call."""


class Clock(Protocol):
    """What the engine may know about time."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970 UTC. May jump."""

    def boot_ms(self) -> int:
        """Return milliseconds since some fixed instant of this boot. Never jumps, counts suspended time."""

    def boot_id(self) -> str:
        """
        Return what changes with every boot; boot times of different ids cannot be compared.

        Empty where the system does not name its boots: then no process is taken for dead because of it.
        """

    def mono(self) -> float:
        """Return seconds, for durations inside this process."""

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the loop."""

    def call_later(self, seconds: float, callback: Callable[..., object], *values: object) -> Timer:
        """
        Call *callback* with *values* once, on the event loop that runs, when *seconds* have passed by `mono`.

        A loop that stood still calls late; what is 0 or less comes in the loop's next turn.
        """


class SystemClock:
    """
    The machine's clocks.

    Attributes:
        wall_ns, boot_ns: As `wall_ms` and `boot_ms`, in nanoseconds: Python's own functions, for who asks all the time.
    """

    __slots__ = ("_boot_id",)
    wall_ns = staticmethod(time.time_ns)
    boot_ns = staticmethod(functools.partial(time.clock_gettime_ns, _BOOT_CLOCK))

    def __init__(self) -> None:
        self._boot_id = _read_boot_id()

    def wall_ms(self) -> int:
        """See `Clock`."""
        return self.wall_ns() // NS_A_MS

    def boot_ms(self) -> int:
        """See `Clock`."""
        return self.boot_ns() // NS_A_MS

    def boot_id(self) -> str:
        """See `Clock`."""
        return self._boot_id

    def mono(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[..., object], *values: object) -> Timer:
        """See `Clock`. By the loop's own timers: those of asyncio and uvloop go by the same clock as `mono`."""
        return asyncio.get_running_loop().call_later(seconds, callback, *values)


def _read_boot_id() -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = _BOOT_ID.read_text(encoding="ascii").strip()
        if found:
            return found
    # Not the time of boot: it is reckoned from the wall clock, and whoever sets that would make it another boot.
    return next(filter(None, map(_kernel_text, _BOOT_NAMES)), "")


def _kernel_text(name: bytes) -> str:
    """Ask the kernel for a text by its name, on systems that have `sysctlbyname`; empty where there is none."""
    try:
        ask = ctypes.CDLL(None).sysctlbyname
    except (AttributeError, OSError, TypeError):
        return ""
    room = ctypes.create_string_buffer(128)
    size = ctypes.c_size_t(len(room))
    if ask(ctypes.c_char_p(name), room, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return ""
    return room.value.decode("ascii", "replace").strip()


def pause_thread(seconds: float) -> float:
    """
    Block the calling thread; return how many seconds passed, which may be more. Never on an event loop.

    Only for threads that own nothing but a wait.
    """
    began = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - began
