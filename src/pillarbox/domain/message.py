"""
A message at each station: as accepted (`Draft`), as claimed (`Leased`), as read by people (`MessageView`).

Times in these values are whole milliseconds since 1970 UTC (``*_ms``); the public surface turns them into datetimes.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

import msgspec

from pillarbox.domain.ids import LeaseId, MessageId
from pillarbox.domain.mirror import Mirror
from pillarbox.domain.retry import Policy


class State(StrEnum):
    """Where a message is. The order is the number in the database: below 3 is active, from 3 on terminal."""

    SCHEDULED = "scheduled"
    """It waits: for its time, for its turn in its lane, or for a worker that is free."""
    LEASED = "leased"
    """A worker is sending it, and has the exclusive right to for a limited time."""
    HELD = "held"
    """It waits for a person to decide."""
    DELIVERED = "delivered"
    """The platform accepted it."""
    DEAD = "dead"
    """It was given up; the reason says why. A replay sends it again, as a new message."""
    EXPIRED = "expired"
    """Its time to live was over before it could be delivered."""
    CANCELLED = "cancelled"
    """It is not wanted any more: a person, its application or a newer message said so."""

    @property
    def terminal(self) -> bool:
        """Nothing but a replay, as a new message, follows."""
        return self.code >= FIRST_TERMINAL

    @property
    def code(self) -> int:
        """The number the database stores."""
        return _CODES[self]


STATES = tuple(State)
_CODES = {state: code for code, state in enumerate(STATES)}
FIRST_TERMINAL = _CODES[State.DELIVERED]


class Kind(StrEnum):
    """Whether a message may be replayed after its process is gone (contract DK1)."""

    FINAL = "final"
    BLOCK = "block"
    TOOL = "tool"


class Format(StrEnum):
    """How the text is written."""

    PLAIN = "plain"
    MARKDOWN = "markdown"
    HTML = "html"


class Op(StrEnum):
    """What is done at the platform."""

    SEND = "send"
    EDIT = "edit"
    DELETE = "delete"


class Priority(IntEnum):
    """Chooses between heads of different lanes, never inside one."""

    BULK = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class FileRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of a message: either ``digest`` of a stored blob, or a ``url`` that is passed on."""

    name: str = ""
    media_type: str = "application/octet-stream"
    size: int = 0
    digest: str | None = None
    url: str | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What is to be said: one versioned value that never changes after acceptance (contract CO1).

    Either ``text`` with its options, or a raw ``payload`` with its ``content_type``.
    """

    version: int = 1
    text: str | None = None
    format: Format = Format.PLAIN
    subject: str | None = None
    reply_to: str | None = None
    silent: bool = False
    files: tuple[FileRef, ...] = ()
    mirror: dict[str, Any] | None = None
    extra: dict[str, Any] = {}
    payload: bytes | None = None
    content_type: str | None = None


_CONTENT_ENCODER = msgspec.json.Encoder()
_CONTENT_DECODER = msgspec.json.Decoder(Content)


def encode_content(content: Content) -> bytes:
    """Give the stored form: JSON."""
    return _CONTENT_ENCODER.encode(content)


def decode_content(stored: bytes) -> Content:
    """Read the stored form. Raises msgspec.DecodeError or msgspec.ValidationError for an unreadable one."""
    return _CONTENT_DECODER.decode(stored)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a split message, and what became of it. ``content`` is ``None`` where the message has one part."""

    number: int
    state: State = State.SCHEDULED
    receipt: str | None = None
    reason: str | None = None
    content: bytes | None = None


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a channel made of a message before its first send: contract EN16.

    Attributes:
        recipient: In the channel's own spelling.
        parts: Stored contents in order; empty where the message goes out whole.
        splitter: Version of the splitter that cut them.
    """

    recipient: str
    parts: tuple[bytes, ...] = ()
    splitter: str | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """
    A checked message on its way to the store.

    Attributes:
        admission: ``None`` where no channel was at hand; the first claim admits it then.
        digest: SHA-256 of what an idempotency key stands for (contract EN7).
        token_id: The id that dedupe tokens are made of; another message's after a replay.
        expires_ms: ``None`` without a TTL or where expiry delivers.
        accepted_by: The accepting process's worker id, for messages that must not outlive it.
        mirror: The record that its host is to read after the delivery.
    """

    id: MessageId
    tenant: str
    channel: str
    recipient: str
    content: bytes
    policy: Policy
    created_ms: int
    account: str = ""
    thread: str | None = None
    kind: Kind = Kind.FINAL
    op: Op = Op.SEND
    target: str | None = None
    group_id: str | None = None
    priority: int = Priority.NORMAL
    not_before_ms: int | None = None
    due_ms: int
    expires_ms: int | None = None
    lane: str | None = None
    max_attempts: int
    key: str | None = None
    digest: bytes | None = None
    collapse_key: str | None = None
    origin: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    metadata: bytes | None = None
    replay_of: str | None = None
    token_id: str | None = None
    token_epoch: int = 0
    accepted_by: bytes | None = None
    admission: Admission | None = None
    mirror: Mirror | None = None


class Leased(msgspec.Struct, frozen=True):
    """
    A message as claimed: everything a send needs, and the lease that every later write presents.

    ``claims`` counts this claim too: it is the attempt's number. ``content`` is the first unsent part's where the
    message was split. ``bounded_limits`` counts the attempts of that part which met a bounded rate limit.
    """

    seq: int
    id: MessageId
    queue: int
    lease: LeaseId
    recipient: str
    account: str
    thread: str | None
    kind: int
    op: int
    target: str | None
    priority: int
    created_ms: int
    due_ms: int
    expires_ms: int | None
    lane: str | None
    claims: int
    charged: int
    lost: int
    max_attempts: int
    policy: Policy
    prepared: bool
    part_count: int
    part_next: int
    origin: str | None
    correlation_id: str | None
    traceparent: str | None
    metadata: bytes | None
    token_id: str | None
    token_epoch: int
    claimed_ms: int
    content_size: int
    free_returns: int
    content: bytes
    tenant: str = ""
    channel: str = ""
    receipts: tuple[str | None, ...] = ()
    parts_dead: int = 0
    accepted_by: bytes | None = None
    bounded_limits: int = 0


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """
    A message as it stands in the store, for people.

    Attributes:
        splitter: Version of what cut it into parts; ``None`` where it goes out whole.
        parts: In order; empty where it goes out whole, and in a list.
        parts_delivered: How many of them the platform has; 0 where it goes out whole.
        maybe_arrived: An attempt ended without a certain answer, and what it sent is not known to be delivered.
    """

    id: MessageId
    seq: int
    state: State
    tenant: str
    channel: str
    recipient: str
    account: str
    thread: str | None
    kind: Kind
    op: Op
    target: str | None
    priority: int
    lane: str | None
    waiting: bool
    created_ms: int
    not_before_ms: int | None
    due_ms: int
    expires_ms: int | None
    claimed_ms: int | None
    completed_ms: int | None
    claims: int
    charged: int
    lost: int
    max_attempts: int
    policy: Policy
    receipt: str | None
    also_arrived_ms: int | None
    extra_copies: int
    terminal_reason: str | None
    error_class: str | None
    last_error: str | None
    key: str | None
    collapse_key: str | None
    correlation_id: str | None
    origin: str | None
    traceparent: str | None
    metadata: bytes | None
    replay_of: str | None
    group_id: str | None
    cancel_requested_ms: int | None
    prepared: bool
    part_count: int
    part_next: int
    worker: bytes | None
    content_size: int
    content: bytes | None
    splitter: str | None = None
    parts_delivered: int = 0
    maybe_arrived: bool = False
    parts: tuple[Part, ...] = ()
