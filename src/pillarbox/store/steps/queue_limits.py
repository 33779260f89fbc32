"""Finds room for new messages, and takes it; what is full, `domain.limits` says."""

from __future__ import annotations

from collections import defaultdict

from pillarbox.domain.limits import Active, full, roomy
from pillarbox.domain.message import State
from pillarbox.errors import QueueFull
from pillarbox.store.steps.writing import Writing

_SCHEDULED = State.SCHEDULED.code


def check_growth(tx: Writing, size: int) -> None:
    """Raise QueueFull where a message that is there may not become larger by *size* bytes; smaller it always may."""
    limit = tx.limits.bytes
    if limit is not None and size > 0 and tx.counters.active()[1] + size > limit:
        raise QueueFull("store", "bytes", limit)


class Room:
    """
    Takes room for the messages that one statement is to store.

    They are counted as scheduled from then on, so a caller that takes room stores them, or undoes all of it.
    """

    def __init__(self, tx: Writing) -> None:
        self._tx = tx
        # Those that have room and are not stored yet: of these the count per recipient knows nothing.
        self._recipients: defaultdict[tuple[int, str], int] = defaultdict(int)

    def take(self, *, queue: int, tenant: str, channel: str, recipient: str, size: int) -> None:
        """Take room for one more message of so many bytes. Raises QueueFull."""
        refused = self._refusal(queue, tenant, channel, recipient, size)
        if refused is not None:
            raise refused
        self._tx.count(queue, _SCHEDULED, 1, size)
        self._recipients[queue, recipient] += 1

    def has(self, count: int, size: int) -> bool:
        """Whether there surely is room for so many messages of so many bytes together, wherever they go."""
        limits = self._tx.limits
        if not limits.of_the_store_alone:
            return False
        if limits.messages is limits.bytes is None:
            return True
        messages, octets = self._tx.counters.active()
        return roomy(limits, messages=messages + count, octets=octets + size)

    def give_back(self, queue: int, recipient: str, size: int) -> None:
        """Count one less: it is not to be stored after all."""
        self._tx.count(queue, _SCHEDULED, -1, -size)
        self._recipients[queue, recipient] -= 1

    def stored(self) -> None:
        """Note that all that room was taken for is stored now."""
        self._recipients.clear()

    def _refusal(self, queue: int, tenant: str, channel: str, recipient: str, size: int) -> QueueFull | None:
        limits, counters = self._tx.limits, self._tx.counters
        messages, octets = counters.active()
        active = Active(messages=messages, bytes=octets)
        if not limits.of_the_store_alone:
            by_recipient = 0
            if limits.recipient_messages is not None:
                row = self._tx.one("active_recipient", (queue, recipient)) or (0,)
                by_recipient = row[0] + self._recipients[queue, recipient]
            active = Active(
                messages=messages,
                bytes=octets,
                channel=0 if limits.of_channel(channel) is None else counters.active_in("channel", channel),
                tenant=0 if limits.tenant_messages is None else counters.active_in("tenant", tenant),
                recipient=by_recipient,
            )
        return full(limits, active, channel=channel, size=size)
