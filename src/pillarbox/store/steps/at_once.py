"""
Picks new messages that start at once: they are stored leased already, as a claim right behind would lease them.

So it is only where that claim would find them and nothing else: nothing due stands before them in their queue, nothing
in their lane, and there is a slot for each. Everything else is the claim's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from pillarbox.domain.lifecycle import expired
from pillarbox.domain.message import Admission, Draft, Leased, State
from pillarbox.store.base import BatchResult, Claim
from pillarbox.store.steps.horizon import Horizon, horizon
from pillarbox.store.steps.leased import as_stored, in_order
from pillarbox.store.steps.ledger import resting
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_SCHEDULED, _LEASED = State.SCHEDULED.code, State.LEASED.code
_encode: Final = msgspec.json.Encoder().encode
WAITS: Final[Row] = (_SCHEDULED, None, None, None, 0, None)
"""State, lease, until when, worker, claims and time of the claim of a message that does not start."""


class New(msgspec.Struct, frozen=True, gc=False):
    """
    A draft that is to be stored.

    Attributes:
        recipient: In the channel's spelling, where a channel was asked.
        size: As `Draft.size`.
        admission: That is stored with it.
    """

    draft: Draft
    queue: int
    recipient: str
    size: int
    admission: Admission | None


class Starting:
    """
    Those of one batch.

    Args:
        request: What the batch's claim may take: not that of suspects, and not that of one message alone.
    """

    def __init__(self, tx: Writing, request: Claim) -> None:
        self._tx = tx
        self._request = request
        self._starts: Row = (_LEASED, request.lease, tx.lease_now + request.lease_ms, request.worker, 1, tx.now)
        self._horizons: dict[int, Horizon] = {}
        self._started: list[Leased] = []

    def columns(self, new: Sequence[New]) -> list[Row]:
        """Return for each what is stored of its lease."""
        free = self._free_queues(new)
        self._horizons = dict(free)
        taken = self._taken_lanes([o.draft.lane for o in new if o.draft.lane is not None and o.queue in free])
        now, judge_expiry = self._tx.now, self._request.judge_expiry
        rows = []
        for one in new:
            draft, queue = one.draft, one.queue
            due = draft.due_ms <= now
            starts = due and queue in free and draft.lane not in taken
            starts = starts and not (judge_expiry and expired(draft.expires_ms, now))
            rows.append(self._starts if starts else WAITS)
            if draft.lane is not None and draft.not_before_ms is None:
                taken.add(draft.lane)
            if not starts and queue in self._horizons:
                self._not_yet(queue, None if due else draft.due_ms)
        return rows

    def _free_queues(self, new: Sequence[New]) -> dict[int, Horizon]:
        """Return the queues in which nothing else is due, and there are slots for all that is."""
        now, capacity = self._tx.now, self._request.capacity
        # Which one may go now, and when the others may, is the claim's to say.
        limited = self._request.paces.keys() | resting(self._tx)
        counts: dict[int, int] = {}
        later: set[int] = set()
        for one in new:
            draft, queue = one.draft, one.queue
            if draft.due_ms <= now:
                counts[queue] = counts.get(queue, 0) + 1
                # A message that was for later gets its position from the claim that finds it.
                if draft.not_before_ms is not None or draft.channel in limited:
                    later.add(queue)
        # A queue that was made just now begins paused where its channel is.
        later |= {queue for queue, *_ in self._tx.many("gates", (now,))} if self._tx.overview.gated else set()
        free = {}
        for queue, count in counts.items():
            if queue not in later and count <= capacity.get(queue, 0):
                ahead = horizon(self._tx, queue)
                if all(due_ms is None or due_ms > now for due_ms in ahead):
                    free[queue] = ahead
        return free

    def _taken_lanes(self, lanes: Sequence[str]) -> set[str]:
        return {lane for (lane,) in self._tx.many("taken_lanes", (_encode(lanes).decode(),))} if lanes else set()

    def _not_yet(self, queue: int, due_ms: int | None) -> None:
        """Note one that does not start: it is for later, or left to the claim."""
        known = self._horizons.pop(queue)
        if due_ms is not None:
            next_ms = due_ms if known.due_ms is None else min(known.due_ms, due_ms)
            self._horizons[queue] = Horizon(next_ms, known.suspect_ms)

    def stored(self, new: Sequence[New], rows: Sequence[Row], numbers: Sequence[int]) -> None:
        """Note what was stored, with the numbers of the rows."""
        tx, lease, sizes = self._tx, self._request.lease, dict[int, list[int]]()
        for one, row, seq in zip(new, rows, numbers, strict=True):
            if row is self._starts:
                message = as_stored(
                    one.draft,
                    lease,
                    seq=seq,
                    queue=one.queue,
                    recipient=one.recipient,
                    size=one.size,
                    admission=one.admission,
                    claimed_ms=tx.now,
                )
                self._started.append(message)
                sizes.setdefault(one.queue, []).append(one.size)
        for queue, moved in sizes.items():
            tx.counters.move(queue, _SCHEDULED, _LEASED, moved)

    def forget(self) -> None:
        """Note that all that was stored is undone, and that nothing starts."""
        self._started, self._horizons = [], {}

    def tell(self, result: BatchResult) -> None:
        """Report what has started, once nothing can undo that any more."""
        self._started.sort(key=in_order)
        result.claimed += self._started
        self._tx.horizons |= self._horizons
