"""What a database offers the steps: named statements, run for one row of bindings or for many."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]


class Reader(Protocol):
    """Runs named statements that read."""

    def many(self, name: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """Run a statement once. Returns all its rows."""

    def one(self, name: str, bindings: Sequence[Any] = ()) -> Row | None:
        """Run a statement once. Returns its first row."""


class Tx(Reader, Protocol):
    """
    A transaction that writes. The code that applies a batch opened it, and ends it.

    Errors of the database pass through it as they are; a driver turns them into ours where it ends the transaction.
    """

    def each(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Row]]:
        """
        Run a statement for each of *rows*, in order.

        A driver may run it for many rows at once, so no row may depend on what another one of the same call does. A
        statement that is run so and returns rows has its first binding as their first column: by that a driver knows
        whose they are. One that returns nothing else changes one row for each row of bindings, or none.

        Returns:
            One list per row of bindings, in their order: the rows that it returned.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """
        Undo what is done inside if an error of ours leaves it, or if the database refuses a value.

        Raises:
            ValueRefused: The database cannot hold one of the values; what was done inside is undone.
        """
