"""
PostgreSQL as a database that is spread over machines: no notices, and any statement may find that another was first.

What such a database takes is a part of what PostgreSQL takes, so all of it can be tried here: a transaction fails with
a serialization failure of the server's own (40001), at a statement that a seed draws, and passes at the next try.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg

from pillarbox.store.postgres.connection import ServerConnection, connect
from pillarbox.store.postgres.statements import SCHEMA

if TYPE_CHECKING:
    from pillarbox.store.base import Durability
    from pillarbox.store.postgres.dsn import Place

URL: Final = "&backend=yugabyte"
MISSING: Final = re.compile(r"\b(LISTEN|NOTIFY|pg_notify|pg_\w*advisory\w*|CREATE TEMP\w*|LOCK TABLE)\b", re.IGNORECASE)
_FAILS: Final = "DO $$ BEGIN RAISE serialization_failure; END $$"
_BEGINS: Final = "BEGIN"
_ENDS: Final = ("COMMIT", "END")
_STATEMENTS: Final = 12
"""Among so many of a transaction the one that fails is drawn; shorter ones may pass at once."""


class Spread:
    """
    Opens connections of which each transaction fails once, and whatever it wrote is undone.

    Attributes:
        failures: How often that happened.
        missing: What was asked for that such a database does not have.
    """

    def __init__(self, seed: int) -> None:
        self.failures = 0
        self.missing: list[str] = []
        self._random = random.Random(seed)

    def __call__(self, place: Place, durability: Durability) -> ServerConnection:
        spread, chance = self, self._random

        class Cursor(psycopg.RawCursor[Any]):
            left = 0
            passes = False

            def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
                kind = type(self)
                # What a function of the schema would do is not done yet.
                if query != SCHEMA["tables"] and MISSING.search(query):
                    spread.missing.append(query)
                if query.startswith(_BEGINS):
                    kind.left = 0 if kind.passes else chance.randint(1, _STATEMENTS)
                kind.left -= 1
                if kind.left == 0:
                    kind.passes = True
                    spread.failures += 1
                    super().execute(_FAILS)
                if query in _ENDS:
                    kind.passes = False
                return super().execute(query, params, **options)

        connection = connect(place, durability)
        connection.cursor_factory = Cursor
        return connection
