"""
Finds text that is not UTF-8, which SQLite stores and nobody can read, and makes it readable.

One such value keeps every row of a statement from being read, so it is looked for as soon as a statement meets one.
That reads the whole file once, for a fault that nothing of ours makes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from pillarbox.errors import StoreCorrupt
from pillarbox.store.sqlite.statements import STATEMENTS
from pillarbox.store.steps import unreadable
from pillarbox.store.steps.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.domain.limits import Limits
    from pillarbox.store.base import Ended
    from pillarbox.store.sqlite.session import Session

_WHY: Final = "cannot be read: its text is not UTF-8"


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Raise StoreCorrupt, and say *what* was tried, where something cannot be read and nothing can be done about it."""
    try:
        yield
    except UnicodeDecodeError as exc:
        why = f"the database is damaged, a value in it is no text that can be read ({exc})"
        raise StoreCorrupt(f"{what}: {why}") from exc


def mend(session: Session, *, now_ms: int, limits: Limits) -> list[Ended] | None:
    """
    Make every text readable, and bury the messages that had such text, in a transaction of its own.

    Returns:
        What was buried; ``None`` where there was nothing to mend.
    """
    connection = session.connection
    connection.create_scalar_function("is_text", _is_text, deterministic=True)
    connection.create_scalar_function("as_text", _as_text, 1, deterministic=True)
    with session.transaction():
        found = [(int(seq), int(state)) for seq, state in session.many("damaged_messages")]
        session.each("mend_message", [(seq,) for seq, _ in found])
        changed = connection.total_changes()
        for table, column, any_type in session.many("text_columns"):
            sql = STATEMENTS["mend_contents" if any_type else "mend_texts"]
            connection.execute(sql.replace("{table}", table).replace("{column}", column))
        if not found and connection.total_changes() == changed:
            return None
        writing = Writing(session, session.numbers, now_ms=now_ms, lease_now=session.lease_now, limits=limits)
        return unreadable.bury(writing, found, _WHY)


def _is_text(*values: Any) -> bool:  # noqa: ANN401 — bytes or nothing, says the statement
    try:
        for value in values:
            if value is not None:
                value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_text(*values: Any) -> str | None:  # noqa: ANN401 — the same
    (value,) = values
    return None if value is None else value.decode(errors="replace")
