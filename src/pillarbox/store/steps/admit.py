"""Writes what channels made of messages before their first send: the recipient's spelling, and the parts."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.store.base import AdmissionWrite
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing


def admit(tx: Writing, writes: Sequence[AdmissionWrite]) -> list[bool]:
    """Store what a channel made of its claimed messages; ``False`` where the lease is gone."""
    done = tx.each("admit", [_admit_bindings(write) for write in writes])
    admitted = [bool(rows) for rows in done]
    store_parts(tx, [(w.message.seq, w.admission.parts) for w, now in zip(writes, admitted, strict=True) if now])
    # What a commit wrote whose answer was lost is there already.
    before = tx.each("admitted", [(write.message.seq, write.message.lease) for write in writes])
    return [now or bool(rows) for now, rows in zip(admitted, before, strict=True)]


def _admit_bindings(write: AdmissionWrite) -> Row:
    message, admission = write.message, write.admission
    count = max(1, len(admission.parts))
    return message.seq, message.lease, admission.recipient, count, admission.splitter


def store_parts(tx: Writing, split: Sequence[tuple[int, Sequence[bytes]]]) -> None:
    """Write the pieces of split messages, by the messages' numbers; one piece is the message itself."""
    rows = [(seq, number, part.decode()) for seq, parts in split if len(parts) > 1 for number, part in enumerate(parts)]
    if rows:
        tx.each("part", rows)
