"""
Lengths of time as settings.

The unit stands in the value (``ttl = "1h"``) or in the key (``ttl_ms = 3600000``, ``ttl_seconds = 3600``), never
nowhere: every span can be written in all three ways.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

from pillarbox.domain import pace
from pillarbox.domain.retry import parse_schedule, parse_span
from pillarbox.errors import ConfigError
from pillarbox.settings.value_kinds import Kind, Unfit, number_or_text, shown, whole_or_text

Unit = Literal["", "ms", "seconds"]

SPAN_MS_MAX: Final = 3650 * 86_400_000
NO_LIMIT: Final = timedelta.max
"""A span without end: `DefaultSettings.ttl` and `ChannelSettings.ttl` may be it."""

_MS = timedelta(milliseconds=1)
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_HOURS_MS_MAX: Final = 48 * 3_600_000
_SCHEDULE_TEXT_MAX: Final = 400
_DELAY_SECONDS_MIN: Final = 0.001


def span_text(ms: int) -> str:
    """Write milliseconds in the largest unit that divides them: 90000 is ``90s``; up to 48h days are hours."""
    if ms == 0:
        return "0s"
    units = _UNITS if ms > _HOURS_MS_MAX else _UNITS[1:]
    return next(f"{ms // each}{unit}" for unit, each in units if ms % each == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(Kind):
    """
    A length of time.

    Attributes:
        unit: What the read value is: "" a timedelta, "ms" an int, "seconds" a float.
        numbers: What a plain number means; "" where it means nothing and is refused.
        word: Stands for ``meaning``, a value that is no length.
    """

    unit: Unit = ""
    numbers: Unit = ""
    least_ms: int = 1
    most_ms: int = SPAN_MS_MAX
    word: str | None = None
    meaning: timedelta | None = None

    @property
    def expected(self) -> str:
        """See `Kind`."""
        number = {"": "", "ms": ", or a whole number of milliseconds", "seconds": ", or a number of seconds"}
        word = f", or {self.word!r}" if self.word else ""
        bounds = f"from {span_text(self.least_ms)} to {span_text(self.most_ms)}"
        return f"a span such as 250ms, 5s, 2m, 1h or 3d, {bounds}{number[self.numbers]}{word}"

    def counted(self, numbers: Unit) -> Span:
        """Return the same kind for a key that carries a unit, so that plain numbers have a meaning."""
        return replace(self, numbers=numbers)

    def read(self, raw: object) -> object:
        """See `Kind`."""
        if self.word is not None and (raw == self.word or raw == self.meaning is not None):
            return self.meaning
        ms = self._milliseconds(raw)
        if ms is None or not self.least_ms <= ms <= self.most_ms:
            raise Unfit(self.expected)
        match self.unit:
            case "ms":
                return ms
            case "seconds":
                return ms / 1000
            case _:
                return ms * _MS

    def _milliseconds(self, raw: object) -> int | None:
        # Compared before it is multiplied: a number of any size is safe here.
        match raw:
            case timedelta():
                return raw // _MS
            case str():
                return self._of_seconds(_seconds(raw))
            case bool():
                return None
            case int() if self.numbers == "ms":
                return raw
            case int() | float() if self.numbers == "seconds":
                return self._of_seconds(raw)
            case _:
                return None

    def _of_seconds(self, seconds: float) -> int | None:
        # NaN and infinity fail the comparison; so does what would round down to no time at all.
        return round(seconds * 1000) if 0 <= seconds <= self.most_ms / 1000 else None

    def of_text(self, text: str) -> object:
        """See `Kind`."""
        match self.numbers:
            case "ms":
                return whole_or_text(text)
            case "seconds":
                return number_or_text(text)
            case _:
                return text.strip()

    def show(self, value: object) -> str:
        """See `Kind`."""
        match value:
            case _ if self.word is not None and value == self.meaning:
                return self.word
            case timedelta():
                return span_text(value // _MS)
            case float():
                return f"{value:.3f}".rstrip("0").rstrip(".")
            case _:
                return str(value)


def _seconds(text: str) -> float:
    try:
        return parse_span(text, field="")
    except ConfigError:
        return math.nan


class Schedule(Kind):
    """Delays between attempts: ``5s, 25s, 2m, 10m`` or ``1m, 5m*2, 1h*3``; read into seconds."""

    expected = "delays such as '5s, 25s, 2m, 10m' or '1m, 5m*2, 1h*3'"

    def read(self, raw: object) -> tuple[float, ...]:
        """See `Kind`."""
        if not isinstance(raw, str) or len(raw) > _SCHEDULE_TEXT_MAX:
            raise Unfit(self.expected)
        try:
            delays = parse_schedule(raw)
        except ConfigError as exc:
            # It names the step; "expected" is already in front.
            raise Unfit(exc.expected.removeprefix("expected "), told=True) from None
        # Times in the store are whole milliseconds: a shorter delay would be none.
        if min(delays) < _DELAY_SECONDS_MIN:
            raise Unfit(f"delays of at least 1ms, not {shown(raw)}", told=True)
        return delays

    def show(self, value: object) -> str:
        """See `Kind`."""
        if not isinstance(value, tuple):
            return str(value)
        steps: list[tuple[float, int]] = []
        for delay in value:
            if steps and steps[-1][0] == delay:
                steps[-1] = (delay, steps[-1][1] + 1)
            else:
                steps.append((delay, 1))
        return ", ".join(span_text(round(delay * 1000)) + (f"*{times}" if times > 1 else "") for delay, times in steps)


class Rates(Kind):
    """How much may go in a time: ``30/s``, or ``1/s, 20/m``; ``off`` for as much as there is."""

    expected = "rates such as '30/s' or '1/s, 20/m', or 'off'"

    def read(self, raw: object) -> pace.Rates:
        """See `Kind`."""
        if not isinstance(raw, str):
            raise Unfit(self.expected)
        try:
            return pace.parse_rates(raw, field="rate")
        except ConfigError:
            raise Unfit(self.expected) from None

    def show(self, value: object) -> str:
        """See `Kind`."""
        return ", ".join(map(str, value)) or "off" if isinstance(value, tuple) else str(value)
