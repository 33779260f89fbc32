"""Finds what is wrong with what the rows say: the counters, the lanes, the leases, the contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.domain.message import STATES

if TYPE_CHECKING:
    from pillarbox.store.steps.tx import Reader


def check(tx: Reader) -> list[str]:
    """Return a sentence for each thing that is wrong, at most some of each kind; reads everything."""
    found: list[str] = []
    counted = {row[:2]: row[2:] for row in tx.many("check_tally")}
    kept = {row[:2]: row[2:] for row in tx.many("tally_rows")}
    found += [
        f"counters: queue {queue} {STATES[state]}: counted {counted.get((queue, state), (0, 0))}, "
        f"kept {kept.get((queue, state), (0, 0))}"
        for queue, state in sorted(counted.keys() | kept.keys())
        if counted.get((queue, state), (0, 0)) != kept.get((queue, state), (0, 0))
    ]
    if tx.many("recipients_counted") and (wrong := tx.many("check_recipients")[0][0]):
        found.append(f"counters: {wrong} recipients are counted wrong")
    found += [f"lane: {row[0]} has a waiting message and no open one" for row in tx.many("check_stranded")]
    found += [f"lane: message {row[0]} waits without reason" for row in tx.many("check_waiting")]
    found += [f"lease: message {row[0]} has a lease without being leased" for row in tx.many("check_leases")]
    found += [f"content: message {row[0]} has lost its payload" for row in tx.many("check_payloads")]
    return found
