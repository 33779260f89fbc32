"""`ShardedRoutes`: the same ways out for every shard. Each has its own, because each has a worker of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pillarbox.channels.base import Channel
from pillarbox.errors import ConfigError
from pillarbox.outbox.routes import Routes, Target
from pillarbox.settings.model import Settings


class ShardedRoutes(Routes):
    """Those of the whole outbox, by which it answers for all; messages go out through those of the shards."""

    def __init__(self, settings: Settings, each: Sequence[Routes], *, deliver: bool) -> None:
        self._each: Sequence[Routes] = ()
        super().__init__(settings, deliver=deliver)
        self._each = each

    def fit(self, change: Callable[[Settings], Settings]) -> None:
        """See `Routes`."""
        super().fit(change)
        for routes in self._each:
            routes.fit(change)

    def add(self, name: str, target: Target, options: Mapping[str, object]) -> None:
        """See `Routes`. Raises ConfigError for a `Channel`, which would be opened by every shard's worker."""
        if isinstance(target, Channel):
            raise ConfigError(f"channels.{name}", "expected a URL or a function: with shards, each has its own channel")
        super().add(name, target, options)
        for routes in self._each:
            routes.add(name, target, options)
