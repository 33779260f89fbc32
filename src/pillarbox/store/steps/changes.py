"""
Changes what is not begun yet: an edit replaces its content, a deletion ends it (contract CO5).

What was begun is left alone: there the change is a message of its own, in the same lane behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Draft, State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Enqueued
from pillarbox.store.steps import mirror, payloads
from pillarbox.store.steps.admit import store_parts
from pillarbox.store.steps.endings import Ending, ended
from pillarbox.store.steps.queue_limits import check_growth
from pillarbox.store.steps.writing import Writing

_SCHEDULED = State.SCHEDULED.code
_ACTOR = "application"


def fold(
    tx: Writing, drafts: Sequence[Draft], payload: Callable[[Draft], int | None]
) -> dict[MessageId, Enqueued]:  # fmt: skip
    """
    Carry out those changes whose message is not begun.

    Args:
        payload: Stores what does not belong into the row, and returns its number.

    Returns:
        What became of each by its id: the message that it was about, which stands for it.

    Raises:
        QueueFull: The store has no room for what an edit adds. The message keeps its content.
    """
    changes = {draft.id: draft for draft in drafts if draft.op is not Op.SEND}
    # An edit has what it leaves as it is, but for stored files: of a message with those it goes behind.
    asked = [(draft.id, draft.target, draft.op is Op.DELETE) for draft in changes.values()]
    found = tx.each("unbegun", asked) if asked else []
    rows = [row for one in found for row in one]
    folded = {identity: _carry_out(tx, changes[identity], Ending(*about), payload) for identity, *about, _ in rows}
    payloads.release(tx, [before for identity, *_, before in rows if changes[identity].op is Op.EDIT])
    return folded


def _carry_out(tx: Writing, draft: Draft, about: Ending, payload: Callable[[Draft], int | None]) -> Enqueued:
    if draft.op is Op.DELETE:
        tx.each("cancel", [(about.seq, Reason.REQUESTED, tx.now)])
        _tell(tx, about, "cancel", State.CANCELLED)
        gone = ended(tx, [about], State.CANCELLED, Reason.REQUESTED)
        return Enqueued(about.id, created=False, superseded=tuple(gone))
    check_growth(tx, len(draft.content) - about.content_size)
    admission, number = draft.admission, payload(draft)
    tx.each("prune_parts", [(about.seq,)])
    tx.each(
        "rewrite",
        [
            (
                about.seq,
                draft.content.decode() if number is None else None,
                number,
                len(draft.content),
                admission is not None,
                1 if admission is None else max(1, len(admission.parts)),
                None if admission is None else admission.splitter,
                draft.recipient if admission is None else admission.recipient,
            )
        ],
    )
    if admission is not None:
        store_parts(tx, [(about.seq, admission.parts)])
    if draft.mirror is not None:
        mirror.rewrite(tx, draft.mirror, about.id)
    tx.count(about.queue, _SCHEDULED, 0, len(draft.content) - about.content_size)
    _tell(tx, about, "edit", State.SCHEDULED)
    return Enqueued(about.id, created=False)


def _tell(tx: Writing, about: Ending, said: str, after: State) -> None:
    tx.each("history_add", [(about.seq, about.id, tx.now, said, _ACTOR, _SCHEDULED, after.code, None)])
