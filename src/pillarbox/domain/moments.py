"""
Times and spans as numbers: milliseconds since 1970, and the one range check for every moment that comes in.

What is stored is always readable: a number beyond the calendar is shown as its end.
"""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime, timedelta
from typing import Final

from pillarbox.domain.retry import parse_span
from pillarbox.errors import ConfigError, InvalidMessage

MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999 in UTC, where the calendar of `datetime` ends."""
_SECONDS_MIN: Final = 0.001
_MS: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MIN: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MS


def to_datetime(ms: int) -> datetime:
    """Return the aware UTC time of milliseconds since 1970; the nearest end of the calendar for what is beyond it."""
    return _EPOCH + timedelta(milliseconds=min(max(ms, _MS_MIN), MS_MAX))


def to_ms(at: datetime) -> int:
    """Return an aware time in milliseconds since 1970. Raises ValueError for a naive one."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError("expected a time with a timezone")
    return (at - _EPOCH) // _MS


def moment_ms(field: str, value: object, now_ms: int) -> int:
    """
    Check a time, or a span of 0 or more from *now_ms* on, and return it in milliseconds since 1970.

    As text it is ``10m``, or a time with its zone such as ``2030-01-31T09:00+01:00``.

    Raises:
        InvalidMessage: It is neither, has no timezone, or is not in the years 1970–9999 (UTC). Names *field*.
    """
    value = read(field, value)
    if isinstance(value, timedelta):
        ms = now_ms + value // _MS
        if not now_ms <= ms <= MS_MAX:
            raise InvalidMessage(field, "expected a span of 0 or more that ends before the year 10000")
        return ms
    if not isinstance(value, datetime):
        raise InvalidMessage(
            field, f"expected a datetime, a timedelta or text such as '10m', not {type(value).__name__}"
        )
    try:
        ms = to_ms(value)
    except ValueError:
        raise InvalidMessage(field, "expected a time with a timezone, such as datetime.now(UTC)") from None
    if not 0 <= ms <= MS_MAX:
        raise InvalidMessage(field, f"expected a time in the years 1970–9999 (UTC), not {value.isoformat()}")
    return ms


def span_ms(field: str, value: object) -> int:
    """
    Check a span: seconds, a timedelta, or text such as ``10m``; and return it in milliseconds.

    Raises:
        InvalidMessage: It is neither, or not between a millisecond and the length of the calendar. Names *field*.
    """
    return _milliseconds(field, value, least=_SECONDS_MIN, length="at least 1 ms")


def budget_ms(field: str, value: object) -> int:
    """
    Check how long something may take, as `span_ms`, where 0 means not at all.

    Raises:
        InvalidMessage: It is no span, below 0, or beyond the length of the calendar. Names *field*.
    """
    return _milliseconds(field, value, least=0.0, length="0 or more")


def patience_seconds(field: str, value: object) -> float | None:
    """Check how long to wait at most, as `budget_ms`, and return it in seconds; ``None`` as it is."""
    return None if value is None else budget_ms(field, value) / 1000


def _milliseconds(field: str, value: object, *, least: float, length: str) -> int:
    seconds = in_seconds(value)
    expected = f"expected a span of {length} in seconds, a timedelta or text such as '10m', not {shown(value)}"
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidMessage(field, expected)
    # NaN fails both comparisons.
    if not least <= seconds <= MS_MAX / 1000:
        raise InvalidMessage(field, expected)
    return math.floor(seconds * 1000)


def in_seconds(value: object) -> object:
    """Return a timedelta, or text such as ``10m``, in seconds; what is neither as it is."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        with contextlib.suppress(ConfigError, OverflowError):
            return parse_span(value, field="")
    return value


def read(field: str, value: object) -> object:
    """
    Return what a text means: a span, or a time with its zone; what is no text as it is.

    Raises:
        InvalidMessage: The text is neither. Names *field*.
    """
    if not isinstance(value, str):
        return value
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(value)
    try:
        return timedelta(seconds=parse_span(value, field=field))
    except (ConfigError, OverflowError):
        expected = "expected a span such as 10m, or a time with its zone such as 2030-01-31T09:00+01:00"
        raise InvalidMessage(field, f"{expected}, not {value!r}") from None


def shown(value: object) -> str:
    """Return how an error names what was given: a number or a span itself, of anything else its type."""
    if isinstance(value, int) and not -(1 << 64) < value < 1 << 64:
        # Python refuses to write a number of thousands of digits.
        return "a number beyond 64 bits"
    return str(value) if isinstance(value, int | float | timedelta) else type(value).__name__
