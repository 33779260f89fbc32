"""
The kinds of value that a setting can have: each reads what a user wrote, or says what it expected.

A kind never guesses: ``"5"`` is no number in a file, ``True`` no 1, and 5.0 no whole number. Text from the
environment or a flag is first turned into what a file would hold (`Kind.of_text`), then read by the same rules.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from os import PathLike, fspath
from typing import Final

from pillarbox.domain.plain_characters import ASCII_CONTROLS
from pillarbox.domain.url_schemes import SCHEME

_SHOWN_MAX = 40
_TOKEN_LENGTH_MIN = 8
_DIGITS_MAX = 19
_WHOLE = re.compile(r"[+-]?(?=[0-9_]{1,25}\Z)[0-9]+(?:_[0-9]+)*\Z")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,19}(?:\.[0-9]{0,19})?|\.[0-9]{1,19})(?:[eE][+-]?[0-9]{1,2})?\Z")
_CONTROL = re.compile(rf"[{ASCII_CONTROLS}]")
_TEXT_MAX = 8_192


class Unfit(Exception):
    """
    What was written does not fit. Never leaves this package: it becomes a ConfigError.

    ``expected`` completes "expected …". With ``told`` it is the whole sentence: nothing about the value is added.
    """

    def __init__(self, expected: str, *, told: bool = False) -> None:
        super().__init__(expected)
        self.expected = expected
        self.told = told


class Kind(ABC):
    """How one sort of value is read, described and written down. Values of a kind are immutable."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What would do, as the end of a sentence that begins with "expected"."""

    @abstractmethod
    def read(self, raw: object) -> object:
        """Check a value as a file holds it. Raises Unfit."""

    def of_text(self, text: str) -> object:
        """Turn the text of a variable or a flag into what a file would hold; unreadable text stays text."""
        return text.strip()

    def show(self, value: object) -> str:
        """Return a value as text, so that ``read(of_text(shown))`` returns it again."""
        return str(value)


def shown(raw: object) -> str:
    """Name a refused value, briefly: never more than 40 characters of it, nothing of what a table or list holds."""
    match raw:
        case None:
            return "nothing"
        case bool():
            return "true" if raw else "false"
        case int():
            return str(raw) if abs(raw) < 10**_DIGITS_MAX else f"a number of more than {_DIGITS_MAX} digits"
        case float():
            return str(raw)
        case str() if _may_be_secret(raw):
            return described(raw)
        case str():
            return repr(raw if len(raw) <= _SHOWN_MAX else f"{raw[:_SHOWN_MAX]}…")
        case _:
            return described(raw)


def _may_be_secret(text: str) -> bool:
    """Whether a text looks like a token or a URL, which may have got into the wrong setting."""
    if "://" in text:
        return True
    mixed = text[:1].isalpha() and any(map(str.isdigit, text))
    return len(text) >= _TOKEN_LENGTH_MIN and mixed and not any(map(str.isspace, text))


def described(raw: object) -> str:
    """Name the type of a refused value and nothing else, for secrets."""
    match raw:
        case None | bool():
            return shown(raw)
        case int() | float():
            return "a number"
        case str():
            return "a text" if raw else "an empty text"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(raw).__name__}"


def whole_or_text(text: str) -> int | str:
    """Read a whole number of at most 25 digits; anything else stays text."""
    text = text.strip()
    return int(text) if _WHOLE.match(text) else text


def number_or_text(text: str) -> float | str:
    """Read a number; anything else, NaN and infinity among it, stays text."""
    text = text.strip()
    if _WHOLE.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) else text


class Flag(Kind):
    """Yes or no."""

    _WORDS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

    expected = "true or false"

    def read(self, raw: object) -> bool:
        """See `Kind`."""
        if isinstance(raw, bool):
            return raw
        raise Unfit(self.expected)

    def of_text(self, text: str) -> object:
        """Read true, false, yes, no, 1 and 0 in any case."""
        return self._WORDS.get(text.strip().lower(), text)

    def show(self, value: object) -> str:
        """See `Kind`."""
        return "true" if value else "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count(Kind):
    """A whole number from ``least`` to ``most``. ``none`` is the word for ``None``, if that is allowed."""

    least: int = 1
    most: int = 10**12
    none: str | None = None

    @property
    def expected(self) -> str:
        """See `Kind`."""
        return f"a whole number from {self.least} to {self.most}{self._or_none}"

    @property
    def _or_none(self) -> str:
        return f", or {self.none!r}" if self.none else ""

    def read(self, raw: object) -> int | None:
        """See `Kind`."""
        if self.none is not None and raw == self.none:
            return None
        if isinstance(raw, bool) or not isinstance(raw, int) or not self.least <= raw <= self.most:
            raise Unfit(self.expected)
        return raw

    def of_text(self, text: str) -> object:
        """See `Kind`."""
        return whole_or_text(text)

    def show(self, value: object) -> str:
        """See `Kind`."""
        return str(self.none if value is None else value)


_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,19})\s*(B|KiB|MiB|GiB|TiB)\Z")


def size_text(size: int) -> str:
    """Write a number of bytes in the largest unit that divides it."""
    unit, bytes_each = max(
        ((unit, each) for unit, each in _SIZE_UNITS.items() if size % each == 0), key=lambda pair: pair[1]
    )
    return str(size) if unit == "B" else f"{size // bytes_each}{unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size(Count):
    """A number of bytes, plain or such as ``64KiB``."""

    @property
    def expected(self) -> str:
        """See `Kind`."""
        sizes = f"from {self.least} to {self.most}, or a size such as {size_text(self.most)}"
        return f"a number of bytes {sizes}{self._or_none}"

    def read(self, raw: object) -> int | None:
        """See `Kind`."""
        if isinstance(raw, str) and (match := _SIZE.match(raw)):
            raw = int(match[1]) * _SIZE_UNITS[match[2]]
        return Count.read(self, raw)

    def show(self, value: object) -> str:
        """See `Kind`."""
        return size_text(value) if isinstance(value, int) else str(self.none)


class Ratio(Kind):
    """A number from 0 to 1."""

    expected = "a number from 0 to 1"

    def read(self, raw: object) -> float:
        """See `Kind`."""
        # NaN fails the comparison.
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw <= 1:
            raise Unfit(self.expected)
        return float(raw)

    def of_text(self, text: str) -> object:
        """See `Kind`."""
        return number_or_text(text)


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of some words. ``none`` is the word for ``None``, if that is allowed."""

    options: type[StrEnum] | tuple[str, ...]
    none: str | None = None

    @property
    def expected(self) -> str:
        """See `Kind`."""
        words = [*(str(option) for option in self.options), *([self.none] if self.none else [])]
        return f"{', '.join(words[:-1])} or {words[-1]}"

    def read(self, raw: object) -> str | None:
        """See `Kind`."""
        if self.none is not None and raw == self.none:
            return None
        for option in self.options:
            if isinstance(raw, str) and raw == option:
                return option
        raise Unfit(self.expected)

    def of_text(self, text: str) -> object:
        """See `Kind`."""
        return text.strip().lower()

    def show(self, value: object) -> str:
        """See `Kind`."""
        return str(self.none if value is None else value)


def _line(raw: object, expected: str) -> str:
    """Check what has to be one line of text; its content is never shown."""
    if not isinstance(raw, str) or not raw.strip():
        raise Unfit(expected)
    if len(raw) > _TEXT_MAX or _CONTROL.search(raw) or raw != raw.strip():
        raise Unfit(f"{expected}, of at most {_TEXT_MAX} characters, on one line, without space around it")
    return raw


@dataclass(frozen=True, slots=True)
class Line(Kind):
    """One line of text that people read."""

    most: int

    @property
    def expected(self) -> str:
        """See `Kind`."""
        return f"one line of text, 1–{self.most} characters"

    def read(self, raw: object) -> str:
        """See `Kind`."""
        text = _line(raw, self.expected)
        if len(text) > self.most or not text.isprintable():
            raise Unfit(self.expected)
        return text


class Dsn(Kind):
    """A database: the path of an SQLite file, ``sqlite:///…``, ``sqlite3:///…``, or ``postgresql://…``."""

    _SCHEMES: Final = frozenset({"sqlite3", "sqlite", "postgresql", "postgres"})

    expected = "the path of a file, sqlite:///…, or postgresql://…"

    def read(self, raw: object) -> str:
        """See `Kind`."""
        text = _line(fspath(raw) if isinstance(raw, PathLike) else raw, self.expected)
        scheme, slashes, _ = text.partition("://")
        if slashes and scheme not in self._SCHEMES:
            raise Unfit(self.expected)
        if not slashes and text.partition(":")[0] in self._SCHEMES:
            raise Unfit(f"{self.expected}, with slashes behind the colon", told=True)
        if text.startswith("~"):
            raise Unfit("the whole path, because '~' is only known to a shell", told=True)
        return text


class Dsns(Kind):
    """Several databases, each another one."""

    _EACH: Final = Dsn()

    expected = "a list of databases, each another one, written as `db` is"

    def read(self, raw: object) -> tuple[str, ...]:
        """See `Kind`."""
        # What stands in a file of its own is one text.
        written = self.of_text(raw) if isinstance(raw, str) else raw
        if not isinstance(written, list | tuple):
            raise Unfit(self.expected)
        found = tuple(map(self._EACH.read, written))
        if len(set(found)) < len(found):
            raise Unfit(self.expected)
        return found

    def of_text(self, text: str) -> object:
        """Split at blanks: a comma may stand between the servers of one database."""
        return text.split()

    def show(self, value: object) -> str:
        """See `Kind`."""
        return " ".join(value) if isinstance(value, tuple) else str(value)


class Url(Kind):
    """Where a channel leads. Only its form is looked at here; the adapter of its scheme judges the rest."""

    _FORM = re.compile(rf"{SCHEME}:\S+\Z", re.IGNORECASE)

    expected = "a URL such as https://… or smtp://…"

    def read(self, raw: object) -> str:
        """See `Kind`."""
        text = _line(raw, self.expected)
        if not self._FORM.match(text):
            raise Unfit(self.expected)
        return text


class Networks(Kind):
    """A list of IP networks."""

    expected = "a list of networks such as 10.0.0.0/8 or fd00::/8"

    def read(self, raw: object) -> tuple[str, ...]:
        """See `Kind`."""
        from ipaddress import ip_network

        if not isinstance(raw, list | tuple):
            raise Unfit(self.expected)
        found = []
        for text in raw:
            if not isinstance(text, str):
                raise Unfit(self.expected)
            try:
                found.append(str(ip_network(text.strip())))
            except ValueError as exc:
                # Its sentence says what is wrong: "10.0.0.1/8 has host bits set".
                raise Unfit(f"{self.expected}; {str(exc)[:80]}", told=True) from None
        return tuple(dict.fromkeys(found))

    def of_text(self, text: str) -> object:
        """Split at commas."""
        return [part for part in map(str.strip, text.split(",")) if part]

    def show(self, value: object) -> str:
        """See `Kind`."""
        return ", ".join(value) if isinstance(value, tuple) else str(value)


class Option(Kind):
    """What an adapter is given as it is: text, numbers, yes or no, and lists and tables of those."""

    expected = "text, a number, true or false, or a list or table of those"

    def read(self, raw: object) -> object:
        """See `Kind`."""
        match raw:
            case bool() | int() | str():
                return raw
            case float() if math.isfinite(raw):
                return raw
            case list() | tuple():
                return tuple(self.read(item) for item in raw)
            case Mapping() if all(isinstance(key, str) for key in raw):
                return {key: self.read(item) for key, item in raw.items()}
            case _:
                raise Unfit(self.expected)

    def of_text(self, text: str) -> object:
        """Keep the text as it is: what it means, the adapter knows."""
        return text
