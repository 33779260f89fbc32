"""
The time line of a queue: what becomes of it when the machine's wall clock is set, or drifts.

Whatever a queue stores is a time on its own line, which is the wall clock's time for as long as nobody sets that
clock. It follows drift. It does not follow a step: it goes on as boot time does, and the difference is remembered, so
that what was due stays due and nothing expires early (contract LE6). Every process of a queue computes the same line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from pillarbox.domain.moments import MS_MAX

STEP_MS_MAX: Final = 60_000
"""By more than this the clocks have parted."""
SETTLE_MS: Final = 600_000
"""A clock that was set and then runs on steadily for so long is taken for the machine's time."""
_BURST_MS: Final = 500
_BURST_MS_MAX: Final = 5_000
_NEVER_MS: Final = 1 << 53
_TIMES: Final = frozenset(
    (
        "also_arrived_ms", "at_ms", "attempt_ended_ms", "began_ms", "cancel_requested_ms", "claimed_ms", "completed_ms",
        "created_ms", "delivered_ms", "due_ms", "expires_ms", "last_attempt_ms", "not_before_ms", "now_ms", "paused_ms",
        "paused_until_ms", "seen_ms", "started_ms", "until_ms",
    )
)  # fmt: skip
T = TypeVar("T", bound=msgspec.Struct)


class ClockMark(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the machine's clocks stood at one instant, and how far the queue's line is from the wall clock.

    Attributes:
        boot: Which boot it was; empty where the system does not say.
        boot_ms: Boot time.
        wall_ms: The wall clock.
        ahead_ms: How far the wall clock is ahead of the line.
        base_ms: The same when the clocks last agreed, or were last taken to.
        parted_ms: By how much the wall clock was set since then, all steps together.
        since_ms: Boot time of the last step by which they parted.
        doubted_until_ms: Boot time until which the wall clock is waiting to be put right: it was behind what had been
            seen before the boot, or the machine has only just come up.
        budget_ms: How much more of a difference counts as drift at this instant.
    """

    boot: str
    boot_ms: int
    wall_ms: int
    ahead_ms: int = 0
    base_ms: int = 0
    parted_ms: int = 0
    since_ms: int = 0
    doubted_until_ms: int = 0
    budget_ms: int = _BURST_MS

    @property
    def now_ms(self) -> int:
        """The time on the queue's line at that instant."""
        return self.wall_ms - self.ahead_ms


class ClockNews(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a database knows of the clocks of the machine it is on (contract LE6).

    Attributes:
        mark: How they stood when a process last said so; ``None`` before any did.
        seen_ms: The latest time at which a worker gave a sign of life; 0 where there is none.
        active: It has active messages, or a pause with an end.
        wall_ms: The database's own wall clock, by which all of its machines go; ``None`` where it has none.
    """

    mark: ClockMark | None = None
    seen_ms: int = 0
    active: bool = False
    wall_ms: Callable[[], int] | None = None


def followed(mark: ClockMark, *, wall_ms: int, boot_ms: int) -> ClockMark:
    """
    Return the mark of a later instant of the same boot.

    A difference of at most half a second at once, and of a tenth of the time that passed, is drift (NTP slews by less),
    and the line follows it. Over a long gap it is a hundredth of the gap, and 5 s at most: a step that is taken for
    drift makes nothing later than that, and drift that is taken for a step harms nothing.
    """
    mark = settled(mark, boot_ms=boot_ms)
    gap_ms = boot_ms - mark.boot_ms
    moved_ms = (wall_ms - boot_ms) - (mark.wall_ms - mark.boot_ms)
    most_ms = min(_BURST_MS + gap_ms // 100, _BURST_MS_MAX)
    budget_ms = min(mark.budget_ms + gap_ms // 10, most_ms)
    here = msgspec.structs.replace(mark, wall_ms=wall_ms, boot_ms=boot_ms, budget_ms=budget_ms)
    if abs(moved_ms) <= budget_ms:
        return msgspec.structs.replace(here, budget_ms=budget_ms - abs(moved_ms))
    return _stepped(here, moved_ms)


def _stepped(mark: ClockMark, step_ms: int) -> ClockMark:
    """Take in a step of the wall clock; *mark* stands after it, but does not know of it yet."""
    ahead_ms, parted_ms = mark.ahead_ms + step_ms, mark.parted_ms + step_ms
    if mark.boot_ms < mark.doubted_until_ms and step_ms > 0 and ahead_ms >= 0:
        # It was put right, as NTP does after a boot: the line goes along, as time did while the machine was off.
        return _agreed(mark, ahead_ms=0, doubted_until_ms=0)
    if abs(mark.ahead_ms) > STEP_MS_MAX and abs(ahead_ms) <= _BURST_MS_MAX:
        # What was set was set back.
        return _agreed(mark, ahead_ms=ahead_ms)
    if abs(parted_ms) <= STEP_MS_MAX:
        # Forward the line goes along: nothing is late by that. Backward it does not, or everything would be.
        ahead_ms = mark.base_ms + min(0, ahead_ms - mark.base_ms)
        return msgspec.structs.replace(mark, ahead_ms=ahead_ms, parted_ms=parted_ms)
    return msgspec.structs.replace(mark, ahead_ms=ahead_ms, parted_ms=parted_ms, since_ms=mark.boot_ms)


def _agreed(mark: ClockMark, *, ahead_ms: int, doubted_until_ms: int | None = None) -> ClockMark:
    doubted_until_ms = mark.doubted_until_ms if doubted_until_ms is None else doubted_until_ms
    return msgspec.structs.replace(
        mark, ahead_ms=ahead_ms, base_ms=ahead_ms, parted_ms=0, doubted_until_ms=doubted_until_ms, budget_ms=_BURST_MS
    )


def settled(mark: ClockMark, *, boot_ms: int) -> ClockMark:
    """Take a wall clock that has run on steadily since it was set for the machine's time; the line stays as it is."""
    if abs(mark.parted_ms) > STEP_MS_MAX and boot_ms - mark.since_ms >= SETTLE_MS:
        return _agreed(mark, ahead_ms=mark.ahead_ms)
    return mark


def parted_ms(mark: ClockMark, *, boot_ms: int) -> int:
    """Return by how many ms the wall clock was set, if it is not to be trusted because of that; else 0."""
    parted_ms = settled(mark, boot_ms=boot_ms).parted_ms
    return parted_ms if abs(parted_ms) > STEP_MS_MAX else 0


def begun(known: ClockMark | None, here: ClockMark, *, seen_ms: int = 0, active: bool = False) -> ClockMark:
    """
    Return the mark of a process that begins, and has seen nothing of the clocks yet.

    Args:
        known: What the queue's processes knew last.
        here: How the clocks stand, nothing else.
        seen_ms: The latest time on the line that the queue holds.
        active: Something in the queue has still to be judged by its times.
    """
    if known is None:
        return here
    if is_same_boot(known, here):
        return followed(msgspec.structs.replace(known, budget_ms=_BURST_MS), wall_ms=here.wall_ms, boot_ms=here.boot_ms)
    if not active:
        return here
    seen_ms = max(seen_ms, known.now_ms)
    # The clock may have been put right while the machine was down, or not. The line must not go back; of what is
    # possible the earlier is taken, because a message that goes late is better than one that has expired.
    here = msgspec.structs.replace(here, doubted_until_ms=SETTLE_MS)
    possible = [ahead_ms for ahead_ms in (0, known.ahead_ms) if here.wall_ms - ahead_ms >= seen_ms]
    if possible:
        return _agreed(here, ahead_ms=max(possible))
    behind_ms = here.wall_ms - seen_ms
    until_ms = _NEVER_MS if behind_ms < -STEP_MS_MAX else SETTLE_MS
    return msgspec.structs.replace(
        here, ahead_ms=behind_ms, parted_ms=behind_ms, since_ms=here.boot_ms, doubted_until_ms=until_ms
    )


def is_same_boot(known: ClockMark, here: ClockMark) -> bool:
    """
    Whether boot times of the two can be compared.

    Where the system does not name its boots, boot time that went on is taken for the same boot, in doubt: a message
    that goes late is better than one that has expired.
    """
    return known.boot == here.boot and here.boot_ms >= known.boot_ms


def shifted(value: T, by_ms: int) -> T:
    """Return *value* with every time in it moved, also in what it holds: from the line to the wall clock, or back."""
    if not by_ms:
        return value
    changes: dict[str, Any] = {}
    for name in value.__struct_fields__:
        held = getattr(value, name)
        if name in _TIMES and isinstance(held, int):
            changes[name] = moved(held, by_ms)
        elif isinstance(held, msgspec.Struct):
            changes[name] = shifted(held, by_ms)
        elif isinstance(held, tuple) and held and isinstance(held[0], msgspec.Struct):
            changes[name] = tuple(shifted(item, by_ms) for item in held)
    return msgspec.structs.replace(value, **changes)


def moved(at_ms: int, by_ms: int) -> int:
    """Return a time moved by *by_ms*, kept within the years of the calendar."""
    return min(max(at_ms + by_ms, 0), MS_MAX)
