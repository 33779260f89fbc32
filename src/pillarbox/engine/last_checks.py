"""What is asked just before a send: whether the message may still go, and whether the application still wants it."""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.channels.base import Attempt
from pillarbox.domain import lifecycle
from pillarbox.domain.message import Leased
from pillarbox.domain.transition import Transition
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.crew import Crew
from pillarbox.engine.flight import Flight
from pillarbox.engine.hooks import Defer, Hooks, Withdraw
from pillarbox.queue_clock import QueueClock


class LastChecks:
    """
    Those of one executor.

    Args:
        guard: While the wall clock is not to be trusted, no message is taken for expired.
        crew: Knows which processes are gone.
    """

    def __init__(self, hooks: Hooks, guard: ClockGuard, crew: Crew, *, clock: QueueClock) -> None:
        self._hooks = hooks
        self._guard = guard
        self._crew = crew
        self._clock = clock

    async def is_abandoned(self, message: Leased) -> bool:
        """Whether it must not be begun any more. The reaper ends what waits; this came due before it looked (DK1)."""
        if message.accepted_by is None or message.part_next:
            return False
        return await self._crew.is_gone(message.accepted_by)

    async def objection(
        self, flight: Flight, attempt: Attempt, *, fatal: Callable[[BaseException], None]
    ) -> Transition | None:
        """
        Ask the application whether the channel is ready and the message still wanted.

        Args:
            fatal: Called with what a hook raised to end the program.

        Returns:
            What keeps the message back; ``None`` where it may go.
        """
        message = flight.message
        if self._hooks.asks_ready(message.channel):
            why = await self._hooks.not_ready(message.channel, fatal=fatal)
            if why is not None:
                return lifecycle.not_ready(message, why, now_ms=self._clock.wall_ms())
        if self._hooks.any_revalidate and self.too_late(flight, self._clock.wall_ms()) is None:
            objection = await self._hooks.still_wanted(attempt, fatal=fatal)
            if objection is not None:
                return self._objected(message, objection)
        return None

    def too_late(self, flight: Flight, now_ms: int) -> Transition | None:
        """Return the move of a message that must not be sent any more, else ``None``. The last thing that is asked."""
        if self._guard.over(flight.message.expires_ms, now_ms):
            return Transition.expire()
        if flight.stopped or self._clock.boot_ms() >= flight.until_ms:
            # Not begun, and not ours any more or not to begin: surely not sent.
            return lifecycle.release_unsent(flight.message, "stopped before it was sent", now_ms=now_ms)
        return None

    def _objected(self, message: Leased, objection: Withdraw | Defer) -> Transition:
        if isinstance(objection, Withdraw):
            return lifecycle.withdrawn(objection.reason)
        now_ms = self._clock.wall_ms()
        return lifecycle.postponed(message, objection.reason, seconds=objection.seconds, now_ms=now_ms)
