"""
From a URL to its channel: the only way to an adapter by name. Adapters load when the first URL asks for them.

An adapter takes part by a class method ``from_url(url, **options)`` whose keyword parameters are its settings.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

from pillarbox.channels.base import Channel
from pillarbox.channels.text import limits
from pillarbox.domain.url_schemes import scheme_of
from pillarbox.errors import ConfigError

__all__ = ["SCHEMES", "build", "from_function", "schemes"]

SCHEMES: Final[dict[str, str]] = {
    "console": "pillarbox.channels.console:ConsoleChannel",
    "discord": "pillarbox.channels.discord:DiscordChannel",
    "file": "pillarbox.channels.file:FileChannel",
    "http": "pillarbox.channels.webhook:WebhookChannel",
    "https": "pillarbox.channels.webhook:WebhookChannel",
    "matrix": "pillarbox.channels.matrix:MatrixChannel",
    "slack": "pillarbox.channels.slack:SlackChannel",
    "smtp": "pillarbox.channels.mail.smtp:SmtpChannel",
    "smtps": "pillarbox.channels.mail.smtp:SmtpChannel",
    "tgram": "pillarbox.channels.telegram:TelegramChannel",
}
"""Where each scheme's adapter is: ``module:Class``, imported at the first use."""


_FUNCTION: Final = ("pillarbox.channels.function", "FunctionChannel")


class _Adapter(Protocol):
    def from_url(self, url: str, **options: object) -> Channel: ...


def schemes() -> tuple[str, ...]:
    """Return the name of every scheme that `build` knows, sorted."""
    return tuple(sorted(SCHEMES))


# What other libraries call what we have: options of every channel, and schemes.
_MEANT: Final = {
    "retries": "max_attempts", "max_retries": "max_attempts", "attempts": "max_attempts", "backoff": "schedule",
    "expires": "ttl", "rate_limit": "rate", "workers": "concurrency", "mailto": "smtp", "mail": "smtp",
    "email": "smtp", "telegram": "tgram", "tg": "tgram", "webhook": "https", "mailtos": "smtps",
}  # fmt: skip


def build(url: str, *, field: str = "url", defaults: Mapping[str, object] | None = None, **options: object) -> Channel:
    """
    Make the channel that *url* describes. Pure: connects nowhere.

    Args:
        field: What errors call the URL, as a dotted path; its options are called by their name beside it.
        defaults: Settings that hold for every channel, for the adapters that know them.
        options: The adapter's own settings, such as ``secret`` or ``timeout``; and those that every channel has
            (`pillarbox.channels.text.limits`).

    Raises:
        ConfigError: Malformed URL, unknown scheme, unknown option or a value the adapter refuses. Its text never
            holds the URL.
    """
    scheme = _scheme_of(url, field)
    adapter = _load(SCHEMES[scheme])
    beside = field.rpartition(".")[0]
    known = _options_of(adapter)
    everyones: dict[str, object] = {
        name: options.pop(name) for name in limits.OPTIONS if name in options and name not in known
    }
    for name in options:
        if name not in known:
            named = tuple(sorted({*known, *limits.OPTIONS}))
            raise ConfigError(_joined(beside, name), _unknown("option", name, named))
    options = {name: value for name, value in (defaults or {}).items() if name in known} | options
    try:
        channel = adapter.from_url(url, **options)
        limits.limit(channel, everyones)
    except ConfigError as refused:
        # `from None` here as in every adapter: a cause could quote the URL, and tracebacks end up in logs.
        at = field if refused.field == "url" else _joined(beside, refused.field)
        raise ConfigError(at, refused.expected) from None
    return channel


def from_function(function: Callable[..., object], *, field: str, **options: object) -> Channel:
    """
    Make a channel of a function of an `Attempt`.

    Raises:
        ConfigError: An unknown option, or one that does not fit.
    """
    adapter = cast("Callable[..., Channel]", getattr(importlib.import_module(_FUNCTION[0]), _FUNCTION[1]))
    if "timeout" in options:
        options["send_timeout_seconds"] = options.pop("timeout")
    known = tuple(inspect.signature(adapter).parameters)[1:]
    for name in options:
        if name not in known:
            raise ConfigError(_joined(field, name), _unknown("option", name, known))
    return adapter(function, **options)


def _scheme_of(url: object, field: str) -> str:
    scheme = scheme_of(url) if isinstance(url, str) and not url[:1].isspace() else None
    if scheme is None:
        raise ConfigError(field, f"expected a URL that begins with one of {', '.join(schemes())}")
    if scheme not in SCHEMES:
        raise ConfigError(field, _unknown("scheme", scheme, schemes()))
    return scheme


def _load(where: str) -> _Adapter:
    module, _, name = where.partition(":")
    return cast("_Adapter", getattr(importlib.import_module(module), name))


def _options_of(adapter: _Adapter) -> tuple[str, ...]:
    parameters = inspect.signature(adapter.from_url).parameters.values()
    return tuple(sorted(known.name for known in parameters if known.kind is known.KEYWORD_ONLY))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    near = [_MEANT[name]] if name in _MEANT else difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}{hint} (known: {', '.join(known) or 'none'})"
