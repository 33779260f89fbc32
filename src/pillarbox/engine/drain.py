"""What a drain reports at its end: what was done meanwhile, and what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from pillarbox.store.base import Backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """
    What a drain did.

    Attributes:
        attempted: Sends that began and ended; one message more than once, where a retry was due.
        failed: Dead for another reason than too many attempts.
        exhausted: Dead because their attempts were used up.
        held: Held for a person to decide.
        deferred_backoff: Not due yet when it ended, retries among them.
        deferred_budget: Due or being sent, but the budget was over.
        deferred_leased: Leased by another worker when it ended: alive, or not known to be gone yet.
        deferred_lost: Not due yet when it ended, because the worker that sent it last was lost.
        uncertain: Attempts whose end is not known.
        reaped: Attempts that were taken back because their worker was lost: those that a start finds are counted by the
            first drain after it.
    """

    attempted: int = 0
    delivered: int = 0
    failed: int = 0
    expired: int = 0
    exhausted: int = 0
    deferred_backoff: int = 0
    deferred_budget: int = 0
    uncertain: int = 0
    duration_ms: int = 0
    held: int = 0
    deferred_leased: int = 0
    deferred_lost: int = 0
    reaped: int = 0


def summed(reports: Iterable[DrainReport]) -> DrainReport:
    """Return one report of drains that ran side by side: they took as long as the longest."""
    several = [asdict(one) for one in reports]
    whole = {name: sum(one[name] for one in several) for name in (field.name for field in fields(DrainReport))}
    return DrainReport(**{**whole, "duration_ms": max((one["duration_ms"] for one in several), default=0)})


def report_of(done: Mapping[str, int], left: Backlog, *, duration_ms: int) -> DrainReport:
    """
    Make the report of a drain.

    Args:
        done: By the words of `Reporter.counts`.
        left: What is not settled.
    """
    return DrainReport(
        attempted=done["sent"],
        delivered=done["delivered"],
        failed=done["dead"],
        expired=done["expired"],
        exhausted=done["exhausted"],
        held=done["held"],
        deferred_backoff=left.later,
        # What is still being sent is left to the continuous worker as well.
        deferred_budget=left.due + left.ours,
        deferred_leased=left.others,
        deferred_lost=left.lost,
        uncertain=done["uncertain"],
        reaped=done["reaped"],
        duration_ms=duration_ms,
    )
