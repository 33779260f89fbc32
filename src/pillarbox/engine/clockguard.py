"""
Notices a wall clock that was set: expiry and pruning pause then, because they judge by it (contract LE6).

Leases are judged by boot time and are not concerned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.clock import Clock

STEP_MS_MAX: Final = 60_000


class ClockGuard:
    """
    Compares wall and boot time with how they stood at the start.

    Args:
        alarm: Told once when they part by more than 60 s; they must agree again, or the worker be started anew.
    """

    def __init__(self, clock: Clock, alarm: Callable[[str, str], None]) -> None:
        self._clock = clock
        self._alarm = alarm
        self._offset = clock.wall_ms() - clock.boot_ms()
        self._stepped = False

    def trusted(self) -> bool:
        """Whether the wall clock may end or delete messages."""
        step = self._clock.wall_ms() - self._clock.boot_ms() - self._offset
        stepped = abs(step) > STEP_MS_MAX
        if stepped and not self._stepped:
            self._alarm("clock_stepped", f"the wall clock was set by {step / 1000:+.0f} s; expiry and pruning pause")
        self._stepped = stepped
        return not stepped
