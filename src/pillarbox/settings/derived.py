"""
What follows from several settings together: the policy of a channel's messages, the length of a lease.

Pure: from values to values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from pillarbox.domain.retry import CHAT, Policy
from pillarbox.errors import ConfigError
from pillarbox.settings.model import ChannelSettings, DefaultSettings, Settings
from pillarbox.settings.spans import NO_LIMIT

LEASE_SECONDS_MIN: Final = 60.0
_T = TypeVar("_T")


def policy_for(settings: Settings, channel: str, adapter: Policy = CHAT) -> Policy:
    """
    Return the policy of a channel's messages: the channel's own, else its adapter's, else the defaults (contract RE7).

    Args:
        channel: Its name; it need not be configured.
        adapter: What the adapter declares. `CHAT` itself, every adapter's inheritance, declares nothing.
    """
    base = _over(CHAT, settings.defaults) if adapter is CHAT else adapter
    return _over(base, settings.channels.get(channel, ChannelSettings()))


def _over(base: Policy, own: ChannelSettings | DefaultSettings) -> Policy:
    """Return *base*, with *own* in place of whatever it says something about."""
    return Policy(
        schedule=_first(own.schedule, base.schedule),
        max_attempts=_first(own.max_attempts, base.max_attempts),
        ttl_seconds=base.ttl_seconds if own.ttl is None else _limit_seconds(own.ttl),
        uncertain_mark=_first(own.uncertain_mark, base.uncertain_mark),
        expire_action=_first(own.expire_action, base.expire_action),
        uncertain=_first(own.uncertain, base.uncertain),
        on_dead=_first(own.on_dead, base.on_dead),
        on_held=_first(own.on_held, base.on_held),
        lane_block_seconds=(
            base.lane_block_seconds if own.lane_block_max is None else _limit_seconds(own.lane_block_max)
        ),
        parts=_first(own.parts, base.parts),
        jitter=_first(own.jitter, base.jitter),
        hint_seconds_max=base.hint_seconds_max if own.hint_max is None else own.hint_max.total_seconds(),
        suppress=_first(own.suppress, base.suppress),
    )


def _limit_seconds(span: timedelta) -> float | None:
    return None if span == NO_LIMIT else span.total_seconds()


def _first(own: _T | None, base: _T) -> _T:
    return base if own is None else own


def at_shard(settings: Settings) -> Settings:
    """
    Return *settings* with the database of the one shard that they are for; of all or none, as they are.

    Raises:
        ConfigError: There is no such shard, or what cannot be said together with shards.
    """
    if settings.shard is None and not settings.shards:
        return settings
    if settings.shard is not None and settings.shard > len(settings.shards):
        if not settings.shards:
            raise ConfigError("shard", "expected `shards` beside it; there is one database here, so leave it out")
        there = f"from 1 to {len(settings.shards)}"
        raise ConfigError("shard", f"expected the number of one of the shards, {there}, not {settings.shard}")
    if settings.fallback is not None:
        raise ConfigError("fallback", "expected none with shards: what is in memory would be at home nowhere")
    return settings if settings.shard is None else replace(settings, db=settings.shards[settings.shard - 1])


def each_shard(settings: Settings) -> list[Settings]:
    """Return the settings of every shard, in order."""
    return [at_shard(replace(settings, shard=number)) for number in range(1, len(settings.shards) + 1)]


def without_shards(settings: Settings) -> Settings:
    """Return *settings* for the one database that they name beside."""
    return replace(settings, shards=(), shard=None)


def databases(settings: Settings) -> tuple[str, ...]:
    """Return every database that they name."""
    return settings.shards if several(settings) else (settings.db,)


def several(settings: Settings) -> bool:
    """Whether they are for an outbox on several databases."""
    return bool(settings.shards) and settings.shard is None


def lease_seconds(settings: Settings, send_timeouts: Iterable[float]) -> float:
    """
    Return the length of a lease: as configured, else twice the longest of *send_timeouts* (seconds), at least 60.

    Raises:
        ConfigError: A configured lease would end before a send does (contract LE3).
    """
    longest = max(send_timeouts, default=0.0)
    if settings.lease_seconds is None:
        return max(LEASE_SECONDS_MIN, 2 * longest)
    if settings.lease_seconds <= longest:
        raise ConfigError(
            "lease_seconds",
            f"expected more than the longest send timeout, {longest:g} seconds, not {settings.lease_seconds:g}",
        )
    return settings.lease_seconds
