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
            return truth(value)
        case int():
            return number(value)
        case bytes():
            return "\\x" + value.hex()
    raise no("a column", value)


def array(column: Sequence[Any], kind: str) -> str:
    """Return the values of a column of a kind as an array. Raises TypeError for what such a column does not hold."""
    element = _ELEMENTS[kind]
    if len(column) > 1 and len(types := set(map(type, column))) == 1:
        # Columns of thousands: most hold one value, or texts; those are written without a call for each.
        if column[0] == column[-1] and len(set(column)) == 1:
            only = "NULL" if column[0] is None else element(column[0])
            return "{" + ",".join([only] * len(column)) + "}"
        if kind == "text" and types == {str}:
            joined = _BETWEEN.join(column)
            if joined.count(_BETWEEN) == len(column) - 1:
                return "{" + _string(joined).replace(_BETWEEN, '","') + "}"
    return "{" + ",".join(["NULL" if value is None else element(value) for value in column]) + "}"


def number(value: Any) -> str:  # noqa: ANN401 — a column's value
    """Return a number as it stands in an array or a line. Raises TypeError for anything else."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, int):
        raise no("a number", value)
    return str(int(value))


def truth(value: Any) -> str:  # noqa: ANN401 — a column's value
    """Return a truth value as it stands in an array or a line. Raises TypeError for anything else."""
    if not isinstance(value, int):
        raise no("a truth value", value)
    return "t" if value else "f"


def _string(value: Any) -> str:  # noqa: ANN401 — a column's value
    if not isinstance(value, str):
        raise no("text", value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _octets(value: Any) -> str:  # noqa: ANN401 — a column's value
    if not isinstance(value, bytes):
        raise no("bytes", value)
    return f'"\\\\x{value.hex()}"'


def no(expected: str, value: object) -> TypeError:
    """Return the error for a value that is not what its column holds."""
    return TypeError(f"expected {expected}, not {type(value).__name__}")


_BETWEEN: Final = "\0"
"""Stands between texts until they are written: the server takes none that has it."""
_ELEMENTS: Final[Mapping[str, Callable[[Any], str]]] = {
    "bigint": number,
    "integer": number,
    "smallint": number,
    "boolean": truth,
    "text": _string,
    "bytea": _octets,
}
