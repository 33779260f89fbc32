"""What an outcome makes of its message, where its queue may be in an outage that sends beside it have met too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pillarbox.domain import lifecycle
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered
from pillarbox.domain.transition import OUT_OF_ORDER, Transition
from pillarbox.engine.flight import Flight


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outage:
    """
    What is known of a queue that fails.

    Attributes:
        failures: How often in a row nothing got through it.
        strikes: How often in a row it was paused for being out of order.
        until_ms: The wall time until which it rests for that.
    """

    failures: int = 0
    strikes: int = 0
    until_ms: int = 0


_NO_OUTAGE: Final = _Outage()


class Outages:
    """The outages of this worker's queues. What the store knows of one comes with the message that probes it."""

    def __init__(self) -> None:
        self._outages: dict[int, _Outage] = {}

    def decide(self, flight: Flight, outcome: AnyOutcome, *, now_ms: int, fraction: float) -> Transition:
        """Decide, and take note of an outage that begins or ends."""
        message = flight.message
        outage = self._outages.get(message.queue)
        if outage is None and isinstance(outcome, Delivered):
            return lifecycle.decide(message, outcome, now_ms=now_ms, fraction=fraction)
        outage = outage or _NO_OUTAGE
        # Sends that were under way when the channel went away are part of the same outage, not a worse one.
        same = flight.began_ms is not None and flight.began_ms < outage.until_ms
        if outage.strikes and not message.strikes and not same:
            # It was claimed from a queue that has been opened again, by whatever worker.
            outage = _NO_OUTAGE
        strikes = outage.strikes - 1 if same else message.strikes
        transition = lifecycle.decide(
            message, outcome, now_ms=now_ms, fraction=fraction, strikes=strikes, failures=outage.failures
        )
        failures = outage.failures + 1 if isinstance(outcome, Deferred) and outcome.outage else 0
        if transition.error_class in OUT_OF_ORDER:
            until_ms = max(outage.until_ms, transition.pause_ms or 0)
            self._outages[message.queue] = _Outage(failures=failures, strikes=strikes + 1, until_ms=until_ms)
        elif failures:
            self._outages[message.queue] = _Outage(failures=failures)
        elif not same:
            self._outages.pop(message.queue, None)
        return transition
