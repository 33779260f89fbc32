"""One transaction as its steps see it: the database, the time, and what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from pillarbox.domain.limits import Limits
from pillarbox.domain.retry import Policy
from pillarbox.store.steps.counters import Counters
from pillarbox.store.steps.horizon import Horizon
from pillarbox.store.steps.numbers import Numbers
from pillarbox.store.steps.overview import Overview, overview
from pillarbox.store.steps.tx import Tx


class Writing:
    """
    What the steps of a batch share. ``many``, ``one`` and ``each`` are those of the database's `Tx`.

    Attributes:
        now: The queue's time, in milliseconds.
        lease_now: The time of the clock by which leases are judged.
        touched: Queues with something new to claim.
        later: Queues in which something was put off, and until when.
        horizons: Queues in which nothing that is due is left, and when something is.
        rests: By channel, what is to be written of who rests in it; see `ledger.ledgers`.
    """

    def __init__(self, tx: Tx, numbers: Numbers, *, now_ms: int, lease_now: int, limits: Limits) -> None:
        self.many, self.one, self.each = tx.many, tx.one, tx.each
        self.now = now_ms
        self.lease_now = lease_now
        self.limits = limits
        self.numbers = numbers
        self.counters = Counters(self, numbers)
        self.count = self.counters.count
        self.touched: set[int] = set()
        self.later: dict[int, int] = {}
        self.horizons: dict[int, Horizon] = {}
        self.rests: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)
        self._left: dict[str, None] = {}
        self._overview: Overview | None = None
        self._tx = tx

    def savepoint(self) -> AbstractContextManager[None]:
        """See `Tx`; what was counted inside is undone too."""
        return _Savepoint(self, self._tx.savepoint())

    @property
    def overview(self) -> Overview:
        """What there is, read when it is asked for first."""
        if self._overview is None:
            self._overview = overview(self)
        return self._overview

    def move(self, queue: int, before: int, after: int, size: int) -> None:
        """Count one message from a state to another."""
        self.counters.move(queue, before, after, (size,))

    def put_off(self, queue: int, due: int) -> None:
        """Remember when something may be claimed in a queue."""
        if due <= self.now:
            self.touched.add(queue)
        else:
            self.later[queue] = min(due, self.later.get(queue, due))

    def leave_lane(self, lane: str | None) -> None:
        """Remember that a message left its lane, so that the next one is freed."""
        if lane is not None:
            self._left[lane] = None

    def free_lanes(self) -> None:
        """Free the lowest waiting row of every lane left. A later statement on purpose: it sees what left."""
        if self._left and self.overview.waiting:
            found = [row for rows in self.each("lowest_waiting", [(lane,) for lane in self._left]) for row in rows]
            self.each("free", [(seq,) for _, seq, _ in found])
            self.touched.update(queue for *_, queue in found)
        self._left = {}

    def queue(self, tenant: str, channel: str) -> int:
        """Return the number of a queue, made on first use."""
        known = self.numbers.queues.get((tenant, channel))
        if known is not None:
            return known
        made = self.numbers.made
        number = self.numbers.queue(tenant, channel, self.now)
        if self.numbers.made != made:
            # It begins paused, where its channel is.
            self.overview.gated = True
        return number

    def policy(self, policy: Policy) -> int:
        """Return the number of a policy, stored on first use."""
        return self.numbers.policy(policy)


class _Savepoint(AbstractContextManager[None]):
    """The database's, and what was counted in it. A class, because every batch has one: a generator costs more."""

    def __init__(self, writing: Writing, inner: AbstractContextManager[object]) -> None:
        self._writing = writing
        self._inner = inner
        self._before = writing.counters.copy()

    def __enter__(self) -> None:
        self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._inner.__exit__(kind, exc, traceback)
        except BaseException:
            self._undo()
            raise
        if exc is not None:
            self._undo()

    def _undo(self) -> None:
        self._writing.counters.restore(self._before)
        # Queues and policies made inside are gone; their remembered numbers must not outlive them.
        self._writing.numbers.forget()
