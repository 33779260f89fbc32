"""`AddChannel`: what ``box.channel`` takes, so that a type checker knows every option of a channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from pillarbox.channels.base import Attempt, Channel, Mode, Unit
from pillarbox.domain.retry import ExpireAction, OnDead, OnHeld, PartsMode, UncertainAction
from pillarbox.errors import ConfigError, Refused
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.routes import Routes, Target

F = TypeVar("F", bound=Callable[[Attempt], object])
C = TypeVar("C", bound=Channel)
Span = str | timedelta


class ChannelOptions(TypedDict, total=False):
    """
    What can be said of every channel, as in a configuration (`pillarbox config explain channels`).

    Attributes:
        max_attempts: A message that failed so many times is dead.
        ttl: How long a message may wait before it expires: ``"1h"``, a timedelta, or ``"none"``.
        schedule: The waits after the first, second, … failed attempt: ``"5s, 25s, 2m"``.
        uncertain: What to do when the platform may have a message: ``resend``, ``resend_marked``, ``hold``,
            ``reconcile`` or ``drop``.
        uncertain_mark: The line that a copy begins with under ``resend_marked``; at most 200 characters.
        expire_action: ``fail``: what is past its time expires; ``deliver``: it goes out all the same.
        on_dead: Whether the messages behind a dead one in its lane go on (``skip``) or wait (``block``).
        on_held: The same behind a held one.
        lane_block_max: How long a message that fails may keep those behind it in its lane waiting, or ``"none"``.
        parts: What a rejected part does to those behind it: ``all_or_abort`` or ``best_effort``.
        jitter: A wait of d is drawn from d to d × (1 + jitter).
        hint_max: The longest wait that a platform may ask for.
        suppress: Whether a recipient that the platform refused for good gets no more messages.
        concurrency: Sends at once.
        rate: What may go through it in a time, from all workers together: ``"30/s"``, ``"1/s, 20/m"``, or ``"off"``.
        recipient_rate: The same for each recipient.
        timeout: How long one send may take.
        lane: ``ordered``: messages to one recipient go out one after another; or ``none``.
        limit_messages: Active messages; more are refused with `QueueFull`.
        history: ``outcomes`` keeps the attempts that did not simply succeed, ``full`` every one.
    """

    max_attempts: int
    ttl: Span
    schedule: str
    uncertain: UncertainAction | Literal["resend", "resend_marked", "hold", "reconcile", "drop"]
    uncertain_mark: str
    expire_action: ExpireAction | Literal["fail", "deliver"]
    on_dead: OnDead | Literal["skip", "block"]
    on_held: OnHeld | Literal["skip", "block"]
    lane_block_max: Span
    parts: PartsMode | Literal["all_or_abort", "best_effort"]
    jitter: float
    hint_max: Span
    suppress: bool
    concurrency: int
    rate: str
    recipient_rate: str
    timeout: Span
    lane: Literal["ordered", "none"]
    limit_messages: int
    history: Literal["outcomes", "full"]


class TextOptions(ChannelOptions, total=False):
    """
    And of those that take text in parts (`pillarbox.channels.text.limits`).

    Attributes:
        text_limit: Longer text comes in parts, one call each.
        unit: What the limit counts.
        split_mode: Where text is preferably cut.
    """

    text_limit: int
    unit: Unit
    split_mode: Mode


class FunctionOptions(TextOptions, total=False):
    """
    And of a function (`pillarbox.channels.function`).

    Attributes:
        ordered: Whether messages to one recipient wait for each other.
        threads: Calls at once of a function that is not async.
    """

    ordered: bool
    threads: int


class UrlOptions(TextOptions, total=False):
    """And of what is named by a URL: the options of its adapter."""

    # Webhooks
    secret: str | Sequence[str]
    headers: str | Mapping[str, str]
    dedupe: bool | str
    outcomes: str | Mapping[str, str]
    allow_networks: str | Sequence[str]
    # Chats
    base_url: str
    device_id: str
    refresh_token: str
    # Mail
    sender: str
    sender_name: str
    starttls: str
    helo: str
    cafile: str
    connect_timeout: float | str
    command_timeout: float | str
    data_timeout: float | str
    block_timeout: float | str
    final_timeout: float | str
    idle: float | str
    # Files
    fsync: bool | str


class AddChannel:
    """
    Add a way out. As a decorator, ``@box.channel("pager")``, it adds the function below, which stays what it is.

    Args:
        target: A URL, a `Channel`, or a function of an `Attempt`: async, or plain, which then runs in a bounded
            pool of threads. It returns a receipt, or raises an outcome.
        options: What `ChannelOptions` knows; anything else is an option of the adapter: see `FunctionOptions` and
            `UrlOptions`.

    Raises:
        ConfigError: A malformed URL, an unknown scheme or option; names the field.
        Refused: The outbox has started.
    """

    def __init__(self, routes: Routes, lifetime: Lifetime) -> None:
        self._routes = routes
        self._lifetime = lifetime

    @overload
    def __call__(self, name: str, **options: Unpack[FunctionOptions]) -> Callable[[F], F]: ...
    @overload
    def __call__(self, name: str, target: str, **options: Unpack[UrlOptions]) -> str: ...
    @overload
    def __call__(self, name: str, target: C, **options: Unpack[ChannelOptions]) -> C: ...
    @overload
    def __call__(self, name: str, target: F, **options: Unpack[FunctionOptions]) -> F: ...

    def __call__(self, name: str, target: Target | None = None, **options: Any) -> Any:
        """See the class."""
        if not isinstance(name, str):
            raise ConfigError("channel", 'expected a name: @box.channel("pager") above the function, with parentheses')
        if target is None:

            def decorate(function: F) -> F:
                self._add(name, function, options)
                return function

            return decorate
        self._add(name, target, options)
        return target

    def _add(self, name: str, target: Target, options: Mapping[str, object]) -> None:
        if self._lifetime.begun:
            raise Refused("channels are added before start()")
        self._routes.add(name, target, options)
