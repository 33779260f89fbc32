"""
Turns what was committed into events, log lines, counts, and the end of somebody's wait.

Everything here happens after the commit it tells of. Recipients and texts never get here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pillarbox.domain.lifecycle import ErrorClass, Reason, Transition
from pillarbox.domain.message import Draft, Leased, MessageView, State
from pillarbox.events import (
    Alarm,
    Bus,
    BusEvent,
    ChannelPaused,
    LeaseLost,
    MessageCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    MessageEvent,
    MessageExpired,
    MessageHeld,
    RetryScheduled,
)
from pillarbox.store.base import Ended, Enqueued, Settled, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pillarbox.clock import Clock

_log = logging.getLogger("pillarbox")
_ALARMS_LOGGED: Final = logging.WARNING


class Reporter:
    """
    Tells subscribers, the log and those who wait.

    ``counts`` has one counter a word: delivered, retried, released, held, dead, exhausted, expired, cancelled, late,
    stale, and ``alarm:<what>``.
    """

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self.counts: Counter[str] = Counter()
        self.changed = asyncio.Event()

    def wait_for(self, message_id: str) -> asyncio.Future[None]:
        """Give a future that ends when this process sees the message settle for good, or be held."""
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

    def _wake(self, message_id: str) -> None:
        for future in self._waiting.pop(message_id, ()):
            if not future.done():
                future.set_result(None)

    def accepted(self, drafts: Sequence[Draft], enqueued: Sequence[Enqueued]) -> None:
        """A group of messages was committed; those that a key found had been before."""
        wanted = self._bus.wants(MessageEnqueued)
        if not wanted and not _log.isEnabledFor(logging.DEBUG):
            return
        for draft, done in zip(drafts, enqueued, strict=True):
            if not done.created:
                continue
            _log.debug("Message enqueued for delivery", extra={"entryId": draft.id, "channelType": draft.channel})
            if wanted:
                self._bus.publish(
                    MessageEnqueued(
                        at_ms=draft.created_ms,
                        id=draft.id,
                        channel=draft.channel,
                        tenant=draft.tenant,
                        origin=draft.origin,
                        correlation_id=draft.correlation_id,
                    )
                )

    def settled(self, settlement: Settlement, settled: Settled) -> None:
        """An attempt's end was recorded, or found stale."""
        message, transition = settlement.message, settlement.transition
        if settled is Settled.STALE:
            self.counts["stale"] += 1
            self._publish(LeaseLost, message, outcome=str(transition.to))
            return
        if settled is Settled.LATE:
            self.counts["late"] += 1
        self._count(transition)
        self._tell(settlement, late=settled is Settled.LATE)
        if transition.pause_ms is not None:
            self._paused(message, transition)
        if transition.to is not State.SCHEDULED or settled is Settled.LATE:
            self._wake(message.id)
        self.changed.set()

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
        if transition.error_class in (ErrorClass.UNCERTAIN, ErrorClass.WORKER_LOST):
            self.counts["uncertain"] += 1

    def _tell(self, settlement: Settlement, *, late: bool) -> None:
        message, transition = settlement.message, settlement.transition
        match transition.to:
            case State.DELIVERED:
                began = settlement.began_ms
                self._publish(
                    MessageDelivered,
                    message,
                    receipt=transition.receipt,
                    duration_ms=settlement.ended_ms - message.created_ms,
                    send_ms=None if began is None else settlement.ended_ms - began,
                    late=late,
                )
            case State.SCHEDULED:
                self._publish(
                    RetryScheduled,
                    message,
                    due_ms=transition.due_ms or 0,
                    error=transition.error or "",
                    error_class=str(transition.error_class),
                    charged=bool(transition.charged),
                )
            case State.HELD:
                self._publish(MessageHeld, message, reason=str(transition.reason), error=transition.error)
            case State.DEAD:
                self._publish(
                    MessageDied,
                    message,
                    reason=str(transition.reason),
                    error=transition.error,
                    error_class=transition.error_class,
                )
            case State.EXPIRED:
                self._publish(MessageExpired, message)
            case State.CANCELLED:
                self._publish(MessageCancelled, message, reason=transition.reason)

    def _publish(self, kind: type[MessageEvent], message: Leased, **fields: object) -> None:
        if self._bus.wants(kind):
            self._bus.publish(
                kind(
                    at_ms=self._clock.wall_ms(),
                    id=message.id,
                    channel=message.channel,
                    tenant=message.tenant,
                    origin=message.origin,
                    correlation_id=message.correlation_id,
                    attempt=message.claims,
                    **fields,
                )
            )

    def _paused(self, message: Leased, transition: Transition) -> None:
        until_ms = transition.pause_ms or None
        _log.warning("channel %s paused: %s", message.channel, transition.error)
        if self._bus.wants(ChannelPaused):
            self._bus.publish(
                ChannelPaused(
                    at_ms=self._clock.wall_ms(),
                    channel=message.channel,
                    tenant=message.tenant,
                    until_ms=until_ms,
                    reason=transition.error,
                )
            )

    def ended(self, ended: Iterable[Ended]) -> None:
        """Messages that ended without an attempt: expired, or unreadable."""
        for item in ended:
            self.counts[str(item.state)] += 1
            self._wake(item.id)
            kind = MessageExpired if item.state is State.EXPIRED else MessageDied
            if self._bus.wants(kind):
                fields: dict[str, object] = (
                    {} if kind is MessageExpired else {"reason": item.reason, "error": None, "error_class": None}
                )
                self._bus.publish(
                    kind(
                        at_ms=self._clock.wall_ms(),
                        id=item.id,
                        channel=item.channel,
                        origin=item.origin,
                        attempt=item.charged,
                        **fields,  # type: ignore[arg-type]
                    )
                )
            self.changed.set()

    def buried(self, message_id: str, view: MessageView | None) -> None:
        """A held message was given up; *view* is what is left of it."""
        self.counts[str(State.DEAD)] += 1
        self._wake(message_id)
        if view is not None and self._bus.wants(MessageDied):
            self._bus.publish(
                MessageDied(
                    **_about(view, self._clock.wall_ms()),
                    reason=str(view.terminal_reason),
                    error=view.last_error,
                    error_class=view.error_class,
                )
            )

    def cancelled(self, message_id: str, view: MessageView | None) -> None:
        """A person withdrew a message that was not being sent; *view* is what is left of it."""
        self.counts[str(State.CANCELLED)] += 1
        self._wake(message_id)
        if view is not None and self._bus.wants(MessageCancelled):
            about = _about(view, self._clock.wall_ms())
            self._bus.publish(MessageCancelled(**about, reason=view.terminal_reason))

    def publish(self, event: BusEvent) -> None:
        """Hand on an event that is about no single message."""
        if self._bus.wants(type(event)):
            self._bus.publish(event)

    def alarm(self, what: str, detail: str) -> None:
        """Something a person should look at: counted, logged, told."""
        self.counts[f"alarm:{what}"] += 1
        _log.log(_ALARMS_LOGGED, "%s: %s", what, detail)
        if self._bus.wants(Alarm):
            self._bus.publish(Alarm(at_ms=self._clock.wall_ms(), what=what, detail=detail))


def _about(view: MessageView, at_ms: int) -> dict[str, Any]:
    return {
        "at_ms": at_ms,
        "id": view.id,
        "channel": view.channel,
        "tenant": view.tenant,
        "origin": view.origin,
        "correlation_id": view.correlation_id,
        "attempt": view.claims,
    }
