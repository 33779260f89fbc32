"""The three options that every channel takes: how long one part of a text may be, in what unit, and where it is cut."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Final

from pillarbox.channels.base import Channel, Mode, Unit
from pillarbox.channels.option_checks import bounded_count, one_of
from pillarbox.errors import ConfigError

OPTIONS: Final = ("text_limit", "unit", "split_mode")
TEXT_LIMIT_MAX: Final = 1 << 30


def limit(channel: Channel, options: Mapping[str, object]) -> None:
    """
    Make *channel* take its text in parts (contract PA1).

    Args:
        options: ``text_limit``, a whole number of at least 1, or text that says one; ``unit``: ``utf16``, ``bytes`` (of
            UTF-8) or ``codepoints``; ``split_mode``: ``paragraph``, ``newline``, ``sentence`` or ``length``.

    Raises:
        ConfigError: Names the option; also for a limit above the platform's own, and for the others without a limit.
    """
    if not options:
        return
    own = channel.capabilities
    unit = one_of("unit", options.get("unit", own.unit), Unit)
    most = own.text_limit if own.text_limit is not None and own.unit == unit else TEXT_LIMIT_MAX
    text_limit = own.text_limit
    if "text_limit" in options:
        text_limit = bounded_count("text_limit", _number(options["text_limit"]), most=most)
    if text_limit is None:
        raise ConfigError("text_limit", "expected one beside unit and split_mode: this channel has no limit of its own")
    channel.capabilities = dataclasses.replace(own, text_limit=text_limit, unit=unit)
    channel.split_mode = one_of("split_mode", options.get("split_mode", channel.split_mode), Mode)


def _number(value: object) -> object:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return int(value)
    return value
