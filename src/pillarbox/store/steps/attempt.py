"""What the ends of attempts share: the row that an attempt leaves, and what is read off its settlement."""

from __future__ import annotations

from typing import Final

from pillarbox.domain.message import State
from pillarbox.domain.transition import Transition
from pillarbox.store.base import Settlement
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_ANY_TIME: Final = 1 << 62


def arrives(item: Settlement) -> bool:
    """Whether the platform has what was sent: the message, or the part of it that went out."""
    return State.DELIVERED in {item.transition.to, item.transition.part}


def over_by(tx: Writing, item: Settlement) -> int | None:
    """Return by which time of the lease clock the lease must be over; ``None`` where it need not be."""
    if item.lapsed is None:
        return None
    return tx.lease_now if item.lapsed == "time" else _ANY_TIME


def writable(text: object) -> str | None:
    """Make a platform's words storable: half a surrogate pair, which JSON may hold, is no text. Raises TypeError."""
    if text is None:
        return None
    if not isinstance(text, str):
        msg = f"expected text, not {type(text).__name__}"
        raise TypeError(msg)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def attempt_row(item: Settlement, *, to: State, arrived_ms: int | None = None) -> Row:
    """Return what an attempt leaves. *arrived_ms*: when a late answer showed that the platform has what it sent."""
    m, t = item.message, item.transition
    return (
        m.seq,
        m.claims,
        m.id,
        m.part_next,
        m.lease,
        outcome_word(t),
        t.error_class,
        writable(t.degraded or t.part_error or t.error),
        writable(t.receipt),
        writable(t.answer),
        t.charged,
        m.claimed_ms,
        item.began_ms,
        item.ended_ms,
        to.code,
        t.due_ms,
        item.keep_attempt,
        arrived_ms,
    )


def outcome_word(transition: Transition) -> str:
    """Name what an attempt came to, for its row."""
    if transition.error_class is not None and transition.part is not State.DELIVERED:
        return str(transition.error_class)
    return str(transition.part or transition.to)
