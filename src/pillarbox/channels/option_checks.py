"""
Checks for the values of adapters' settings: each returns the value in its right type or names the setting.

A setting from a file has a type already; one from the environment is text, and only the adapter knows what it means.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, get_args

import msgspec

from pillarbox.errors import ConfigError

# RFC 9110 §5.6.2, token; and §5.5, a field value without its obsolete bytes.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*\Z")


def checked_headers(headers: object, *, ours: Collection[str]) -> dict[str, str]:
    """Return a copy of *headers*. *ours* are names, in lower case, that the adapter sets itself."""
    if not isinstance(headers, Mapping):
        raise ConfigError("headers", "expected a table from names to values")
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.match(name):
            raise ConfigError("headers", "expected names of letters, digits and hyphens")
        if name.lower() in ours:
            raise ConfigError(f"headers.{name}", "the channel sets this header itself")
        if not isinstance(value, str) or not HEADER_VALUE.match(value):
            # Not the value: it may be a token.
            raise ConfigError(f"headers.{name}", "expected printable ASCII without control characters")
        checked[name] = value
    return checked


def basic_authorization(user: str | None, password: str | None) -> str:
    """Return the value of an Authorization header, in UTF-8 as servers understand it today (RFC 7617 §2.1)."""
    pair = f"{user or ''}:{password or ''}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def bounded_seconds(field: str, value: object, *, most: float) -> float:
    """Check a number above 0 and at most *most*."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(field, f"expected a number of seconds above 0, at most {most:g}")
    return value


def bounded_count(field: str, value: object, *, most: int) -> int:
    """Check a whole number from 1 to *most*."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(field, f"expected a whole number from 1 to {most}")
    return value


def one_of(field: str, value: object, words: Any) -> Any:  # noqa: ANN401 — a Literal type, and one of its words
    """Check that *value* is one of the words of a `Literal` type."""
    known: tuple[str, ...] = get_args(words)
    if value not in known:
        raise ConfigError(field, f"expected one of {', '.join(known)}, not {value!r}")
    return value


def flag(field: str, value: object) -> bool:
    """Read a truth value, or a text that says one. Python itself would take the text ``false`` for true."""
    if isinstance(value, str):
        value = _FLAGS.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ConfigError(field, "expected true or false")
    return value


def table(field: str, value: object) -> Mapping[str, str]:
    """Read a table: a mapping, or a text that holds a JSON object. What is in it is checked where it is used."""
    if isinstance(value, str):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            value = msgspec.json.decode(value)
    if not isinstance(value, Mapping):
        # The text is not shown: it may hold a token.
        raise ConfigError(field, "expected a table, or a JSON object as text")
    return value


def listed(field: str, value: object) -> tuple[str, ...]:
    """Read several texts: a list, or one text that separates them by blanks or commas."""
    if isinstance(value, str):
        return tuple(value.replace(",", " ").split())
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ConfigError(field, "expected a text or a list of texts")
    return tuple(value)
