"""
Judges whether something takes time in proportion to its input, by the ratio of two sizes and not by a clock.

What is measured is the processor's time of this thread, so that other processes do not count. Each size is measured
again as long as the ratio looks wrong. A short time counts, for noise adds to it; but not the shortest of many: a
thread that moves from one processor to the other may be credited with less than it took.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL: Final = 400
GROWTH: Final = 4
# Four times as much takes four times as long where the time is linear, sixteen times where it is quadratic.
RATIO_MAX: Final = 9.0
_TRIES: Final = 24
_SECONDS_MIN: Final = 50e-6  # what takes less is done several times: the clock itself takes a part of that


def is_linear(run: Callable[[str], object], text_of: Callable[[int], str], *, small: int = SMALL) -> bool:
    """Tell whether *run* takes at most `RATIO_MAX` times as long for a text `GROWTH` times as long."""
    # First of all what would never end: here, eight characters more may not cost a hundred times more.
    if not _within(run, text_of(12), text_of(20), ratio=60.0, tries=12):
        return False
    return _within(run, text_of(small), text_of(small * GROWTH), ratio=RATIO_MAX, tries=_TRIES)


def _within(run: Callable[[str], object], short: str, long: str, *, ratio: float, tries: int) -> bool:
    few: list[float] = []
    many: list[float] = []
    # One measurement that is too long by chance would leave the clock itself as most of every later one.
    once = min(_seconds(run, short, 1) for _ in range(5))
    times = max(1, int(_SECONDS_MIN / max(once, 1e-7)))
    for _ in range(tries):
        few.append(_seconds(run, short, times))
        many.append(_seconds(run, long, times))
        if _short_one(many) <= ratio * _short_one(few):
            return True
    return False


def _short_one(times: list[float]) -> float:
    return sorted(times)[len(times) // 4]


def _seconds(run: Callable[[str], object], text: str, times: int) -> float:
    collects = gc.isenabled()
    gc.disable()
    try:
        began = time.thread_time_ns()
        for _ in range(times):
            run(text)
        return (time.thread_time_ns() - began) / 1e9
    finally:
        if collects:
            gc.enable()
