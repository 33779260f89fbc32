"""Reads for people: one message whole, lists, history, counts, workers, and what the check finds wrong."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from pillarbox.domain.arrival import part_of
from pillarbox.domain.condition import Field
from pillarbox.domain.message import STATES, Kind, MessageView, Op, Part, State
from pillarbox.domain.timeline import ClockMark, ClockNews
from pillarbox.store.base import Backlog, Event, Query, QueueInfo, Tally, WorkerInfo
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.session import Row, decode_policy
from pillarbox.store.sqlite.statements import READ, VIEW_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pillarbox.domain.condition import Condition
    from pillarbox.domain.ids import MessageId

_KINDS = tuple(Kind)
_KIND_CODES = {str(kind): code for code, kind in enumerate(_KINDS)}
_OPS = tuple(Op)
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def rows(connection: apsw.Connection, name: str, bindings: Sequence[Any] = ()) -> list[Row]:
    """Execute a named read."""
    return connection.execute(READ[name], bindings).fetchall()


def clock_news(connection: apsw.Connection) -> ClockNews:
    """Read what is known of the clocks. A mark that cannot be read is none."""
    with opening.translated("reading what is known of the clocks", connection):
        ((text, seen_ms, active),) = rows(connection, "clock_news")
    mark: ClockMark | None = None
    if text is not None:
        with contextlib.suppress(msgspec.MsgspecError):
            mark = msgspec.json.decode(text, type=ClockMark)
    return ClockNews(mark=mark, seen_ms=seen_ms or 0, active=bool(active))


def get(connection: apsw.Connection, identity: MessageId) -> MessageView | None:
    """Read one message with its content and parts."""
    found = rows(connection, "view", (identity,))
    if not found:
        return None
    message = view(found[0])
    parts = tuple(_part(message, row) for row in rows(connection, "parts", (identity,)))
    return msgspec.structs.replace(message, parts=parts) if parts else message


def _part(message: MessageView, row: Row) -> Part:
    number, code, receipt, reason, content = row
    return part_of(message, number, STATES[code], receipt=receipt, reason=reason, content=_octets(content))


def view(row: Row) -> MessageView:
    """Decode a row of the view's columns."""
    values = dict(zip(VIEW_FIELDS, row, strict=True))
    try:
        policy = decode_policy(values["policy"])
    except (ValueError, msgspec.MsgspecError):
        policy = decode_policy("{}")
    values.update(
        state=STATES[values["state"]],
        kind=_KINDS[values["kind"]],
        op=_OPS[values["op"]],
        waiting=bool(values["waiting"]),
        prepared=bool(values["prepared"]),
        policy=policy,
        content=_octets(values["content"]),
        metadata=_octets(values["metadata"]),
        maybe_arrived=bool(values["maybe_arrived"]),
    )
    return MessageView(**values)


def _octets(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def resolve_id(connection: apsw.Connection, text: str) -> list[MessageId]:
    """Find ids by either end. Prefixes by the index; endings by a scan, newest first."""
    if not text or not _ID_CHARACTERS.issuperset(text):
        return []
    found = [row[0] for row in rows(connection, "ids_from", (text, text + "\x7f"))]
    return found or [row[0] for row in rows(connection, "ids_to", (text,))]


def listing(connection: apsw.Connection, query: Query) -> list[MessageView]:
    """Read a page of messages without their content."""
    bindings = (
        json.dumps([state.code for state in query.states]) if query.states else None,
        query.channel,
        query.tenant,
        query.recipient,
        query.correlation_id,
        query.collapse_key,
        query.lane,
        query.created_from_ms,
        query.created_to_ms,
        query.before_seq,
        query.after_seq,
        json.dumps([_condition(one) for one in query.where]) if query.where else None,
        query.limit,
    )
    return [view(row) for row in rows(connection, _list_name(query), bindings)]


def _list_name(query: Query) -> str:
    """Name the statement that looks up what an index has, and reads in the order that is wanted."""
    name = "list"
    if query.correlation_id is not None:
        name = "list_correlated"
    elif query.collapse_key is not None and query.states and not any(state.terminal for state in query.states):
        name = "list_collapsed"
    return f"{name}_oldest" if query.oldest_first else name


def _condition(one: Condition) -> dict[str, object]:
    values: list[str] = list(one.values)
    if one.field is Field.KIND:
        values = [str(_KIND_CODES.get(value, "")) for value in values]
    return {"field": one.field, "values": values, "has": one.contains, "no": one.negated}


def history(connection: apsw.Connection, identity: MessageId) -> list[Event]:
    """
    Put a message's story together.

    A first-time success left nothing but its row, so its claim and its end are told from there; every other attempt
    left a row of its own, and so did every act of a person.
    """
    message = get(connection, identity)
    if message is None:
        gone = [row[0] for row in rows(connection, "traces_of_gone", (identity,))]
        found = [event for seq in gone for event in (*_attempts(connection, identity, seq), *_acts(connection, seq))]
        return sorted(found, key=_when)
    attempts, acts = _attempts(connection, identity, message.seq), _acts(connection, message.seq)
    parts = _parts(connection, message, acts)
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
    """First its acceptance; what was done to it after its end, after it."""
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


def _attempts(connection: apsw.Connection, identity: MessageId, seq: int) -> list[Event]:
    events: list[Event] = []
    for row in rows(connection, "attempts", (identity, seq)):
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


def _parts(connection: apsw.Connection, message: MessageView, acts: Sequence[Event]) -> list[Event]:
    """
    Tell of the parts that got through at once, and so left no attempt.

    When each was claimed nobody noted, so that each is one line, from scheduled to scheduled. With the one whose
    attempt ended the message, its claim and its end are told; where that end is the delivery, it says all.
    """
    if message.part_count == 1:
        return []
    told = {event.at_ms for event in acts if event.act == "late answer" or event.from_state is not event.to_state}
    if message.state is State.DELIVERED and message.completed_ms is not None:
        told.add(message.completed_ms)
    events = []
    for number, receipt, at, by_attempt in rows(connection, "part_deliveries", (message.seq,)):
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


def _acts(connection: apsw.Connection, seq: int) -> list[Event]:
    return [
        Event(
            at_ms=at,
            act=act,
            actor=actor,
            from_state=None if before is None else STATES[before],
            to_state=STATES[after],
            reason=reason,
        )
        for at, act, actor, before, after, reason in rows(connection, "acts", (seq,))
    ]


def backlog(connection: apsw.Connection, now_ms: int, channels: Sequence[str], worker: int) -> Backlog:
    """Count what is not settled of *channels*."""
    names = json.dumps(list(channels))
    due, later, lost = rows(connection, "backlog", (now_ms, names))[0]
    ours, others = rows(connection, "backlog_leased", (worker, names))[0]
    return Backlog(due=due, later=later, lost=lost, ours=ours, others=others)


def stats(connection: apsw.Connection) -> list[Tally]:
    """Read the counters."""
    return [
        Tally(tenant=tenant, channel=channel, state=STATES[state], messages=messages, bytes=size)
        for tenant, channel, state, messages, size in rows(connection, "tallies")
    ]


def turn(connection: apsw.Connection, correlation_id: str, *, final_only: bool) -> dict[State, int]:
    """Count the messages of one turn, by state."""
    (counts,) = rows(connection, "turn", (correlation_id, final_only))
    return {state: count for state, count in zip(STATES, counts, strict=True) if count}


def log_key(connection: apsw.Connection) -> bytes:
    """Read what recipients are hashed with in the log."""
    meta: dict[str, str] = {row[0]: row[1] for row in rows(connection, "meta")}
    return bytes.fromhex(meta["log_key"]) if "log_key" in meta else b""


def queues(connection: apsw.Connection) -> list[QueueInfo]:
    """Read every queue."""
    return [
        QueueInfo(
            id=number,
            tenant=tenant,
            channel=channel,
            paused=paused_at is not None,
            paused_until_ms=until,
            pause_reason=reason,
            strikes=strikes,
        )
        for number, tenant, channel, paused_at, until, reason, strikes in rows(connection, "queues")
    ]


def workers(connection: apsw.Connection, alive: Callable[[int, str, int], bool | None]) -> list[WorkerInfo]:
    """Read every worker; *alive* is asked with its number, boot id and lock file."""
    return [
        WorkerInfo(
            slot=slot,
            id=identity,
            host=host,
            pid=pid,
            version=version,
            channels=tuple(channels.split(",")) if channels else (),
            started_ms=started,
            seen_ms=seen,
            alive=alive(slot, boot, lock_file),
        )
        for slot, identity, host, pid, version, channels, started, seen, boot, lock_file in rows(connection, "workers")
    ]


def check(connection: apsw.Connection) -> list[str]:
    """Find what is wrong: the file, and if that is sound, the counters, the lanes, the leases."""
    try:
        damage = [f"integrity: {row[0]}" for row in rows(connection, "integrity") if row[0] != "ok"]
    except apsw.CorruptError as exc:
        damage = [f"integrity: {exc}"]
    # What a damaged file says of itself is worth nothing.
    return damage or _check_meaning(connection)


def _check_meaning(connection: apsw.Connection) -> list[str]:
    found: list[str] = []
    counted = {row[:2]: row[2:] for row in rows(connection, "check_tally")}
    kept = {row[:2]: row[2:] for row in rows(connection, "tally_rows")}
    found += [
        f"counters: queue {queue} {STATES[state]}: counted {counted.get((queue, state), (0, 0))}, "
        f"kept {kept.get((queue, state), (0, 0))}"
        for queue, state in sorted(counted.keys() | kept.keys())
        if counted.get((queue, state), (0, 0)) != kept.get((queue, state), (0, 0))
    ]
    if rows(connection, "recipients_counted") and (wrong := rows(connection, "check_recipients")[0][0]):
        found.append(f"counters: {wrong} recipients are counted wrong")
    found += [f"lane: {row[0]} has a waiting message and no open one" for row in rows(connection, "check_stranded")]
    found += [f"lane: message {row[0]} waits without reason" for row in rows(connection, "check_waiting")]
    found += [f"lease: message {row[0]} has a lease without being leased" for row in rows(connection, "check_leases")]
    found += [f"content: message {row[0]} has lost its payload" for row in rows(connection, "check_payloads")]
    return found
