"""Reads what an explanation is made from: one message, its queue, its lane, and the workers; in one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from pillarbox.domain.envelope import Priority
from pillarbox.domain.explain.facts import Deed, Facts, Gate, Heir, Standing, Suspect, WorkerStanding
from pillarbox.domain.explain.texts import MANY
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import STATES, State
from pillarbox.store.steps import read
from pillarbox.store.steps.columns import VIEW
from pillarbox.store.steps.tx import Reader

_END: Final = 1 << 62
"""Beyond every position in a lane, and every due time."""
_COLUMNS: Final = len(VIEW)


class _UnderWay:
    """What is under a lease at a time of the lease clock: by queue, by worker, and how much of that is suspects."""

    def __init__(self, tx: Reader, now_ms: int) -> None:
        self.now_ms = now_ms
        self.queues: Counter[int] = Counter()
        self.workers: Counter[int] = Counter()
        self.suspects: Counter[int] = Counter()
        for (slot,) in tx.many("leased_workers"):
            for queue, suspect in tx.many("leased_by", (slot,)):
                self.queues[queue] += 1
                self.workers[slot] += 1
                self.suspects[slot] += suspect


def facts(
    tx: Reader,
    message: MessageId,
    alive: Callable[..., bool | None],
    *,
    now_ms: int,
    lease_now_ms: int,
) -> Facts | None:
    """Read all that is known about why *message* stands where it stands; ``None`` where there is no such message."""
    under_way = _UnderWay(tx, lease_now_ms)
    subject = _standing(tx, message, under_way)
    if subject is None:
        return None
    view = subject.view
    active = view.state is State.SCHEDULED
    return Facts(
        now_ms=now_ms,
        subject=subject,
        ahead=_ahead(tx, subject, under_way) if active else (),
        ahead_count=_ahead_count(tx, subject) if active else 0,
        due_before=_due_before(tx, subject, now_ms) if active else 0,
        workers=tuple(
            WorkerStanding(
                slot=worker.slot,
                host=worker.host,
                pid=worker.pid,
                channels=worker.channels,
                seen_ms=worker.seen_ms,
                alive=worker.alive,
                sending=under_way.workers[worker.slot],
                suspects=under_way.suspects[worker.slot],
            )
            for worker in read.workers(tx, alive)
        ),
        suspects=tuple(
            Suspect(id=identity, channel=channel)
            for identity, channel in tx.many("due_suspects", (now_ms,))
            if identity != message
        ),
        acts=tuple(
            Deed(at_ms=at, act=act, actor=actor, reason=reason)
            for at, act, actor, _, _, reason in tx.many("acts", (view.seq,))
        ),
        heirs=tuple(
            Heir(id=identity, state=STATES[code], created_ms=created)
            for identity, code, created in tx.many("heirs", (message,))
        ),
    )


def _standing(tx: Reader, message: str, under_way: _UnderWay) -> Standing | None:
    found = tx.many("standing", (message,))
    if not found:
        return None
    view = read.view(found[0][:_COLUMNS])
    state, position, until, worker, returns, has_content, ended, answer, queue, *gate = found[0][_COLUMNS:]
    paused, paused_until, reason, paused_by, strikes, full_until, rests_until, rest_reason, suppressed = gate
    return Standing(
        view=view,
        gate=Gate(
            tenant=view.tenant,
            channel=view.channel,
            paused_ms=paused,
            paused_until_ms=paused_until,
            pause_reason=reason,
            paused_by=paused_by,
            strikes=strikes,
            sending=under_way.queues[queue],
            full_until_ms=full_until,
        ),
        rests_until_ms=rests_until,
        rest_reason=rest_reason,
        suppressed=suppressed,
        queue=queue,
        under_lease=state == State.LEASED.code,
        lease_left_ms=None if until is None else until - under_way.now_ms,
        worker=worker,
        position=position,
        has_content=bool(has_content),
        free_returns=returns,
        attempt_ended_ms=ended,
        answer=answer,
    )


def _below(subject: Standing) -> int:
    """Return the position below which others go first: its own, or none where it has not taken one yet."""
    return _END if subject.position is None else subject.position


def _ahead(tx: Reader, subject: Standing, under_way: _UnderWay) -> tuple[Standing, ...]:
    view = subject.view
    if view.lane is None:
        return ()
    # Whoever waits is freed by what is open in its lane, wherever that stands.
    below = _END if view.waiting else _below(subject)
    found: dict[str, int | None] = dict(tx.many("lane_ahead", (view.lane, below, view.id)))
    standings = (_standing(tx, one, under_way) for one in sorted(found, key=lambda one: found[one] or _END))
    return tuple(one for one in standings if one is not None)


def _ahead_count(tx: Reader, subject: Standing) -> int:
    view = subject.view
    if view.lane is None:
        return 0
    return int(tx.many("lane_count_ahead", (view.lane, _below(subject), view.id, MANY))[0][0])


def _due_before(tx: Reader, subject: Standing, now_ms: int) -> int:
    view = subject.view
    count = 0
    for priority in Priority:
        if priority >= view.priority:
            due_ms = _END if priority > view.priority else view.due_ms
            bindings = (subject.queue, int(priority), now_ms, due_ms, view.seq, MANY)
            count += tx.many("due_before", bindings)[0][0]
    return min(count, MANY)
