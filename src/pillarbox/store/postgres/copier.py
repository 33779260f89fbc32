"""Many new messages at once, by COPY: it costs the server less than an INSERT from arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

from pillarbox.store.postgres.copy_lines import Column, lines
from pillarbox.store.postgres.statements import SETS, STATEMENTS
from pillarbox.store.steps.columns import NEW, column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.store.postgres.connection import ServerConnection
    from pillarbox.store.postgres.server_clock import ServerClock
    from pillarbox.store.steps.tx import Reader, Row

COPIED_MIN: Final = 50
"""From how many new messages on they are stored so."""
_ASKED_MS: Final = 60_000
"""How long it is not asked again whether they may be, where they may not."""
_LEASE: Final = NEW.index("lease")


class Copier:
    """
    Stores new messages by COPY, for as long as the server lets this connection do so.

    Args:
        reader: Runs statements in the transaction in which they are stored.
    """

    def __init__(self, reader: Reader, connection: ServerConnection, clock: ServerClock) -> None:
        self._reader = reader
        self._cursor = connection.cursor()
        self._traits = connection.traits
        self._clock = clock
        self._may = False
        self._asked_ms = -_ASKED_MS
        self._refused = False

    def takes(self, count: int) -> bool:
        """Whether so many messages go by COPY. It returns no numbers, so they must be allowed to be drawn before."""
        if count < COPIED_MIN:
            return False
        now_ms = self._clock.boot_ms()
        if not self._may and now_ms - self._asked_ms >= _ASKED_MS:
            self._asked_ms = now_ms
            self._may = self._traits.copies and bool(self._reader.many("may_number")[0][0])
        return self._may

    def store(self, rows: Sequence[Sequence[object]]) -> list[list[Row]]:
        """Do what `enqueue` does. Raises psycopg.Error; after some of these, `takes` says no for a while."""
        try:
            return self._store(rows)
        except (psycopg.ProgrammingError, psycopg.NotSupportedError):
            # Rights were taken, or the server judges each row now. What an INSERT may not do either, it will say.
            self._may, self._asked_ms, self._refused = False, self._clock.boot_ms(), True
            raise

    def was_refused(self) -> bool:
        """Whether the transaction ended by that. It is told once: the next try goes another way."""
        refused, self._refused = self._refused, False
        return refused

    def _store(self, rows: Sequence[Sequence[object]]) -> list[list[Row]]:
        ((numbers, era),) = self._reader.many("numbers", (len(rows),))
        columns = list(map(Column, map(column, NEW), SETS["enqueue"], zip(*rows, strict=True)))
        eras = [None if lease is None else era for lease in columns[_LEASE].values]
        names, said = lines(numbers, [*columns, Column("era", "smallint", eras)])
        # Before it begins: it cannot be left off quietly.
        data = said.encode()
        with self._cursor.copy(STATEMENTS["enqueue_lines"].replace("{columns}", ", ".join(("seq", *names)))) as copy:
            copy.write(data)
        return [[(row[0], number)] for row, number in zip(rows, numbers, strict=True)]
