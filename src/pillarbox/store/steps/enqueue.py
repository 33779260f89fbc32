"""Writes accepted messages: limits, idempotency keys, and the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillarbox.domain.message import Draft, Kind, Op, State
from pillarbox.errors import InvalidMessage, KeyConflict, PillarboxError, QueueFull, ValueRefused
from pillarbox.store.base import Enqueued
from pillarbox.store.steps import collapse, mirror
from pillarbox.store.steps.settle import store_parts

if TYPE_CHECKING:
    from pillarbox.store.steps.tx import Row
    from pillarbox.store.steps.writing import Writing

_KINDS = {kind: number for number, kind in enumerate(Kind)}
_OPS = {op: number for number, op in enumerate(Op)}
_SCHEDULED = State.SCHEDULED.code
_SMALL_CONTENT_BYTES = 2048

Group = Sequence[Draft]
Accepted = list[Enqueued] | PillarboxError
Shared = dict[tuple[str, bytes], int]
"""The payload of each content of a fan-out, by group id and content."""


def enqueue(tx: Writing, groups: Sequence[Group], *, again: bool) -> list[Accepted]:
    """
    Store each group whole or not at all; a refused group leaves the others as they are.

    Args:
        again: These groups may have been stored by a commit whose answer was lost; what is there is not stored twice.
    """
    if not groups:
        return []
    if all(len(group) == 1 and _is_simple(group[0]) for group in groups):
        # Those that are there already collide by their ids; then each is looked for alone.
        results = _in_bulk(tx, groups)
        if results is not None:
            return results
    return [_one_group(tx, group, again=again) for group in groups]


def _is_simple(draft: Draft) -> bool:
    """Whether a row alone says it all: no key to look up, no content or parts stored beside it."""
    return (
        draft.key is None
        and draft.collapse_key is None
        and draft.group_id is None
        and draft.mirror is None
        and _is_small(len(draft.content))
        and (draft.admission is None or len(draft.admission.parts) <= 1)
    )


def _is_small(size: int) -> bool:
    """Whether content of so many bytes is kept in the message's own row."""
    return size <= _SMALL_CONTENT_BYTES


def _in_bulk(tx: Writing, groups: Sequence[Group]) -> list[Accepted] | None:
    """All at once, or ``None`` if one of them cannot be stored: then each is tried alone."""
    if not _has_room(tx, groups):
        return None
    try:
        with tx.savepoint():
            tx.each("enqueue", [_row(tx, draft, payload=None) for (draft,) in groups])
    except ValueRefused:
        return None
    for (draft,) in groups:
        _count(tx, draft)
    return [[Enqueued(draft.id, created=True)] for (draft,) in groups]


def _has_room(tx: Writing, groups: Sequence[Group]) -> bool:
    limits = tx.limits
    if limits.channels or (limits.channel_messages, limits.recipient_messages, limits.tenant_messages) != (None,) * 3:
        return False
    messages, size = tx.counters.active()
    return (limits.messages is None or messages + len(groups) <= limits.messages) and (
        limits.bytes is None or size + sum(len(draft.content) for (draft,) in groups) <= limits.bytes
    )


def _one_group(tx: Writing, group: Group, *, again: bool) -> Accepted:
    shared: Shared = {}
    try:
        with tx.savepoint():
            return [store_one(tx, draft, shared, again=again) for draft in group]
    except ValueRefused as exc:
        return InvalidMessage("message", str(exc))
    except PillarboxError as exc:
        return exc


def store_one(tx: Writing, draft: Draft, shared: Shared, *, again: bool, limited: bool = True) -> Enqueued:
    """
    Store one message, or find the one that its key stands for.

    Args:
        limited: Whether the limits on active messages are judged; not for what comes in as ended.

    Raises:
        PillarboxError: It is refused.
    """
    if again and tx.one("seq_of", (draft.id,)) is not None:
        return Enqueued(draft.id, created=True, superseded=collapse.superseded_before(tx, draft))
    if draft.key is not None:
        found = tx.one("key", (draft.tenant, draft.key))
        if found is not None:
            if found[0] != draft.digest:
                raise KeyConflict(draft.key, found[1])
            return Enqueued(found[1], created=False)
    queue, recipient = tx.queue(draft.tenant, draft.channel), _recipient(draft)
    # First, because what it takes the place of makes room for it.
    place = None if draft.collapse_key is None else collapse.make_way(tx, draft, queue, recipient)
    if limited:
        check_limits(
            tx,
            queue=queue,
            tenant=draft.tenant,
            channel=draft.channel,
            recipient=recipient,
            size=len(draft.content),
        )
    ((_, seq),) = tx.many("enqueue", _row(tx, draft, payload=_payload(tx, draft, shared)))
    if place is not None:
        place.take(tx, seq)
    if draft.key is not None:
        tx.many("key_insert", (draft.tenant, draft.key, draft.digest, draft.id))
    parts = draft.admission.parts if draft.admission is not None else ()
    if len(parts) > 1:
        store_parts(tx, seq, parts)
    if draft.mirror is not None:
        mirror.store(tx, draft.mirror, draft.id)
    _count(tx, draft)
    return Enqueued(draft.id, created=True, superseded=() if place is None else tuple(place.superseded))


def check_limits(tx: Writing, *, queue: int, tenant: str, channel: str, recipient: str, size: int) -> None:
    """See that there is room for one more message of so many bytes (contract EN5). Raises QueueFull."""
    limits = tx.limits
    messages, stored = tx.counters.active()
    if limits.messages is not None and messages + 1 > limits.messages:
        raise QueueFull("store", "messages", limits.messages)
    if limits.bytes is not None and stored + size > limits.bytes:
        raise QueueFull("store", "bytes", limits.bytes)
    _check_one(tx, "channel", limits.channels.get(channel, limits.channel_messages), channel)
    _check_one(tx, "tenant", limits.tenant_messages, tenant)
    if limits.recipient_messages is not None:
        row = tx.one("active_recipient", (queue, recipient)) or (0,)
        if row[0] + 1 > limits.recipient_messages:
            raise QueueFull("recipient", "messages", limits.recipient_messages)


def _check_one(tx: Writing, scope: str, limit: int | None, name: str) -> None:
    if limit is not None and tx.counters.active_in(scope, name) + 1 > limit:
        raise QueueFull(scope, "messages", limit)


def _recipient(draft: Draft) -> str:
    """Give the recipient in the channel's spelling, where a channel was asked."""
    return draft.recipient if draft.admission is None else draft.admission.recipient


def _payload(tx: Writing, draft: Draft, shared: Shared) -> int | None:
    """Store what does not belong into the row: large content, and a fan-out's, once for all of its messages (CO2)."""
    if draft.group_id is None and _is_small(len(draft.content)):
        return None
    known = shared.get((draft.group_id, draft.content)) if draft.group_id is not None else None
    if known is not None:
        return known
    ((number,),) = tx.many("payload", (draft.content.decode(),))
    if draft.group_id is not None:
        shared[draft.group_id, draft.content] = number
    return int(number)


def _count(tx: Writing, draft: Draft) -> None:
    queue = tx.queue(draft.tenant, draft.channel)
    tx.count(queue, _SCHEDULED, 1, len(draft.content))
    tx.touched.add(queue)


def _row(tx: Writing, d: Draft, *, payload: int | None) -> Row:
    admission = d.admission
    return (
        d.id,
        tx.queue(d.tenant, d.channel),
        d.priority,
        d.due_ms,
        d.lane,
        d.not_before_ms is not None,
        d.max_attempts,
        tx.policy(d.policy),
        _recipient(d),
        d.account,
        d.thread,
        _KINDS[d.kind],
        _OPS[d.op],
        d.target,
        d.created_ms,
        d.not_before_ms,
        d.expires_ms,
        admission is not None,
        1 if admission is None else max(1, len(admission.parts)),
        None if admission is None else admission.splitter,
        d.content.decode() if payload is None else None,
        payload,
        len(d.content),
        d.key,
        d.collapse_key,
        d.group_id,
        d.correlation_id,
        d.origin,
        d.traceparent,
        None if d.metadata is None else d.metadata.decode(),
        d.replay_of,
        d.token_id,
        d.token_epoch,
        d.accepted_by,
    )
