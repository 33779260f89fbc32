"""`FakeClock`: time that passes only when a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.clock import Timer

_START_MS: Final = 1_700_000_000_000
_BOOT_MS: Final = 5_000_000


class _Timer:
    """A call that waits for the clock."""

    __slots__ = ("_callback", "_values", "when_us")

    def __init__(self, when_us: int, callback: Callable[..., object], values: tuple[object, ...]) -> None:
        self.when_us = when_us
        self._callback: Callable[..., object] | None = callback
        self._values = values

    def cancel(self) -> None:
        self._callback, self._values = None, ()

    def call(self) -> None:
        callback, values = self._callback, self._values
        self.cancel()
        if callback is not None:
            callback(*values)


class FakeClock:
    """
    A `Clock` that stands still until a test moves it, and its timers with it.

    Args:
        wall_ms: Where the wall clock begins, in milliseconds since 1970.
        boot_ms: Where the boot clock begins.
        boot_id: Which boot this is.
    """

    def __init__(self, *, wall_ms: int = _START_MS, boot_ms: int = _BOOT_MS, boot_id: str = "boot-1") -> None:
        self._boot_id = boot_id
        # One time that only goes on, and where the two clocks stand on it.
        self._mono_us = boot_ms * 1000
        self._boot_zero_us = 0
        self._wall_zero_us = (boot_ms - wall_ms) * 1000
        self._timers: list[tuple[int, int, _Timer]] = []
        self._begun = 0
        self._sleeping = 0

    def wall_ms(self) -> int:
        """See `Clock`."""
        return (self._mono_us - self._wall_zero_us) // 1000

    def boot_ms(self) -> int:
        """See `Clock`."""
        return (self._mono_us - self._boot_zero_us) // 1000

    def boot_id(self) -> str:
        """See `Clock`."""
        return self._boot_id

    def mono(self) -> float:
        """See `Clock`."""
        return self._mono_us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved the clock that far; a wait of 0 only lets others run."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits = seconds > 0
        self._sleeping += waits
        try:
            self.call_later(seconds, _wake, future)
            await future
        finally:
            self._sleeping -= waits

    def call_later(self, seconds: float, callback: Callable[..., object], *values: object) -> Timer:
        """See `Clock`. What is 0 or less comes in the loop's next turn, all else while the clock is moved on."""
        if seconds <= 0:
            return asyncio.get_running_loop().call_soon(callback, *values)
        self._begun += 1
        timer = _Timer(self._mono_us + max(1, round(seconds * 1_000_000)), callback, values)
        heapq.heappush(self._timers, (timer.when_us, self._begun, timer))
        return timer

    @property
    def sleeping(self) -> int:
        """How many wait in `sleep`."""
        return self._sleeping

    def advance(self, seconds: float) -> None:
        """Let time pass. Timers are called in order, each at its own time; tasks run when the caller next awaits."""
        until_us = self._mono_us + round(seconds * 1_000_000)
        while self._timers and self._timers[0][0] <= until_us:
            when_us, _, timer = heapq.heappop(self._timers)
            self._mono_us = max(self._mono_us, when_us)
            timer.call()
        self._mono_us = until_us

    def stall(self, seconds: float) -> None:
        """Let time pass in which nothing of the process runs (SIGSTOP): timers that came meanwhile are called late."""
        self._mono_us += round(seconds * 1_000_000)
        self.advance(0)

    def set_wall(self, wall_ms: int) -> None:
        """Set the wall clock, as a person or NTP does. Boot time and timers do not notice."""
        self._wall_zero_us = self._mono_us - wall_ms * 1000

    def reboot(self, boot_id: str) -> None:
        """Begin another boot: boot time starts again and cannot be compared with the old one."""
        self._boot_id = boot_id
        self._boot_zero_us = self._mono_us


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class SeededEntropy:
    """A reproducible sequence, for tests and the simulator. Never for production: its ids can be guessed."""

    __slots__ = ("_random",)

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 — reproducible on purpose

    def token(self, size: int) -> bytes:
        """See `Entropy`."""
        return self._random.randbytes(size)

    def fraction(self) -> float:
        """See `Entropy`."""
        return self._random.random()
