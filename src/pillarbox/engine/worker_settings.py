"""What a worker works by; made of the settings that people write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """
    How a worker works. Spans in milliseconds.

    Attributes:
        lease_ms: Above the longest send timeout of its channels.
        concurrency: Sends at once, all channels together.
        only: Deliver this message and no other.
        full_history: Channels whose every attempt leaves a row.
        record_ms: At a stop: how long to try to write down what was cut off, where the store fails.
        retention_ms: How long each terminal state is kept.
    """

    lease_ms: int
    concurrency: int
    only: MessageId | None = None
    full_history: frozenset[str] = frozenset()
    record_ms: int = 5_000
    prune_interval_ms: int
    retention_ms: Mapping[State, int]
    key_retention_ms: int
    audit_retention_ms: int
    content_retention_ms: int | None
    mirror_retention_ms: int
    held_retention_ms: int
