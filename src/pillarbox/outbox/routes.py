"""Makes a way out: from a channel's settings and its URL, object or function to a `Route`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pillarbox.channels import registry
from pillarbox.channels.base import Attempt, Channel
from pillarbox.errors import ConfigError
from pillarbox.outbox.runtime import Route
from pillarbox.settings import load as config

Target = str | Channel | Callable[[Attempt], Any]


def make_route(settings: config.Settings, name: str, target: Target) -> Route:
    """
    Give the way out called *name*, with the policy of its messages. Connects nowhere.

    Args:
        target: A URL, a `Channel`, or a function of an `Attempt`.

    Raises:
        ConfigError: A malformed URL, an unknown scheme or option; names the field, and never holds the URL.
    """
    own = settings.channels.get(name, config.ChannelSettings())
    options = dict(own.options)
    if own.timeout is not None:
        options["timeout"] = own.timeout.total_seconds()
    if isinstance(target, Channel):
        channel = target
    elif isinstance(target, str):
        # An operator's own channel may lead anywhere; what its messages point to, only where the settings allow.
        common = {"allow_networks": settings.egress.allow}
        channel = registry.build(target, field=f"channels.{name}.url", defaults=common, **options)
    elif callable(target):
        channel = registry.from_function(target, field=f"channels.{name}", **options)
    else:
        raise ConfigError(f"channels.{name}", "expected a URL, a Channel or a function")
    if own.concurrency is not None:
        channel.concurrency = own.concurrency
    return Route(
        channel=channel,
        policy=config.policy_for(settings, name, channel.policy),
        ordered=channel.ordered if own.lane is None else own.lane == "ordered",
        url=target if isinstance(target, str) else None,
    )


def unserved_route(settings: config.Settings, name: str) -> Route:
    """Give what messages of a channel get that this process does not have: the first claim admits them (EN16)."""
    return Route(channel=None, policy=config.policy_for(settings, name), ordered=True)
