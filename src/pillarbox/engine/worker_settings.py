"""What a worker works by; made of the settings that people write."""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.domain.ids import MessageId
from pillarbox.engine.pruner import Retention


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
        held_retention_ms: How long a held message waits for a person.
    """

    lease_ms: int
    concurrency: int
    only: MessageId | None = None
    full_history: frozenset[str] = frozenset()
    record_ms: int = 5_000
    held_retention_ms: int
    retention: Retention
