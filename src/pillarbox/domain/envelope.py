"""
What travels with a message from its acceptance to its end: one struct inside all that a message is on its way.

Who adds a field here that only travels adds a column of the same name to the schema, and the place where its value
comes from; the statements take their columns from here.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Any, Final

import msgspec

from pillarbox.domain.ids import MessageId
from pillarbox.domain.retry import Policy

TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
"""W3C Trace Context §3.2."""


class Kind(StrEnum):
    """Whether a message may be replayed after its process is gone (contract DK1)."""

    FINAL = "final"
    BLOCK = "block"
    TOOL = "tool"


class Op(StrEnum):
    """What is done at the platform."""

    SEND = "send"
    EDIT = "edit"
    DELETE = "delete"


KINDS: Final = tuple(Kind)
OPS: Final = tuple(Op)
"""In the order of their numbers in the database."""
RECEIPT: Final = "receipt:"
"""What a target begins with that is the platform's own id, and none of ours."""


class Priority(IntEnum):
    """Chooses between heads of different lanes, never inside one."""

    BULK = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """
    Where a message goes and what is to be known of it.

    Fields in the order in which they are stored; the stores write and read those behind ``metadata`` as they are, each
    in the column of its name (``store.steps.columns``). By position, because a store makes thousands a second of them.

    Outside of the garbage collector (``gc=False``), as all that is made for each message and holds nothing but plain
    values: no cycle can lead through it, and the collector would go through thousands of them again and again.

    Attributes:
        recipient: As its application gave it; in the channel's own spelling once it was admitted.
        metadata: JSON.
        account: ``""`` for the channel's own.
        target: What an edit or a deletion is about: our id of it, or `RECEIPT` and the platform's.
        lane: ``None`` for no order.
        origin: Who sent it, for logs and events.
    """

    id: MessageId
    tenant: str
    channel: str
    recipient: str
    policy: Policy
    created_ms: int
    max_attempts: int
    kind: Kind = Kind.FINAL
    op: Op = Op.SEND
    metadata: bytes | None = None
    account: str = ""
    thread: str | None = None
    target: str | None = None
    priority: int = Priority.NORMAL
    lane: str | None = None
    origin: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None


def travelling(message: Envelope) -> dict[str, Any]:
    """Return the fields by name, to make another station of the same message."""
    return {name: getattr(message, name) for name in Envelope.__struct_fields__}
