"""
What a store ought to do, in the simplest words: dictionaries and loops, written from lanes.md and the contract.

It shares with the code only the values that go in and out. Rows that wait in a lane are not told from open ones here:
waiting is how a store keeps its index short, and must not be seen from outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pillarbox.domain.ids import LeaseId, MessageId
from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.message import STATES, Draft, State
from pillarbox.domain.transition import ErrorClass
from pillarbox.errors import KeyConflict, PillarboxError
from pillarbox.store.base import Bury, Cancel, Enqueued, Purge, Replay, Resolve, Retry, Settled, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pillarbox.domain.message import Leased
    from pillarbox.domain.transition import Transition
    from pillarbox.store.base import ActOnMessage

S, L, H, D, X, E, C = STATES
SUSPECT = 2


@dataclass(slots=True, kw_only=True)
class Message:
    """``position`` is its place in its lane; ``None`` while it has none. ``ended`` are the leases of past attempts."""

    draft: Draft
    accepted: int
    position: int | None
    state: State = S
    due_ms: int = 0
    claims: int = 0
    first_claimed_ms: int = 0
    charged: int = 0
    lost: int = 0
    extra: int = 0
    receipt: str | None = None
    completed_ms: int | None = None
    lease: LeaseId | None = None
    until_ms: int = 0
    worker: int = 0
    arrived_ms: int | None = None
    cancelling: bool = False
    stepped_out: bool = False
    expires_ms: int | None = None
    replay_of: MessageId | None = None
    token: tuple[MessageId, int]
    ended: dict[LeaseId, State] = field(default_factory=dict)
    told: set[LeaseId] = field(default_factory=set)

    @property
    def shown(self) -> State:
        return D if self.arrived_ms is not None else self.state

    @property
    def active(self) -> bool:
        return self.state in {S, L, H}


@dataclass(slots=True)
class Key:
    digest: bytes | None
    message: MessageId
    until_ms: int | None = None


class Model:
    def __init__(self) -> None:
        self.messages: dict[MessageId, Message] = {}
        self.keys: dict[str, Key] = {}
        self.paused: set[str] = set()
        self.pruned: set[MessageId] = set()
        # Until when recipients rest after a rate limit, and every time at which such a rest was to end.
        self.rests: dict[tuple[str, str], int] = {}
        self.rests_ended: dict[tuple[str, str], set[int]] = {}
        self._positions = 0
        self._accepted = 0

    # --- acceptance

    def enqueue(self, group: Sequence[Draft]) -> list[Enqueued] | type[PillarboxError]:
        """All or none; gives what the store must answer."""
        messages, keys = dict(self.messages), dict(self.keys)
        accepted = []
        for draft in group:
            known = self.keys.get(draft.key) if draft.key is not None else None
            if known is not None and known.digest != draft.digest:
                self.messages, self.keys = messages, keys
                return KeyConflict
            if known is not None:
                accepted.append(Enqueued(known.message, created=False))
                continue
            self._accept(draft)
            accepted.append(Enqueued(draft.id, created=True))
        return accepted

    def _accept(self, draft: Draft) -> None:
        self._accepted += 1
        position = self._next_position() if draft.not_before_ms is None else None
        self.messages[draft.id] = Message(
            draft=draft,
            accepted=self._accepted,
            position=position,
            due_ms=draft.due_ms,
            expires_ms=draft.expires_ms,
            token=(draft.id, 0),
        )
        if draft.key is not None:
            self.keys[draft.key] = Key(draft.digest, draft.id)

    def _next_position(self) -> int:
        self._positions += 1
        return self._positions

    # --- claims

    def look(self, channel: str, now_ms: int) -> None:
        """A claim looks at a channel: what was for later and is due now takes its position at the tail."""
        due = [m for m in self._in(channel) if m.state is S and m.position is None and m.due_ms <= now_ms]
        for message in sorted(due, key=lambda m: (m.due_ms, m.accepted)):
            message.position = self._next_position()

    def startable(self, channel: str, now_ms: int, *, suspect: bool) -> list[Message]:
        """What may start now: due, the first of its lane, and nobody of its lane being sent or held in its place."""
        return [m for m in self._in(channel) if self._may_start(m, now_ms) and (m.lost >= SUSPECT) is suspect]

    def _may_start(self, message: Message, now_ms: int) -> bool:
        if message.state is not S or message.position is None or message.due_ms > now_ms:
            return False
        if message.expires_ms is not None and now_ms > message.expires_ms:
            return False
        if self.rests.get(_whom(message), now_ms) > now_ms:
            return False
        return not any(self._blocks(other, message) for other in self._lane(message))

    def _blocks(self, other: Message, message: Message) -> bool:
        assert message.position is not None
        if other.position is None:
            return False
        return other.position < message.position or other.state in {L, H}

    def put_off(self, message: Message, due_ms: int) -> None:
        """A claim that found its recipient at rest may have put a message off until the rest's end."""
        assert due_ms in self.rests_ended.get(_whom(message), ()), "put off by nothing"
        message.due_ms = due_ms

    def rested(self, channel: str) -> None:
        """Who resumes a channel ends the rests of its recipients."""
        self.rests = {whom: until for whom, until in self.rests.items() if whom[0] != channel}

    def claim(self, leased: Leased, *, until_ms: int, worker: int) -> Message:
        message = self.messages[leased.id]
        message.state, message.lease, message.until_ms, message.worker = L, leased.lease, until_ms, worker
        message.claims += 1
        message.first_claimed_ms = message.first_claimed_ms or leased.claimed_ms
        return message

    def _lane(self, message: Message) -> Iterable[Message]:
        """The other active messages of a message's lane."""
        lane = message.draft.lane
        if lane is not None:
            yield from (m for m in self.messages.values() if m.draft.lane == lane and m is not message and m.active)

    def _in(self, channel: str) -> Iterable[Message]:
        return [m for m in self.messages.values() if m.draft.channel == channel]

    # --- ends of attempts

    def settle(self, item: Settlement, lease_now_ms: int) -> Settled:
        message, transition = self.messages.get(item.message.id), item.transition
        if message is None:
            return Settled.STALE
        if message.state is L and message.lease == item.message.lease:
            return self._settle_mine(message, item, lease_now_ms)
        lease = item.message.lease
        late = transition.to is D and item.lapsed is None
        if not late or message.ended.get(lease, D) is D or lease in message.told:
            return Settled.STALE
        message.told.add(lease)
        self._arrive(message, transition, item.ended_ms)
        return Settled.LATE

    def _settle_mine(self, message: Message, item: Settlement, lease_now_ms: int) -> Settled:
        transition = item.transition
        if item.lapsed == "time" and message.until_ms > lease_now_ms:
            return Settled.STALE
        if message.arrived_ms is not None:
            self._end_attempt(message, transition, D)
            message.completed_ms, message.arrived_ms = message.arrived_ms, None
            message.extra += transition.to is D
            return Settled.LATE
        if message.cancelling and transition.to in {S, H}:
            return Settled.CANCEL
        self._end_attempt(message, transition, transition.to)
        message.lost = transition.lost
        message.receipt = transition.receipt or message.receipt
        message.due_ms = message.due_ms if transition.due_ms is None else transition.due_ms
        if transition.error_class == ErrorClass.RATE_LIMITED and transition.due_ms is not None:
            self.rests[_whom(message)] = transition.due_ms
            self.rests_ended.setdefault(_whom(message), set()).add(transition.due_ms)
        message.completed_ms = item.ended_ms if transition.to is not S else None
        if transition.steps_aside or (transition.to is H and not transition.keeps_turn):
            message.position, message.stepped_out = None, True
        return Settled.APPLIED

    def _end_attempt(self, message: Message, transition: Transition, to: State) -> None:
        assert message.lease is not None
        message.ended[message.lease] = to
        message.state, message.lease = to, None
        message.charged += transition.charged

    def _arrive(self, message: Message, transition: Transition, ended_ms: int) -> None:
        if message.state in {S, H}:
            message.state, message.completed_ms, message.receipt = D, ended_ms, transition.receipt
        elif message.state is L and message.arrived_ms is None:
            message.arrived_ms, message.receipt = ended_ms, transition.receipt
        else:
            message.extra += 1
            message.receipt = message.receipt or transition.receipt

    def holds(self, leased: Leased) -> bool:
        """Whether a lease is the message's current one."""
        message = self.messages.get(leased.id)
        return message is not None and message.lease == leased.lease

    def renew(self, leased: Leased, until_ms: int) -> bool:
        if not self.holds(leased):
            return False
        self.messages[leased.id].until_ms = until_ms
        return True

    def lapsed(self, lease_now_ms: int, living: Iterable[int]) -> set[MessageId]:
        workers = set(living)
        return {
            identity
            for identity, m in self.messages.items()
            if m.state is L and (m.until_ms <= lease_now_ms or m.worker not in workers)
        }

    # --- orders and time

    def act(self, order: ActOnMessage, now_ms: int) -> tuple[bool, State | None]:
        """Gives whether the order applies, and the state that is shown then."""
        message = self.messages.get(order.id)
        if message is None:
            return False, None
        ended = {D, X, E, C}
        applies = {Cancel: {S, H, L}, Retry: {S, H}, Bury: {H}, Resolve: {H}, Replay: ended, Purge: ended}[type(order)]
        if message.state not in applies or message.arrived_ms is not None or not self._allowed(message, order, now_ms):
            return False, message.shown
        match order:
            case Cancel() if message.state is L:
                message.cancelling = True
            case Cancel() | Bury():
                message.state, message.completed_ms = (C if isinstance(order, Cancel) else X), now_ms
            case Retry():
                self.rests.pop(_whom(message), None)
                self._schedule(message, order.ttl_ms, now_ms)
            case Resolve():
                self._resolve(message, order, now_ms)
            case Replay():
                self._replay(message, order, now_ms)
            case Purge():
                self._forget(order.id, order.keys_until_ms)
                return True, None
        return True, message.shown

    def _allowed(self, message: Message, order: ActOnMessage, now_ms: int) -> bool:
        """
        Nothing is scheduled only to expire, nothing given up that was held anew.

        Nothing is replayed twice, unless a person wants a copy.
        """
        if isinstance(order, Bury):
            return message.completed_ms is not None and message.completed_ms < order.held_before_ms
        if isinstance(order, Replay):
            return order.fresh or not any(heir.state in {S, L, H, D} for heir in self._heirs(order.id))
        if message.state is H and isinstance(order, Retry | Resolve):
            over = message.expires_ms is not None and now_ms > message.expires_ms and order.ttl_ms is None
            return not over or (isinstance(order, Resolve) and order.verdict is Verdict.DELIVERED)
        return True

    def _heirs(self, identity: MessageId) -> Iterable[Message]:
        for other, message in self.messages.items():
            if message.replay_of == identity:
                yield message
                yield from self._heirs(other)

    def _schedule(self, message: Message, ttl_ms: int | None, now_ms: int) -> None:
        message.state, message.due_ms, message.completed_ms = S, now_ms, None
        if ttl_ms is not None:
            message.expires_ms = now_ms + ttl_ms

    def _resolve(self, message: Message, order: Resolve, now_ms: int) -> None:
        if order.verdict is Verdict.DELIVERED:
            message.state, message.completed_ms, message.lost = D, now_ms, 0
            message.receipt = order.receipt or message.receipt
            return
        self._schedule(message, order.ttl_ms, now_ms)
        message.position, message.stepped_out = None, True
        message.token = message.token[0], message.token[1] + order.force_copy

    def _replay(self, message: Message, order: Replay, now_ms: int) -> None:
        now = {"created_ms": now_ms, "due_ms": now_ms, "not_before_ms": None, "expires_ms": None}
        draft = msgspec.structs.replace(message.draft, id=order.new_id, key=None, **now)
        self._accept(draft)
        new = self.messages[order.new_id]
        new.replay_of = order.id
        if message.state is not D and not order.fresh:
            new.token = message.token

    def _forget(self, identity: MessageId, keys_until_ms: int) -> None:
        message = self.messages.pop(identity)
        self.pruned.add(identity)
        if message.draft.key is not None:
            self.keys[message.draft.key].until_ms = keys_until_ms

    def expire(self, now_ms: int) -> set[MessageId]:
        overdue = {i for i, m in self.messages.items() if m.state is S and (m.expires_ms or now_ms) < now_ms}
        for identity in overdue:
            self.expired(identity, now_ms)
        return overdue

    def expired(self, identity: MessageId, now_ms: int) -> None:
        message = self.messages[identity]
        assert message.state is S
        assert message.expires_ms is not None
        assert message.expires_ms < now_ms
        message.state, message.completed_ms = E, now_ms

    def prune(self, before_ms: Mapping[State, int], keys_until_ms: int, now_ms: int) -> dict[State, int]:
        counts: dict[State, int] = {}
        for identity, message in list(self.messages.items()):
            ended_ms = message.completed_ms
            if message.state.terminal and ended_ms is not None and ended_ms < before_ms.get(message.state, 0):
                counts[message.state] = counts.get(message.state, 0) + 1
                self._forget(identity, keys_until_ms)
        self.keys = {k: v for k, v in self.keys.items() if v.until_ms is None or v.until_ms >= now_ms}
        return counts

    def counters(self) -> dict[tuple[str, State], tuple[int, int]]:
        found: dict[tuple[str, State], tuple[int, int]] = {}
        for message in self.messages.values():
            key = (message.draft.channel, message.state)
            count, size = found.get(key, (0, 0))
            found[key] = count + 1, size + len(message.draft.content)
        return found


def _whom(message: Message) -> tuple[str, str]:
    return message.draft.channel, message.draft.recipient
