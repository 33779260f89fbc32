"""What both libraries' ways into a caller's own transaction share: what is stored there, and in which file (EN9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Draft
from pillarbox.errors import Refused
from pillarbox.store.base import Durability, Enqueued
from pillarbox.store.sqlite import guarding
from pillarbox.store.sqlite.session import Statements
from pillarbox.store.steps import ready


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFile:
    """
    The outbox's own file, and the messages that are to be stored there in a caller's transaction.

    Attributes:
        durability: What the caller's commit has to reach.
        limits: They hold exactly: the caller's transaction has the file's only write lock.
        now_ms: When the messages are accepted.
    """

    path: Path
    durability: Durability
    limits: Limits
    drafts: Sequence[Draft]
    now_ms: int

    def check(self, main: str) -> None:
        """Raise Refused where *main*, a connection's main database, is another file."""
        if guarding.identity(main) != guarding.identity(str(self.path)):
            raise Refused(f"this connection's main database is {main or 'in memory'}, not {self.path}")

    def store(self, tx: Statements, drafts: Sequence[Draft]) -> list[Enqueued]:
        """Store *drafts*, which are some of them or all, by the steps that every transaction takes."""
        return ready.write(tx, drafts, ready.Known({}, {}), now_ms=self.now_ms, limits=self.limits)
