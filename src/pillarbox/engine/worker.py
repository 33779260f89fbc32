"""
Puts the loops together: claims what the feed finds due, starts it, and stops in order.

A worker starts suspects — messages whose workers keep dying — one at a time and for a few seconds nothing else, so that
what merely flew beside them is cleared by its first success (lanes.md, "Poison"; `suspects`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import msgspec

from pillarbox.channels.base import Channel, Seams
from pillarbox.clock import Clock, Timer
from pillarbox.deadline import at_most
from pillarbox.domain.ids import LeaseId
from pillarbox.domain.message import Leased
from pillarbox.domain.pace import UNLIMITED
from pillarbox.engine.capacity import Feed, freeing
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.committer import Committer
from pillarbox.engine.drain import DrainReport, report_of
from pillarbox.engine.executor import Executor
from pillarbox.engine.hooks import Hooks
from pillarbox.engine.kept import seams_of
from pillarbox.engine.loop import Loop
from pillarbox.engine.presence import PresenceKeeper
from pillarbox.engine.pruner import Pruner
from pillarbox.engine.reaper import INTERVAL_SECONDS, Reaper
from pillarbox.engine.renewer import Renewer
from pillarbox.engine.resources import close_channel, deregister, start_channel
from pillarbox.engine.suspects import Suspects
from pillarbox.engine.watcher import NOTICE_SECONDS, Watcher
from pillarbox.engine.worker_settings import WorkerSettings
from pillarbox.entropy import Entropy
from pillarbox.errors import StoreError
from pillarbox.events.events import Drained
from pillarbox.events.reporter import Reporter
from pillarbox.queue_clock import QueueClock
from pillarbox.store import lost_answers
from pillarbox.store.base import Backlog, Batch, BatchResult, Claim, Settlement, Store, TryAgain, WorkerStart
from pillarbox.user_code import Log

_log = Log("pillarbox.engine")
_ALONE_SECONDS = 0.05
_TIMER_SECONDS_MAX: Final = 1.0  # a clock that is set, or a machine that slept, is noticed so soon


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """
    A claim, and until when we may hold what it leases.

    Attributes:
        until_ms: Boot time, reckoned from before its commit began: so we give up before the store can give what it
            leased to another worker, however long the commit took, and whatever clock the store judges leases by.
    """

    claim: Claim
    until_ms: int


class Worker:
    """
    One worker of one process: registered in the store, with a lease on everything it sends.

    It owns the committer of its process, for which it is the `Claims`, and the executor, for which it is the `Crew`.
    """

    def __init__(
        self,
        store: Store,
        reporter: Reporter,
        channels: Mapping[str, Channel],
        settings: WorkerSettings,
        *,
        clock: Clock,
        entropy: Entropy,
        identity: WorkerStart,
        hooks: Hooks | None = None,
    ) -> None:
        self._store = store
        self._reporter = reporter
        self._channels = channels
        self._settings = settings
        self._clock = QueueClock.of(clock)
        self._entropy = entropy
        self._identity = identity
        self._slot = 0
        self._accepting = False
        self._oldest_first = False
        self._claims = 0
        self._suspects = Suspects(clock.mono)
        self._timer: Timer | None = None
        self._quiet = asyncio.Event()
        self._at_start: Counter[str] = Counter()
        # The claim whose commit is under way; and one whose commit failed, of which nobody knows whether it took.
        self._asked: _Term | None = None
        self._doubtful: _Term | None = None
        self._answered = asyncio.Event()
        committer = self.committer = Committer(store, clock, reporter, claims=self)
        self.feed = Feed(settings.concurrency, {name: c.concurrency for name, c in channels.items()})
        self._paces = {name: c.pace for name, c in channels.items() if c.pace != UNLIMITED}
        guard = self._guard = ClockGuard(self._clock, reporter.alarm)
        self.executor = Executor(
            channels,
            committer,
            reporter,
            clock=clock,
            entropy=entropy,
            guard=guard,
            crew=self,
            find=store.get,
            read_files=store.files,
            hooks=hooks,
            full_history=settings.full_history,
        )
        self._renewer = Renewer(self.executor, committer, clock, lease_ms=settings.lease_ms)
        self._reaper = Reaper(
            store,
            committer,
            reporter,
            guard,
            clock=clock,
            entropy=entropy,
            worker=identity.id,
            ours=self.executor.holds,
            held_retention_ms=settings.held_retention_ms,
        )
        self.pruner = Pruner(committer, guard, self._clock, settings.retention)
        self._watcher = Watcher(store, self.feed, self._look_again_everywhere, clock)
        self._end_notices: Callable[[], None] = _nothing
        self._loops: list[Loop] = []
        self._watch: Loop | None = None
        self._reaping = Loop("reaper", self._reaper.tick, clock=self._clock)

    def take_over(self, settings: WorkerSettings) -> None:
        """Work by other settings from now on; leases, and what is under way, stay as they are."""
        self._settings = settings
        self.feed.resize(settings.concurrency, {name: c.concurrency for name, c in self._channels.items()})
        self._paces = {name: c.pace for name, c in self._channels.items() if c.pace != UNLIMITED}
        self.executor.full_history = settings.full_history
        self._reaper.held_retention_ms = settings.held_retention_ms
        self.pruner.retention = settings.retention
        for loop in self._loops:
            loop.poke()
        self.committer.want_claim()

    async def is_gone(self, acceptor: bytes) -> bool:
        """See `Crew`."""
        return acceptor != self._identity.id and await self._store.gone(acceptor)

    async def _prune(self) -> float | None:
        return await self.pruner.tick()

    @property
    def id(self) -> bytes:
        """What it is registered as."""
        return self._identity.id

    @property
    def slot(self) -> int:
        """Its number in the store; 0 where it is not registered."""
        return self._slot

    async def start(self, *, drains: bool = False) -> None:
        """Open the channels, register, and begin to claim: oldest first where a `drain` follows at once."""
        self._oldest_first = drains
        # A channel talks to the world outside, which knows nothing of the queue's time.
        seams = Seams(clock=self._clock.machine, entropy=self._entropy)
        for name, channel in self._channels.items():
            await start_channel(name, channel, seams_of(name, seams, self._store))
        self._slot = await self._store.register(self._identity)
        # What nobody may send any more ends before the first claim could find it.
        while await self._reaper.abandon():
            pass
        # What dead workers were sending is due again before that, and so part of a drain that begins now (LE4).
        before = self._reporter.counts.copy()
        await self._reaper.take_back()
        self._at_start = self._reporter.counts - before
        sighted = self.feed.sighted
        queues = await self._store.queues()
        # Who starts may have been given other credentials.
        resting = (one.channel for one in queues if one.paused and one.paused_until_ms is None)
        await self.try_again(resting, other=False)
        self.feed.learn(queues, sighted)
        presence = PresenceKeeper(
            self._store, self.committer, self._reporter, self._clock, slot=self._slot, channels=self._identity.channels
        )
        self._watch = Loop("watcher", self._watcher.tick, clock=self._clock)
        self._end_notices = self._store.on_change(self._on_change, seconds=NOTICE_SECONDS)
        self._loops = [
            self._watch,
            Loop("renewer", self._renewer.tick, clock=self._clock),
            self._reaping,
            Loop("presence", presence.tick, clock=self._clock),
        ]
        if self._settings.only is None:
            self._loops.append(Loop("pruner", self._prune, clock=self._clock))
        self._accepting = True
        for loop in self._loops:
            loop.start()
        self.committer.want_claim()

    async def try_again(self, channels: Iterable[str], *, other: bool) -> None:
        """Try those of its channels with one message that rest without end, see `TryAgain`."""
        for name in sorted(self._channels.keys() & set(channels)):
            await self.committer.act(TryAgain(channel=name, other=other))

    async def stop(self, deadline_seconds: float) -> int:
        """
        Take no new work, wait for sends under way, cut off what is left at the deadline, give leases back.

        A commit under way may lease something yet: it is waited for, and what it leases is given back.

        Returns:
            How many sends were cut off; the platform may have those messages.
        """
        self._accepting = False
        self._quiet.set()
        if self._timer is not None:
            self._timer.cancel()
        cut = 0
        record_seconds = self._settings.record_ms / 1000
        await at_most(deadline_seconds, self._at_rest(), clock=self._clock)
        if not self._rests() or self.executor.left():
            cut = self.executor.cut_off()
            await at_most(record_seconds, self._at_rest(), clock=self._clock)
        await at_most(record_seconds, self._resolve_doubt(), clock=self._clock)
        self._end_notices()
        await asyncio.gather(*(at_most(record_seconds, loop.stop(), clock=self._clock) for loop in self._loops))
        self._loops = []
        for name, channel in self._channels.items():
            await close_channel(name, channel, self._clock)
        if self._slot:
            slot, self._slot = self._slot, 0
            await deregister(self._store, slot, self._reporter)
        return cut

    def _rests(self) -> bool:
        return self._asked is None and not self.executor.flights

    async def _at_rest(self) -> None:
        """Wait until nothing is sent or settled, and nothing can be leased any more."""
        while not self._rests():
            if self._asked is not None:
                self._answered.clear()
                await self._answered.wait()
            await self.executor.idle()

    async def _resolve_doubt(self) -> None:
        """Find out what a claim leased whose commit seemed to fail, and give it back."""
        term = self._doubtful
        if term is None:
            return
        # The store recognises the lease, if that was committed; it is asked for nothing more.
        asked = msgspec.structs.replace(term.claim, capacity={})
        with contextlib.suppress(StoreError):
            batch = Batch(now_ms=self._clock.wall_ms(), claim=asked, again=True)
            result = await lost_answers.commit(self._store, batch)
            self._asked = term
            self.on_batch(result, asked)
        self._doubtful = None
        await self._at_rest()

    async def drain(self, budget_ms: int, *, at_start: bool = False) -> DrainReport:
        """
        Wait until nothing is due or being sent, at most *budget_ms*; oldest first meanwhile.

        A budget of 0 waits for nothing. What is left is neither touched nor forgotten.
        """
        began = self._clock.mono()
        before = self._reporter.counts.copy()
        before.subtract(self._at_start)
        self._at_start = Counter()
        waits = budget_ms > 0 and self._accepting
        if waits:
            self._oldest_first = True
            self.look()
        try:
            left = await self._drained(began + budget_ms / 1000 if waits else began)
        finally:
            self._oldest_first &= not waits
        done = self._reporter.counts.copy()
        done.subtract(before)
        report = report_of(done, left, duration_ms=int((self._clock.mono() - began) * 1000))
        self._reporter.publish(Drained(at_ms=self._clock.wall_ms(), at_start=at_start, **asdict(report)))
        return report

    async def _drained(self, until: float) -> Backlog:
        """Wait until nothing is due or sent, at most *until* that time of `mono`; return what is left."""
        while True:
            if (seconds := until - self._clock.mono()) > 0:
                await at_most(seconds, self._until_drained(), clock=self._clock)
            now_ms = self._clock.wall_ms()
            left = await self._store.backlog(now_ms=now_ms, channels=tuple(self._channels), worker=self._slot)
            # A retry may have become due while that was read: nobody is to be told that it is left.
            if not self._accepting or self._is_quiet() or self._clock.mono() >= until:
                return left

    async def _until_drained(self) -> None:
        """Wait until nothing is due or sent, and what another worker died over meanwhile is sent as well."""
        while self._accepting:
            await self._until_quiet()
            reaped = self._reporter.counts["reaped"]
            with contextlib.suppress(StoreError):
                await self._reaper.reap()
            if self._reporter.counts["reaped"] == reaped:
                return
            self.look()

    async def _until_quiet(self) -> None:
        while self._accepting and not self._is_quiet():
            self._quiet.clear()
            await self._quiet.wait()

    def _is_quiet(self) -> bool:
        next_due_ms = self.feed.next_due_ms()
        nothing_due = next_due_ms is None or next_due_ms > self._clock.wall_ms()
        nothing_due = nothing_due and self._asked is None
        suspect_ms = self.feed.next_suspect_ms()
        no_suspect = suspect_ms is None or suspect_ms > self._clock.wall_ms()
        return nothing_due and no_suspect and not self.executor.flights and not self.feed.unknown

    def _on_write(self) -> None:
        self._reaper.on_write()
        self._reaping.poke_within(INTERVAL_SECONDS - NOTICE_SECONDS)

    def _on_change(self) -> None:
        self._on_write()
        self._watcher.on_change()
        if self._watch is not None:
            self._watch.poke()

    def look(self) -> None:
        """Look everywhere: something may be due in any queue."""
        self._on_write()
        self._look_again_everywhere()

    def _look_again_everywhere(self) -> None:
        self.feed.probe_all()
        self.committer.want_claim()

    def plan_claim(self, settlements: Sequence[Settlement]) -> Claim | None:
        """See `Claims`."""
        if not self._accepting or self.executor.lull.is_on:
            return None
        ending: dict[int, int] = {}
        ended: list[int] = []
        for settlement in settlements:
            flight = self.executor.flights.get(settlement.message.seq)
            if flight is not None and flight.message is settlement.message and not flight.written_off:
                queue = settlement.message.queue
                ending[queue] = ending.get(queue, 0) + 1
                ended.append(settlement.message.seq)
        now_ms = self._clock.wall_ms()
        suspected = self.feed.suspected(now_ms=now_ms, ending=ending)
        if suspected:
            self._suspects.begin()
        else:
            self._suspects.withdraw()
        if self._suspects.hold_back():
            if suspected and self._suspects.may_start(self.executor.flights.keys() - ended):
                return self._claim_for(suspected, suspect=True)
            self._arm(self._suspects.wait_seconds(), self._look_again)
            return None
        capacity = self.feed.capacity(now_ms=now_ms, ending=ending, freeing=freeing(settlements, now_ms))
        return self._claim_for(capacity) if capacity else None

    def _claim_for(self, capacity: Mapping[int, int], *, suspect: bool = False) -> Claim:
        self._claims += 1
        lease, until_ms = LeaseId(self._entropy.token(16)), self._clock.boot_ms() + self._settings.lease_ms
        again = self._doubtful
        if again is not None and again.claim.suspect is suspect:
            self._doubtful = None
            if again.until_ms > until_ms - self._settings.lease_ms // 3:
                # Should its commit have taken after all, what it leased is recognised, and is sent now.
                lease, until_ms = again.claim.lease, again.until_ms
        claim = Claim(
            worker=self._slot,
            lease=lease,
            lease_ms=self._settings.lease_ms,
            capacity=capacity,
            oldest_first=self._oldest_first or self._claims % 8 == 0,
            suspect=suspect,
            only=self._settings.only,
            judge_expiry=self._guard.trusted(),
            paces=self._paces,
        )
        self._asked = _Term(claim=claim, until_ms=until_ms)
        return claim

    def on_claim_failed(self, claim: Claim) -> None:  # noqa: ARG002 — the one that was asked for last
        """Called when the claim's commit failed. The claim may hold all the same, where the answer was lost."""
        self._asked, self._doubtful = None, self._asked
        self._answered.set()

    def on_batch(self, result: BatchResult, claim: Claim | None) -> None:
        """See `Claims`. Start what was leased, or give it back where a stop came first; find out when to claim next."""
        term, self._asked = self._asked, None
        self._answered.set()
        if claim is not None and term is not None:
            if claim.suspect and not result.claimed:
                self._suspects.end()
            # Begun in a lull, it would be cut off by the end of the event loop.
            begins = self._accepting and not self.executor.lull.is_on
            begin = self.executor.start if begins else self.executor.give_back
            for message in result.claimed:
                if claim.suspect:
                    self._suspects.started(message.seq)
                self._start(message, begin, until_ms=term.until_ms)
        if result.touched or result.later_ms or result.claimed or result.settled:
            self._on_write()
        self.feed.note(result, claim)
        if self.feed.unknown and self._watch is not None:
            self._watch.poke()
        self._reporter.on_ended((*result.unreadable, *result.overdue))

    def _start(self, message: Leased, begin: Callable[[Leased, int], None], *, until_ms: int) -> None:
        self.feed.started(message.channel)
        try:
            begin(message, until_ms)
        except Exception as exc:  # noqa: BLE001 — below
            # A bug of ours must not keep the others of the batch from starting; its own lease runs out.
            _log.error("message %s could not be started", message.id, exc_info=exc)
            self._reporter.alarm("engine_failed", f"message {message.id}: {type(exc).__name__}")
            self.on_slot_freed(message)

    def on_slot_freed(self, message: Leased) -> None:
        """See `Crew`."""
        self.feed.ended(message.channel)
        if self._suspects.flying and self._suspects.landed(message.seq):
            self.feed.probe_all()

    def on_occupied(self, channel: str, change: int) -> None:
        """See `Crew`."""
        self.feed.occupied(channel, change)

    def on_idle(self, *, more: bool) -> None:
        """See `Claims`. Claim again at once, when the next message is due, or when something is written."""
        if self._is_quiet():
            self._quiet.set()
        if not self._accepting or self.executor.lull.is_on:
            return
        if self._suspects.hold_back():
            if self._suspects.may_start(self.executor.flights):
                self.committer.want_claim()
            else:
                self._arm(self._suspects.wait_seconds(), self._look_again)
            return
        next_due_ms = self._next_start_ms()
        if self._settings.only is not None:
            # When its queue has something due says nothing about this one message: look now and then.
            self._arm(_ALONE_SECONDS, self.committer.want_claim)
        elif more:
            self.committer.want_claim()
        elif next_due_ms is not None:
            wait_ms = next_due_ms - self._clock.wall_ms()
            if wait_ms > 0:
                self._arm(wait_ms / 1000, self._look_again)
            elif self.feed.has_room() or self.feed.suspected(now_ms=self._clock.wall_ms(), ending={}):
                self.committer.want_claim()

    def _next_start_ms(self) -> int | None:
        """Return when something may be started by itself: what is due, or a suspect, once the others had their time."""
        next_due_ms, suspect_ms = self.feed.next_due_ms(), self.feed.next_suspect_ms()
        if suspect_ms is None:
            return next_due_ms
        now_ms = self._clock.wall_ms()
        if suspect_ms <= now_ms and not self.feed.suspected(now_ms=now_ms, ending={}):
            return next_due_ms  # its channel is full: whoever ends there makes room
        suspect_ms = max(suspect_ms, now_ms + math.ceil(self._suspects.wait_seconds() * 1000))
        return suspect_ms if next_due_ms is None else min(next_due_ms, suspect_ms)

    def _look_again(self) -> None:
        self.on_idle(more=False)

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(min(seconds, _TIMER_SECONDS_MAX), then)


def _nothing() -> None:
    """Do nothing: nothing was begun that could be ended."""
