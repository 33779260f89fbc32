"""
When to try again: the schedule grammar, jitter, server hints, and the policy pinned to a message at acceptance.

The row's ``due_at`` is the single truth about the next attempt; nothing recomputes it (contract RE1).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

from pillarbox.errors import ConfigError

FREE_RETURN_MS_MIN: Final = 1_000
HINT_SECONDS_MAX: Final = 24 * 3600.0
SUSPECT_LOST: Final = 2
MARK: Final = "⚠ possibly sent twice"
"""What a copy that may be a second one says of itself. No sign in it means anything in a language of markup."""
MARK_LENGTH_MAX: Final = 200
# Seconds after the 1st, 2nd, … worker lost in a row; the last repeats. Short, because the receiver never failed.
LOST_WORKER_SECONDS: Final = (0.0, 1.0, 5.0, 30.0, 120.0)

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)\Z")
_STEP = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))(?:\s*\*\s*([0-9]+))?\Z")
_REPEAT_MAX = 1000
_DELAY_SECONDS_MAX: Final = 3650 * 86400.0  # as for every other span; a longer one would leave the calendar


class UncertainAction(StrEnum):
    """What to do when the platform may have it."""

    RESEND = "resend"
    RESEND_MARKED = "resend_marked"
    """The same; each copy says that it may be one."""
    HOLD = "hold"
    RECONCILE = "reconcile"
    DROP = "drop"

    @property
    def resends(self) -> bool:
        """Whether it goes again, whoever has it."""
        return self in {UncertainAction.RESEND, UncertainAction.RESEND_MARKED}


class ExpireAction(StrEnum):
    """What happens past the TTL."""

    FAIL = "fail"
    DELIVER = "deliver"


class OnDead(StrEnum):
    """What a dead message does to its lane."""

    SKIP = "skip"
    BLOCK = "block"


class OnHeld(StrEnum):
    """Whether a held message keeps its turn."""

    SKIP = "skip"
    BLOCK = "block"


def parse_span(text: str, *, field: str) -> float:
    """Read ``5s``, ``2m``, ``1.5h`` or ``250ms`` into seconds. Raises ConfigError naming *field*."""
    match = _SPAN.match(text.strip())
    if match is None:
        raise ConfigError(field, f"expected a span such as 250ms, 5s, 2m, 1h or 3d, not {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def parse_schedule(text: str, *, field: str = "schedule") -> tuple[float, ...]:
    """
    Read a retry schedule into seconds: ``5s, 25s, 2m, 10m`` or ``1m, 5m*2, 1h*3``.

    The first delay follows the first charged attempt; the last one repeats for as long as attempts are left.

    Raises:
        ConfigError: Empty, a malformed step, a repeat outside 1–1000, or a delay of 0 or beyond 3650 days.
    """
    delays: list[float] = []
    for step in text.split(","):
        match = _STEP.match(step.strip())
        if match is None:
            raise ConfigError(field, f"expected delays such as '5s, 25s, 2m' or '1m, 5m*2', not {step.strip()!r}")
        delay = parse_span(match[1], field=field)
        repeat = int(match[2] or 1)
        if not 0 < delay <= _DELAY_SECONDS_MAX or not 1 <= repeat <= _REPEAT_MAX:
            raise ConfigError(
                field, f"expected delays above 0, at most 3650d, repeated 1–{_REPEAT_MAX} times, not {step.strip()!r}"
            )
        delays.extend([delay] * repeat)
    return tuple(delays)


class PartsMode(StrEnum):
    """What a rejected part does to the parts behind it."""

    ALL_OR_ABORT = "all_or_abort"
    BEST_EFFORT = "best_effort"


class Policy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    How hard to try. Pinned to a message when it is accepted, so that a later change of configuration moves nothing.

    Attributes:
        schedule: Seconds to wait after the 1st, 2nd, … charged attempt; the last repeats.
        max_attempts: 1–10 000 charged attempts, then the message is dead.
        ttl_seconds: Counted from ``not_before``; ``None`` for no limit.
        lane_block_seconds: How long a message that fails may keep its lane from going on (contract LA5); ``None`` for
            no limit.
        jitter: 0–1; a delay d is drawn from [d, d × (1 + jitter)], so no server hint is undercut.
        hint_seconds_max: A longer hint is shortened to this.
        suppress: A recipient that is refused for good gets no later message.
        uncertain_mark: What a copy says of itself under ``resend_marked``: one line, at most 200 characters.
    """

    schedule: tuple[float, ...] = (5.0, 25.0, 120.0, 600.0)
    max_attempts: int = 5
    ttl_seconds: float | None = 3600.0
    expire_action: ExpireAction = ExpireAction.FAIL
    uncertain: UncertainAction = UncertainAction.RESEND
    on_dead: OnDead = OnDead.SKIP
    on_held: OnHeld = OnHeld.SKIP
    lane_block_seconds: float | None = None
    parts: PartsMode = PartsMode.ALL_OR_ABORT
    jitter: float = 0.2
    hint_seconds_max: float = HINT_SECONDS_MAX
    suppress: bool = True
    uncertain_mark: str = MARK

    def delay_seconds(self, charged: int, fraction: float) -> float:
        """
        Wait before the next attempt.

        Args:
            charged: Attempts charged so far, this one included; 1 or more.
            fraction: Where in the jitter's range to land, in [0, 1).
        """
        base = self.schedule[min(charged, len(self.schedule)) - 1]
        return base * (1.0 + self.jitter * fraction)

    def longest_seconds(self) -> float:
        """Return how long after the first attempt the last one is at most, where each is charged and nobody hints."""
        return sum(self.delay_seconds(charged, 1.0) for charged in range(1, self.max_attempts))

    def lost_worker_seconds(self, lost: int, fraction: float) -> float:
        """
        Wait after a lost worker, whatever the channel's own schedule says: at once, 1 s, 5 s, 30 s, then 2 min.

        Args:
            lost: Workers lost in a row, this one included; 1 or more.
            fraction: Where in the jitter's range to land, in [0, 1).
        """
        base = LOST_WORKER_SECONDS[min(lost, len(LOST_WORKER_SECONDS)) - 1]
        return base * (1.0 + self.jitter * fraction)

    def bounded_hint(self, after: float | None) -> float:
        """Make a server's hint safe to use: 0 when missing, negative or NaN, and at most ``hint_seconds_max``."""
        # NaN fails every comparison, so it ends up at 0 as well.
        if after is None or not after > 0:
            return 0.0
        return min(after, self.hint_seconds_max, _DELAY_SECONDS_MAX)


CHAT = Policy()
WEBHOOK = Policy(schedule=parse_schedule("5s, 5m, 30m, 2h, 5h, 10h*6"), max_attempts=12, ttl_seconds=3 * 86400.0)
# A mailbox that is full for now is refused for good too (552 5.2.2), so who was refused is not taken for gone.
SMTP = Policy(
    schedule=parse_schedule("1m, 15m, 30m, 1h*4, 4h*28"), max_attempts=36, ttl_seconds=5 * 86400.0, suppress=False
)
