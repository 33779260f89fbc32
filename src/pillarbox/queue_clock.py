"""
The queue's time (contract LE6).

`QueueClock` is the one place that says what "now" is where a stored time is compared or written. `domain.clock_steps`
says how it differs from the wall clock once somebody sets that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.clock import NS_A_MS, SystemClock
from pillarbox.domain import clock_steps
from pillarbox.domain.clock_steps import ClockMark

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.clock import Clock
    from pillarbox.domain.clock_steps import ClockNews

_NOISE_MS: Final = 20
_SPREAD_MS: Final = 5
_READINGS_MAX: Final = 5
_REFRESH_MS: Final = 60_000


class QueueClock:
    """
    A `Clock` whose wall time is the queue's: it goes on where the machine's was set.

    Where the database has a clock of its own, which several machines share, it is that one's instead of the machine's.
    Safe to use from several threads: what is computed twice at once is the same.

    Attributes:
        known_ahead_ms: `ahead_ms` as it was when the clock was last read: for those who have just read it.
    """

    __slots__ = (
        "_boot_ns", "_clock", "_known", "_machine_ns", "_mark", "_saved_ms", "_shared", "_state", "_unsaved",
        "_wall_ns", "boot_id", "boot_ms", "call_later", "known_ahead_ms", "mono", "sleep",
    )  # fmt: skip

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The machine's own, as they are: every message asks for them several times.
        self.boot_ms, self.boot_id, self.mono = clock.boot_ms, clock.boot_id, clock.mono
        self._machine_ns, self._boot_ns = _in_ns(clock.wall_ms), _in_ns(clock.boot_ms)
        if isinstance(clock, SystemClock):
            self._machine_ns, self._boot_ns = clock.wall_ns, clock.boot_ns
        self._wall_ns = self._machine_ns
        self.sleep, self.call_later = clock.sleep, clock.call_later
        self._known = False
        self._shared = False
        self._unsaved = False
        self._saved_ms = 0
        self._take(self._here())

    @staticmethod
    def of(clock: Clock) -> QueueClock:
        """Return *clock* itself where it is one."""
        return clock if isinstance(clock, QueueClock) else QueueClock(clock)

    @property
    def machine(self) -> Clock:
        """The machine's own clock: what the world outside goes by."""
        return self._clock

    def wall_ms(self) -> int:
        """Return milliseconds since 1970 on the queue's line; the same as the wall clock's until that is set."""
        least_ms, ahead_ms, most_ms = self._state
        wall_ms = self._wall_ns() // NS_A_MS
        if least_ms <= wall_ms - self._boot_ns() // NS_A_MS <= most_ms:
            return wall_ms - ahead_ms
        return self._look().now_ms

    def ahead_ms(self) -> int:
        """Return how far the wall clock is ahead of the queue's line: 0, until somebody sets it."""
        self.wall_ms()
        return self._state[1]

    def parted_ms(self) -> int:
        """Return by how much the wall clock was set, while it is not to be trusted for that; else 0."""
        self.wall_ms()
        return clock_steps.parted_ms(self._mark, boot_ms=self._clock.boot_ms())

    def learn(self, news: ClockNews) -> None:
        """Take over what the processes of a queue know; those that saw more since keep what they know."""
        self._wall_ns = self._machine_ns if news.wall_ms is None else _in_ns(news.wall_ms)
        here = self._here()
        known = news.mark
        if self._known and (known is None or _is_later(self._mark, known)):
            known = self._mark
        self._take(clock_steps.begun(known, here, seen_ms=news.seen_ms, active=news.active))
        self._known = True
        stored = news.mark
        same = stored is not None and clock_steps.is_same_boot(stored, here)
        self._shared = news.wall_ms is not None
        self._unsaved = stored is None or not same or self._mark.ahead_ms != stored.ahead_ms

    def unsaved(self, *, refresh: bool) -> ClockMark | None:
        """
        Return what the store does not know yet; ``None`` where that is nothing, or it has a clock of its own.

        Args:
            refresh: Tell it also how time goes on, once a minute: so is a clock noticed that a boot set back.
        """
        due = refresh and self._clock.boot_ms() - self._saved_ms >= _REFRESH_MS
        if self._shared or not (self._unsaved or due):
            return None
        self._look()
        return self._mark

    def saved(self, mark: ClockMark) -> None:
        """Called when the store knows *mark*."""
        self._saved_ms = mark.boot_ms
        self._unsaved = self._mark.ahead_ms != mark.ahead_ms

    def _look(self) -> ClockMark:
        """Find out by how much the wall clock and boot time went apart, and go on from there."""
        here = self._here()
        before = self._mark
        if here.boot == before.boot and here.boot_ms < before.boot_ms:
            return before  # another thread looked meanwhile
        if clock_steps.is_same_boot(before, here):
            after = clock_steps.followed(before, wall_ms=here.wall_ms, boot_ms=here.boot_ms)
        else:
            after = clock_steps.begun(before, here, active=True)
        self._unsaved |= after.ahead_ms != before.ahead_ms
        self._take(after)
        return after

    def _take(self, mark: ClockMark) -> None:
        self._mark = mark
        # One value, so that no thread reads half of a change.
        offset_ms = mark.wall_ms - mark.boot_ms
        self._state = offset_ms - _NOISE_MS, mark.ahead_ms, offset_ms + _NOISE_MS
        self.known_ahead_ms = mark.ahead_ms

    def _here(self) -> ClockMark:
        """Read both clocks at one instant: a thread that is held up between the two would see a step."""
        least, boot_ms, wall_ms = self._reading()
        for _ in range(_READINGS_MAX):
            if least <= _SPREAD_MS:
                break
            least, boot_ms, wall_ms = min((least, boot_ms, wall_ms), self._reading())
        return ClockMark(boot=self._clock.boot_id(), boot_ms=boot_ms, wall_ms=wall_ms)

    def _reading(self) -> tuple[int, int, int]:
        """Return how long it took to read both clocks, then boot time, then the wall clock's."""
        before_ms = self.boot_ms()
        wall_ms = self._wall_ns() // NS_A_MS
        boot_ms = self.boot_ms()
        return boot_ms - before_ms, boot_ms, wall_ms


def _in_ns(read_ms: Callable[[], int]) -> Callable[[], int]:
    return lambda: read_ms() * NS_A_MS


def _is_later(mark: ClockMark, other: ClockMark) -> bool:
    return mark.boot == other.boot and mark.boot_ms > other.boot_ms
