"""
Runs sends: of each leased message what happens from the last checks to the settlement.

The slot is taken until the settlement is durable, so that what is sent but not recorded is bounded too. An exception
that leaves an adapter, of whatever kind, is a bug and reads as ``Uncertain``: the platform may have the message.

A send that goes on although it was cut off is written off: it is recorded as uncertain, its lease ends, and nobody
waits for it any more. It still counts against its channel's concurrency until it ends, so that calls which never end
cannot become more and more (decision 0012).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from pillarbox.channels.base import Attempt, Channel
from pillarbox.clock import Clock
from pillarbox.deadline import Deadline
from pillarbox.domain import lifecycle
from pillarbox.domain.message import Leased
from pillarbox.domain.outcome import AnyOutcome, Deferred, Outcome, Uncertain
from pillarbox.domain.transition import Transition
from pillarbox.engine import doubts
from pillarbox.engine.admission import Preparing, ReadFiles
from pillarbox.engine.attempts import interrupted, outcome_of, raised
from pillarbox.engine.calls import GRACE_SECONDS
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.committer import Committer
from pillarbox.engine.crew import Crew
from pillarbox.engine.deadlines import SEND_GRACE, Deadlines
from pillarbox.engine.flight import Flight
from pillarbox.engine.hooks import Hooks
from pillarbox.engine.last_checks import LastChecks
from pillarbox.engine.outages import Outages
from pillarbox.engine.references import Find, refers
from pillarbox.engine.runners import Runners
from pillarbox.engine.task_cancellation import SHORT_SECONDS, Lull
from pillarbox.engine.written_off import Leftovers
from pillarbox.entropy import Entropy
from pillarbox.errors import NotStarted, PillarboxError, StoreError
from pillarbox.events.reporter import Reporter
from pillarbox.queue_clock import QueueClock
from pillarbox.store.base import CANCELLED_FOR, Settled, Settlement
from pillarbox.user_code import FATAL, Log, channel_at_work, is_from_outside, pass_on

_log = Log("pillarbox.engine")
# How long a program's end waits for the record of the send that asked for it, where the store does not answer.
_FATAL_SECONDS: Final = 5.0


class Executor:
    """
    Sends what is leased.

    Args:
        guard: While the wall clock is not to be trusted, no message is taken for expired.
        find: Reads a message that another one refers to.
        read_files: Reads the files of a message.
        hooks: Called just before each send.
        full_history: Channels whose every attempt leaves a row, the plain successes too.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        committer: Committer,
        reporter: Reporter,
        *,
        clock: Clock,
        entropy: Entropy,
        guard: ClockGuard,
        crew: Crew,
        find: Find,
        read_files: ReadFiles,
        hooks: Hooks | None = None,
        full_history: Collection[str] = (),
    ) -> None:
        self._crew = crew
        self._channels = channels
        self._committer = committer
        self._reporter = reporter
        self._clock = QueueClock.of(clock)
        self._entropy = entropy
        self._hooks = hooks or Hooks(reporter.alarm, clock=clock)
        self._checks = LastChecks(self._hooks, guard, crew, clock=self._clock)
        self.full_history = frozenset(full_history)
        self.flights: dict[int, Flight] = {}
        self._preparing = Preparing(committer, find, read_files, clock=self._clock, entropy=entropy)
        self._outages = Outages()
        self._empty = asyncio.Event()
        self._runners = Runners(
            self._run, on_wait=self._on_wait, on_failed=self._on_failed, on_refused=self._on_refused
        )
        self._deadlines: Deadlines[Flight] = Deadlines(self._time_out, clock=self._clock)
        self.grace_seconds = GRACE_SECONDS
        self._graces: Deadlines[Flight] = Deadlines(self._write_off, clock=self._clock)
        self._left = Leftovers(committer, reporter, clock=self._clock, entropy=entropy)
        self.lull = Lull(committer.want_claim, clock=self._clock)
        # Bound once: each that is made for a message is another object for the garbage collector.
        self._on_recorded = self._recorded

    def start(self, message: Leased, until_ms: int) -> None:
        """Begin to send, under a lease until then. The message's slot is taken until `Crew.on_slot_freed`."""
        flight = Flight(message=message, until_ms=until_ms)
        self._take(flight)
        self._runners.start(flight)

    def give_back(self, message: Leased, until_ms: int) -> None:
        """Return a lease that came too late, without beginning. Its slot is taken until that is recorded."""
        flight = Flight(message=message, until_ms=until_ms)
        self._take(flight)
        self._give_back(flight)

    def _take(self, flight: Flight) -> None:
        seq = flight.message.seq
        before = self.flights.get(seq)
        if before is not None:
            # Its lease ran out under our own send; the claim that has it now is the only one that counts.
            self.lose(before)
        elif not self.flights:
            self._empty.clear()
        self.flights[seq] = flight

    def _give_back(self, flight: Flight) -> None:
        """Settle at once what is not begun, whatever its admission or a hook still waits for."""
        flight.stopped = flight.given_back = True
        if flight.task is not None:
            flight.task.cancel()
        self._settle(flight, self._unsent(flight.message, "stopped before it was sent"))

    async def _run(self, flight: Flight) -> None:
        """Send, and hand over what came of it; the slot is free when that is durable."""
        message = flight.message
        transition: Transition | None = None
        try:
            transition = await self._deliver(flight)
        except PillarboxError as exc:
            # Only a store that was closed under us gets here: the lease runs out and somebody else goes on.
            self._reporter.alarm("recording_failed", f"message {message.id}: {exc}")
        except BaseException as exc:
            # A bug of ours, of which the slot must not be the victim.
            if isinstance(exc, GeneratorExit) and is_from_outside(exc, flight.task):
                raise
            if flight.given_back:
                pass
            elif is_from_outside(exc, flight.task):
                # With all the tasks of the program.
                self.lull.begin()
                transition = self._broken_off(flight)
            else:
                self._owe(flight, exc)
                _log.error("sending message %s failed inside the engine", message.id, exc_info=exc)
                self._reporter.alarm("engine_failed", f"message {message.id}: {type(exc).__name__}")
        if flight.written_off:
            self._on_late_end(flight, transition)
        elif transition is None:
            self._give_up(flight)
        elif not flight.given_back:
            self._settle(flight, transition)
        if self.lull.is_on or flight.cancelled_outside():
            # Also where the channel did not mind being cancelled, and answered.
            await self._until_recorded(flight)

    def _on_failed(self, flight: Flight) -> None:
        """Called when a bug of ours ended a task: no message may stay leased."""
        if not flight.over:
            self._settle(flight, self._broken_off(flight))

    def _on_refused(self, flight: Flight) -> None:
        """Called when the task was cancelled that would have begun a send, as all of a program are at its end."""
        self.lull.begin()
        self._on_failed(flight)

    def _broken_off(self, flight: Flight) -> Transition:
        """Return what becomes of a message whose task was ended by other code."""
        unwritten = flight.attempt is None or flight.attempt.progress.written is False
        if flight.began_ms is None or unwritten:
            return self._unsent(flight.message, "cancelled before it was sent")
        return self._decide(flight, Uncertain("cancelled while sending"))

    async def _until_recorded(self, flight: Flight) -> None:
        if self.flights.get(flight.message.seq) is flight:
            flight.recorded = asyncio.get_running_loop().create_future()
            await self.lull.hold(flight.recorded)

    def break_off(self) -> None:
        """Settle everything that is under way, where the event loop that it ran on has ended."""
        for flight in list(self.flights.values()):
            if not flight.over:
                self._settle(flight, self._broken_off(flight))

    def _give_up(self, flight: Flight) -> None:
        """Free the slot of a message that is not to be settled by us."""
        if flight.given_back:
            return
        flight.over = True
        self._free(flight)
        # No batch ends here, so nobody else would look for what could take the slot.
        self._committer.want_claim()

    async def _deliver(self, flight: Flight) -> Transition | None:
        """Send one message; return what became of it, or ``None`` where the lease was gone before anything was done."""
        message = flight.message
        channel = self._channels[message.channel]
        if message.accepted_by is not None and await self._checks.is_abandoned(message):
            return lifecycle.abandoned()
        attempt: Attempt | Transition | None
        if message.prepared:
            attempt = self._preparing.attempt(message, channel)
        else:
            attempt = await self._preparing.admitted(flight, channel, fatal=functools.partial(self._owe, flight))
            message = flight.message
        if isinstance(attempt, Attempt) and (attempt.files or refers(attempt)):
            attempt = await self._preparing.completed(message, attempt)
        if not isinstance(attempt, Attempt):
            return attempt
        if self._hooks.any_for(message.channel):
            objection = await self._checks.objection(flight, attempt, fatal=functools.partial(self._owe, flight))
            if objection is not None:
                return objection
        now_ms = self._clock.wall_ms()
        too_late = self._checks.too_late(flight, now_ms)
        if too_late is not None:
            return too_late
        flight.attempt, flight.began_ms = attempt, now_ms
        outcome = await self._send(flight, channel, attempt)
        if flight.written_off:
            return self._left.judge(flight, outcome)
        if flight.cut and attempt.progress.rest is not None:
            self._follow(flight, attempt, channel, attempt.progress.rest)
        if flight.kept_back():
            return self._unsent(message, "stopped before it was written")
        return self._decide(flight, outcome)

    def _unsent(self, message: Leased, why: str) -> Transition:
        return lifecycle.release_unsent(message, why, now_ms=self._clock.wall_ms())

    def _decide(self, flight: Flight, outcome: AnyOutcome) -> Transition:
        flight.ended_ms = now_ms = self._clock.wall_ms()
        if flight.undecided and isinstance(outcome, Uncertain):
            return lifecycle.undecided(flight.message, outcome)
        return self._outages.decide(flight, outcome, now_ms=now_ms, fraction=self._entropy.fraction())

    async def _send(self, flight: Flight, channel: Channel, attempt: Attempt) -> AnyOutcome:
        outcome: object
        flight.sending, flight.seconds = True, channel.send_timeout_seconds
        if flight.waited:
            self._deadlines.add(flight, flight.seconds)
        channel_at_work.set(attempt.channel)  # its context is its own
        try:
            since_ms = flight.message.undecided_ms
            if since_ms is None:
                outcome = await channel.send(attempt)
            else:
                now_ms = self._clock.wall_ms()
                outcome = await doubts.tried(flight, channel, attempt, since_ms=since_ms, now_ms=now_ms)
        except Outcome as said:
            outcome = said
        except BaseException as exc:
            # Whatever an adapter raises, the platform may have the message.
            if isinstance(exc, GeneratorExit) and is_from_outside(exc, flight.task):
                # Nobody runs this task any more: its loop is closed.
                raise
            if isinstance(exc, asyncio.CancelledError):
                outcome = await self._cancelled(flight, attempt)
            else:
                self._owe(flight, exc)
                outcome = raised(attempt, exc)
        finally:
            flight.sending, flight.ended = False, True
            if flight.waited:
                self._watch_no_more(flight)
        if flight.cancelled_outside():
            # The channel did not mind, and answered. Or it has an old way to time out, which cancels its own task.
            self.lull.begin(SHORT_SECONDS)
        return outcome_of(outcome, attempt, channel, keep_answer=attempt.channel in self.full_history)

    def _on_wait(self, flight: Flight) -> None:
        """Called when a flight's task waits for the first time: only what waits can be cut off."""
        flight.waited = True
        if flight.sending:
            self._deadlines.add(flight, flight.seconds)

    def _watch_no_more(self, flight: Flight) -> None:
        self._deadlines.remove(flight, flight.seconds)
        if flight.grace is not None:
            flight.grace.cancel()
        if flight.cut:
            self._graces.remove(flight, self.grace_seconds)

    async def _cancelled(self, flight: Flight, attempt: Attempt) -> AnyOutcome:
        """
        Return the outcome of a send that was cancelled: by itself, by us, or with all the tasks of the program.

        Raises:
            asyncio.CancelledError: The last of the three.
        """
        if flight.cancelled_outside():
            said = await self._heard_out(flight, attempt)
            if said is not None:
                return said
        elif not flight.cut:
            return interrupted(attempt)
        task = flight.task
        if task is not None:
            task.uncancel()
        flight.unwritten = attempt.progress.written is False
        if flight.timed_out and flight.unwritten:
            return Deferred("not sent in time")
        return Uncertain(flight.cut_why())

    async def _heard_out(self, flight: Flight, attempt: Attempt) -> AnyOutcome | None:
        """
        Return the answer of a thread, which cannot be stopped: without it, its message would be sent again.

        ``None`` where we cut it off in the end.
        """
        rest = attempt.progress.rest
        self.lull.begin()
        if rest is None:
            raise asyncio.CancelledError
        while not rest.done() and not flight.cut:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((rest,))
        self.lull.begin()
        if not rest.done():
            return None
        return Uncertain("cancelled while sending") if rest.cancelled() else rest.result()

    def _write_off(self, flight: Flight) -> None:
        """Record what can be said of a send that was cut off and goes on, and wait for it no longer."""
        if flight.ended and flight.rest is None:
            return
        self._left.add(flight)
        if flight.ended:
            # In a thread, of which its channel keeps count; what was cut off is recorded.
            return
        flight.written_off = True
        try:
            # Even where nothing was written yet: it may be, for all we know.
            transition = self._decide(flight, Uncertain(f"{flight.cut_why()}, and its channel goes on with it"))
        except Exception as exc:  # noqa: BLE001 — a bug of ours, of which other sends' deadlines must not be the victim
            _log.error("writing off message %s failed inside the engine", flight.message.id, exc_info=exc)
            self._give_up(flight)
        else:
            self._settle(flight, transition)

    def _follow(self, flight: Flight, attempt: Attempt, channel: Channel, rest: asyncio.Future[AnyOutcome]) -> None:
        """Follow what goes on in a thread after it was cut off, up to its end."""
        flight.rest = rest
        self._graces.add(flight, self.grace_seconds)
        rest.add_done_callback(lambda done: self._on_rest_end(flight, attempt, channel, done))

    def _on_rest_end(
        self, flight: Flight, attempt: Attempt, channel: Channel, rest: asyncio.Future[AnyOutcome]
    ) -> None:
        self._graces.remove(flight, self.grace_seconds)
        self._left.on_rest_end(flight, rest, lambda outcome: outcome_of(outcome, attempt, channel))

    def _on_late_end(self, flight: Flight, transition: Transition | None) -> None:
        """Called when a send that was written off has ended after all."""
        self._left.remove(flight)
        if flight.freed:
            self._crew.on_occupied(flight.message.channel, -1)
            self._committer.want_claim()
        if transition is not None:
            self._left.record(flight, transition)
        self._pay(flight)

    def left(self) -> Counter[str]:
        """Return how many sends of each channel were written off and go on."""
        return self._left.count()

    def _owe(self, flight: Flight, error: BaseException) -> None:
        """Keep what is to end the program until the send is recorded, but not for long."""
        if flight.fatal is None and isinstance(error, FATAL):
            flight.fatal = error
            self._clock.call_later(_FATAL_SECONDS, self._pay, flight)

    def _pay(self, flight: Flight) -> None:
        error, flight.fatal = flight.fatal, None
        if error is not None:
            pass_on(error)

    def _settle(self, flight: Flight, transition: Transition) -> None:
        flight.over = True
        settlement = Settlement(
            message=flight.message,
            transition=transition,
            began_ms=flight.began_ms,
            ended_ms=self._clock.wall_ms() if flight.ended_ms is None else flight.ended_ms,
            keep_attempt=transition.degraded is not None or flight.message.channel in self.full_history,
        )
        self._committer.settle(settlement, self._on_recorded, flight)

    def _recorded(self, flight: Flight, settlement: Settlement, end: Settled | Exception) -> None:
        if isinstance(end, Exception):
            self._on_unrecorded(flight, end)
        elif end in CANCELLED_FOR:
            # Somebody asked to cancel meanwhile, and the platform does not have it: it ends here instead of retrying.
            self._settle(flight, lifecycle.cancelled(settlement.transition, CANCELLED_FOR[end]))
        else:
            # The slot first: whatever the telling does, the next message may go.
            self._free(flight)
            self._reporter.on_settled(settlement, end)

    def _on_unrecorded(self, flight: Flight, error: Exception) -> None:
        """Called when an attempt's end could not be recorded."""
        message, fraction = flight.message, self._entropy.fraction()
        if isinstance(error, StoreError | NotStarted) or flight.restated:
            self._free(flight)
            self._reporter.alarm("recording_failed", f"message {message.id}: {error}")
            return
        # The outcome is at fault, not the store: the attempt ends all the same, in words that can be stored.
        flight.restated = True
        self._reporter.alarm("recording_failed", f"message {message.id}: {error}")
        now_ms = self._clock.wall_ms()
        self._settle(flight, lifecycle.unrecorded(message, str(error), now_ms=now_ms, fraction=fraction))

    def _free(self, flight: Flight) -> None:
        seq = flight.message.seq
        if self.flights.get(seq) is flight:
            del self.flights[seq]
        if flight.recorded is not None and not flight.recorded.done() and not flight.recorded.get_loop().is_closed():
            flight.recorded.set_result(None)
        if not self.flights:
            self._empty.set()
        flight.freed = True
        if flight.written_off and not flight.ended:
            self._crew.on_occupied(flight.message.channel, 1)
        self._crew.on_slot_freed(flight.message)
        if flight.fatal is not None:
            self._pay(flight)

    def _time_out(self, flight: Flight) -> None:
        """Cut off a send that takes too long."""
        flight.timed_out = True
        self._cut(flight)

    def _cut(self, flight: Flight) -> bool:
        if not flight.sending or flight.task is None:
            return False
        # Only the send is cut off, never the recording of what came of it.
        flight.sending = False
        flight.cut = True
        self._graces.add(flight, self.grace_seconds)
        flight.task.cancel()
        return True

    def lose(self, flight: Flight) -> None:
        """Take note that a lease has run out, or is another worker's."""
        flight.lease_lost = True
        if flight.attempt is None or flight.attempt.progress.written is False:
            self._cut(flight)
        elif flight.grace is None and flight.sending:
            # The request has left: what was answered while we stood still is recorded late (ST6), not thrown away.
            flight.grace = Deadline(functools.partial(self._cut, flight), clock=self._clock, grace=SEND_GRACE)
            flight.grace.come_late()

    def cut_off(self) -> int:
        """
        Stop every send that has not ended; return how many, with those that were written off before.

        What is not begun is given back.
        """
        count = 0
        for flight in self.flights.values():
            flight.stopped = True
            count += self._cut(flight)
            if flight.began_ms is None and not flight.over:
                self._give_back(flight)
        return count + self._left.cut_off()

    async def idle(self) -> None:
        """Wait until nothing is being sent or settled."""
        if self.flights:
            await self._empty.wait()

    def holds(self, message: Leased) -> bool:
        """Whether this is being sent here, under the same lease."""
        flight = self.flights.get(message.seq)
        return flight is not None and flight.message.lease == message.lease
