"""
Makes plain JSON values of what a caller passes: what is stored must come back as it was.

Subclasses of text and numbers (Django's SafeString, an IntEnum) are the text or number that they hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from pillarbox.errors import InvalidMessage

DEPTH_MAX: Final = 100
VALUES_MAX: Final = 150_000
"""More do not fit into the content that is accepted by default, and would keep the loop busy for seconds."""
_EXPECTED: Final = "expected plain JSON values: objects with text keys, lists, text, numbers, true, false, null"
_INTEGER_MAX: Final = 1 << 63


def plain_text(value: str) -> str:
    """Return the text that *value* holds, where it is of a subclass of ``str``."""
    return value if type(value) is str else str.__str__(value)


def plain_object(field: str, value: object) -> dict[str, Any]:
    """
    Return a JSON object as plain values. See `plain`.

    Raises:
        InvalidMessage: It is none. Names *field*.
    """
    if not isinstance(value, Mapping):
        raise InvalidMessage(field, f"expected an object, not {type(value).__name__}")
    return dict(plain(field, value))


def plain(field: str, value: object) -> Any:  # noqa: ANN401 — JSON is any of seven types
    """
    Return a JSON value of plain ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``.

    Raises:
        InvalidMessage: It holds something else, a number that JSON or 64 bits cannot hold, half of a surrogate pair,
            itself, more than `DEPTH_MAX` levels or `VALUES_MAX` values. Names *field*.
    """
    try:
        return _Walk(field).value(value, DEPTH_MAX)
    except RecursionError:
        raise InvalidMessage(field, f"expected at most {DEPTH_MAX} levels of nesting") from None


def text_of(field: str, value: object) -> str:
    """Return a text that can be stored, as it is. Raises InvalidMessage: no text, or half of a surrogate pair in it."""
    if not isinstance(value, str):
        raise InvalidMessage(field, f"expected text, not {type(value).__name__}")
    text = plain_text(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidMessage(field, "expected valid Unicode, not half of a surrogate pair") from None
    return text


class _Walk:
    def __init__(self, field: str) -> None:
        self._field = field
        self._left = VALUES_MAX

    def value(self, value: object, depth: int) -> Any:  # noqa: ANN401 — as `plain`
        self._left -= 1
        if self._left < 0:
            raise InvalidMessage(self._field, f"expected at most {VALUES_MAX} values")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return text_of(self._field, value)
        if isinstance(value, int):
            return self._integer(value)
        if isinstance(value, float):
            return self._float(value)
        return self._container(value, depth)

    def _container(self, value: object, depth: int) -> Any:  # noqa: ANN401 — as `plain`
        if not isinstance(value, Mapping | list | tuple):
            raise InvalidMessage(self._field, f"{_EXPECTED}; not {type(value).__name__}")
        if depth == 0:
            raise InvalidMessage(self._field, f"expected at most {DEPTH_MAX} levels of nesting")
        if not isinstance(value, Mapping):
            return [self.value(item, depth - 1) for item in value]
        found: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidMessage(self._field, f"{_EXPECTED}; not a key that is {type(key).__name__}")
            found[text_of(self._field, key)] = self.value(item, depth - 1)
        return found

    def _integer(self, value: int) -> int:
        number = int.__int__(value)
        if not -_INTEGER_MAX <= number < 2 * _INTEGER_MAX:
            raise InvalidMessage(self._field, "expected numbers that 64 bits hold")
        return number

    def _float(self, value: float) -> float:
        if not math.isfinite(value):
            raise InvalidMessage(self._field, "expected finite numbers: JSON has no NaN and no infinity")
        return float.__float__(value)
