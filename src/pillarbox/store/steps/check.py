"""Finds what is wrong with what the rows say: the counters, the lanes, the leases, the contents."""

from __future__ import annotations

from typing import Final

from pillarbox.domain.message import STATES
from pillarbox.store.steps.tx import Reader

_UNSEEN: Final = (
    "is leased where nobody looks for that, so that it stays so if its worker is lost: docs/how-to/postgresql.md,"
    ' "Leases that nobody looks for", says how to put it right'
)


def check(tx: Reader) -> list[str]:
    """Return a sentence for each thing that is wrong, at most some of each kind; reads everything."""
    found: list[str] = []
    counted = {(queue, state): counts for queue, state, *counts in tx.many("check_tally")}
    kept = {(queue, state): counts for queue, state, *counts in tx.many("tally_rows")}
    nothing = [0, 0]
    found += [
        f"counters: queue {queue} {STATES[state]}: counted {tuple(counted.get((queue, state), nothing))}, "
        f"kept {tuple(kept.get((queue, state), nothing))}"
        for queue, state in sorted(counted.keys() | kept.keys())
        if counted.get((queue, state), nothing) != kept.get((queue, state), nothing)
    ]
    if tx.many("recipients_counted") and (wrong := tx.many("check_recipients")[0][0]):
        found.append(f"counters: {wrong} recipients are counted wrong")
    found += [f"lane: {row[0]} has a waiting message and no open one" for row in tx.many("check_stranded")]
    found += [f"lane: message {row[0]} waits without reason" for row in tx.many("check_waiting")]
    found += [
        f"lease: message {identity} {_UNSEEN if unseen else 'has a lease without being leased, or the reverse'}"
        for identity, unseen in tx.many("check_leases")
    ]
    found += [f"content: message {row[0]} has lost its payload" for row in tx.many("check_payloads")]
    found += [f"content: message {row[0]} has lost a file" for row in tx.many("check_blobs")]
    return found
