"""
How long a server asks us to wait: in its headers, or in the JSON of its answer. Pure, and never raises.

A hint is handed on as it was sent: what is negative or absurd is bounded where it is used (``Policy.bounded_hint``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?\Z")
# A reset header above this is a point in time, below it a wait. A thousand times more, and it counts milliseconds.
_EPOCH_SECONDS_MIN: Final = 1e9
_EPOCH_MS_MIN: Final = 1e12
_CLOCKS_AGREE_MS: Final = 60_000


class _Parameters(msgspec.Struct):
    retry_after: float | None = None


class _HintBody(msgspec.Struct):
    """``retry_after`` as Discord and Matrix's cousins write it, and where Telegram does."""

    retry_after: float | None = None
    parameters: _Parameters | None = None


_HINT_BODY = msgspec.json.Decoder(_HintBody)


def hint_seconds(headers: Mapping[str, str], *, now_ms: int, body: bytes = b"") -> float | None:
    """
    Return how long the server asks us to wait, in seconds; ``None`` if it does not say, or nothing intelligible.

    Looked at in this order: ``Retry-After``, ``RateLimit-Reset``, ``X-RateLimit-Reset``, ``retry_after`` in a JSON
    *body*. Never raises. The value is as it was sent: negative or absurd ones are for ``Policy.bounded_hint``.

    Args:
        headers: Found by their names in any case.
        now_ms: What dates are relative to, milliseconds since 1970. Where the server's own ``Date`` is more than a
            minute off, its dates are relative to that: one of the two clocks is wrong, and it goes by its own.
    """
    sent_ms = _date_ms(headers.get("Date"))
    if sent_ms is not None and abs(sent_ms - now_ms) > _CLOCKS_AGREE_MS:
        now_ms = sent_ms
    for seconds in (
        retry_after_seconds(headers.get("Retry-After"), now_ms=now_ms),
        reset_seconds(headers.get("RateLimit-Reset"), now_ms=now_ms),
        reset_seconds(headers.get("X-RateLimit-Reset"), now_ms=now_ms),
    ):
        if seconds is not None:
            return seconds
    return body_hint_seconds(body)


def retry_after_seconds(value: str | None, *, now_ms: int) -> float | None:
    """Read ``Retry-After``: seconds, fractions too, or an HTTP-date (RFC 9110 §10.2.3). A date gone by is negative."""
    number = _number(value)
    if value is None or number is not None:
        return number
    at_ms = _date_ms(value)
    return None if at_ms is None else (at_ms - now_ms) / 1000


def _date_ms(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        at = parsedate_to_datetime(value)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)  # RFC 9110 §5.6.7: an HTTP-date is always in UTC
        return round(at.timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def reset_seconds(value: str | None, *, now_ms: int) -> float | None:
    """Read a rate limit's reset: a wait in seconds (the IETF draft, Mattermost) or a point in time (GitHub)."""
    number = _number(value)
    if number is None or number < _EPOCH_SECONDS_MIN:
        return number
    at_ms = number if number >= _EPOCH_MS_MIN else number * 1000
    return (at_ms - now_ms) / 1000


def body_hint_seconds(body: bytes) -> float | None:
    """Read ``retry_after`` out of a JSON object, at its top or in ``parameters``."""
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        hint = _HINT_BODY.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if hint.retry_after is not None:
        return hint.retry_after
    return hint.parameters.retry_after if hint.parameters else None


def _number(value: str | None) -> float | None:
    """Read plain digits only: what ``float()`` takes beyond them ("nan", "1e99", other scripts) is no hint."""
    return float(value.strip()) if value is not None and _NUMBER.match(value.strip()) else None
