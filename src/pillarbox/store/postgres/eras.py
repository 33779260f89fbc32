"""
Eras of leases, so that nobody walks over all that was ever leased while a transaction of somebody's stays open.

Until that ends the server keeps every index entry that was there when it began, dead ones too, and each look for what
is leased would walk over them. So the era stands in the indexes of what is leased. A new one takes along all that is
leased at that moment; the dead entries stay behind, where nobody looks.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import psycopg

from pillarbox.errors import PillarboxError

if TYPE_CHECKING:
    from pillarbox.store.base import Batch
    from pillarbox.store.postgres.connection import Session

LEASES: Final = 2_000
"""How many leases are given before it is asked whether a new era is needed."""
TAKEN_ALONG: Final = 30
"""Of how many leases one at most is taken along: each that is, is written once more."""
_TURN: Final = ("begin_era", "era_take_along", "era_next", "era_end")


def is_leasing(batch: Batch) -> bool:
    """Whether a batch gives or ends leases."""
    return batch.claim is not None or bool(batch.settle or batch.renew)


def begin(session: Session, *, leasing: bool) -> str:
    """Return the statements that a transaction begins with: while one that is *leasing* is open, no era begins."""
    return "begin_leasing" if leasing and session.connection.traits.table_locks else "begin"


class Eras:
    """
    What one store knows of them.

    Args:
        leases: See `LEASES`; tests take fewer.
    """

    def __init__(self, leases: int = LEASES) -> None:
        self.leases = leases
        self._given = 0
        self._asked_at = 0
        self._oldest: str | None = None

    def gave(self, leases: int) -> None:
        """Count what was leased."""
        self._given += leases

    def turn(self, session: Session) -> None:
        """
        Begin a new era, if what is dead piles up and it pays. Called between two transactions.

        That nobody could do it is no harm: it is tried again after as many leases.
        """
        if self._given - self._asked_at < self.leases or not session.connection.traits.table_locks:
            return
        self._asked_at = self._given
        with contextlib.suppress(psycopg.Error, PillarboxError):
            if self._wanted(session):
                # Who is stopped meanwhile would keep everybody from leasing, for as long as it has the table.
                session.at_once(_TURN)
                self._given = self._asked_at = 0

    def _wanted(self, session: Session) -> bool:
        """Whether the server could tidy up nothing since it was asked last, and most of what was leased has ended."""
        with session.transaction():
            found = session.many("era_oldest")
            ((leased,),) = session.many("era_leased")
        before, self._oldest = self._oldest, found[0][0] if found else None
        return self._oldest is not None and self._oldest == before and self._given >= TAKEN_ALONG * leased
