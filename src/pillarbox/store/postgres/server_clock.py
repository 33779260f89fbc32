"""The server's wall clock, seen from a machine whose own may be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pillarbox.clock import Clock

_ROUND_TRIP_MS_MAX: Final = 50
_STEP_MS: Final = 100  # twice what two readings may differ by for the time that they take


class ServerClock:
    """
    Shows what the server's clock shows, so that all machines go by one: boot time carries it on between two readings.

    Args:
        clock: The machine's; its wall clock counts for nothing once the server's was read.
    """

    def __init__(self, clock: Clock) -> None:
        self.boot_ms = clock.boot_ms
        self._offset_ms = clock.wall_ms() - clock.boot_ms()
        self._read = False

    def wall_ms(self) -> int:
        """Return milliseconds since 1970."""
        return self.boot_ms() + self._offset_ms

    def read(self, now_ms: int, *, asked_ms: int) -> None:
        """Called when the server said *now_ms*; *asked_ms* is the boot time at which it was asked."""
        took_ms = self.boot_ms() - asked_ms
        offset_ms = now_ms - asked_ms - took_ms // 2
        exact = took_ms <= _ROUND_TRIP_MS_MAX and abs(offset_ms - self._offset_ms) >= _STEP_MS
        if exact or not self._read:
            self._offset_ms = offset_ms
            self._read = True
