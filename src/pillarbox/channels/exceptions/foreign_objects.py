"""
How an object of foreign code is looked at: whatever an attribute raises then, it does not leave this module.

An exception may wrap another, which wraps a third: they are looked through from the outside, so many at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX
from pillarbox.user_code import pass_on

_CHAIN_MAX: Final = 10


def chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield *exc* and what it wraps, the outermost first; each once."""
    seen: set[int] = set()
    waiting: list[object] = [exc]
    while waiting and len(seen) < _CHAIN_MAX:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        arguments = attribute(one, "args")
        first = arguments[0] if type(arguments) is tuple and arguments else None
        waiting += [attribute(one, "__cause__"), attribute(one, "reason"), attribute(one, "os_error"), first]
        # What a group of tasks raises around the one that failed; of several, none speaks for the others.
        if isinstance(one, BaseExceptionGroup) and len(one.exceptions) == 1:
            waiting += one.exceptions


def names_of(exc: BaseException) -> list[str]:
    """Return the full names of an exception's classes, its own first."""
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(exc).__mro__]


def attribute(thing: object, name: str) -> Any:  # noqa: ANN401 — anybody's
    """Return an attribute, or ``None`` where there is none or looking at it fails."""
    try:
        return getattr(thing, name, None)
    except BaseException as exc:  # noqa: BLE001 — a property is anybody's code
        pass_on(exc)
        return None


def whole(value: object, allowed: range) -> int | None:
    """Return a whole number that is in a range; a truth value and a text are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    number = int.__int__(value)
    return number if number in allowed else None


def text_of_value(value: object) -> str:
    """Return the beginning of a value as text; of a list the first entry's."""
    if isinstance(value, bytes):
        return value[:FOREIGN_LENGTH_MAX].decode("latin-1")
    if isinstance(value, list | tuple) and value:
        return text_of_value(value[0])
    return str(value)[:FOREIGN_LENGTH_MAX]
