"""From a leased message to the attempt that its channel is given: its admission, where it has none yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from pillarbox.channels.base import Attempt, Channel, admitted
from pillarbox.domain import lifecycle
from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Admission, Content, Leased
from pillarbox.domain.outcome import Deferred
from pillarbox.domain.transition import Transition
from pillarbox.engine.attempts import attempt_of, log_failure, with_files
from pillarbox.engine.committer import Committer
from pillarbox.engine.flight import Flight
from pillarbox.engine.references import Find, References, refers
from pillarbox.entropy import Entropy
from pillarbox.errors import InvalidMessage, InvalidOutcome, StoreError
from pillarbox.queue_clock import QueueClock
from pillarbox.store.base import AdmissionWrite

ReadFiles = Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]]
"""Reads files by their digests; what is not stored is missing."""
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, IndexError)


class Preparing:
    """
    Makes attempts of messages.

    Args:
        find: Reads what a message refers to.
        read_files: Reads files by their digests.
    """

    def __init__(
        self, committer: Committer, find: Find, read_files: ReadFiles, *, clock: QueueClock, entropy: Entropy
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._entropy = entropy
        self._references = References(find, clock=clock)
        self._read_files = read_files

    def attempt(self, message: Leased, channel: Channel) -> Attempt | Transition:
        """Return what is to be sent of an admitted message, or its move where it must not be, or cannot be read."""
        if message.suppressed is not None:
            return lifecycle.suppressed(message, message.suppressed)
        try:
            return shifted(attempt_of(message, channel), self._clock.known_ahead_ms)
        except _UNREADABLE as exc:
            return _unreadable(message, exc)

    async def completed(self, message: Leased, attempt: Attempt) -> Attempt | Transition:
        """Return the attempt with the platform's ids in the place of ours and with its files, or the message's move."""
        try:
            found = await self._references.resolved(message, attempt) if refers(attempt) else attempt
            return await self._with_files(message, found) if isinstance(found, Attempt) and found.files else found
        except StoreError as exc:
            return lifecycle.release_unsent(message, str(exc), now_ms=self._clock.wall_ms())

    async def _with_files(self, message: Leased, attempt: Attempt) -> Attempt | Transition:
        wanted = [file.digest for file in attempt.files if file.digest is not None]
        found = await self._read_files(wanted) if wanted else {}
        missing = [file.name for file in attempt.files if file.digest is not None and file.digest not in found]
        if missing:
            return lifecycle.unreadable(message, f"file {missing[0]} is not stored any more")
        return with_files(attempt, found)

    async def admitted(
        self, flight: Flight, channel: Channel, *, fatal: Callable[[BaseException], None]
    ) -> Attempt | Transition | None:
        """
        Admit a message; return what is to be sent, or its move where nothing is; ``None`` where the lease is gone.

        Args:
            fatal: Called with what the channel raised to end the program.
        """
        message = flight.message
        try:
            content = attempt_of(message, channel).content
            if message.op is Op.DELETE:
                admission: Admission | Transition = Admission(recipient=message.recipient)
            else:
                admission = self._admission(message, channel, content, fatal)
            if message.op is not Op.SEND and isinstance(admission, Admission):
                admission = await self._references.admission(message, channel, len(admission.parts))
            if not isinstance(admission, Admission):
                return admission
            # Committed before the first send (EN16, PA2). What was split goes on as its first part.
            if not await self._committer.admit(AdmissionWrite(message=message, admission=admission)):
                return None
        except InvalidMessage as exc:
            # The store cannot hold what the adapter made of it.
            return lifecycle.refused(message, str(exc))
        except StoreError as exc:
            return lifecycle.release_unsent(message, str(exc), now_ms=self._clock.wall_ms())
        except _UNREADABLE as exc:
            return _unreadable(message, exc)
        flight.message = _admitted(message, admission)
        return self.attempt(flight.message, channel)

    def _admission(
        self, message: Leased, channel: Channel, content: Content, fatal: Callable[[BaseException], None]
    ) -> Admission | Transition:
        """Return the channel's admission of a message that has none yet, or the message's move."""
        try:
            return admitted(
                channel,
                to=message.recipient,
                content=content,
                thread=message.thread,
                policy=message.policy,
                op=message.op,
            )
        except InvalidMessage as exc:
            return lifecycle.refused(message, str(exc))
        except BaseException as exc:  # noqa: BLE001 — whatever an adapter raises, the message is still ours
            fatal(exc)
            log_failure(exc, "channel %s failed to admit message %s", message.channel, message.id)
            what = str(exc) if isinstance(exc, InvalidOutcome) else type(exc).__name__
            outcome = Deferred(f"the adapter failed to admit it: {what}", unclassified=True)
            now_ms = self._clock.wall_ms()
            return lifecycle.decide(message, outcome, now_ms=now_ms, fraction=self._entropy.fraction())


def _unreadable(message: Leased, error: Exception) -> Transition:
    return lifecycle.unreadable(message, f"content cannot be read: {error}")


def _admitted(message: Leased, admission: Admission) -> Leased:
    """Return the message as the next claim would find it."""
    first = {"content": admission.parts[0], "part_count": len(admission.parts)} if len(admission.parts) > 1 else {}
    return msgspec.structs.replace(message, recipient=admission.recipient, prepared=True, **first)
