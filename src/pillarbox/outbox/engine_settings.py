"""What an outbox's settings mean to its store and its engine: limits, retention, the numbers of a worker."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from pillarbox.domain.ids import MessageId
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.engine.pruner import Retention
from pillarbox.engine.worker_settings import WorkerSettings
from pillarbox.settings.model import Settings
from pillarbox.settings.spans import NO_LIMIT

_MS = timedelta(milliseconds=1)


def limits_of(settings: Settings) -> Limits:
    """Return the bounds on active messages that *settings* ask for."""
    own = {name: item.limit_messages for name, item in settings.channels.items() if item.limit_messages is not None}
    return msgspec.structs.replace(msgspec.convert(settings.limits, Limits, from_attributes=True), channels=own)


def worker_settings(settings: Settings, *, lease_ms: int, only: MessageId | None) -> WorkerSettings:
    """Return what a worker goes by that delivers everything, or *only* one message."""
    return WorkerSettings(
        lease_ms=lease_ms,
        concurrency=settings.concurrency,
        only=only,
        full_history=frozenset(name for name, channel in settings.channels.items() if channel.history == "full"),
        held_retention_ms=settings.held_retention // _MS,
        retention=retention_of(settings),
    )


def retention_of(settings: Settings) -> Retention:
    """Return how long things are kept."""
    retention = settings.retention
    return Retention(
        ended_ms={
            State.DELIVERED: retention.delivered // _MS,
            State.CANCELLED: retention.cancelled // _MS,
            State.EXPIRED: retention.expired // _MS,
            State.DEAD: retention.dead // _MS,
        },
        keys_ms=settings.key_retention // _MS,
        audit_ms=settings.audit_retention // _MS,
        content_ms=None if retention.content == NO_LIMIT else retention.content // _MS,
        mirror_ms=retention.mirror // _MS,
        interval_ms=settings.prune_interval_ms,
    )
