"""What orders leave behind: a line in the message's history, and one in the audit (contract ST10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State
from pillarbox.store.base import Act
from pillarbox.store.steps.subject import Given
from pillarbox.store.steps.writing import Writing


class Line(NamedTuple):
    """Who did what to a message, from which state to which; ``detail`` is for the audit alone."""

    seq: int
    id: MessageId
    said: str
    actor: str
    before: State
    after: State
    reason: str | None
    detail: str | None = None


def line(one: Given[Any], said: str, after: State, *, detail: str | None = None) -> Line:
    """Return the line of the history for an order that was carried out."""
    item, subject = one.item, one.subject
    return Line(subject.seq, item.id, said, item.actor, subject.state, after, item.reason, detail)


def record(tx: Writing, lines: Sequence[Line]) -> None:
    """Write lines into history and audit."""
    tell(tx, lines)
    note(tx, lines)


def note(tx: Writing, lines: Sequence[Line]) -> None:
    """Write lines into the audit alone."""
    tx.each("audit_add", [(tx.now, one.actor, one.said, one.id, one.reason, one.detail) for one in lines])


def tell(tx: Writing, lines: Sequence[Line]) -> None:
    """Write lines into the messages' histories alone."""
    rows = [
        (one.seq, one.id, tx.now, one.said, one.actor, one.before.code, one.after.code, one.reason) for one in lines
    ]
    tx.each("history_add", rows)


def audit(tx: Writing, item: Act, said: str, subject: str, *, detail: str | None = None) -> None:
    """Write one line of the audit."""
    tx.many("audit_add", (tx.now, item.actor, said, subject, item.reason, detail))
