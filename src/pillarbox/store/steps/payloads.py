"""Deletes content that is kept apart from its messages, once no message has it: those of a fan-out share theirs."""

from __future__ import annotations

from collections.abc import Iterable

from pillarbox.store.steps.writing import Writing


def release(tx: Writing, payloads: Iterable[int | None]) -> None:
    """Delete what no message has any more, of contents that messages were just parted from, all of a transaction."""
    numbers = [(number,) for number in sorted({number for number in payloads if number is not None})]
    # First, in one order: of two that take it from the last messages of a fan-out, the later one sees that none has it.
    tx.each("payload_turn", numbers)
    tx.each("prune_payload", numbers)
