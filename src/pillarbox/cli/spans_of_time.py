"""How long ago something was, and how long it is until something: for people, in one unit."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pillarbox.clock import SystemClock

# From twice a unit on it is used: 90 seconds tell more than 1 minute.
_UNITS: Final = ((172_800, 86_400, "d"), (7_200, 3_600, "h"), (120, 60, "m"))


def about(seconds: float) -> str:
    """Return a span in whole units, cut: ``45s``, ``90s``, ``5m``, ``26h``, ``3d``. What is negative is none."""
    whole = max(0, int(seconds))
    for least, unit, letter in _UNITS:
        if whole >= least:
            return f"{whole // unit}{letter}"
    return f"{whole}s"


def seconds_since(stamp: str) -> float:
    """Return how long ago a time was that `pillarbox.views.stamp` wrote, in seconds; negative where it is to come."""
    return SystemClock().wall_ms() / 1000 - datetime.fromisoformat(stamp).timestamp()


def relative(stamp: str) -> str:
    """Return ``5m ago``, ``in 5m`` or ``now``."""
    passed = seconds_since(stamp)
    if abs(passed) < 1:
        return "now"
    return f"{about(passed)} ago" if passed > 0 else f"in {about(-passed)}"
