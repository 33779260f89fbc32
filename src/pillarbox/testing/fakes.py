"""`FakeClock`: time that passes only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
from typing import Final

_START_MS: Final = 1_700_000_000_000
_BOOT_MS: Final = 5_000_000


class FakeClock:
    """
    A `Clock` that stands still until it is told to go on.

    Args:
        wall_ms: Where the wall clock begins, in milliseconds since 1970.
        boot_ms: Where the boot clock begins.
        boot_id: Which boot this is.
    """

    def __init__(self, *, wall_ms: int = _START_MS, boot_ms: int = _BOOT_MS, boot_id: str = "boot-1") -> None:
        self._wall_ms = wall_ms
        self._boot_ms = boot_ms
        self._boot_id = boot_id
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._slept = 0

    def wall_ms(self) -> int:
        """See `Clock`."""
        return self._wall_ms

    def boot_ms(self) -> int:
        """See `Clock`."""
        return self._boot_ms

    def boot_id(self) -> str:
        """See `Clock`."""
        return self._boot_id

    def mono(self) -> float:
        """See `Clock`."""
        return self._boot_ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved the clock that far; a wait of 0 only lets others run."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if seconds <= 0:
            loop.call_soon(_wake, future)
        else:
            self._slept += 1
            heapq.heappush(self._sleepers, (self._boot_ms + _ms(seconds), self._slept, future))
        await future

    @property
    def sleeping(self) -> int:
        """How many wait for the clock."""
        return sum(not future.done() for *_, future in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass. Those whose wait is over are woken in order; they run when the caller next awaits."""
        self._wall_ms += _ms(seconds)
        self._boot_ms += _ms(seconds)
        while self._sleepers and self._sleepers[0][0] <= self._boot_ms:
            _wake(heapq.heappop(self._sleepers)[2])

    def set_wall(self, wall_ms: int) -> None:
        """Set the wall clock, as a person or NTP does. Boot time and sleepers do not notice."""
        self._wall_ms = wall_ms

    def reboot(self, boot_id: str) -> None:
        """Begin another boot: boot time starts again and cannot be compared with the old one."""
        self._boot_id = boot_id
        self._boot_ms = 0


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
