"""Whether the wall clock can be trusted to end or delete messages (contract LE6)."""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.clock import Clock
from pillarbox.domain.clock_steps import SETTLE_MS
from pillarbox.domain.lifecycle import expired
from pillarbox.queue_clock import QueueClock


class ClockGuard:
    """
    Decides whether time may end or delete messages.

    Args:
        alarm: Called once when the wall clock was set by more than 60 s; it must agree again, or run steadily for ten
            minutes, before the next time counts.
    """

    def __init__(self, clock: Clock, alarm: Callable[[str, str], None]) -> None:
        self._clock = QueueClock.of(clock)
        self._alarm = alarm
        self._told = False

    def trusted(self) -> bool:
        """Whether the wall clock may end or delete messages."""
        parted_ms = self._clock.parted_ms()
        if parted_ms and not self._told:
            self._alarm("clock_stepped", untrusted(parted_ms))
        self._told = bool(parted_ms)
        return not parted_ms

    def over(self, expires_ms: int | None, now_ms: int) -> bool:
        """Whether a message's time is surely over at *now_ms*; by a wall clock that was set it may seem so."""
        if not expired(expires_ms, now_ms + max(0, self._clock.known_ahead_ms)):
            return False
        return self.trusted() and expired(expires_ms, self._clock.wall_ms())


def untrusted(parted_ms: int) -> str:
    """Return a sentence on what a wall clock that was set does to the queue."""
    return (
        f"the wall clock was set by {parted_ms / 1000:+.0f} s; expiry and pruning pause. Messages go out when they"
        " would have: due times, retries and channel pauses are judged by boot time. That ends when the clock agrees"
        f" again, or has run steadily for {SETTLE_MS // 60_000} minutes"
    )
