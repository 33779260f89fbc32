"""
A message at each station: as accepted (`Draft`), as claimed (`Leased`), as read by people (`MessageView`).

Times in these values are whole milliseconds since 1970 UTC (``*_ms``); the public surface turns them into datetimes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from pillarbox.domain.envelope import Envelope
from pillarbox.domain.ids import LeaseId
from pillarbox.domain.mirror import Mirror


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


class Format(StrEnum):
    """How the text is written."""

    PLAIN = "plain"
    MARKDOWN = "markdown"
    HTML = "html"


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    A file of a message (contract CO4): its bytes, which the store keeps, or a ``url`` that is passed on.

    Attributes:
        digest: SHA-256 of the bytes, in hexadecimal digits; ``None`` of a URL.
        data: What the channel is given. A stored content does not have it: there `digest` stands for it.
    """

    name: str = ""
    media_type: str = "application/octet-stream"
    size: int = 0
    digest: str | None = None
    url: str | None = None
    data: bytes | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    What is to be said: one versioned value that never changes after acceptance (contract CO1).

    Either ``text`` with its options, or a raw ``payload`` with its ``content_type``. ``bare`` marks a part whose markup
    was left out because it would not have fitted. ``mark`` is what a copy that may be a second one says of itself, and
    what its text leaves room for; a stored content has none.
    """

    version: int = 1
    text: str | None = None
    format: Format = Format.PLAIN
    subject: str | None = None
    reply_to: str | None = None
    silent: bool = False
    files: tuple[File, ...] = ()
    mirror: dict[str, Any] | None = None
    extra: dict[str, Any] = {}
    payload: bytes | None = None
    content_type: str | None = None
    bare: bool = False
    mark: str | None = None


_CONTENT_ENCODER = msgspec.json.Encoder()
_CONTENT_DECODER = msgspec.json.Decoder(Content)


def encode_content(content: Content) -> bytes:
    """Return the stored form: JSON."""
    return _CONTENT_ENCODER.encode(content)


def decode_content(stored: bytes) -> Content:
    """Read the stored form. Raises msgspec.DecodeError or msgspec.ValidationError for an unreadable one."""
    return _CONTENT_DECODER.decode(stored)


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One piece of a split message, and what became of it. ``content`` is ``None`` where the message has one part."""

    number: int
    state: State = State.SCHEDULED
    receipt: str | None = None
    reason: str | None = None
    content: bytes | None = None


class Admission(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


class Draft(Envelope, frozen=True, kw_only=True):
    """
    A checked message on its way to the store.

    Attributes:
        admission: ``None`` where no channel was at hand; the first claim admits it then.
        digest: SHA-256 of what an idempotency key stands for (contract EN7).
        token_id: The id that dedupe tokens are made of; another message's after a replay.
        expires_ms: ``None`` without a TTL or where expiry delivers.
        accepted_by: The accepting process's worker id, for messages that must not outlive it.
        mirror: The record that its host is to read after the delivery.
        files: Those that are to be stored, each with its bytes.
    """

    content: bytes
    due_ms: int
    group_id: str | None = None
    not_before_ms: int | None = None
    expires_ms: int | None = None
    key: str | None = None
    digest: bytes | None = None
    collapse_key: str | None = None
    replay_of: str | None = None
    token_id: str | None = None
    token_epoch: int = 0
    accepted_by: bytes | None = None
    admission: Admission | None = None
    mirror: Mirror | None = None
    files: tuple[File, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes it takes, its files included."""
        return len(self.content) + sum(file.size for file in self.files) if self.files else len(self.content)


class Leased(Envelope, frozen=True):
    """
    A message as claimed: everything a send needs, and the lease that every later write presents.

    Its fields have defaults because those of the envelope before them have; a claim gives every one, by position.

    Attributes:
        claims: This claim included: the attempt's number.
        first_claimed_ms: When its first attempt was claimed of which there is a record.
        content: The first unsent part's, where the message was split.
        bounded_limits: Attempts of that part which met a bounded rate limit.
        receipts: Of the parts before it; ``parts_dead``: how many of those were rejected.
        strikes: Times in a row that its channel was out of order: it is tried with this message.
        suppressed: Why its recipient was refused for good before; then it must not be sent.
        maybe_sent_ms: When the first attempt of that part began that may have arrived; ``None`` where none did, and
            where a person said that none has.
        undecided_ms: The same, of the attempts since a person last decided about it.
    """

    seq: int = 0
    queue: int = 0
    lease: LeaseId = LeaseId(b"")
    due_ms: int = 0
    expires_ms: int | None = None
    claims: int = 1
    charged: int = 0
    lost: int = 0
    prepared: bool = False
    part_count: int = 1
    part_next: int = 0
    token_id: str | None = None
    token_epoch: int = 0
    claimed_ms: int = 0
    first_claimed_ms: int = 0
    content_size: int = 0
    free_returns: int = 0
    accepted_by: bytes | None = None
    bounded_limits: int = 0
    maybe_sent_ms: int | None = None
    undecided_ms: int | None = None
    content: bytes = b""
    receipts: tuple[str | None, ...] = ()
    parts_dead: int = 0
    strikes: int = 0
    suppressed: str | None = None


class MessageView(Envelope, frozen=True, kw_only=True):
    """
    A message as it stands in the store, for people.

    Attributes:
        splitter: Version of what cut it into parts; ``None`` where it goes out whole.
        parts: In order; empty where it goes out whole, and in a list.
        parts_delivered: How many of them the platform has; 0 where it goes out whole.
        maybe_arrived: An attempt ended without a certain answer, and what it sent is not known to be delivered.
    """

    seq: int
    state: State
    waiting: bool
    not_before_ms: int | None
    due_ms: int
    expires_ms: int | None
    claimed_ms: int | None
    completed_ms: int | None
    claims: int
    charged: int
    lost: int
    receipt: str | None
    also_arrived_ms: int | None
    extra_copies: int
    terminal_reason: str | None
    error_class: str | None
    last_error: str | None
    key: str | None
    collapse_key: str | None
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
