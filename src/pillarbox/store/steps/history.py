"""Puts a message's story together from what is stored: its row, its attempts, and what people did to it."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import STATES, MessageView, State
from pillarbox.store.base import Event
from pillarbox.store.steps.read import get
from pillarbox.store.steps.tx import Reader


def history(tx: Reader, identity: MessageId) -> list[Event]:
    """
    Put a message's story together.

    A first-time success left nothing but its row, so its claim and its end are read from there; every other attempt
    left a row of its own, and so did every act of a person.
    """
    message = get(tx, identity)
    if message is None:
        gone = [row[0] for row in tx.many("traces_of_gone", (identity,))]
        found = [event for seq in gone for event in (*_attempts(tx, identity, seq), *_acts(tx, seq))]
        return sorted(found, key=_when)
    attempts, acts = _attempts(tx, identity, message.seq), _acts(tx, message.seq)
    parts = _parts(tx, message, acts)
    last = [event for event in parts if event.to_state is State.LEASED]
    events = [_accepted(message), *(event for event in parts if event not in last), *attempts, *acts]
    told = {event.attempt for event in attempts if event.act == "claim"}
    if message.claimed_ms is not None and message.claims not in told:
        events.append(_claimed(message.claimed_ms, message.claims, _worker_name(message.worker)))
    events += last
    # Stable: of what happened in the same millisecond, what was written first comes first.
    events.sort(key=_when)
    if message.state.terminal and not any(event.to_state is message.state is not event.from_state for event in events):
        # Before what was done to it afterwards: a replay, or an answer that came late.
        place = next((at for at, event in enumerate(events) if event.from_state is message.state), len(events))
        events.insert(place, _ended(message, events[place - 1].to_state))
    return events


def _when(event: Event) -> tuple[int, int]:
    """Return the key to sort by: its acceptance first; what was done to it after its end comes after that."""
    after_its_end = event.from_state is not None and event.from_state.terminal
    return event.at_ms, 0 if event.act == "enqueue" else 1 + after_its_end


def _accepted(message: MessageView) -> Event:
    return Event(
        at_ms=message.created_ms,
        act="enqueue",
        actor=message.origin or "application",
        from_state=None,
        to_state=State.SCHEDULED,
        reason=f"replay of {message.replay_of}" if message.replay_of else None,
    )


def _ended(message: MessageView, before: State) -> Event:
    leased = before is State.LEASED
    delivered = message.state is State.DELIVERED
    return Event(
        at_ms=message.completed_ms or message.created_ms,
        act="settle" if delivered else str(message.state),
        actor=_worker_name(message.worker) if leased else "reaper",
        from_state=before,
        to_state=message.state,
        reason=message.terminal_reason,
        attempt=message.claims if leased else None,
        outcome="delivered" if delivered else None,
        receipt=message.receipt,
    )


def _worker_name(worker: bytes | None) -> str:
    return f"worker {worker.hex()[:8]}" if worker else "worker"


def _claimed(at_ms: int, number: int, actor: str) -> Event:
    return Event(
        at_ms=at_ms, act="claim", actor=actor, from_state=State.SCHEDULED, to_state=State.LEASED, attempt=number
    )


def _attempts(tx: Reader, identity: MessageId, seq: int) -> list[Event]:
    events: list[Event] = []
    for row in tx.many("attempts", (identity, seq)):
        number, _, worker, outcome, _, reason, receipt, answer, claimed, began, ended, to_state, due = row
        actor = f"worker {worker}" if worker is not None else "worker"
        if claimed is not None:
            events.append(_claimed(claimed, number, actor))
        events.append(
            Event(
                at_ms=ended,
                act="settle",
                actor=actor,
                from_state=State.LEASED,
                to_state=STATES[to_state],
                reason=reason,
                attempt=number,
                began_ms=began,
                outcome=outcome,
                receipt=receipt,
                answer=answer,
                due_ms=due,
            )
        )
    return events


def _parts(tx: Reader, message: MessageView, acts: Sequence[Event]) -> list[Event]:
    """
    Return the events of the parts that got through at once, and so left no attempt.

    It was not recorded when each was claimed, so each is one line, from scheduled to scheduled. With the one whose
    attempt ended the message, its claim and its end are listed; where that end is the delivery, it alone is.
    """
    if message.part_count == 1:
        return []
    told = {event.at_ms for event in acts if event.act == "late answer" or event.from_state is not event.to_state}
    if message.state is State.DELIVERED and message.completed_ms is not None:
        told.add(message.completed_ms)
    events = []
    for number, receipt, at, by_attempt in tx.many("part_deliveries", (message.seq,)):
        if by_attempt or at in told:
            continue
        state = State.LEASED if at == message.completed_ms else State.SCHEDULED
        events.append(
            Event(
                at_ms=at,
                act="part",
                actor="worker",
                from_state=state,
                to_state=state,
                reason=f"part {number + 1} of {message.part_count}",
                outcome="delivered",
                receipt=receipt,
            )
        )
    return events


def _acts(tx: Reader, seq: int) -> list[Event]:
    return [
        Event(
            at_ms=at,
            act=act,
            actor=actor,
            from_state=None if before is None else STATES[before],
            to_state=STATES[after],
            reason=reason,
        )
        for at, act, actor, before, after, reason in tx.many("acts", (seq,))
    ]
