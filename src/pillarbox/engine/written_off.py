"""
Sends that go on although they were cut off, and what becomes of a message that such a one delivers after all.

Their messages are settled already: what comes is recorded as late, and never thrown away.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from pillarbox.clock import Clock
from pillarbox.domain import lifecycle
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.domain.transition import Transition
from pillarbox.engine.committer import Committer
from pillarbox.engine.flight import Flight
from pillarbox.entropy import Entropy
from pillarbox.events.reporter import Reporter
from pillarbox.store.base import Settled, Settlement


class Leftovers:
    """The sends that are left behind, until they end."""

    def __init__(self, committer: Committer, reporter: Reporter, *, clock: Clock, entropy: Entropy) -> None:
        self._committer = committer
        self._reporter = reporter
        self._clock = clock
        self._entropy = entropy
        self._left: dict[int, Flight] = {}

    def count(self) -> Counter[str]:
        """Return how many there are of each channel."""
        return Counter(flight.message.channel for flight in self._left.values())

    def add(self, flight: Flight) -> None:
        """Remember a send, and report it: people must know why a channel is without its slots."""
        self._left[id(flight)] = flight
        self._reporter.alarm(
            "slot_written_off",
            f"channel {flight.message.channel}: the send of message {flight.message.id} was cut off and goes on; it"
            " takes a slot of the channel until it ends",
        )

    def remove(self, flight: Flight) -> None:
        """Forget a send that has ended."""
        self._left.pop(id(flight), None)

    def cut_off(self) -> int:
        """Ask each one once more to stop; return how many were not counted before."""
        count = 0
        for flight in self._left.values():
            if not flight.stopped and not flight.counted:
                flight.counted = True
                if flight.task is not None:
                    flight.task.cancel()
                count += 1
        return count

    def judge(self, flight: Flight, outcome: AnyOutcome) -> Transition | None:
        """Return what the late end of a send makes of its message: only a delivery changes anything."""
        if not isinstance(outcome, Delivered):
            return None
        now_ms = self._clock.wall_ms()
        return lifecycle.decide(flight.message, outcome, now_ms=now_ms, fraction=self._entropy.fraction())

    def on_rest_end(
        self, flight: Flight, rest: asyncio.Future[AnyOutcome], checked: Callable[[AnyOutcome], AnyOutcome]
    ) -> None:
        """Called when what went on in a thread has ended; *checked* makes an outcome of its answer, as of any."""
        self.remove(flight)
        outcome = None if rest.cancelled() or rest.exception() is not None else checked(rest.result())
        transition = None if outcome is None else self.judge(flight, outcome)
        if transition is not None:
            self.record(flight, transition)

    def record(self, flight: Flight, transition: Transition) -> None:
        """Write down what came late."""
        # Not a send that began: that one is counted already.
        late = Settlement(message=flight.message, transition=transition, began_ms=None, ended_ms=self._clock.wall_ms())
        self._committer.settle(late, self._recorded, flight)

    def _recorded(self, _: Flight, settlement: Settlement, end: Settled | Exception) -> None:
        if isinstance(end, Exception):
            self._reporter.alarm("recording_failed", f"message {settlement.message.id}: delivered late, and {end}")
        elif end is Settled.LATE or end is Settled.APPLIED:
            self._reporter.on_settled(settlement, end)
