"""What the orders of people share: what they leave in the history and the audit, and how a state is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.domain.message import STATES, State

if TYPE_CHECKING:
    from pillarbox.domain.ids import MessageId
    from pillarbox.store.base import Act, ActOnMessage
    from pillarbox.store.steps.tx import Row
    from pillarbox.store.steps.writing import Writing

_LEASED = State.LEASED.code


def shown(state: int, arrived: int | None) -> State:
    """Give a state as everybody who looks sees it: what arrived while it was leased is delivered (contract ST6)."""
    return State.DELIVERED if state == _LEASED and arrived is not None else STATES[state]


def record(tx: Writing, item: ActOnMessage, word: str, row: Row, after: int, *, detail: str | None = None) -> None:
    """Write an order into history and audit (ST10). *row* begins with the message's number and the state it was in."""
    tell(tx, item, word, row[0], item.id, before=row[1], after=after, reason=item.reason)
    audit(tx, item, word, item.id, detail=detail)


def tell(
    tx: Writing, item: Act, word: str, seq: int, message: MessageId, *, before: int, after: int, reason: str | None
) -> None:
    """Write one line of a message's history."""
    tx.many("history_add", (seq, message, tx.now, word, item.actor, before, after, reason))


def audit(tx: Writing, item: Act, word: str, subject: str, *, detail: str | None = None) -> None:
    """Write one line of the audit."""
    tx.many("audit_add", (tx.now, item.actor, word, subject, item.reason, detail))
