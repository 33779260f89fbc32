"""Reads for people: one message whole, lists, counts, queues and workers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence

import msgspec

from pillarbox.domain.arrival import part_of
from pillarbox.domain.clock_steps import ClockMark, ClockNews
from pillarbox.domain.envelope import KINDS, OPS
from pillarbox.domain.filter_fields import Condition, Field
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import STATES, MessageView, Part, State
from pillarbox.store.base import Backlog, Flow, Query, QueueInfo, Schema, Tally, WorkerInfo
from pillarbox.store.steps.columns import VIEW
from pillarbox.store.steps.numbers import decode_policy
from pillarbox.store.steps.tx import Reader, Row

_KIND_CODES = {str(kind): code for code, kind in enumerate(KINDS)}
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def clock_news(tx: Reader) -> ClockNews:
    """Read what is known of the clocks. A mark that cannot be read is none."""
    ((text, seen_ms, active),) = tx.many("clock_news")
    mark: ClockMark | None = None
    if text is not None:
        with contextlib.suppress(msgspec.MsgspecError):
            mark = msgspec.json.decode(text, type=ClockMark)
    return ClockNews(mark=mark, seen_ms=seen_ms or 0, active=bool(active))


def get(tx: Reader, identity: MessageId) -> MessageView | None:
    """Read one message with its content and parts."""
    found = tx.many("view", (identity,))
    if not found:
        return None
    message = view(found[0])
    parts = tuple(_part(message, row) for row in tx.many("parts", (identity,)))
    return msgspec.structs.replace(message, parts=parts) if parts else message


def _part(message: MessageView, row: Row) -> Part:
    number, code, receipt, reason, content = row
    return part_of(message, number, STATES[code], receipt=receipt, reason=reason, content=_octets(content))


def view(row: Row) -> MessageView:
    """Decode a row of the view's columns."""
    values = dict(zip(VIEW, row, strict=True))
    try:
        policy = decode_policy(values["policy"])
    except (ValueError, msgspec.MsgspecError):
        policy = decode_policy("{}")
    values.update(
        state=STATES[values["state"]],
        kind=KINDS[values["kind"]],
        op=OPS[values["op"]],
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


def resolve_id(tx: Reader, text: str) -> list[MessageId]:
    """Find ids by either end. Prefixes by the index; endings by a scan, newest first."""
    if not text or not _ID_CHARACTERS.issuperset(text):
        return []
    found = [row[0] for row in tx.many("ids_from", (text, text + "\x7f"))]
    return found or [row[0] for row in tx.many("ids_to", (text,))]


def listing(tx: Reader, query: Query) -> list[MessageView]:
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
    return [view(row) for row in tx.many(_list_name(query), bindings)]


def whole(tx: Reader, query: Query, bytes_max: int) -> list[MessageView]:
    """Read a page of messages with their content and parts; see `Store.read_messages`."""
    found: list[MessageView] = []
    left = bytes_max
    for listed in listing(tx, query):
        left -= listed.content_size
        if found and left < 0:
            break
        message = get(tx, listed.id)
        if message is not None:
            found.append(message)
    return found


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


def backlog(tx: Reader, now_ms: int, channels: Sequence[str], worker: int) -> Backlog:
    """Count what is not settled of *channels*."""
    names = json.dumps(list(channels))
    due, later, lost = tx.many("backlog", (now_ms, names))[0]
    ours, others = tx.many("backlog_leased", (worker, names))[0]
    return Backlog(due=due, later=later, lost=lost, ours=ours, others=others)


def stats(tx: Reader) -> list[Tally]:
    """Read the counters."""
    return [
        Tally(tenant=tenant, channel=channel, state=STATES[state], messages=messages, bytes=size)
        for tenant, channel, state, messages, size in tx.many("tallies")
    ]


def turn(tx: Reader, correlation_id: str, *, final_only: bool) -> dict[State, int]:
    """Count the messages of one turn, by state."""
    (counts,) = tx.many("turn", (correlation_id, final_only))
    return {state: count for state, count in zip(STATES, counts, strict=True) if count}


def log_key(tx: Reader) -> bytes:
    """Read what recipients are hashed with in the log."""
    meta: dict[str, str] = {row[0]: row[1] for row in tx.many("meta")}
    return bytes.fromhex(meta["log_key"]) if "log_key" in meta else b""


def schema(tx: Reader) -> Schema:
    """Read which version the schema has."""
    meta: dict[str, str] = {row[0]: row[1] for row in tx.many("meta")}
    return Schema(version=int(meta["version"]), usable_from=int(meta["usable_from"]))


def queues(tx: Reader) -> list[QueueInfo]:
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
        for number, tenant, channel, paused_at, until, reason, strikes in tx.many("queues")
    ]


def flow(tx: Reader, now_ms: int) -> list[Flow]:
    """Read how every queue is."""
    return [
        Flow(
            id=number,
            tenant=tenant,
            channel=channel,
            paused=paused_at is not None,
            paused_ms=paused_at,
            paused_until_ms=until,
            pause_reason=reason,
            paused_by=by,
            strikes=strikes,
            reopened_ms=reopened,
            full_until_ms=full,
            resting=resting,
            suppressed=suppressed,
            due_ms=due,
        ).judged(now_ms)
        for number, tenant, channel, paused_at, until, reason, by, strikes, reopened, full, resting, suppressed, due
        in tx.many("flow", (now_ms,))
    ]  # fmt: skip


def workers(tx: Reader, alive: Callable[..., bool | None]) -> list[WorkerInfo]:
    """Read every worker. *alive* is called with its number, and with the data of its row that show whether it lives."""
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
            alive=alive(slot, *marks),
        )
        for slot, identity, host, pid, version, channels, started, seen, *marks in tx.many("workers")
    ]
