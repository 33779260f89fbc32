"""
Writes accepted messages: keys are looked up, room is found, then the rows are written.

All groups of a batch are stored by one statement of each kind. Where the database refuses a value of one, each group is
tried alone, so that one caller's bad value never fails another's message (contract EN8).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from pillarbox.domain.envelope import KINDS, OPS, Op
from pillarbox.domain.ids import MessageId
from pillarbox.domain.keys import first_message
from pillarbox.domain.message import Draft, State
from pillarbox.domain.transition import ErrorClass
from pillarbox.errors import InvalidMessage, KeyConflict, PillarboxError, QueueFull, ValueRefused
from pillarbox.store.base import BatchResult, Enqueued
from pillarbox.store.steps import blobs, changes, collapse, mirror
from pillarbox.store.steps.admit import store_parts
from pillarbox.store.steps.at_once import WAITS, New, Starting
from pillarbox.store.steps.columns import carried
from pillarbox.store.steps.queue_limits import Room
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_SMALL_CONTENT_BYTES = 2048

Group = Sequence[Draft]
Accepted = list[Enqueued] | PillarboxError
Shared = dict[tuple[str, bytes], int]
"""The payload of each content of a fan-out, by group id and content."""


def enqueue(
    tx: Writing, groups: Sequence[Group], result: BatchResult, *, again: bool, starting: Starting | None
) -> list[Accepted]:
    """
    Store each group whole or not at all; a refused group leaves the others as they are.

    Args:
        result: What has started at once is noted here.
        again: These groups may have been stored by a commit whose answer was lost; what is there is not stored twice.
        starting: Picks what starts at once; ``None`` leaves all to the claim.
    """
    accepted = _guarded(tx, groups, again=again, starting=starting) if groups else []
    if starting is not None:
        starting.tell(result)
    return accepted


def _guarded(tx: Writing, run: Sequence[Group], *, again: bool, starting: Starting | None = None) -> list[Accepted]:
    try:
        with tx.savepoint():
            return store(tx, run, again=again, starting=starting)
    except (ValueRefused, KeyConflict, QueueFull) as exc:
        if starting is not None:
            starting.forget()
        if len(run) == 1:
            return [InvalidMessage("message", exc.expected) if isinstance(exc, ValueRefused) else exc]
        return [accepted for group in run for accepted in _guarded(tx, [group], again=again)]


def store(
    tx: Writing,
    groups: Sequence[Group],
    *,
    again: bool,
    uncounted: Collection[MessageId] = (),
    starting: Starting | None = None,
) -> list[Accepted]:
    """
    Store groups, or find the messages that their keys stand for; inside a savepoint.

    Args:
        uncounted: Those that take no room, because they come in as ended; the step that stores them counts them.

    Returns:
        What became of each group; where it was refused, nothing of it was written.

    Raises:
        ValueRefused: The database cannot hold one of the values.
        KeyConflict, QueueFull: A group was refused after something of it was written.
    """
    known = _stored_before(tx, groups) if again else set()
    # Lists, here and below: of a generator, every message costs two more calls.
    if [draft for group in groups for draft in group if draft.collapse_key is not None]:
        shared: Shared = {}
        waves = _waves([draft for group in groups for draft in group])
        stored = iter([one for wave in waves for one in _in_their_places(tx, wave, known, uncounted, shared)])
        return [[next(stored) for _ in group] for group in groups]
    intake = _Intake(tx, groups, known, uncounted)
    accepted = [intake.judged(group) for group in groups]
    intake.write({}, starting)
    return accepted


def judged(tx: Writing, group: Group) -> Accepted:
    """Judge a group by what is stored, and write nothing of it. Raises KeyConflict or QueueFull."""
    return _Intake(tx, [group], set(), ()).judged(group)


def _stored_before(tx: Writing, groups: Sequence[Group]) -> set[MessageId]:
    rows = tx.each("seq_of", [(draft.id,) for group in groups for draft in group])
    return {identity for found in rows for identity, _ in found}


def _waves(drafts: Sequence[Draft]) -> Iterator[list[Draft]]:
    """Yield what can be stored together: nothing takes the place of what is beside it, or stands for the same key."""
    wave: list[Draft] = []
    said: set[tuple[object, ...]] = set()
    for draft in drafts:
        place = (draft.tenant, draft.channel, _recipient(draft), draft.account, draft.thread)
        names = {
            *([] if draft.collapse_key is None else [(draft.collapse_key, *place)]),
            *([] if draft.key is None else [(draft.key, draft.tenant)]),
        }
        if names & said:
            yield wave
            wave, said = [], set()
        wave.append(draft)
        said |= names
    yield wave


def _in_their_places(
    tx: Writing, wave: Sequence[Draft], known: set[MessageId], uncounted: Collection[MessageId], shared: Shared
) -> list[Enqueued]:
    """Store messages in the places of older ones. Raises KeyConflict or QueueFull."""
    intake = _Intake(tx, [wave], known, uncounted)
    firsts = {draft.id: intake.first(draft) for draft in wave if draft.id not in known}
    new = [draft for draft in wave if draft.id in firsts and firsts[draft.id] is None]
    folded = changes.fold(tx, new, lambda draft: _payload(tx, draft, shared))
    new = [draft for draft in new if draft.id not in folded]
    collapsing = [_new(tx, draft) for draft in new if draft.collapse_key is not None]
    # First, because what they take the place of makes room for them.
    ways = collapse.make_way(tx, collapsing)
    for draft in new:
        intake.take(draft)
    intake.write(shared)
    places = [(i, way.place) for i, way in ways.items() if way.superseded]
    tx.each(
        "take_place", [(i, p.position, p.due_ms, ErrorClass.RATE_LIMITED if p.limited else None) for i, p in places]
    )
    superseded = collapse.superseded_before(tx, [draft for draft in wave if draft.id in known])
    superseded |= {identity: way.superseded for identity, way in ways.items()}
    return [
        folded.get(draft.id)
        or Enqueued(
            firsts.get(draft.id) or draft.id,
            created=firsts.get(draft.id) is None,
            superseded=tuple(superseded.get(draft.id, ())),
        )
        for draft in wave
    ]


class _Intake:
    """
    Judges drafts one after the other, before any of them is written.

    Attributes:
        new: Those that are to be stored.

    Where there surely is room for all of them, they are counted in one go.
    """

    def __init__(
        self, tx: Writing, groups: Sequence[Group], known: set[MessageId], uncounted: Collection[MessageId]
    ) -> None:
        self.new: list[New] = []
        self._tx = tx
        self._known = known
        self._uncounted = uncounted
        drafts = [draft for group in groups for draft in group]
        self._room = Room(tx)
        self._sizes: defaultdict[int, list[int]] = defaultdict(list)
        self._roomy = self._room.has(len(drafts), sum([draft.size for draft in drafts]))
        self._keys = _keys(tx, drafts)

    def judged(self, group: Group) -> Accepted:
        """Take a group whole, or refuse it. Raises KeyConflict or QueueFull where it has made a queue."""
        before, made = len(self.new), self._tx.numbers.made
        try:
            return [self._one(draft) for draft in group]
        except (KeyConflict, QueueFull) as exc:
            if self._tx.numbers.made != made:
                raise
            self._give_back(before)
            return exc

    def _one(self, draft: Draft) -> Enqueued:
        if draft.id in self._known:
            return Enqueued(draft.id, created=True)
        if draft.key is not None:
            found = self.first(draft)
            if found is not None:
                return Enqueued(found, created=False)
        self.take(draft)
        return Enqueued(draft.id, created=True)

    def first(self, draft: Draft) -> MessageId | None:
        """Return the message that the draft's key stands for already. Raises KeyConflict."""
        if draft.key is None:
            return None
        found = self._keys.get((draft.tenant, draft.key))
        return None if found is None else first_message(draft, digest=found[0], first=found[1])

    def take(self, draft: Draft) -> None:
        """Take the room for a draft. Raises QueueFull."""
        new = _new(self._tx, draft)
        if draft.id in self._uncounted:
            pass
        elif self._roomy:
            self._sizes[new.queue].append(new.size)
        else:
            self._room.take(
                queue=new.queue, tenant=draft.tenant, channel=draft.channel, recipient=new.recipient, size=new.size
            )
        if draft.key is not None and draft.digest is not None:
            self._keys[draft.tenant, draft.key] = draft.digest, draft.id
        self.new.append(new)

    def write(self, shared: Shared, starting: Starting | None = None) -> None:
        """Write what was taken; *shared* says which contents of its fan-outs are stored already."""
        for queue, sizes in self._sizes.items():
            self._tx.count(queue, State.SCHEDULED.code, len(sizes), sum(sizes))
        self._tx.touched.update([new.queue for new in self.new])
        _write(self._tx, self.new, shared, starting)

    def _give_back(self, before: int) -> None:
        for new in self.new[before:]:
            if new.draft.id in self._uncounted:
                pass
            elif self._roomy:
                self._sizes[new.queue].pop()
            else:
                self._room.give_back(new.queue, new.recipient, new.size)
            if new.draft.key is not None:
                self._keys.pop((new.draft.tenant, new.draft.key), None)
        del self.new[before:]


def _keys(tx: Writing, drafts: Sequence[Draft]) -> dict[tuple[str, str], tuple[bytes, MessageId]]:
    """Return which content, and which message, each key of *drafts* that is known stands for."""
    asked = [(draft.key, draft.tenant) for draft in drafts if draft.key is not None]
    found = tx.each("key", asked) if asked else []
    return {
        (tenant, key): (digest, first)
        for (key, tenant), rows in zip(asked, found, strict=True)
        for _, digest, first in rows
    }


def _new(tx: Writing, draft: Draft) -> New:
    """Return what is to be stored of a draft, and where."""
    # A change of another message is admitted when it has its turn.
    stored = draft.admission if draft.op is Op.SEND else None
    return New(draft, tx.queue(draft.tenant, draft.channel), _recipient(draft), draft.size, stored)


def _recipient(draft: Draft) -> str:
    """Return the recipient in the channel's spelling, where a channel was asked."""
    return draft.recipient if draft.admission is None else draft.admission.recipient


def _write(tx: Writing, new: Sequence[New], shared: Shared, starting: Starting | None) -> None:
    """Write the rows of messages that have room, and what belongs to them."""
    leases = [WAITS] * len(new) if starting is None else starting.columns(new)
    rows = [_row(tx, one, _payload(tx, one.draft, shared), lease) for one, lease in zip(new, leases, strict=True)]
    numbers = [seq for ((_, seq),) in tx.each("enqueue", rows)]
    if starting is not None:
        starting.stored(new, leases, numbers)
    rich = [(seq, one) for seq, one in zip(numbers, new, strict=True) if _says_more(one)]
    if rich:
        _write_beside(tx, rich)


def _says_more(new: New) -> bool:
    """Whether something of a message belongs beside its row."""
    draft, admission = new.draft, new.admission
    parts = admission is not None and admission.parts
    return bool(parts or draft.key is not None or draft.files or draft.mirror is not None)


def _write_beside(tx: Writing, new: Sequence[tuple[int, New]]) -> None:
    """Write what belongs to the rows of such numbers."""
    drafts = [one.draft for _, one in new]
    keys = [(draft.tenant, draft.key, draft.digest, draft.id) for draft in drafts if draft.key is not None]
    if keys:
        tx.each("key_insert", keys)
    store_parts(tx, [(seq, a.parts) for seq, one in new for a in (one.admission,) if a is not None and a.parts])
    blobs.store(tx, [(seq, one.draft.files) for seq, one in new if one.draft.files])
    mirror.store(tx, [(d.mirror, d.id) for d in drafts if d.mirror is not None and d.op is Op.SEND])


def _payload(tx: Writing, draft: Draft, shared: Shared) -> int | None:
    """Store what does not belong into the row: large content, and a fan-out's, once for all of its messages (CO2)."""
    if draft.group_id is None and len(draft.content) <= _SMALL_CONTENT_BYTES:
        return None
    known = shared.get((draft.group_id, draft.content)) if draft.group_id is not None else None
    if known is not None:
        return known
    ((number,),) = tx.many("payload", (draft.content.decode(),))
    if draft.group_id is not None:
        shared[draft.group_id, draft.content] = number
    return int(number)


def _row(tx: Writing, new: New, payload: int | None, lease: Row) -> Row:
    d, admission = new.draft, new.admission
    return (
        d.id,
        new.queue,
        new.recipient,
        tx.policy(d.policy),
        d.created_ms,
        d.max_attempts,
        KINDS.index(d.kind),
        OPS.index(d.op),
        None if d.metadata is None else d.metadata.decode(),
        d.due_ms,
        d.not_before_ms is not None,
        d.not_before_ms,
        d.expires_ms,
        admission is not None,
        1 if admission is None else len(admission.parts) or 1,
        None if admission is None else admission.splitter,
        d.content.decode() if payload is None else None,
        payload,
        new.size,
        d.key,
        d.collapse_key,
        d.group_id,
        d.replay_of,
        d.token_id,
        d.token_epoch,
        d.accepted_by,
        *lease,
        *carried(d),
    )
