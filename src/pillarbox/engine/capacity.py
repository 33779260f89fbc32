"""
Which queues are worth a look, and how the free slots are shared among them.

A queue (tenant, channel) is probed when something was written there, when its next message becomes due, and when
another process wrote; one that ran dry is left alone until then, so that idle queues cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from pillarbox.domain.message import State
from pillarbox.store.base import BatchResult, Claim, QueueInfo, Settlement

_CLAIM_MAX = 1000


class _Queue:
    """
    What is known of one queue.

    Attributes:
        due_ms: When it is worth a look; ``None`` not before something is written.
        suspect_ms: When a suspect there is due; ``None`` for none that is known.
        expected: Something is being written there, by a batch later than the one that is being committed; or was, by
            another process.
        served: The turn at which it was last given slots.
    """

    __slots__ = ("channel", "due_ms", "expected", "number", "served", "suspect_ms", "tenant")

    def __init__(self, number: int, tenant: str, channel: str) -> None:
        self.number = number
        self.tenant = tenant
        self.channel = channel
        self.due_ms: int | None = 0
        self.suspect_ms: int | None = None
        self.expected = False
        self.served = 0


class Feed:
    """
    Shares slots fairly (contract LA4): tenants with something due take turns, and so do the channels of a tenant.

    The one that was served longest ago comes first, and each gets the same share.

    Args:
        concurrency: Slots of the worker, all channels together.
        channels: Slots of each channel it serves.
    """

    def __init__(self, concurrency: int, channels: Mapping[str, int]) -> None:
        self._concurrency = concurrency
        self._channels = dict(channels)
        self._by_name: dict[tuple[str, str], _Queue] = {}
        self._by_number: dict[int, _Queue] = {}
        self._in_flight: dict[str, int] = dict.fromkeys(channels, 0)
        self._turn = 0
        self._served: dict[str, int] = {}
        self.total_in_flight = 0
        self._others: set[int] = set()
        # How often a queue was met that nobody told us of, and how many of those times the last answer is younger than.
        self.sighted = 0
        self._learned = 0

    @property
    def unknown(self) -> bool:
        """Whether there may be queues that we do not know yet."""
        return self.sighted != self._learned

    def resize(self, concurrency: int, channels: Mapping[str, int]) -> None:
        """Share other numbers of slots from now on, among the same channels; what is under way keeps its own."""
        self._concurrency = concurrency
        self._channels = dict(channels)

    def learn(self, queues: Iterable[QueueInfo], sighted: int) -> bool:
        """
        Take note of every queue there is. One that was not known is worth a look.

        Args:
            sighted: As it was before *queues* were read: of a queue made meanwhile they may say nothing.

        Returns:
            Whether there is one among them that was not known.
        """
        known = len(self._by_number)
        for info in queues:
            if info.channel not in self._channels:
                self._others.add(info.id)
                continue
            if info.id not in self._by_number:
                queue = _Queue(info.id, info.tenant, info.channel)
                self._by_number[info.id] = queue
                self._by_name[info.tenant, info.channel] = queue
        self._learned = sighted
        return len(self._by_number) > known

    def expect(self, tenant: str, channel: str) -> None:
        """Note that a message is being stored there: the commit that stores it may claim it."""
        queue = self._by_name.get((tenant, channel))
        if queue is not None:
            queue.due_ms = 0
            queue.expected = True

    def capacity(self, *, now_ms: int, ending: Mapping[int, int], freeing: Collection[int] = ()) -> dict[int, int]:
        """
        Return for each queue worth a look its share of the free slots.

        Args:
            ending: Messages per queue whose attempts end in the same batch: their slots are free to what it claims.
            freeing: Queues in which something may become claimable by the same batch, before it claims.
        """
        free = self._concurrency - self.total_in_flight + sum(ending.values())
        if free <= 0:
            return {}
        room = self._room(ending)
        due = []
        for queue in self._by_number.values():
            queue.expected = False
            worth = queue.number in freeing or (queue.due_ms is not None and queue.due_ms <= now_ms)
            if worth and room[queue.channel] > 0:
                due.append(queue)
        shares = self._shared(due, free, room)
        for number in shares:
            # In the order in which they were served, so that the last of this turn comes last in the next as well.
            self._turn += 1
            queue = self._by_number[number]
            queue.served = self._served[queue.tenant] = self._turn
        return shares

    def _room(self, ending: Mapping[int, int]) -> dict[str, int]:
        """Return how many more messages each channel could send."""
        ended: dict[str, int] = {}
        for number, count in ending.items():
            queue = self._by_number.get(number)
            if queue is not None:
                ended[queue.channel] = ended.get(queue.channel, 0) + count
        return {name: limit - self._in_flight[name] + ended.get(name, 0) for name, limit in self._channels.items()}

    def _shared(self, due: list[_Queue], free: int, room: dict[str, int]) -> dict[int, int]:
        """Divide *free* slots, at most *room* a channel, among the queues that are *due*."""
        if len(due) == 1:
            return {due[0].number: min(free, room[due[0].channel], _CLAIM_MAX)}
        due.sort(key=lambda queue: (self._served.get(queue.tenant, 0), queue.served))
        tenants: dict[str, list[_Queue]] = {}
        for queue in due:
            tenants.setdefault(queue.tenant, []).append(queue)
        shares: dict[int, int] = {}
        each = max(1, free // len(tenants)) if tenants else 0

        def give(queue: _Queue, slots: int) -> int:
            nonlocal free
            had = shares.get(queue.number, 0)
            slots = max(0, min(slots, free, room[queue.channel], _CLAIM_MAX - had))
            if slots:
                shares[queue.number] = had + slots
                room[queue.channel] -= slots
                free -= slots
            return slots

        for queues in tenants.values():
            share = each
            for place, queue in enumerate(queues):
                share -= give(queue, -(-share // (len(queues) - place)))
        # What did not divide evenly, or found its channel full, goes to whoever's turn it was.
        for queue in due:
            give(queue, free)
        return shares

    def note(self, result: BatchResult, claim: Claim | None) -> None:
        """Learn from what a batch did. ``unknown`` is set where it wrote to a queue that we do not know yet."""
        for number in result.touched:
            queue = self._by_number.get(number)
            if queue is not None:
                queue.due_ms = 0
            elif number not in self._others:
                self.sighted += 1
        for number, later_ms in result.later_ms.items():
            queue = self._by_number.get(number)
            if queue is not None:
                queue.due_ms = later_ms if queue.due_ms is None else min(queue.due_ms, later_ms)
        if claim is not None and claim.only is None:
            self._looked(result, claim)

    def _looked(self, result: BatchResult, claim: Claim) -> None:
        """Learn what a claim found out about the queues that it looked at."""
        for number, due_ms in result.next_due_ms.items():
            queue = self._by_number.get(number)
            if queue is not None and not queue.expected:
                queue.due_ms = due_ms
        for number, suspect_ms in result.suspects_ms.items():
            queue = self._by_number.get(number)
            if queue is not None:
                queue.suspect_ms = suspect_ms
        for message in result.claimed if claim.suspect else ():
            queue = self._by_number.get(message.queue)
            if queue is not None:
                self._turn += 1
                queue.served = self._turn

    def started(self, channel: str) -> None:
        """Count a message that takes a slot."""
        self.total_in_flight += 1
        self._in_flight[channel] += 1

    def ended(self, channel: str) -> None:
        """Count a slot that is free again."""
        self.total_in_flight -= 1
        self._in_flight[channel] -= 1

    def occupied(self, channel: str, change: int) -> None:
        """Count a call that was written off and goes on (1), or has ended (-1): against its channel alone."""
        self._in_flight[channel] += change

    def probe_all(self) -> None:
        """Look everywhere again: another process may have written, after the batch under way looked there."""
        for queue in self._by_number.values():
            queue.due_ms = 0
            queue.expected = True

    def suspected(self, *, now_ms: int, ending: Mapping[int, int]) -> dict[int, int]:
        """Return one slot for every queue with room in which a suspect is due: the first that is found gets it."""
        if self.total_in_flight - sum(ending.values()) >= self._concurrency:
            return {}
        waiting = [q for q in self._by_number.values() if q.suspect_ms is not None and q.suspect_ms <= now_ms]
        if not waiting:
            return {}
        room = self._room(ending)
        # In turn, so that the suspects of one channel do not keep another's waiting.
        waiting.sort(key=lambda queue: queue.served)
        return {queue.number: 1 for queue in waiting if room[queue.channel] > 0}

    def next_suspect_ms(self) -> int | None:
        """Return when the next suspect is due, as far as is known."""
        return min((q.suspect_ms for q in self._by_number.values() if q.suspect_ms is not None), default=None)

    def has_room(self) -> bool:
        """Whether a queue worth a look could be given a slot."""
        if self.total_in_flight >= self._concurrency:
            return False
        full = {name for name, limit in self._channels.items() if self._in_flight[name] >= limit}
        return not full or any(q.due_ms is not None and q.channel not in full for q in self._by_number.values())

    def next_due_ms(self) -> int | None:
        """Return when the next queue is worth a look."""
        times = [queue.due_ms for queue in self._by_number.values() if queue.due_ms is not None]
        return min(times, default=None)


def freeing(settlements: Sequence[Settlement], now_ms: int) -> set[int]:
    """Return the queues in which these may free something to claim: a lane's next message, or a message's next part."""
    queues = set()
    for settlement in settlements:
        message, transition = settlement.message, settlement.transition
        again = transition.to is State.SCHEDULED
        if (transition.due_ms or 0) <= now_ms if again else message.lane is not None:
            queues.add(message.queue)
    return queues
