"""`Routes`: the settings of an outbox, and the ways out that they and its program make."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pillarbox.channels import registry
from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.channel_names import check_name
from pillarbox.domain.retry import Policy
from pillarbox.errors import ConfigError, InvalidMessage, UnknownChannel
from pillarbox.settings.changes import Changes, adopt
from pillarbox.settings.derived import policy_for
from pillarbox.settings.model import ChannelSettings, Settings
from pillarbox.settings.overrides import with_channel

Target = str | Channel | Callable[[Attempt], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    A configured way out, and what its messages get.

    ``channel`` is ``None`` where this process does not have it, ``url`` where it was not made of one.
    """

    channel: Channel | None
    policy: Policy
    ordered: bool
    url: str | None = field(default=None, repr=False)


class Routes:
    """
    Every way out of one outbox, by name.

    Attributes:
        settings: What holds now.
        deliver: Whether this process sends through them.
    """

    def __init__(self, settings: Settings, *, deliver: bool) -> None:
        self.settings = settings
        self.deliver = deliver
        self._routes: dict[str, Route] = {}
        for name, item in settings.channels.items():
            if item.url is not None:
                self.add(name, item.url, {})

    def fit(self, change: Callable[[Settings], Settings]) -> None:
        """Work by what *change* makes of the settings, before the start."""
        self.settings = change(self.settings)

    def add(self, name: str, target: Target, options: Mapping[str, object]) -> None:
        """Add a way out; *options* are settings of the channel, or of its adapter. Raises ConfigError."""
        self.settings = with_channel(self.settings, name, options)
        self._routes[name] = make_route(self.settings, name, target)

    @property
    def names(self) -> tuple[str, ...]:
        """The channels that this process has."""
        return tuple(self._routes)

    def channels(self) -> dict[str, Channel]:
        """Return the channels that this process has, by name."""
        return {name: route.channel for name, route in self._routes.items() if route.channel is not None}

    def of(self, name: str) -> Route:
        """Return what the messages of a channel get; any name may be asked for."""
        return self._routes.get(name) or _unserved_route(self.settings, name)

    def for_new(self, name: object) -> Route:
        """
        Return the way out of a message that is to be accepted.

        Raises:
            InvalidMessage: That is no channel's name.
            UnknownChannel: This process delivers, and does not have it.
        """
        if not isinstance(name, str):
            raise InvalidMessage("channel", f"expected the name of a channel, not {type(name).__name__}")
        route = self._routes.get(name)
        if route is not None:
            return route
        check_name(name)
        if self.deliver:
            raise UnknownChannel(name, self.names)
        # Accepted without its channel: the store's defaults, and the first claim admits it (EN16).
        return _unserved_route(self.settings, name)

    # New settings

    def adopted(self, given: Settings) -> tuple[Settings, Changes]:
        """
        Return the settings that hold once *given* are taken over, and what changes. Nothing changes here.

        What the program itself says of its own channels stays, unless *given* name them.
        """
        # What the program says of channels of its own is in no file.
        own = {name: item for name, item in self.settings.channels.items() if name in self._routes and item.url is None}
        return adopt(self.settings, dataclasses.replace(given, channels={**own, **given.channels}))

    def under(self, wanted: Settings) -> dict[str, Route]:
        """Return the ways out as *wanted* settings make them. Raises ConfigError where a channel is wrong."""
        return {name: self._again(name, route, wanted) for name, route in self._routes.items()}

    def replaced_by(self, made: Mapping[str, Route]) -> dict[str, Channel]:
        """Return the channels of *made* that stand in the place of one of these."""
        return {
            name: route.channel
            for name, route in made.items()
            if route.channel is not None and route.channel is not self._routes[name].channel
        }

    def take_over(self, settings: Settings, made: dict[str, Route]) -> None:
        """Work by *settings*, with the ways out that were *made* of them."""
        self.settings, self._routes = settings, made

    def _again(self, name: str, route: Route, wanted: Settings) -> Route:
        """Make a route by new settings; its channel only where they made it, and something of it has changed."""
        before, after = self.settings.channels.get(name), wanted.channels.get(name)
        if route.channel is None:
            return route
        if before is None or after is None or before.url is None or after.url is None or route.url != before.url:
            return make_route(wanted, name, route.channel)
        same = (before.url, before.options, before.timeout, self.settings.egress) == (
            after.url, after.options, after.timeout, wanted.egress,
        )  # fmt: skip
        # How many sends its adapter takes, at once or in a time, is known only to a new one.
        for limit in ("concurrency", "rate", "recipient_rate"):
            same = same and (getattr(before, limit) is None or getattr(after, limit) is not None)
        made = make_route(wanted, name, route.channel if same else after.url)
        return dataclasses.replace(made, url=after.url)


def make_route(settings: Settings, name: str, target: Target) -> Route:
    """
    Make the way out called *name*, with the policy of its messages. Connects nowhere.

    Args:
        target: A URL, a `Channel`, or a function of an `Attempt`.

    Raises:
        ConfigError: A malformed URL, an unknown scheme or option; names the field, and never holds the URL.
    """
    own = settings.channels.get(name, ChannelSettings())
    options = dict(own.options)
    if own.timeout is not None:
        options["timeout"] = own.timeout.total_seconds()
    if isinstance(target, Channel):
        channel = target
    elif isinstance(target, type):
        raise ConfigError(
            f"channels.{name}", f"expected an object, a URL or a function, not a class: {target.__name__}(…)"
        )
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
    if own.rate is not None:
        channel.pace = msgspec.structs.replace(channel.pace, whole=own.rate)
    if own.recipient_rate is not None:
        channel.pace = msgspec.structs.replace(channel.pace, each=own.recipient_rate, group=())
    return Route(
        channel=channel,
        policy=policy_for(settings, name, channel.policy),
        ordered=channel.ordered if own.lane is None else own.lane == "ordered",
        url=target if isinstance(target, str) else None,
    )


def _unserved_route(settings: Settings, name: str) -> Route:
    """Return what messages of a channel get that this process does not have: the first claim admits them (EN16)."""
    return Route(channel=None, policy=policy_for(settings, name), ordered=True)
