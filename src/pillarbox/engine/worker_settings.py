"""What a worker works by; made of the settings that people write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State
from pillarbox.engine.pruner import MIRROR_RETENTION_MS

_HOUR_MS: Final = 3_600_000


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
    concurrency: int = 256
    only: MessageId | None = None
    full_history: frozenset[str] = frozenset()
    record_ms: int = 5_000
    prune_interval_ms: int = 300_000
    retention_ms: Mapping[State, int] = field(
        default_factory=lambda: {
            State.DELIVERED: 48 * _HOUR_MS,
            State.EXPIRED: 48 * _HOUR_MS,
            State.CANCELLED: 48 * _HOUR_MS,
            State.DEAD: 30 * 24 * _HOUR_MS,
        }
    )
    key_retention_ms: int = 7 * 24 * _HOUR_MS
    audit_retention_ms: int = 90 * 24 * _HOUR_MS
    content_retention_ms: int | None = None
    mirror_retention_ms: int = MIRROR_RETENTION_MS
    held_retention_ms: int = 30 * 24 * _HOUR_MS
