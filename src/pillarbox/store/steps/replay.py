"""Writes what people want of messages that have ended: a replay as a new message, or their deletion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pillarbox.domain.lifecycle import new_expiry_ms
from pillarbox.domain.message import State
from pillarbox.domain.replay import Copy, copied
from pillarbox.errors import QueueFull, Refused
from pillarbox.store.base import Acted, Purge, Replay
from pillarbox.store.steps import audit
from pillarbox.store.steps.prune import Gone, delete_belongings
from pillarbox.store.steps.queue_limits import Room
from pillarbox.store.steps.subject import Given, Subject
from pillarbox.store.steps.writing import Writing

_UNREADABLE = "its retry policy cannot be read"


_Judged = tuple[Copy, int | None]
"""What is to be stored, and when it expires."""


def replay(tx: Writing, given: Sequence[Given[Replay]]) -> list[Acted]:
    """Store new messages out of those that have ended (contract ST2)."""
    room = Room(tx)
    return [acted for run in _runs(tx, given) for acted in _replay(tx, run, room)]


def _runs(tx: Writing, given: Sequence[Given[Replay]]) -> Iterator[list[Given[Replay]]]:
    """Yield what is judged together: of those that one message was the first of, each sees what the others made."""
    replays = [(one.item.id,) for one in given if one.subject.replay_of is not None]
    firsts = {replay: first for found in tx.each("replay_first", replays) for replay, first in found}
    run: dict[str, Given[Replay]] = {}
    for one in given:
        first = firsts.get(one.item.id, one.item.id)
        if first in run:
            yield list(run.values())
            run = {}
        run[first] = one
    yield list(run.values())


def _replay(tx: Writing, given: Sequence[Given[Replay]], room: Room) -> list[Acted]:
    judged = _judged(tx, given, room)
    allowed = [(one, *what) for one, what in zip(given, judged, strict=True) if isinstance(what, tuple)]
    rows = [
        (one.item.id, one.item.new_id, tx.now, copy.own_token, expires_ms, copy.done)
        for one, copy, expires_ms in allowed
    ]
    stored = [(one, copy, seq) for (one, copy, _), ((_, seq),) in zip(allowed, tx.each("replay", rows), strict=True)]
    room.stored()
    split = [(one.subject.seq, seq, copy.anew) for one, copy, seq in stored if one.subject.part_count > 1]
    tx.each("replay_parts", split)
    tx.each("replay_blobs", [(one.subject.seq, seq) for one, _, seq in stored])
    undelivered = [one.item for one, _, _ in stored if one.subject.state is not State.DELIVERED]
    tx.each("replay_mirror", [(item.id, item.new_id) for item in undelivered])
    for one, _, _ in stored:
        tx.touched.add(one.subject.queue)
    _record(tx, [(one, seq) for one, _, seq in stored])
    return [
        Acted(applied=True, state=one.subject.shown)
        if isinstance(what, tuple)
        else Acted(applied=False, state=one.subject.shown, refused=what)
        for one, what in zip(given, judged, strict=True)
    ]


def _judged(tx: Writing, given: Sequence[Given[Replay]], room: Room) -> list[_Judged | Refused | QueueFull]:
    """Return for each what is to be stored, or why nothing is. What is allowed has taken its room."""
    heirs = tx.each("replays", [(one.item.id,) for one in given])
    progress = tx.each("part_progress", [(one.subject.seq,) for one in given])
    judged: list[_Judged | Refused | QueueFull] = []
    for one, earlier, ((_, done, behind),) in zip(given, heirs, progress, strict=True):
        try:
            subject = one.subject
            copy = copied(
                subject.state,
                fresh=one.item.fresh,
                has_content=subject.has_content,
                earlier=[heir for _, heir in earlier],
                part_count=subject.part_count,
                parts_done=done,
                behind=behind,
            )
            expires_ms = _expiry_ms(tx, subject)
            room.take(
                queue=subject.queue,
                tenant=subject.tenant,
                channel=subject.channel,
                recipient=subject.recipient,
                size=subject.content_size,
            )
        except (Refused, QueueFull) as exc:
            judged.append(exc)
        else:
            judged.append((copy, expires_ms))
    return judged


def _expiry_ms(tx: Writing, subject: Subject) -> int | None:
    try:
        return new_expiry_ms(tx.numbers.policy_by_id(subject.policy), tx.now)
    except (ValueError, msgspec.MsgspecError):
        raise Refused(_UNREADABLE) from None


def _record(tx: Writing, stored: Sequence[tuple[Given[Replay], int]]) -> None:
    """Write it into the history of both; neither line is a move."""
    lines, notes = [], []
    for one, new_seq in stored:
        item, subject = one.item, one.subject
        why = "" if item.reason is None else f": {item.reason}"
        before, after = subject.state, State.SCHEDULED
        said, actor = "replay", item.actor
        lines += [
            audit.Line(subject.seq, item.id, said, actor, before, before, f"as {item.new_id}{why}"),
            audit.Line(new_seq, item.new_id, said, actor, after, after, f"of {item.id}{why}"),
        ]
        detail = msgspec.json.encode({"as": item.new_id, "fresh": item.fresh}).decode()
        notes.append(audit.line(one, said, before, detail=detail))
    audit.tell(tx, lines)
    audit.note(tx, notes)


def purge(tx: Writing, given: Sequence[Given[Purge]]) -> list[Acted]:
    """Delete terminal messages with all that hangs on them."""
    seqs = [(one.subject.seq,) for one in given]
    tx.each("purge", seqs)
    tx.each("purge_attempts", seqs)
    gone = [Gone.of(one.item.id, one.subject, one.subject.state, one.item.keys_until_ms) for one in given]
    delete_belongings(tx, gone)
    for one in given:
        tx.count(one.subject.queue, one.subject.state.code, -1, -one.subject.content_size)
    audit.tell(tx, [audit.line(one, "purge", one.subject.state) for one in given])
    return [Acted(applied=True) for _ in given]
