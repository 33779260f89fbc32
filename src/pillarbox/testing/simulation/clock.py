"""`SimulatedClock`: the machine's clocks on a simulated loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pillarbox.clock import Timer

_START_MS: Final = 1_700_000_000_000
_BOOT_MS: Final = 5_000_000


class SimulatedClock:
    """
    A `Clock` that goes by the loop's virtual time. One for all processes of a simulated machine.

    Args:
        wall_ms: What the wall clock says at the loop's time 0, in milliseconds since 1970.
        boot_id: Which boot this is.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, wall_ms: int = _START_MS, boot_id: str = "simulated"
    ) -> None:
        self._loop = loop
        self._wall_ms = wall_ms
        self._boot_id = boot_id

    def wall_ms(self) -> int:
        """See `Clock`."""
        return self._wall_ms + int(self._loop.time() * 1000)

    def boot_ms(self) -> int:
        """See `Clock`."""
        return _BOOT_MS + int(self._loop.time() * 1000)

    def boot_id(self) -> str:
        """See `Clock`."""
        return self._boot_id

    def mono(self) -> float:
        """See `Clock`."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        over: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(seconds, _wake, over)
        try:
            await over
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[..., object], *values: object) -> Timer:
        """See `Clock`."""
        return self._loop.call_later(seconds, callback, *values)

    def set_wall(self, wall_ms: int) -> None:
        """Set the wall clock, as a person or NTP does. Boot time and timers do not notice."""
        self._wall_ms = wall_ms - int(self._loop.time() * 1000)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
