"""Checks that a channel's name is no URL, which may hold a token and would be stored and shown as a name. Pure."""

from __future__ import annotations

import re
from typing import Final

from pillarbox.domain.url_schemes import SCHEME
from pillarbox.errors import InvalidMessage

_URL: Final = re.compile(rf"\s*+{SCHEME}:(?:/|[^/@]*+@)", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Whether a text in the place of a channel's name is a URL."""
    return "://" in name or _URL.match(name) is not None


def check_name(name: object) -> None:
    """Raise InvalidMessage, which does not repeat it, where *name* cannot be a channel's: a URL, say, or nothing."""
    if not isinstance(name, str):
        raise InvalidMessage("channel", f"expected the name of a channel, not {type(name).__name__}")
    if is_url(name):
        raise InvalidMessage("channel", "expected the name of a channel, not a URL")
    if not name.strip() or not name.isprintable() or "," in name:
        raise InvalidMessage("channel", "expected the name of a channel")
