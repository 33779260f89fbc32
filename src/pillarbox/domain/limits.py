"""How many active messages there may be, and what is full (contract EN5). Pure: the counts come in."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pillarbox.errors import QueueFull

_Bound = tuple[str, str, int | None, int]  # whose limit, of what, the limit, and how many there would be


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """
    Bounds on active messages and their content bytes, counted before and with the new ones (contract EN5).

    ``None`` is no limit. ``channels`` gives one channel its own number.
    """

    messages: int | None = 1_000_000
    bytes: int | None = 1 << 30
    channels: Mapping[str, int] = {}
    channel_messages: int | None = None
    recipient_messages: int | None = None
    tenant_messages: int | None = None

    def of_channel(self, channel: str) -> int | None:
        """Return how many messages one channel may have."""
        return self.channels.get(channel, self.channel_messages)

    @property
    def of_the_store_alone(self) -> bool:
        """Whether nothing narrower than the whole store is limited."""
        return not self.channels and (self.channel_messages, self.recipient_messages, self.tenant_messages) == (
            None,
            None,
            None,
        )


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """
    How many active messages there are. What is not limited need not be counted: it may stay 0.

    ``bytes`` are those of all contents in the store.
    """

    messages: int
    bytes: int
    channel: int = 0
    tenant: int = 0
    recipient: int = 0


def roomy(limits: Limits, *, messages: int, octets: int) -> bool:
    """Whether the whole store may hold so many active messages and bytes."""
    return _first_reached(_of_store(limits, messages=messages, octets=octets)) is None


def full(limits: Limits, active: Active, *, channel: str, size: int) -> QueueFull | None:
    """
    Check whether there is room for one more message of a channel, of *size* bytes.

    Returns:
        The error that names the first limit that is reached; ``None`` where there is room.
    """
    return _first_reached(
        (
            *_of_store(limits, messages=active.messages + 1, octets=active.bytes + size),
            ("channel", "messages", limits.of_channel(channel), active.channel + 1),
            ("tenant", "messages", limits.tenant_messages, active.tenant + 1),
            ("recipient", "messages", limits.recipient_messages, active.recipient + 1),
        )
    )


def _of_store(limits: Limits, *, messages: int, octets: int) -> tuple[_Bound, _Bound]:
    return ("store", "messages", limits.messages, messages), ("store", "bytes", limits.bytes, octets)


def _first_reached(bounds: tuple[_Bound, ...]) -> QueueFull | None:
    for scope, unit, limit, wanted in bounds:
        if limit is not None and wanted > limit:
            return QueueFull(scope, unit, limit)
    return None
