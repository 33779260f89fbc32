"""
Writes messages of other systems' queues, in the state they come in, and the ledger that remembers them for ever.

Ledger and message are written by one transaction: neither is ever there without the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.domain.message import State
from pillarbox.domain.retry import OnHeld
from pillarbox.errors import InvalidMessage, PillarboxError, ValueRefused
from pillarbox.store.base import Enqueued, Import
from pillarbox.store.steps import enqueue
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_STATES = (State.SCHEDULED, State.HELD, State.DEAD, State.EXPIRED)

Imported = Enqueued | PillarboxError


def import_all(tx: Writing, items: Sequence[Import], *, again: bool) -> list[Imported]:
    """
    Store each message whose source the ledger does not know; one that is refused leaves the others as they are.

    Args:
        again: These may have been stored by a commit whose answer was lost; what is there is not stored twice.
    """
    try:
        with tx.savepoint():
            return _together(tx, items, again=again)
    except ValueRefused as exc:
        if len(items) == 1:
            return [InvalidMessage("message", exc.expected)]
    except PillarboxError as exc:
        if len(items) == 1:
            return [exc]
    return [imported for item in items for imported in import_all(tx, [item], again=again)]


def _together(tx: Writing, items: Sequence[Import], *, again: bool) -> list[Imported]:
    """Store many. Raises where one of them, or what two of them have in common, wants each to be tried alone."""
    known = tx.each("import_known", [(item.source_id, item.system) for item in items])
    new = [item for item, rows in zip(items, known, strict=True) if not rows]
    if any(item.state not in _STATES for item in new):
        raise ValueError("nothing is imported as leased, delivered or cancelled")
    names = [(item.system, name) for item in new for name in {item.source_id, item.alias} if name is not None]
    if len(set(names)) < len(names):
        raise ValueError("one source stands there twice: the second is known when the first is stored")
    uncounted = {item.draft.id for item in new if item.state.terminal}
    stored = enqueue.store(tx, [[item.draft] for item in new], again=again, uncounted=uncounted)
    outcomes = iter(stored)
    results: list[Imported] = []
    written: list[tuple[Import, Enqueued]] = []
    for item, rows in zip(items, known, strict=True):
        if rows:
            ((_, message),) = rows
            results.append(Enqueued(message, created=again and message == item.draft.id))
            continue
        outcome = next(outcomes)
        if isinstance(outcome, PillarboxError):
            results.append(outcome)
        else:
            written.append((item, outcome[0]))
            results.append(outcome[0])
    if len(new) < len(items):
        # Whoever imported it may not have synced it, and its source is put away next.
        tx.many("sync")
    _write(tx, written)
    return results


def _write(tx: Writing, written: Sequence[tuple[Import, Enqueued]]) -> None:
    """Note sources in the ledger, and bring what was just stored into the state and to the counts it comes with."""
    ledger = [
        (item.system, name, stored.id, item.outcome, tx.now)
        for item, stored in written
        for name in (item.source_id, item.alias)
        if name is not None
    ]
    tx.each("import_add", ledger)
    created = [item for item, stored in written if stored.created]
    put = tx.each("import_put", [_put_bindings(tx, item) for item in created])
    attempts, lines = [], []
    for item, ((_, seq),) in zip(created, put, strict=True):
        draft, code = item.draft, item.state.code
        queue, size = tx.queue(draft.tenant, draft.channel), draft.size
        if item.state.terminal:
            tx.count(queue, code, 1, size)
        else:
            tx.move(queue, State.SCHEDULED.code, code, size)
        if item.attempts and item.last_attempt_ms is not None:
            tried = (item.attempts, draft.id, item.error_class, item.last_error, item.last_attempt_ms, draft.due_ms)
            attempts.append((seq, *tried))
        lines.append((seq, draft.id, tx.now, "import", "import", None, code, item.note))
    tx.each("import_attempt", attempts)
    tx.each("history_add", lines)


def _put_bindings(tx: Writing, item: Import) -> Row:
    return (
        item.draft.id,
        item.state.code,
        item.attempts,
        item.last_attempt_ms if item.attempts else None,
        None if item.state is State.SCHEDULED else tx.now,
        item.reason,
        item.error_class,
        item.last_error,
        item.state is State.HELD and item.draft.policy.on_held is OnHeld.SKIP,
    )
