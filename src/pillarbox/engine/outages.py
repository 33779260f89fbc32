"""What an outcome makes of its message, where its queue may be in an outage that sends beside it have met too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pillarbox.domain import lifecycle
from pillarbox.domain.outcome import AnyOutcome
from pillarbox.domain.transition import ErrorClass, Transition
from pillarbox.engine.flight import Flight


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outage:
    """How often in a row a queue was unavailable, and the wall time until which it rests for that."""

    strikes: int = 0
    until_ms: int = 0


_NO_OUTAGE: Final = _Outage()


class Outages:
    """The outages of this worker's queues."""

    def __init__(self) -> None:
        self._outages: dict[int, _Outage] = {}

    def decide(self, flight: Flight, outcome: AnyOutcome, *, now_ms: int, fraction: float) -> Transition:
        """Decide, and take note of an outage that begins or ends."""
        message = flight.message
        outage = self._outages.get(message.queue, _NO_OUTAGE)
        # Sends that were under way when the channel went away are part of the same outage, not a worse one.
        same = flight.began_ms is not None and flight.began_ms < outage.until_ms
        strikes = outage.strikes - same
        transition = lifecycle.decide(message, outcome, now_ms=now_ms, fraction=fraction, strikes=max(0, strikes))
        if transition.error_class is ErrorClass.UNAVAILABLE:
            until_ms = max(outage.until_ms, transition.pause_ms or 0)
            self._outages[message.queue] = _Outage(strikes=strikes + 1, until_ms=until_ms)
        elif outage.strikes and not same:
            del self._outages[message.queue]
        return transition
