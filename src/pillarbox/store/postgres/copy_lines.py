"""Rows as the lines that COPY reads, which costs the server less than arrays do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pillarbox.store.postgres.values import no, number, truth

_BETWEEN: Final = "\0"
"""Stands between texts while they are marked: the server takes none that has it."""


class Column(NamedTuple):
    """One column of the rows: what it holds, as in `values.array`, and its value in each."""

    name: str
    kind: str
    values: Sequence[Any]


def lines(numbers: Sequence[int], columns: Sequence[Column]) -> tuple[list[str], str]:
    """
    Return the columns in the order in which they stand in the lines, behind the numbers; and the lines.

    Args:
        numbers: One a row, each another.

    Raises:
        TypeError: A column does not hold such a value.
    """
    various: list[tuple[str, Sequence[str]]] = []
    same: list[tuple[str, str]] = []
    for name, kind, values in columns:
        if values.count(values[0]) == len(values):
            same.append((name, _written(values[:1], kind)[0]))
        elif kind == "text" and set(map(type, values)) == {str}:
            various.append((name, _texts(values)))
        else:
            various.append((name, _written(values, kind)))
    # Most columns of many messages hold one value: these stand at the end of all lines, and are written once.
    end = "".join([f"\t{value}" for _, value in same]) + "\n"
    begun = map("\t".join, zip(map(str, numbers), *[values for _, values in various], strict=True))
    return [name for name, _ in (*various, *same)], end.join(begun) + end


def _texts(values: Sequence[str]) -> Sequence[str]:
    joined = _BETWEEN.join(values)
    marked = _marked(joined)
    if marked is joined:
        return values
    between = joined.count(_BETWEEN) == len(values) - 1
    return marked.split(_BETWEEN) if between else list(map(_marked, values))


def _written(values: Sequence[Any], kind: str) -> list[str]:
    element = _ELEMENTS[kind]
    return ["\\N" if value is None else element(value) for value in values]


def _text(value: Any) -> str:  # noqa: ANN401 — a column's value
    if not isinstance(value, str):
        raise no("text", value)
    return _marked(value)


def _octets(value: Any) -> str:  # noqa: ANN401 — a column's value
    if not isinstance(value, bytes):
        raise no("bytes", value)
    return f"\\\\x{value.hex()}"


def _marked(said: str) -> str:
    """Mark what ends a value or a line: https://www.postgresql.org/docs/current/sql-copy.html, "Text Format"."""
    return said.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


_ELEMENTS: Final[Mapping[str, Callable[[Any], str]]] = {
    "bigint": number,
    "integer": number,
    "smallint": number,
    "boolean": truth,
    "text": _text,
    "bytea": _octets,
}
