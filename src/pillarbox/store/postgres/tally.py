"""The counts of messages in parts: callers' transactions count apart, so that none of them waits for another."""

from __future__ import annotations

from pillarbox.store.postgres.connection import Session


def fold(session: Session) -> None:
    """Count in a share of ours what callers' transactions counted apart."""
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    for queue, state, messages, size in session.many("tally_fold"):
        before = sums.get((queue, state), (0, 0))
        sums[queue, state] = (before[0] + messages, before[1] + size)
    if sums:
        session.each("tally_add", [(*counted, *added) for counted, added in sorted(sums.items())])
