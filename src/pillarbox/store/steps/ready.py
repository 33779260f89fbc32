"""
What a caller's transaction does not do: judge limits, make queues and policies.

It may stay open for long, and nobody else is to wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Draft
from pillarbox.domain.retry import Policy
from pillarbox.errors import PillarboxError
from pillarbox.store.base import BatchResult, Enqueued
from pillarbox.store.steps.enqueue import enqueue, judged
from pillarbox.store.steps.numbers import Numbers
from pillarbox.store.steps.tx import Tx
from pillarbox.store.steps.writing import Writing

_NO_LIMITS = Limits(messages=None, bytes=None)


class Known(NamedTuple):
    """The numbers of the queues and policies of some drafts, committed."""

    queues: Mapping[tuple[str, str], int]
    policies: Mapping[Policy, int]


def ready(tx: Writing, drafts: Sequence[Draft]) -> Known:
    """Make the queues and policies of *drafts*. Raises KeyConflict or QueueFull, as far as can be seen before."""
    refused = judged(tx, drafts)
    if isinstance(refused, PillarboxError):
        raise refused
    return Known(
        {(draft.tenant, draft.channel): tx.queue(draft.tenant, draft.channel) for draft in drafts},
        {draft.policy: tx.policy(draft.policy) for draft in drafts},
    )


def write(tx: Tx, drafts: Sequence[Draft], known: Known, *, now_ms: int, limits: Limits = _NO_LIMITS) -> list[Enqueued]:
    """
    Store *drafts*.

    Args:
        limits: Those that were not judged before.

    Raises:
        KeyConflict, QueueFull, InvalidMessage: None is to be stored; who called undoes what was written.
    """
    numbers = Numbers(tx)
    numbers.learn(known.queues, known.policies)
    writing = Writing(tx, numbers, now_ms=now_ms, lease_now=0, limits=limits)
    (accepted,) = enqueue(writing, [drafts], BatchResult(), again=False, starting=None)
    if isinstance(accepted, PillarboxError):
        raise accepted
    writing.counters.write()
    return accepted
