"""
Group commit: gathers what all callers want to write while the last transaction is made durable, and writes it as one.

One fsync pays for a whole batch. A batch is applied settle, renew, act, enqueue, claim, so what was enqueued just now
can be claimed by the same commit, and a settled head's successor starts with it (design.md, decision 1).

Once a batch is committed, its answers come first: what was leased starts, slots are freed, callers return. Only then is
anything reported. If one of them raises, all others still get their answer (contract EN8).
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from pillarbox.clock import Clock
from pillarbox.deadline import GRACE
from pillarbox.domain.message import Draft, Leased
from pillarbox.engine.batches import Ending, Extra, OnSettled, Wish, Work
from pillarbox.engine.deadlines import Deadlines
from pillarbox.engine.loop import Loop
from pillarbox.errors import (
    NotStarted,
    StoreError,
    StoreOutcomeUnknown,
    StoreReplaced,
    StoreUnavailable,
)
from pillarbox.events.reporter import Reporter
from pillarbox.queue_clock import QueueClock
from pillarbox.store import lost_answers
from pillarbox.store.base import (
    Act,
    Acted,
    AdmissionWrite,
    Batch,
    BatchResult,
    Claim,
    Enqueued,
    Presence,
    Prune,
    Settled,
    Settlement,
    Store,
)
from pillarbox.user_code import Log, pass_on

_log = Log("pillarbox.engine")
T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound=Exception)

BATCH_MAX: Final = 2000
FAILING: Final = "store_failed"
BEHIND_SECONDS: Final = 5.0


class Claims(Protocol):
    """What a batch may lease, and what becomes of that. The worker that owns a committer implements it."""

    def plan_claim(self, settlements: Sequence[Settlement]) -> Claim | None:
        """Return what the batch that is being built, with these ends of attempts, may lease."""

    def on_batch(self, result: BatchResult, claim: Claim | None) -> None:
        """Called for every batch before any caller has its answer, so that leased messages start first."""

    def on_claim_failed(self, claim: Claim) -> None:
        """Called for a claim whose batch could not be committed, as far as is known."""

    def on_idle(self, *, more: bool) -> None:
        """Called when every caller of a batch has its answer. *more*: the store left work for another one."""


class NoClaims:
    """For a process that only accepts: it leases nothing."""

    def plan_claim(self, settlements: Sequence[Settlement]) -> Claim | None:  # noqa: ARG002 — see `Claims`
        """See `Claims`."""
        return None

    def on_batch(self, result: BatchResult, claim: Claim | None) -> None:
        """See `Claims`."""

    def on_claim_failed(self, claim: Claim) -> None:
        """See `Claims`."""

    def on_idle(self, *, more: bool) -> None:
        """See `Claims`."""


class Committer:
    """
    The one road to the store.

    What a batch did is passed on in this order: to *claims*, so that leased messages start first; to those who wait;
    to *claims* again, when everybody has an answer.

    Args:
        reporter: Called for every group that was stored, also where its caller stopped waiting, and for what was not
            recorded; it knows what is wrong while the store fails.
        claims: Decides what each batch may lease.
    """

    def __init__(self, store: Store, clock: Clock, reporter: Reporter, *, claims: Claims | None = None) -> None:
        self.behind_seconds = BEHIND_SECONDS
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._troubles = reporter.troubles
        self._claims: Claims = claims or NoClaims()
        self._time = QueueClock.of(clock)
        self._enqueue: deque[Wish[Sequence[Draft], list[Enqueued]]] = deque()
        self._settle: deque[Ending[Any]] = deque()
        self._admit: deque[Wish[AdmissionWrite, bool]] = deque()
        self._acts: deque[Wish[Act, Acted]] = deque()
        self._extra: deque[Wish[Extra, BatchResult]] = deque()
        self._claim_wanted = False
        self._goes_on = False
        # Whether a commit was left of which nobody knows what became: what it held may be in any batch from then on.
        self._unsure = False
        self._loop = Loop("committer", self.tick, clock=clock)
        self._slow: Deadlines[Batch] = Deadlines(self._is_behind, clock=clock, grace=GRACE)
        self._events: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to write."""
        self._events, self._closed = asyncio.get_running_loop(), False
        self._loop.start()

    async def stop(self) -> None:
        """Write what is still wanted, then no more. Safe to repeat, also where a first call was cancelled."""
        if self._closed:
            return
        self._events = None
        await self._loop.stop()
        while self._waiting():
            try:
                await self.tick()
            except Exception as exc:  # noqa: BLE001 — nobody is left to try again: all who wait are told
                self._give_up(exc)
        self._closed = True

    async def salvage(self) -> None:
        """
        Write the ends of attempts that are still to be recorded, on another event loop than the one that has ended.

        All other waits have ended with that loop: what was not accepted is dropped, and its caller got no answer.
        """
        self._events = None
        for wishes in (self._enqueue, self._admit, self._acts, self._extra):
            wishes.clear()
        self._claims = NoClaims()
        while self._settle:
            await self.tick()
        self._closed = True

    def enqueue(self, group: Sequence[Draft]) -> asyncio.Future[list[Enqueued]]:
        """Store a group of messages, all or none."""
        return self._wish(self._enqueue, group)

    def settle(self, settlement: Settlement, on_settled: OnSettled[T], of: T) -> None:
        """
        Record the end of an attempt; tried again for as long as the store fails (contract UN4).

        Args:
            on_settled: Called once with *of*, *settlement*, and what became of it or the error that makes it impossible
                to record.
        """
        if self._closed:
            # Nobody writes any more: a send that was left behind has ended after all.
            on_settled(of, settlement, NotStarted("the outbox is closed"))
            return
        self._settle.append(Ending(settlement, on_settled, of))
        self._loop.poke()

    def settled(self, settlement: Settlement) -> asyncio.Future[Settled]:
        """As `settle`, for those who can wait."""
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self.settle(settlement, _answer, Wish(settlement, future))
        return future

    def admit(self, write: AdmissionWrite) -> asyncio.Future[bool]:
        """Record what a channel made of a message."""
        return self._wish(self._admit, write)

    def act(self, act: Act) -> asyncio.Future[Acted]:
        """Carry out what a person ordered."""
        return self._wish(self._acts, act)

    def renew(self, messages: Sequence[Leased], lease_ms: int) -> asyncio.Future[BatchResult]:
        """Extend leases to *lease_ms* from the commit on; read ``lost`` and ``cancelling`` of the result."""
        return self._wish(self._extra, Extra(renew=messages, renew_ms=lease_ms))

    def expire(self, limit: int) -> asyncio.Future[BatchResult]:
        """End messages whose time is over."""
        return self._wish(self._extra, Extra(expire=limit))

    def abandon(self, acceptors: Sequence[bytes]) -> asyncio.Future[BatchResult]:
        """End messages that must not outlive those who accepted them."""
        return self._wish(self._extra, Extra(abandon=acceptors))

    def acknowledge(self, keys: Sequence[str]) -> asyncio.Future[BatchResult]:
        """Mark mirror entries as taken over by their host."""
        return self._wish(self._extra, Extra(acknowledge=keys))

    def prune(self, request: Prune) -> asyncio.Future[BatchResult]:
        """Delete old terminal messages, a bounded number."""
        return self._wish(self._extra, Extra(prune=request))

    def presence(self, presence: Presence) -> asyncio.Future[BatchResult]:
        """Write a worker's sign of life."""
        return self._wish(self._extra, Extra(presence=presence))

    def want_claim(self) -> None:
        """Claim with the next batch, and make one soon."""
        self._claim_wanted = True
        self._loop.poke()

    def _wish(self, wishes: deque[Wish[T, R]], item: T) -> asyncio.Future[R]:
        if self._events is None:
            msg = "the outbox is not open: await start(), or use it as a context manager"
            raise NotStarted(msg)
        future: asyncio.Future[R] = self._events.create_future()
        wishes.append(Wish(item, future))
        self._loop.poke()
        return future

    def _waiting(self) -> bool:
        return bool(self._enqueue or self._settle or self._admit or self._acts or self._extra)

    async def tick(self) -> float | None:
        """Write one batch, if there is anything to write."""
        if self._goes_on:
            # Those whose last wish was just granted get to say what they want next, so that it joins this batch, which
            # needs no other task then. One large batch beats two overlapping ones: the database's thread needs the
            # interpreter's lock at every row, and shares it badly with a busy loop (measured: 11 500 against 8 500
            # lives a second).
            self._goes_on = False
            await self._clock.sleep(0)
        work = Work(
            settle=_take(self._settle),
            admit=_take(self._admit),
            acts=_take(self._acts),
            extra=self._extra.popleft() if self._extra else None,
            enqueue=_take(self._enqueue),
        )
        # Always asked, because a transaction that is made anyway claims for nothing.
        self._claim_wanted = False
        claim: Claim | None = None
        failure: BaseException | None = None
        try:
            claim = self._claims.plan_claim([ending.settlement for ending in work.settle])
        except BaseException as exc:  # noqa: BLE001 — those who want something written are not to blame
            failure = exc
        try:
            if claim is not None or not work.empty() or self._troubles.has(FAILING):
                await self._write(work, claim)
            elif failure is None:
                return None
        except BaseException:
            self._claim_wanted = True
            if claim is not None:
                self._claims.on_claim_failed(claim)
            raise
        if failure is not None:
            self._claim_wanted = True
            raise failure
        self._goes_on = self._claim_wanted or self._waiting() or not work.empty()
        return 0 if self._goes_on else None

    async def _write(self, work: Work, claim: Claim | None) -> None:
        try:
            batch = work.batch(self._time, claim)
            result = await self._commit(batch)
        except StoreError as exc:
            self._failed(work, exc)
            raise
        except Exception as exc:  # noqa: BLE001 — one bad item must not fail its neighbours (EN8, LE7)
            await self._write_apart(work, claim, exc)
            return
        except BaseException as exc:
            # Whatever became of the batch, those who wait for it must not do so for ever.
            self._failed(work, _unanswered(exc))
            raise
        if batch.mark is not None:
            self._time.saved(batch.mark)
        with self._reporter.quiet():
            self._fenced(self._claims.on_batch, result, claim)
            if work.fits(result):
                work.grant(result, self._reporter.on_accepted, self._callback_failed)
            else:
                error = StoreUnavailable("the store's answer does not fit what was to be written")
                self._reporter.alarm("engine_failed", str(error))
                work.refuse(error, self._callback_failed)
            self._fenced(functools.partial(self._claims.on_idle, more=result.more))

    def _fenced(self, callback: Callable[..., object], *values: object) -> None:
        """Call one callback; its failure is reported, and the others are called all the same."""
        try:
            callback(*values)
        except BaseException as exc:  # noqa: BLE001 — whatever it is, the others of the batch wait for their answers
            self._callback_failed(exc)

    def _callback_failed(self, error: BaseException) -> None:
        _log.error("telling of a commit failed", exc_info=error)
        pass_on(error)
        # Behind its own fence: see `Reporter`.
        self._reporter.alarm("engine_failed", f"{type(error).__name__} after a commit")

    async def _commit(self, batch: Batch) -> BatchResult:
        if self._troubles.has(FAILING):
            # A commit that changes nothing succeeds on a full disk: let this one say whether it is over.
            batch = msgspec.structs.replace(batch, sync=True)
        if self._unsure:
            batch = msgspec.structs.replace(batch, again=True)
        seconds = self.behind_seconds
        self._slow.add(batch, seconds)
        try:
            try:
                result = await self._store.commit(batch)
            except StoreOutcomeUnknown as lost:
                result = await lost_answers.once_more(self._store, batch, lost)
        except BaseException as exc:
            self._unsure |= isinstance(exc, StoreOutcomeUnknown | StoreReplaced) or not isinstance(exc, Exception)
            raise
        finally:
            self._slow.remove(batch, seconds)
            self._troubles.end("behind")
        self._troubles.end(FAILING)
        return result

    def _is_behind(self, _: Batch) -> None:
        what = f"the database has not finished a commit for more than {self.behind_seconds:g} s"
        self._troubles.begin("behind", what)

    async def _write_apart(self, work: Work, claim: Claim | None, error: Exception) -> None:
        """Bisect a batch that cannot be written until the item that is to blame is alone."""
        if claim is not None:
            if work.empty():
                # The claim itself is to blame: the loop reports it, and tries again less and less often.
                raise error
            self._claim_wanted = True
            await self._write(work, None)
            return
        halves = work.halves()
        if halves is None:
            self._reporter.alarm("recording_failed", f"{type(error).__name__} while writing to the store")
            with self._reporter.quiet():
                work.refuse(error, self._callback_failed)
            return
        first, second = halves
        try:
            await self._write(first, None)
        except BaseException as exc:
            self._failed(second, _untried(exc) if isinstance(exc, StoreError) else _unanswered(exc))
            raise
        await self._write(second, None)

    def _failed(self, work: Work, error: StoreError) -> None:
        """Pass the error to those who wait; keep what must not be lost for the next batch."""
        if not isinstance(error, StoreReplaced):  # of which the store tells for as long as it lasts
            self._troubles.begin(FAILING, f"messages and outcomes cannot be stored: {error}")
        # The provider has it or it has not: that is known, and must be written sooner or later.
        self._settle.extendleft(reversed(work.settle))
        work.settle = []
        # Refused, these would have their leases run out, as if somebody had begun to send them.
        self._admit.extendleft(reversed(work.admit))
        work.admit = []
        with self._reporter.quiet():
            self._reporter.alarm("store_failed", str(error))
            work.refuse(error, self._callback_failed)

    def _give_up(self, error: Exception) -> None:
        error = _untried(error)
        while self._settle:
            self._fenced(self._settle.popleft().tell, error)
        for wishes in (self._enqueue, self._admit, self._acts, self._extra):
            while wishes:
                wishes.popleft().refuse(error)


def _answer(wish: Wish[Settlement, Settled], _: Settlement, end: Settled | Exception) -> None:
    if isinstance(end, Exception):
        wish.refuse(end)
    else:
        wish.grant(end)


def _untried(error: E) -> E | StoreUnavailable:
    """Return the error for work that was not even begun."""
    return StoreUnavailable(error.reason) if isinstance(error, StoreOutcomeUnknown) else error


def _unanswered(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"{type(error).__name__} while writing: nothing is known to be written")


def _take(wishes: deque[T]) -> list[T]:
    if len(wishes) <= BATCH_MAX:
        taken = list(wishes)
        wishes.clear()
        return taken
    return [wishes.popleft() for _ in range(BATCH_MAX)]
