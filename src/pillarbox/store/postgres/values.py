"""
Values as PostgreSQL reads them: everything goes to the server as text, and its statements say what it is.

So a statement has one form, whatever the values are, and is prepared once; and an array of thousands is made by a few
calls that Python does quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final


def text(value: Any) -> str | None:  # noqa: ANN401 — a column's value
    """Return a value as a parameter. Raises TypeError for what no column holds."""
    match value:
        case None | str():
            return value
        case bool():
            return _truth(value)
        case int():
            return _number(value)
        case bytes():
            return "\\x" + value.hex()
    raise _no("a column", value)


def array(column: Sequence[Any], kind: str) -> str:
    """Return the values of a column of a kind as an array. Raises TypeError for what such a column does not hold."""
    element = _ELEMENTS[kind]
    return "{" + ",".join(["NULL" if value is None else element(value) for value in column]) + "}"


def _number(value: Any) -> str:  # noqa: ANN401 — a column's value
    if type(value) is int:
        return str(value)
    if not isinstance(value, int):
        raise _no("a number", value)
    return str(int(value))


def _truth(value: Any) -> str:  # noqa: ANN401 — a column's value
    if not isinstance(value, int):
        raise _no("a truth value", value)
    return "t" if value else "f"


def _string(value: Any) -> str:  # noqa: ANN401 — a column's value
    if not isinstance(value, str):
        raise _no("text", value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _octets(value: Any) -> str:  # noqa: ANN401 — a column's value
    if not isinstance(value, bytes):
        raise _no("bytes", value)
    return f'"\\\\x{value.hex()}"'


def _no(expected: str, value: object) -> TypeError:
    return TypeError(f"expected {expected}, not {type(value).__name__}")


_ELEMENTS: Final[Mapping[str, Callable[[Any], str]]] = {
    "bigint": _number,
    "integer": _number,
    "smallint": _number,
    "boolean": _truth,
    "text": _string,
    "bytea": _octets,
}
