"""Records messages that ended without an attempt, and counts them into their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Ended
from pillarbox.store.steps.writing import Writing


class Ending(NamedTuple):
    """The ``ended`` columns, in their order."""

    seq: int
    id: MessageId
    queue: int
    recipient: str
    origin: str | None
    correlation_id: str | None
    created_ms: int
    claims: int
    charged: int
    content_size: int
    lane: str | None
    part_count: int


def ended(
    tx: Writing, rows: Sequence[Ending], state: State, reason: Reason, *, before: State | None = State.SCHEDULED
) -> list[Ended]:
    """
    Record messages that ended, and return them in their order.

    Args:
        before: The state that they were in; ``None`` where they are counted already.
    """
    split = [(row.seq,) for row in rows if row.part_count > 1]
    arrived: dict[int, int] = {seq: count for ((seq, count),) in tx.each("parts_delivered", split)}
    told = []
    for row in rows:
        if before is not None:
            tx.move(row.queue, before.code, state.code, row.content_size)
            tx.leave_lane(row.lane)
        tenant, channel = tx.numbers.queue_name(row.queue)
        told.append(
            Ended(
                id=row.id,
                queue=row.queue,
                state=state,
                reason=reason,
                tenant=tenant,
                channel=channel,
                recipient=row.recipient,
                origin=row.origin,
                correlation_id=row.correlation_id,
                created_ms=row.created_ms,
                claims=row.claims,
                charged=row.charged,
                part_count=row.part_count,
                parts_delivered=arrived.get(row.seq, 0),
            )
        )
    return told
