"""
How a channel's URL is read, with the options that stand in its query or beside it in the configuration.

No error in here repeats the URL: it may hold a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from pillarbox.domain.moments import MS_MAX
from pillarbox.domain.plain_characters import ASCII_CONTROLS
from pillarbox.domain.retry import parse_span
from pillarbox.errors import ConfigError

T = TypeVar("T")

_CONTROL = re.compile(rf"[{ASCII_CONTROLS} ]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelUrl:
    """
    The parts of a URL, percent-decoded. An absent ``host``, ``user`` or ``password`` is empty.

    ``query`` keeps each key once; a plus sign in it is a plus sign, as in ``sender=alerts+prod@example.org``.
    """

    scheme: str
    host: str = ""
    port: int | None = None
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_url(url: str, *, schemes: tuple[str, ...]) -> ChannelUrl:
    """
    Take *url* apart.

    Raises:
        ConfigError: Not a URL of one of *schemes*, or not percent-encoded where it must be.
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in schemes:
        raise ConfigError("url", f"expected a URL that begins with {' or '.join(f'{s}:' for s in schemes)}")
    if _CONTROL.search(url) or _BAD_ESCAPE.search(url):
        raise ConfigError("url", "expected blanks, control characters and percent signs percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
        decoded = [unquote(text, errors="strict") for text in (parts.username or "", parts.password or "", parts.path)]
        query = _query(parts.query)
    except ValueError:
        # Not chained: urllib's messages quote the URL, password and all.
        raise ConfigError(
            "url", "expected //[user:password@]host[:port], special characters in user and password encoded"
        ) from None
    if parts.fragment or port == 0:
        raise ConfigError("url", "expected no '#' and no port 0; an encoded '#' is %23")
    return ChannelUrl(
        scheme=scheme,
        host=parts.hostname or "",
        port=port,
        user=decoded[0],
        password=decoded[1],
        path=decoded[2],
        query=query,
    )


def parse_token_url(url: str, *, scheme: str) -> tuple[ChannelUrl, tuple[str, ...]]:
    """
    Take a URL such as ``tgram://TOKEN?…`` apart, whose host is no host: return it, and its pieces between the slashes.

    Raises:
        ConfigError: Not such a URL, or not percent-encoded where it must be.
    """
    found, slashes, rest = url.partition("://")
    if found.lower() != scheme or not slashes:
        raise ConfigError("url", f"expected a URL that begins with {scheme}://")
    if _CONTROL.search(url) or _BAD_ESCAPE.search(url):
        raise ConfigError("url", "expected blanks, control characters and percent signs percent-encoded")
    place, _, query = rest.partition("?")
    try:
        pieces = tuple(unquote(piece, errors="strict") for piece in place.strip("/").split("/"))
        return ChannelUrl(scheme=scheme, query=_query(query)), pieces
    except UnicodeDecodeError:
        raise ConfigError("url", "expected UTF-8 behind percent signs") from None


def _query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for item in filter(None, text.split("&")):
        # Not parse_qsl: it turns a plus sign into a blank.
        key, _, value = item.partition("=")
        key = unquote(key, errors="strict")
        if key in query:
            raise ConfigError(key, "expected this option once in the URL")
        query[key] = unquote(value, errors="strict")
    return query


class Options:
    """
    The options of one channel, taken one by one; what was given beside the URL wins over its query.

    Raises:
        ConfigError: One of them is unknown; names it and the nearest known.
    """

    __slots__ = ("_values",)

    def __init__(self, url: ChannelUrl, given: Mapping[str, object], *, known: tuple[str, ...]) -> None:
        self._values: dict[str, object] = {**url.query, **given}
        for key in self._values:
            if key not in known:
                nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are: {', '.join(known)}"
                raise ConfigError(key, f"no such option of a {url.scheme} channel; {hint}")

    def take(self, key: str, read: Callable[[str, object], T], default: T) -> T:
        """Read option *key* with *read*, which gets its name and value; *default* where it is not given."""
        value = self._values.get(key)
        return default if value is None else read(key, value)


def text(field: str, value: object) -> str:
    """Read a text without control characters."""
    if not isinstance(value, str) or any(ord(character) < 0x20 for character in value):
        raise ConfigError(field, "expected a text of one line")
    return value


def seconds(field: str, value: object) -> float:
    """Read a span above 0, in seconds, or written as ``5s``, ``2m``, ``1h``."""
    number = value
    if isinstance(value, str):
        number = float(value) if _NUMBER.fullmatch(value) else parse_span(value, field=field)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= MS_MAX / 1000:
        raise ConfigError(field, "expected seconds above 0, or a span such as 30s or 2m")
    return float(number)


def count(field: str, value: object) -> int:
    """Read a whole number of 1 or more."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigError(field, "expected a whole number of 1 or more")
    return number


def table(field: str, value: object) -> dict[str, str]:
    """Read a table of texts."""
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(entry, str) for key, entry in value.items()
    ):
        raise ConfigError(field, "expected a table of texts")
    return dict(value)
