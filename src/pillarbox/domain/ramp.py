"""How fast a channel that answers again after an outage is opened to what has waited for it (contract FL2)."""

from __future__ import annotations

from typing import Final

STEP_MS: Final = 1_000
_STEPS: Final = 10


def most_at_once(reopened_ms: int, now_ms: int) -> int | None:
    """
    Return how many messages of a queue may be under way: 2 in the first second, then twice as many in each.

    ``None`` for any number: after ten seconds, and where the clock was set.
    """
    step = (now_ms - reopened_ms) // STEP_MS
    return 2 << step if 0 <= step < _STEPS else None
