"""
Drives a store and the model side by side through random programs, and compares them after every step (proof.md, row 6).

Several handles work on one database. Which of the startable messages a claim takes is the store's business; that it
takes only startable ones, as many as fit, and leaves none that could start, is checked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pillarbox.domain.ids import message_id
from pillarbox.domain.lifecycle import Verdict, decide, lost_worker, release_unsent
from pillarbox.domain.message import STATES, State
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Rejected, Uncertain
from pillarbox.domain.retry import OnDead, OnHeld, Policy, UncertainAction
from pillarbox.domain.transition import Reason, Transition
from pillarbox.errors import PillarboxError
from pillarbox.store.base import (
    Bury,
    Cancel,
    Claim,
    Pause,
    Prune,
    Purge,
    Replay,
    Resolve,
    Resume,
    Retry,
    Settled,
    Settlement,
)
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.model import Message, Model

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.message import Draft, Leased
    from pillarbox.store.base import Act, BatchResult, Store

T = TypeVar("T")

CHANNELS: Final = ("chat", "mail")
LANES: Final = ("a", "b")
HANDLES: Final = 2
NOTHING: Final[Mapping[str, int]] = {}
HOUR_MS: Final = 3_600_000
POLICIES: Final = (
    Policy(jitter=0.0, ttl_seconds=None),
    Policy(jitter=0.0, ttl_seconds=None, uncertain=UncertainAction.HOLD),
    Policy(jitter=0.0, ttl_seconds=None, uncertain=UncertainAction.HOLD, on_held=OnHeld.BLOCK),
    Policy(jitter=0.0, ttl_seconds=None, uncertain=UncertainAction.DROP, on_dead=OnDead.BLOCK),
    Policy(jitter=0.0, ttl_seconds=None, lane_block_seconds=4.0),
    Policy(jitter=0.0, ttl_seconds=None, lane_block_seconds=40.0, on_dead=OnDead.BLOCK, on_held=OnHeld.BLOCK),
)
OUTCOMES: Final = (
    Delivered("r"),
    Delivered("r"),
    Deferred("busy"),
    RateLimited("slow"),
    Rejected("no"),
    Uncertain("no answer"),
    None,  # given back unsent
)

numbers = st.integers(0, 10_000)
fields = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(CHANNELS),
        "recipient": st.sampled_from(("ann", "ann", "bob")),
        "lane": st.sampled_from((None, "a", "a", "a", "b")),
        "priority": st.integers(0, 3),
        "later": st.sampled_from((None, None, None, 0, 3, 40)),
        "ttl": st.sampled_from((None, None, 2, 60)),
        "key": st.sampled_from((None, None, None, "k1", "k2")),
        "digest": st.sampled_from((b"1", b"1", b"2")),
        "policy": st.sampled_from(POLICIES),
        "max_attempts": st.sampled_from((1, 2, 3)),
        "content": st.sampled_from((b"{}", b'"hello"', b'"' + b"x" * 3000 + b'"')),
    }
)
an_end = st.tuples(numbers, st.sampled_from(OUTCOMES))
an_order = st.tuples(st.sampled_from((Cancel, Cancel, Retry, Bury, Resolve, Resolve, Replay, Replay, Purge)), numbers)
handles = st.integers(0, HANDLES - 1)


def picked(number: int, likely: Sequence[T], every: Sequence[T]) -> T:
    """Pick one of the likely ones, or one time in five any."""
    pool = likely if likely and number % 5 else every
    return pool[number // 5 % len(pool)]


def _is_for(kind: type[Act], message: Message) -> bool:
    """Whether an order of this kind would mostly do something."""
    if kind in {Replay, Purge}:
        return message.state.terminal
    return message.state is State.HELD if kind in {Resolve, Bury} else message.active


class StoreMachine(RuleBasedStateMachine):
    """A subclass says how a handle is made, and where the database goes at the end."""

    def make_store(self, clock: FakeClock) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.entropy = SeededEntropy(1)
        self.model = Model()
        self.handles: list[StoreDriver] = []
        self.leases: list[Leased] = []
        self.before: dict[MessageId, tuple[State, int]] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        for _ in range(HANDLES):
            self.handles.append(self._opened())
        self.queues = {queue.channel: queue.id for queue in self.run(self.handles[0].store.queues())}

    def _opened(self) -> StoreDriver:
        driver = StoreDriver(self.make_store(self.clock), self.clock, self.entropy)
        self.run(driver.store.open())
        self.run(driver.register(channels=CHANNELS))
        return driver

    def teardown(self) -> None:
        for driver in self.handles:
            self.run(driver.store.close())
        self.runner.close()

    # --- batches: of one thing, of what belongs together, of everything

    @rule(handle=handles, lane=st.sampled_from(LANES), crowd=st.lists(fields, min_size=2, max_size=5))
    def enqueue(self, handle: int, lane: str, crowd: Sequence[dict[str, Any]]) -> None:
        """Several messages of one lane."""
        self._batch(handle, groups=[[one | {"lane": lane}] for one in crowd])

    @rule(handle=handles, count=st.integers(1, 4), oldest_first=st.booleans(), suspect=st.booleans())
    def claim(self, handle: int, count: int, *, oldest_first: bool, suspect: bool) -> None:
        self._batch(
            handle, capacities=dict.fromkeys(CHANNELS, count), oldest_first=oldest_first, suspect=suspect and count == 1
        )

    @precondition(lambda self: self.leases)
    @rule(handle=handles, ends=st.lists(an_end, min_size=1, max_size=3), count=st.integers(0, 3))
    def settle(self, handle: int, ends: Sequence[tuple[int, Any]], count: int) -> None:
        """Ends of attempts, and what can start then."""
        self._batch(handle, ends=ends, capacities=dict.fromkeys(CHANNELS, count))

    @precondition(lambda self: self.model.messages)
    @rule(handle=handles, orders=st.lists(an_order, min_size=1, max_size=2), count=st.integers(0, 3))
    def act(self, handle: int, orders: Sequence[tuple[type[Act], int]], count: int) -> None:
        """What people want, and what can start then."""
        self._batch(handle, orders=orders, capacities=dict.fromkeys(CHANNELS, count))

    @rule(handle=handles)
    def expire(self, handle: int) -> None:
        self._batch(handle, expire=True)

    @rule(
        handle=handles,
        ends=st.lists(an_end, max_size=3),
        orders=st.lists(an_order, max_size=2),
        groups=st.lists(st.lists(fields, min_size=1, max_size=3), max_size=3),
        capacities=st.dictionaries(st.sampled_from(CHANNELS), st.integers(0, 4)),
        expire=st.booleans(),
        suspect=st.sampled_from((False, False, False, True)),
    )
    def everything(self, handle: int, **work: Any) -> None:
        self._batch(handle, **work)

    def _batch(
        self,
        handle: int,
        *,
        ends: Sequence[tuple[int, Any]] = (),
        orders: Sequence[tuple[type[Act], int]] = (),
        groups: Sequence[Sequence[dict[str, Any]]] = (),
        capacities: Mapping[str, int] = NOTHING,
        expire: bool = False,
        oldest_first: bool = False,
        suspect: bool = False,
    ) -> None:
        driver = self.handles[handle]
        settle = [self._settlement(number, outcome) for number, outcome in ends if self.leases]
        acts = [self._order(kind, number) for kind, number in orders if self.model.messages]
        drafts = [[self._draft(driver, one) for one in group] for group in groups]
        claim = self.run(driver.request(oldest_first=oldest_first, suspect=suspect))
        claim = msgspec.structs.replace(
            claim, capacity={self.queues[name]: count for name, count in capacities.items()}
        )
        result = self.run(
            driver.commit(settle=settle, acts=acts, expire=1000 if expire else 0, enqueue=drafts, claim=claim)
        )
        assert result.settled == [self.model.settle(item, self.clock.boot_ms()) for item in settle]
        told = [(acted.applied, acted.state) for acted in result.acted]
        assert told == [self.model.act(order, self.clock.wall_ms()) for order in acts]
        expired = {ended.id for ended in result.expired}
        assert expired == (self.model.expire(self.clock.wall_ms()) if expire else set())
        for group, accepted in zip(drafts, result.enqueued, strict=True):
            expected = self.model.enqueue(group)
            assert (type(accepted) if isinstance(accepted, PillarboxError) else accepted) == expected
        self._claimed(result, claim, capacities, driver.worker)

    def _claimed(self, result: BatchResult, claim: Claim, capacities: Mapping[str, int], worker: int) -> None:
        now_ms = self.clock.wall_ms()
        room = {name: count for name, count in capacities.items() if name not in self.model.paused and count}
        for ended in result.overdue:
            self.model.expired(ended.id, now_ms)
        for channel in [name for name in capacities if name in room]:
            self.model.look(channel, now_ms)
        for leased in result.claimed:
            startable = self.model.startable(leased.channel, now_ms, suspect=claim.suspect)
            assert leased.id in {message.draft.id for message in startable}, "it may not start"
            self._in_order(leased)
            message = self.model.claim(leased, until_ms=self.clock.boot_ms() + claim.lease_ms, worker=worker)
            assert (leased.claims, leased.charged, leased.lost) == (message.claims, message.charged, message.lost)
            assert leased.first_claimed_ms == message.first_claimed_ms
            assert (leased.lease, leased.content) == (claim.lease, message.draft.content)
            assert (leased.token_id or leased.id, leased.token_epoch) == message.token
            room[leased.channel] -= 1
            assert room[leased.channel] >= 0, "more than its capacity"
            self.leases.append(leased)
        if claim.suspect:
            assert len(result.claimed) <= 1
            return
        if result.more or result.overdue:
            return
        for channel, left in room.items():
            waiting = self.model.startable(channel, now_ms, suspect=False)
            assert not waiting or not left, "something could have started"
            lowest = min((m.priority for m in result.claimed if m.channel == channel), default=9)
            assert claim.oldest_first or all(message.draft.priority <= lowest for message in waiting)

    def _in_order(self, leased: Leased) -> None:
        """Said once more without positions: nothing accepted earlier, and never out of turn, is still in the lane."""
        mine = self.model.messages[leased.id]
        if mine.draft.lane is None or mine.draft.not_before_ms is not None or mine.stepped_out:
            return
        for other in self.model.messages.values():
            same = other is not mine and other.draft.lane == mine.draft.lane and other.active
            if same and other.draft.not_before_ms is None and not other.stepped_out:
                assert other.accepted > mine.accepted

    def _draft(self, driver: StoreDriver, given: dict[str, Any]) -> Draft:
        values = dict(given)
        later, ttl = values.pop("later"), values.pop("ttl")
        now_ms = self.clock.wall_ms()
        due_ms = now_ms + (later or 0) * 1000
        values["not_before_ms"] = None if later is None else due_ms
        values["due_ms"] = due_ms
        values["expires_ms"] = None if ttl is None else due_ms + ttl * 1000
        values["digest"] = values["digest"] if values["key"] else None
        return driver.draft(**values)

    def _settlement(self, number: int, outcome: Any) -> Settlement:
        # Mostly what is being sent; sometimes any lease there ever was.
        live = [one for one in self.leases if self.model.holds(one)]
        leased = picked(number, live, self.leases)
        now_ms = self.clock.wall_ms()
        transition = (
            release_unsent(leased, "stopped", now_ms=now_ms)
            if outcome is None
            else decide(leased, outcome, now_ms=now_ms, fraction=0.0)
        )
        return Settlement(message=leased, transition=transition, began_ms=now_ms, ended_ms=now_ms)

    def _order(self, kind: Any, number: int) -> Any:
        likely = [identity for identity, message in self.model.messages.items() if _is_for(kind, message)]
        identity = picked(number, likely, list(self.model.messages))
        now_ms, odd = self.clock.wall_ms(), number // 7 % 2 == 1
        ttl_ms = (None, None, 1, 60_000)[number // 3 % 4]
        match kind:
            case _ if kind is Bury:
                before_ms = now_ms - 1000 if odd else now_ms + 1
                return Bury(id=identity, actor="ann", reason=Reason.UNRESOLVED, held_before_ms=before_ms)
            case _ if kind is Retry:
                return Retry(id=identity, actor="ann", ttl_ms=ttl_ms)
            case _ if kind is Resolve:
                verdict = tuple(Verdict)[number % 3]
                receipt = "seen" if odd and verdict is Verdict.DELIVERED else None
                force = odd and verdict is Verdict.RESEND
                return Resolve(
                    id=identity, actor="ann", verdict=verdict, receipt=receipt, force_copy=force, ttl_ms=ttl_ms
                )
            case _ if kind is Replay:
                new_id = message_id(now_ms, self.entropy.token(10))
                return Replay(id=identity, new_id=new_id, actor="ann", fresh=odd)
            case _ if kind is Purge:
                return Purge(id=identity, actor="ann", keys_until_ms=now_ms + number % 2 * 5000)
        return kind(id=identity, actor="ann")

    # --- what happens by itself

    @rule(seconds=st.sampled_from((0.001, 1, 5, 29.999, 40, 700, 4000)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(handle=handles)
    def reap(self, handle: int) -> None:
        driver = self.handles[handle]
        living = [other.worker for other in self.handles]
        lapsed = self.run(driver.lapsed())
        assert {item.message.id for item in lapsed} == self.model.lapsed(self.clock.boot_ms(), living)
        now_ms = self.clock.wall_ms()
        for item in lapsed:
            settlement = Settlement(
                message=item.message,
                transition=lost_worker(item.message, now_ms=now_ms, fraction=0.0),
                began_ms=None,
                ended_ms=now_ms,
                lapsed=item.by,
            )
            (settled,) = self.run(driver.commit(settle=[settlement])).settled
            assert settled is self.model.settle(settlement, self.clock.boot_ms())
            if settled is Settled.CANCEL:
                cancel = Transition.cancel(Reason.REQUESTED, charged=1)
                settlement = msgspec.structs.replace(settlement, transition=cancel)
                (settled,) = self.run(driver.commit(settle=[settlement])).settled
                assert settled is self.model.settle(settlement, self.clock.boot_ms()) is Settled.APPLIED

    @rule(handle=handles)
    def reopen(self, handle: int) -> None:
        """A worker's process ends without a word, and another one comes."""
        self.run(self.handles[handle].store.close())
        self.handles[handle] = self._opened()

    @precondition(lambda self: self.leases)
    @rule(handle=handles, picked=st.lists(numbers, min_size=1, max_size=3))
    def renew(self, handle: int, picked: Sequence[int]) -> None:
        leases = [self.leases[number % len(self.leases)] for number in picked]
        result = self.run(self.handles[handle].commit(renew=leases, renew_ms=30_000))
        until_ms = self.clock.boot_ms() + 30_000
        assert result.lost == [leased for leased in leases if not self.model.renew(leased, until_ms)]

    @rule(handle=handles, channel=st.sampled_from(CHANNELS))
    def pause(self, handle: int, channel: str) -> None:
        self.run(self.handles[handle].act(Pause(tenant=None, channel=channel, actor="ann")))
        self.model.paused.add(channel)

    @precondition(lambda self: self.model.paused)
    @rule(handle=handles)
    def resume(self, handle: int) -> None:
        for channel in sorted(self.model.paused):
            self.run(self.handles[handle].act(Resume(tenant=None, channel=channel, actor="ann")))
            self.model.rested(channel)
        self.model.paused.clear()

    @rule(
        handle=handles,
        states=st.sets(st.sampled_from([state for state in STATES if state.terminal])),
        age_ms=st.sampled_from((0, 5000, HOUR_MS)),
        keys_ms=st.sampled_from((0, 5000, HOUR_MS)),
    )
    def prune(self, handle: int, states: set[State], age_ms: int, keys_ms: int) -> None:
        now_ms = self.clock.wall_ms()
        before_ms = dict.fromkeys(states, now_ms - age_ms)
        request = Prune(before_ms=before_ms, keys_until_ms=now_ms + keys_ms, audit_before_ms=now_ms - HOUR_MS)
        result = self.run(self.handles[handle].commit(prune=request))
        assert result.pruned == self.model.prune(before_ms, now_ms + keys_ms, now_ms)

    # --- what holds after every step

    @invariant()
    def agrees(self) -> None:
        if not self.handles:
            return
        views = {view.id: view for view in self.run(self.handles[-1].everything())}
        assert views.keys() == self.model.messages.keys()
        for identity, message in self.model.messages.items():
            view = views[identity]
            if view.due_ms > message.due_ms and message.state is State.SCHEDULED:
                self.model.put_off(message, view.due_ms)
            assert (view.state, view.claims, view.charged, view.lost, view.due_ms, view.extra_copies) == (
                message.shown, message.claims, message.charged, message.lost, message.due_ms, message.extra,
            )  # fmt: skip
            assert view.receipt == message.receipt
            assert (view.cancel_requested_ms is not None) is message.cancelling
            if message.state.terminal:
                assert view.completed_ms == message.completed_ms
            assert (view.expires_ms, view.replay_of) == (message.expires_ms, message.replay_of)
            state, claims = self.before.get(identity, (view.state, 0))
            assert view.claims >= claims
            assert not state.terminal or view.state is state
        self.before = {identity: (view.state, view.claims) for identity, view in views.items()}

    @invariant()
    def one_at_a_time(self) -> None:
        leased = [m.draft.lane for m in self.model.messages.values() if m.state is State.LEASED and m.draft.lane]
        assert len(leased) == len(set(leased))

    @invariant()
    def counts(self) -> None:
        if not self.handles:
            return
        kept = {
            (tally.channel, tally.state): (tally.messages, tally.bytes)
            for tally in self.run(self.handles[-1].store.stats())
        }
        assert {key: value for key, value in kept.items() if value[0]} == self.model.counters()

    @invariant()
    def finds_nothing_wrong(self) -> None:
        if self.handles:
            assert self.run(self.handles[-1].store.check()) == []
