"""
How much a platform takes in a time: through a channel, and for one recipient (contract FL1). Pure.

A rate holds in every span of its length, wherever that begins: what was sent is remembered with its time. A fiftieth of
the span is added to it, because what leaves at even distances may arrive closer together.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from pillarbox.errors import ConfigError

_MARGIN: Final = 1.02
# What was sent within this share of the shortest span is remembered as one, with the time of the last.
_SHARE: Final = 64
_SET_MS: Final = 10_000
_COUNT_MAX: Final = 10_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE: Final = re.compile(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})?([smhd])\Z")


class Rate(msgspec.Struct, frozen=True, array_like=True):
    """At most *count* in any *seconds*."""

    count: int
    seconds: int = 1

    @property
    def window_ms(self) -> int:
        """How long what was sent counts."""
        return math.ceil(self.seconds * 1000 * _MARGIN)

    def __str__(self) -> str:
        """Return it as a configuration has it."""
        unit = next((name for name, size in _UNITS.items() if self.seconds == size), f"{self.seconds}s")
        return f"{self.count}/{unit}"


Rates = tuple[Rate, ...]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a channel's platform takes. Empty where it does not say.

    Attributes:
        whole: Through the channel, all recipients together.
        each: For one recipient.
        group: For a recipient that is a group, instead; its address begins with ``group_prefix``.
    """

    whole: Rates = ()
    each: Rates = ()
    group: Rates = ()
    group_prefix: str = ""

    def rates(self, recipient: str) -> Rates:
        """Return those that hold for one recipient."""
        grouped = self.group and recipient.startswith(self.group_prefix)
        return self.group if grouped else self.each


UNLIMITED: Final = Pace()


def parse_rates(text: str, *, field: str) -> Rates:
    """
    Read ``30/s``, or several such as ``1/s, 20/m``; ``off`` for none.

    Raises:
        ConfigError: Names *field*.
    """
    if text.strip() == "off":
        return ()
    rates = []
    for one in text.split(","):
        found = _RATE.match(one.strip())
        if found is None or int(found[1]) > _COUNT_MAX:
            raise ConfigError(field, f"expected rates such as 30/s or 1/s, 20/m, or off, not {one.strip()!r}")
        rates.append(Rate(int(found[1]), int(found[2] or 1) * _UNITS[found[3]]))
    return tuple(rates)


class Log(msgspec.Struct, array_like=True):
    """
    What was sent lately: times in milliseconds, rising, and how much at each.

    What is more than ten seconds in the future was written by a clock that began anew, and is not believed.

    Workers may have different rates: each keeps to its own, over what all of them sent. So it is remembered for the
    longest span that one of them used within such a span: ``span_ms``, until ``span_until_ms``.
    """

    sent: list[tuple[int, int]] = []
    span_ms: int = 0
    span_until_ms: int = 0

    def free(self, rates: Rates, now_ms: int) -> int:
        """Return how many more may go at *now_ms*; the times asked about never fall."""
        self._forget(rates, now_ms)
        now_ms = self._not_before(now_ms)
        return max(0, min(rate.count - self._used(rate, now_ms) for rate in rates))

    def next_ms(self, rates: Rates, now_ms: int) -> int:
        """Return when the next one may go: at *now_ms* or later."""
        at_ms = now_ms = self._not_before(now_ms)
        for rate in rates:
            over = self._used(rate, now_ms) - rate.count + 1
            for sent_ms, count in self.sent:
                if over <= 0:
                    break
                if sent_ms > now_ms - rate.window_ms:
                    over -= count
                    at_ms = max(at_ms, sent_ms + rate.window_ms)
        return at_ms

    def take(self, rates: Rates, now_ms: int, count: int = 1) -> None:
        """Remember that so many went."""
        now_ms = self._not_before(now_ms)
        longest_ms = max(rate.window_ms for rate in rates)
        if longest_ms >= self.span_ms or not now_ms < self.span_until_ms <= now_ms + self.span_ms:
            self.span_ms, self.span_until_ms = longest_ms, now_ms + longest_ms
        near_ms = min(rate.window_ms for rate in rates) // _SHARE
        before = self.sent[-2][0] if len(self.sent) > 1 else None
        if self.sent and (self.sent[-1][0] == now_ms or (before is not None and now_ms - before < near_ms)):
            self.sent[-1] = (now_ms, self.sent[-1][1] + count)
        else:
            self.sent.append((now_ms, count))

    def over_ms(self, rates: Rates) -> int:
        """Return when nothing of it counts any more."""
        return self.sent[-1][0] + max(self.span_ms, *(rate.window_ms for rate in rates)) if self.sent else 0

    def _used(self, rate: Rate, now_ms: int) -> int:
        return sum(count for sent_ms, count in self.sent if sent_ms > now_ms - rate.window_ms)

    def _not_before(self, now_ms: int) -> int:
        return max(now_ms, self.sent[-1][0]) if self.sent else now_ms

    def _forget(self, rates: Rates, now_ms: int) -> None:
        longest_ms = max(rate.window_ms for rate in rates)
        others = now_ms < self.span_until_ms <= now_ms + self.span_ms
        kept_ms = max(longest_ms, self.span_ms) if others else longest_ms
        sent: list[tuple[int, int]] = []
        for at_ms, count in self.sent:
            if not now_ms - kept_ms < at_ms <= now_ms + _SET_MS:
                continue
            # What only another's longer span needs, its share of that is enough for.
            is_old = at_ms <= now_ms - longest_ms
            if is_old and len(sent) > 1 and at_ms - sent[-2][0] < kept_ms // _SHARE:
                sent[-1] = (at_ms, sent[-1][1] + count)
            else:
                sent.append((at_ms, count))
        self.sent = sent
