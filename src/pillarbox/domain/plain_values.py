"""
Checks single values that a caller passes. What merely counts as one is refused: ``"no"`` would be true.

Each raises InvalidMessage, which names the argument and what was expected.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

from pillarbox.domain.moments import shown
from pillarbox.domain.plain_json import plain_text, text_of
from pillarbox.errors import InvalidMessage

E = TypeVar("E", bound=StrEnum)
COUNT_MAX: Final = 1 << 62
"""More than any database holds, and both databases' numbers hold it."""


def word_of(field: str, value: object) -> str:
    """Return a text that can be stored and looked for, as it is: PostgreSQL's text holds no NUL."""
    text = text_of(field, value)
    if "\0" in text:
        raise InvalidMessage(field, "expected text without NUL")
    return text


def flag_of(field: str, value: object) -> bool:
    """Return what is true or false."""
    if not isinstance(value, bool):
        raise InvalidMessage(field, f"expected True or False, not {type(value).__name__}")
    return value


def count_of(field: str, value: object) -> int:
    """Return a whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        raise InvalidMessage(field, f"expected a whole number of 0 or more, not {shown(value)}")
    return int(value)


def choice_of(field: str, options: type[E], value: object) -> E:
    """Return which of *options* a text is."""
    known = ", ".join(str(option.value) for option in options)
    if not isinstance(value, str):
        raise InvalidMessage(field, f"expected one of {known}, not {shown(value)}")
    try:
        return options(plain_text(value))
    except ValueError:
        raise InvalidMessage(field, f"expected one of {known}, not {value!r}") from None
