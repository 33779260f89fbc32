"""
Turns what was committed into events, log lines, counts, and the end of a caller's wait.

Everything here happens after the commit that it reports, and after every caller that waits for it got an answer. What a
message says never gets here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter, deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.message import Draft, Leased, MessageView, State, decode_content
from pillarbox.domain.transition import MAYBE_ARRIVED, ErrorClass, Reason, Transition
from pillarbox.events import events
from pillarbox.events.log_lines import Lines, Recipients
from pillarbox.events.troubles import Troubles
from pillarbox.queue_clock import QueueClock
from pillarbox.store.base import Ended, Enqueued, Settled, Settlement
from pillarbox.user_code import Log, pass_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pillarbox.clock import Clock
    from pillarbox.events.bus import Bus

_log = Log("pillarbox")
_ALARMS_LOGGED: Final = logging.WARNING
_SAME_PAUSE_MS: Final = 1_000
_ASKED_MAX: Final = 10_000


class _Quiet(AbstractContextManager[None]):
    """A class, because every batch has one: a generator costs more."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def __enter__(self) -> None:
        self._reporter.begin_quiet()

    def __exit__(self, *_: object) -> None:
        self._reporter.end_quiet()


class Reporter:
    """
    Reports to subscribers, the log and those who wait.

    Whatever subscribers, handlers and filters of the log raise stops here (contract EN8).

    ``counts`` has one counter a word: sent (the channel was called), delivered, retried, released, held, dead,
    exhausted, expired, cancelled, late, stale, reaped (its worker was lost), log_failed, telling_failed, and
    ``alarm:<what>``. ``troubles`` is what is wrong at this moment.
    """

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.lines = Lines(Recipients(b""))
        self.troubles = Troubles()
        self._bus = bus
        self._clock = QueueClock.of(clock)
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._told_until: dict[tuple[str, str, bool], int] = {}
        self.counts: Counter[str] = Counter()
        self._untold: deque[Callable[[], object]] = deque()
        self._asked: dict[str, str] = {}
        self._quiet = 0
        self._wanted: dict[type[events.BusEvent], bool] = {}
        self._delivery_wanted: bool | None = None
        self._telling = False
        self._alarming = False

    def wait_for(self, message_id: str) -> asyncio.Future[None]:
        """Return a future that ends when this process sees the message settle for good, or be held."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(message_id, []).append(future)
        future.add_done_callback(lambda done: self._forget(message_id, done))
        return future

    def _forget(self, message_id: str, future: asyncio.Future[None]) -> None:
        futures = self._waiting.get(message_id)
        if futures and future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[message_id]

    def wake(self, message_id: str) -> None:
        """End the waits for a message: it is to be read again."""
        for future in self._waiting.pop(message_id, ()):
            # Who waited on a loop that is closed is gone with it.
            if not future.done() and not future.get_loop().is_closed():
                future.set_result(None)

    def on_asked(self, message_id: str, reason: str | None) -> None:
        """Remember why a message is to be cancelled that is being sent; its end is reported with that reason."""
        if reason:
            self._asked[message_id] = reason
        # Some end in other processes, and are never told of here.
        while len(self._asked) > _ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    def _wants(self, kind: type[events.BusEvent]) -> bool:
        """Whether a subscriber or the log wants *kind*: no event needs to be made otherwise."""
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = self._bus.wants(kind) or self.lines.wants(kind)
            if self._quiet:
                # Nobody is told of anything before its end, so nobody subscribes.
                self._wanted[kind] = wanted
        return wanted

    def quiet(self) -> AbstractContextManager[None]:
        """Report nothing before the end of this context: what was committed comes first, with all its answers."""
        return _Quiet(self)

    def begin_quiet(self) -> None:
        """Called when a context of `quiet` begins."""
        self._quiet += 1

    def end_quiet(self) -> None:
        """Called when it ends."""
        self._quiet -= 1
        self._wanted.clear()
        self._delivery_wanted = None
        self._tell_all()

    def publish(self, event: events.BusEvent) -> None:
        """
        Report to the log and every subscriber, now or when it is no longer `quiet`. Raises nothing of theirs.

        They go by the wall clock, not by the queue's time.
        """
        self._later(functools.partial(self._tell_event, shifted(event, self._clock.known_ahead_ms)))

    def _later(self, telling: Callable[[], object]) -> None:
        self._untold.append(telling)
        self._tell_all()

    def _tell_all(self) -> None:
        """Report what is waiting, in its order. Events that a listener itself causes come after it."""
        if self._quiet or self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                telling = self._untold.popleft()
                try:
                    telling()
                except BaseException as exc:  # noqa: BLE001 — whoever waits for the rest is not to blame
                    self.counts["telling_failed"] += 1
                    _log.error("telling of what happened failed", exc_info=exc)
                    pass_on(exc)
        finally:
            self._telling = False

    def _tell_event(self, event: events.BusEvent) -> None:
        if not self.lines.write(event):
            self._log_failed()
        if self._bus.wants(type(event)):
            self._bus.publish(event)

    def _log_failed(self) -> None:
        """Report once that the log fails: once for each line would be as many alarms as messages."""
        self.counts["log_failed"] += 1
        if self.counts["log_failed"] == 1:
            self.alarm("log_failed", "a handler or filter of the log raised: lines are missing")

    def on_accepted(self, drafts: Sequence[Draft], enqueued: Sequence[Enqueued]) -> None:
        """Called when a group of messages was committed; those that a key found were stored before."""
        wanted = self._wants(events.MessageEnqueued)
        for draft, done in zip(drafts, enqueued, strict=True):
            if done.created and wanted:
                self.publish(events.MessageEnqueued(**of_draft(draft, draft.created_ms)))
            if done.superseded:
                self.on_ended(done.superseded)

    def on_settled(self, settlement: Settlement, settled: Settled) -> None:
        """Called when an attempt's end was recorded, or found stale."""
        message, transition = settlement.message, settlement.transition
        if settlement.began_ms is not None:
            self.counts["sent"] += 1
        if transition.to is State.DELIVERED and settled is Settled.APPLIED and not self._hears_of_delivery():
            # What nearly always comes, where nobody wants to know.
            self.counts["delivered"] += 1
            if self._waiting:
                self.wake(message.id)
            return
        if settled is Settled.STALE:
            self.counts["stale"] += 1
            self._publish(events.LeaseLost, settlement, outcome=str(transition.to))
            return
        if settled is Settled.LATE:
            self.counts["late"] += 1
        self._count(transition)
        self._tell(settlement, late=settled is Settled.LATE)
        if transition.pause_ms is not None:
            self._paused(message, transition)
        if transition.to is not State.SCHEDULED or settled is Settled.LATE:
            self.wake(message.id)

    def _hears_of_delivery(self) -> bool:
        if self._asked:
            return True
        wanted = self._delivery_wanted
        if wanted is None:
            wanted = self._wants(events.MessageDelivered) or self._wants(events.PartDelivered)
            if self._quiet:
                self._delivery_wanted = wanted
        return wanted

    def _count(self, transition: Transition) -> None:
        match transition.to:
            case State.SCHEDULED:
                self.counts["retried" if transition.charged else "released"] += 1
            case State.DEAD if transition.reason in (Reason.RETRIES_EXHAUSTED, Reason.KILLS_WORKERS):
                self.counts["exhausted"] += 1
            case _:
                self.counts[str(transition.to)] += 1
        if transition.error_class is ErrorClass.UNCLASSIFIED:
            self.counts["unclassified"] += 1
        if transition.error_class in MAYBE_ARRIVED:
            self.counts["uncertain"] += 1
        if transition.error_class is ErrorClass.WORKER_LOST:
            self.counts["reaped"] += 1

    def _tell(self, settlement: Settlement, *, late: bool) -> None:
        message, transition = settlement.message, settlement.transition
        began = settlement.began_ms
        send_ms = None if began is None else settlement.ended_ms - began
        if transition.part is State.DELIVERED:
            part, receipt = message.part_next, transition.receipt
            chars = self._chars(events.PartDelivered, message)
            told: dict[str, object] = {"send_ms": send_ms, "chars": chars, "degraded": transition.degraded}
            self._publish(events.PartDelivered, settlement, part=part, receipt=receipt, **told)
        duration_ms = settlement.ended_ms - message.created_ms
        said = self._asked.pop(message.id, None) if transition.to.terminal else None
        match transition.to:
            case State.DELIVERED:
                fields: dict[str, object] = {"duration_ms": duration_ms, "send_ms": send_ms, "late": late}
                fields |= {"chars": self._chars(events.MessageDelivered, message), "degraded": transition.degraded}
                self._publish(events.MessageDelivered, settlement, receipt=transition.receipt, **fields)
            case State.SCHEDULED if transition.advance:
                # The next part goes out at once. What a rejected one makes of the message is told at its end.
                pass
            case State.SCHEDULED:
                self._publish(
                    events.RetryScheduled,
                    settlement,
                    # It may be due while its channel rests.
                    due_ms=max(transition.due_ms or 0, transition.pause_ms or 0),
                    error=transition.error or "",
                    error_class=str(transition.error_class),
                    charged=bool(transition.charged),
                    sent=transition.error_class is not ErrorClass.RELEASED,
                )
            case State.HELD:
                fields = {"reason": str(transition.reason), "error": transition.error}
                self._publish(events.MessageHeld, settlement, error_class=transition.error_class, **fields)
            case State.DEAD:
                fields = {"reason": str(transition.reason), "error": transition.error, "duration_ms": duration_ms}
                self._publish(events.MessageDied, settlement, error_class=transition.error_class, **fields)
            case State.EXPIRED:
                self._publish(events.MessageExpired, settlement, duration_ms=duration_ms)
            case State.CANCELLED:
                said = transition.error if transition.reason is Reason.WITHDRAWN else said
                fields = {"reason": transition.reason, "said": said, "duration_ms": duration_ms}
                self._publish(events.MessageCancelled, settlement, **fields)

    def _chars(self, kind: type[events.MessageEvent], message: Leased) -> int | None:
        """Count the characters that went out, where a subscriber may want to know."""
        if not self._bus.wants(kind):
            return None
        try:
            text = decode_content(message.content).text
        except msgspec.MsgspecError:
            return None
        return None if text is None else len(text)

    def _publish(self, kind: type[events.MessageEvent], settlement: Settlement, **fields: Any) -> None:  # noqa: ANN401 — each kind's own
        if self._wants(kind):
            self.publish(kind(**_of_settlement(settlement, self._clock.wall_ms()), **fields))

    def _paused(self, message: Leased, transition: Transition) -> None:
        """Report a pause once: sends that were under way when the channel went away all say the same."""
        until_ms = transition.pause_ms or None
        now_ms = self._clock.wall_ms()
        pause, end_ms = (message.tenant, message.channel, until_ms is None), until_ms or now_ms
        if end_ms <= self._told_until.get(pause, 0) + _SAME_PAUSE_MS:
            return
        self._told_until[pause] = end_ms
        error = self.lines.recipients.masked(transition.error, message.recipient)
        how_long = "until it is resumed" if until_ms is None else f"for {max(0, until_ms - now_ms) / 1000:.3g}s"
        self._later(functools.partial(_log.warning, "channel %s paused %s: %s", message.channel, how_long, error))
        self.publish(
            events.ChannelPaused(
                at_ms=now_ms,
                channel=message.channel,
                tenant=message.tenant,
                until_ms=until_ms,
                reason=transition.error,
            )
        )

    def on_ended(self, ended: Iterable[Ended]) -> None:
        """Report messages that ended without an attempt: expired, superseded, unreadable, left by their process."""
        for item in ended:
            self.counts[str(item.state)] += 1
            self.wake(item.id)
            now_ms = self._clock.wall_ms()
            about = _of_ended(item, now_ms) | {"duration_ms": now_ms - item.created_ms}
            said = self._asked.pop(item.id, None)
            if item.state is State.EXPIRED:
                self.publish(events.MessageExpired(**about))
            elif item.state is State.CANCELLED:
                self.publish(events.MessageCancelled(**about, reason=item.reason, said=said))
            else:
                self.publish(events.MessageDied(**about, reason=str(item.reason), error=None, error_class=None))

    def on_acted(self, view: MessageView, *, said: str | None = None) -> None:
        """
        Called when a person or the reaper ended a message, or decided it; *view* is its state now.

        *said*: the reason that was given.
        """
        about = _of_view(view, self._clock.wall_ms())
        duration_ms = (view.completed_ms or view.created_ms) - view.created_ms
        match view.state:
            case State.DELIVERED:
                event: events.MessageEvent = events.MessageDelivered(
                    **about, receipt=view.receipt, duration_ms=duration_ms, send_ms=None
                )
            case State.DEAD:
                error_class = view.error_class
                about |= {"reason": str(view.terminal_reason), "error": view.last_error, "duration_ms": duration_ms}
                event = events.MessageDied(**about, error_class=error_class)
            case State.CANCELLED:
                about |= {"reason": view.terminal_reason, "said": said, "duration_ms": duration_ms}
                event = events.MessageCancelled(**about)
            case _:
                return
        self.counts[str(view.state)] += 1
        self.wake(view.id)
        self.publish(event)

    def alarm(self, what: str, detail: str) -> None:
        """
        Report something that a person should look at: it is counted, logged and published.

        One that comes of the telling of another is only counted, so that it cannot go on for ever.
        """
        self.counts[f"alarm:{what}"] += 1
        if not self._alarming:
            alarm = events.Alarm(at_ms=self._clock.machine.wall_ms(), what=what, detail=detail)
            self._later(functools.partial(self._tell_alarm, alarm))

    def _tell_alarm(self, alarm: events.Alarm) -> None:
        self._alarming = True
        try:
            if not _log.log(_ALARMS_LOGGED, "%s: %s", alarm.what, alarm.detail):
                self.counts["log_failed"] += 1
            self._bus.publish(alarm)
        finally:
            self._alarming = False


def of_draft(draft: Draft, at_ms: int) -> dict[str, Any]:
    """Return what every event says of a message that is being accepted."""
    admission = draft.admission
    return {
        "at_ms": at_ms,
        "id": draft.id,
        "channel": draft.channel,
        "to": draft.recipient if admission is None else admission.recipient,
        "tenant": draft.tenant,
        "origin": draft.origin,
        "correlation_id": draft.correlation_id,
        "part_count": 1 if admission is None else max(1, len(admission.parts)),
    }


def _of_settlement(settlement: Settlement, at_ms: int) -> dict[str, Any]:
    message, transition = settlement.message, settlement.transition
    before = message.part_next - message.parts_dead
    return {
        "at_ms": at_ms,
        "id": message.id,
        "channel": message.channel,
        "to": message.recipient,
        "tenant": message.tenant,
        "origin": message.origin,
        "correlation_id": message.correlation_id,
        "attempt": message.claims,
        "part_count": message.part_count,
        "parts_delivered": before + (State.DELIVERED in {transition.to, transition.part}),
    }


def _of_ended(item: Ended, at_ms: int) -> dict[str, Any]:
    return {
        "at_ms": at_ms,
        "id": item.id,
        "channel": item.channel,
        "to": item.recipient,
        "tenant": item.tenant,
        "origin": item.origin,
        "correlation_id": item.correlation_id,
        "attempt": item.claims,
        "part_count": item.part_count,
        "parts_delivered": item.parts_delivered,
    }


def _of_view(view: MessageView, at_ms: int) -> dict[str, Any]:
    parts = sum(part.state is State.DELIVERED for part in view.parts)
    return {
        "at_ms": at_ms,
        "id": view.id,
        "channel": view.channel,
        "to": view.recipient,
        "tenant": view.tenant,
        "origin": view.origin,
        "correlation_id": view.correlation_id,
        "attempt": view.claims,
        "part_count": view.part_count,
        "parts_delivered": parts if view.parts else int(view.state is State.DELIVERED),
    }
