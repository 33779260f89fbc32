"""
Writes messages of other systems' queues, in the state they come in, and the ledger that remembers them for ever.

Ledger and message are written by one transaction: neither is ever there without the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.domain.message import State
from pillarbox.domain.retry import OnHeld
from pillarbox.errors import InvalidMessage, PillarboxError, ValueRefused
from pillarbox.store.base import Enqueued, Import
from pillarbox.store.steps import enqueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.store.steps.writing import Writing

_SCHEDULED = State.SCHEDULED.code
_STATES = (State.SCHEDULED, State.HELD, State.DEAD, State.EXPIRED)

Imported = Enqueued | PillarboxError


def import_all(tx: Writing, items: Sequence[Import], *, again: bool) -> list[Imported]:
    """
    Store each message whose source the ledger does not know; one that is refused leaves the others as they are.

    Args:
        again: These may have been stored by a commit whose answer was lost; what is there is not stored twice.
    """
    return [_guarded(tx, item, again=again) for item in items]


def _guarded(tx: Writing, item: Import, *, again: bool) -> Imported:
    try:
        with tx.savepoint():
            return _one(tx, item, again=again)
    except ValueRefused as exc:
        return InvalidMessage("message", str(exc))
    except PillarboxError as exc:
        return exc


def _one(tx: Writing, item: Import, *, again: bool) -> Enqueued:
    if item.state not in _STATES:
        msg = f"nothing is imported as {item.state}"
        raise ValueError(msg)
    known = tx.one("import_known", (item.system, item.source_id))
    if known is not None:
        # Whoever imported it may not have synced it, and its source is put away next.
        tx.many("sync")
        return Enqueued(known[0], created=again and known[0] == item.draft.id)
    stored = enqueue.store_one(tx, item.draft, {}, again=again, limited=not item.state.terminal)
    for name in (item.source_id, item.alias):
        if name is not None:
            tx.many("import_add", (item.system, name, stored.id, item.outcome, tx.now))
    if stored.created:
        _put(tx, item)
    return stored


def _put(tx: Writing, item: Import) -> None:
    """Bring a message that was just enqueued into the state and to the counts it comes with."""
    draft = item.draft
    steps_out = item.state is State.HELD and draft.policy.on_held is OnHeld.SKIP
    ended_ms = None if item.state is State.SCHEDULED else tx.now
    bindings = (
        draft.id,
        item.state.code,
        item.attempts,
        item.last_attempt_ms if item.attempts else None,
        ended_ms,
        item.reason,
        item.error_class,
        item.last_error,
        steps_out,
    )
    (row,) = tx.many("import_put", bindings)
    seq = row[0]
    tx.move(tx.queue(draft.tenant, draft.channel), _SCHEDULED, item.state.code, len(draft.content))
    if item.attempts and item.last_attempt_ms is not None:
        tried = (seq, item.attempts, draft.id, item.error_class, item.last_error, item.last_attempt_ms, draft.due_ms)
        tx.many("import_attempt", tried)
    tx.many("history_add", (seq, draft.id, tx.now, "import", "import", None, item.state.code, item.note))
