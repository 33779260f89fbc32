"""
Sends without a queue, for a disabled one (contract EN12): nothing is stored, tried again, or in any order.

The outcome decides as it does in the queue, with one attempt; what would be tried again there ends here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pillarbox.abort import AbortSignal
from pillarbox.channels.base import Attempt, Channel, Seams
from pillarbox.clock import Clock
from pillarbox.domain.envelope import travelling
from pillarbox.domain.ids import LeaseId
from pillarbox.domain.lifecycle import decide, withdrawn
from pillarbox.domain.message import Draft, Leased, MessageView, Part, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Outcome, Uncertain
from pillarbox.domain.retry import UncertainAction
from pillarbox.domain.transition import MAYBE_ARRIVED, ErrorClass, Reason, Transition
from pillarbox.engine.attempts import attempt_of, interrupted, outcome_of, raised, with_files
from pillarbox.engine.calls import GRACE_SECONDS, Calls
from pillarbox.engine.hooks import Hooks, Withdraw
from pillarbox.engine.resources import close_channel, start_channel
from pillarbox.entropy import Entropy
from pillarbox.errors import InvalidMessage
from pillarbox.events.reporter import Reporter
from pillarbox.queue_clock import QueueClock
from pillarbox.store.base import Settled, Settlement
from pillarbox.user_code import channel_at_work, pass_on

_NO_LEASE: Final = LeaseId(b"")
_REFUSED: Final = {"key": "key", "not_before_ms": "at", "collapse_key": "collapse", "mirror": "mirror"}
# Each waits, in a row, for somebody who decides or asks; the others end with the send.
_WAITING_POLICIES: Final = frozenset({UncertainAction.HOLD, UncertainAction.RECONCILE})


def refuse_what_needs_a_queue(draft: Draft, *, lane_said: bool, uncertain_said: bool) -> None:
    """Refuse what only a queue can keep. Raises InvalidMessage naming the field as `send` calls it."""
    fields = [said for field, said in _REFUSED.items() if getattr(draft, field) is not None]
    fields += ["lane"] if lane_said else []
    fields += ["uncertain"] if uncertain_said and draft.policy.uncertain in _WAITING_POLICIES else []
    if fields:
        raise InvalidMessage(fields[0], "needs the queue, which is disabled (enabled = false)")


class Direct:
    """Sends through channels at once, for those who wait for it."""

    def __init__(
        self, channels: Mapping[str, Channel], reporter: Reporter, *, clock: Clock, entropy: Entropy, hooks: Hooks
    ) -> None:
        self._channels = channels
        self._reporter = reporter
        self._clock = clock
        self._entropy = entropy
        self._hooks = hooks
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._calls = Calls(clock)
        self.grace_seconds = GRACE_SECONDS

    def left(self) -> Counter[str]:
        """Return how many sends of each channel go on though they were cut off."""
        return self._calls.left()

    async def start(self) -> None:
        """Open the channels."""
        seams = Seams(clock=QueueClock.of(self._clock).machine, entropy=self._entropy)
        for name, channel in self._channels.items():
            await start_channel(name, channel, seams)
            self._slots[name] = asyncio.Semaphore(channel.concurrency)

    async def stop(self) -> None:
        """Close them."""
        for name, channel in self._channels.items():
            await close_channel(name, channel, self._clock)

    async def deliver(self, draft: Draft, abort: AbortSignal | None = None) -> MessageView:
        """Send a message, part by part; return it as a queue would show it afterwards."""
        channel = self._channels[draft.channel]
        contents = () if draft.admission is None else draft.admission.parts
        pieces = contents if len(contents) > 1 else (draft.content,)
        async with self._slots[draft.channel]:
            message = _leased(draft, part_count=len(pieces))
            parts, end = await self._send_all(message, pieces, channel, abort, _files(draft))
        rest = range(len(parts), len(pieces))
        parts += [Part(number=number, state=State.CANCELLED) for number in rest]
        return _view(draft, end, self._clock.wall_ms(), tuple(parts) if len(pieces) > 1 else ())

    async def _send_all(
        self,
        message: Leased,
        pieces: Sequence[bytes],
        channel: Channel,
        abort: AbortSignal | None,
        files: Mapping[str, bytes],
    ) -> tuple[list[Part], Transition]:
        """Send one part after the other until the message has ended; return what became of those it came to."""
        parts: list[Part] = []
        while True:
            number = len(parts)
            message = msgspec.structs.replace(
                message,
                part_next=number,
                content=pieces[number],
                parts_dead=sum(part.state is State.DEAD for part in parts),
                receipts=tuple(part.receipt for part in parts),
            )
            if abort is not None and abort.aborted:
                end = Transition.cancel(Reason.REQUESTED, error=abort.reason)
                self._reporter.on_asked(message.id, abort.reason)
                self._tell(message, end, None)
                return parts, end
            end = await self._send(message, channel, files)
            state = end.part or end.to
            reason = None if state is State.DELIVERED else end.part_error or end.error
            parts.append(Part(number=number, state=state, receipt=end.receipt, reason=reason))
            if end.to.terminal:
                return parts, end

    async def _send(self, message: Leased, channel: Channel, files: Mapping[str, bytes]) -> Transition:
        attempt = attempt_of(message, channel)
        attempt = with_files(attempt, files) if attempt.files else attempt
        objection = await self._hooks.still_wanted(attempt) if self._hooks.any_revalidate else None
        began_ms = None
        if objection is None:
            began_ms = self._clock.wall_ms()
            transition = self._ended(message, await self._outcome(channel, attempt))
        elif isinstance(objection, Withdraw):
            transition = withdrawn(objection.reason)
        else:
            transition = self._ended(message, Deferred(objection.reason or "postponed"))
        self._tell(message, transition, began_ms)
        return transition

    async def _outcome(self, channel: Channel, attempt: Attempt) -> AnyOutcome:
        before = channel_at_work.set(attempt.channel)
        try:
            ended = await self._calls.run(
                attempt.channel,
                channel.send,
                attempt,
                seconds=channel.send_timeout_seconds,
                grace_seconds=self.grace_seconds,
            )
        finally:
            channel_at_work.reset(before)
        error = ended.error
        if ended.left:
            self._reporter.alarm(
                "slot_written_off",
                f"channel {attempt.channel}: the send of message {attempt.id} was cut off and goes on",
            )
        if ended.left or (ended.overran and isinstance(error, asyncio.CancelledError)):
            unwritten = attempt.progress.written is False and not ended.left
            return Deferred("not sent in time") if unwritten else Uncertain("no answer in time")
        if isinstance(error, Outcome):
            return outcome_of(error, attempt, channel)
        if isinstance(error, asyncio.CancelledError):
            return interrupted(attempt)
        if error is not None:
            pass_on(error)
            return raised(attempt, error)
        return outcome_of(ended.value, attempt, channel)

    def _tell(self, message: Leased, transition: Transition, began_ms: int | None) -> None:
        ended = Settlement(message=message, transition=transition, began_ms=began_ms, ended_ms=self._clock.wall_ms())
        self._reporter.on_settled(ended, Settled.APPLIED)

    def _ended(self, message: Leased, outcome: AnyOutcome) -> Transition:
        transition = decide(message, outcome, now_ms=self._clock.wall_ms(), fraction=0.0)
        if transition.to.terminal or transition.advance:
            return transition
        # Nobody would try it again, and nobody could decide about it later.
        uncertain = transition.error_class in MAYBE_ARRIVED
        reason = Reason.UNCERTAIN if uncertain else Reason.RETRIES_EXHAUSTED
        error_class = transition.error_class or ErrorClass.TRANSIENT
        return Transition.bury(reason, error_class=error_class, error=transition.error or "not delivered")


def _leased(draft: Draft, *, part_count: int) -> Leased:
    """Return a message that is stored nowhere as a claim would."""
    travels = travelling(draft) | {"recipient": _recipient(draft), "lane": None, "max_attempts": 1}
    return Leased(
        **travels,
        lease=_NO_LEASE,
        due_ms=draft.due_ms,
        expires_ms=draft.expires_ms,
        prepared=True,
        part_count=part_count,
        claimed_ms=draft.created_ms,
        content_size=draft.size,
        content=draft.content,
    )


def _files(draft: Draft) -> dict[str, bytes]:
    return {file.digest: file.data for file in draft.files if file.digest is not None and file.data is not None}


def _recipient(draft: Draft) -> str:
    return draft.recipient if draft.admission is None else draft.admission.recipient


def _view(draft: Draft, end: Transition, now_ms: int, parts: tuple[Part, ...]) -> MessageView:
    message = _leased(draft, part_count=max(1, len(parts)))
    return MessageView(
        **travelling(message),
        seq=0,
        state=end.to,
        waiting=False,
        not_before_ms=None,
        due_ms=draft.due_ms,
        expires_ms=draft.expires_ms,
        claimed_ms=draft.created_ms,
        completed_ms=now_ms,
        claims=1,
        charged=end.charged,
        lost=0,
        receipt=end.receipt,
        also_arrived_ms=None,
        extra_copies=0,
        terminal_reason=end.reason,
        error_class=end.error_class,
        last_error=end.error,
        key=None,
        collapse_key=None,
        replay_of=None,
        group_id=draft.group_id,
        cancel_requested_ms=None,
        prepared=True,
        part_count=message.part_count,
        part_next=len(parts),
        worker=None,
        content_size=draft.size,
        content=draft.content,
        parts_delivered=sum(part.state is State.DELIVERED for part in parts),
        maybe_arrived=end.error_class in MAYBE_ARRIVED,
        parts=parts,
    )
