"""
The table of settings: from a key, as a user spelt it, to its definition, or to the nearest one there is.

Derived from `pillarbox.settings.model`; nothing is defined here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from pillarbox.settings.model import EACH, SECTION, SETTING, Setting, Settings
from pillarbox.settings.spans import Span, Unit
from pillarbox.settings.value_kinds import Kind

KeyPath = tuple[str, ...]
"""The names of a key from the top, as they stand in a file."""

ENV_PREFIX: Final = "PILLARBOX_"
ENV_SEPARATOR: Final = "__"
CHANNELS: Final = "channels"
OPTIONS: Final = "options"

_UNIT_SUFFIXES: Final[dict[Unit, str]] = {"ms": "_ms", "seconds": "_seconds"}
_NEAR: Final = 0.5
# What other programs call a setting of ours, and options of adapters that were written beside a channel's settings.
_MEANT: Final[dict[str, KeyPath]] = {
    "database": ("db",), "database_url": ("db",), "db_url": ("db",), "db_path": ("db",), "dsn": ("db",),
    "path": ("db",), "retries": ("max_attempts",), "max_retries": ("max_attempts",), "attempts": ("max_attempts",),
    "tries": ("max_attempts",), "backoff": ("schedule",), "retry_delays": ("schedule",), "expires": ("ttl",),
    "expire": ("ttl",), "expiry": ("ttl",), "workers": ("concurrency",), "rate_limit": ("rate",),
    "loglevel": ("log_level",), "target": ("url",), "endpoint": ("url",), "webhook": ("url",),
    "secret": (OPTIONS, "secret"), "headers": (OPTIONS, "headers"), "sender": (OPTIONS, "sender"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """
    One setting and where it stands.

    Attributes:
        path: Names from the top; ``NAME`` stands for a channel's, ``OPTION`` for an adapter option's.
        kind: Reads its value, spelt as its own key.
        make_default: Gives the value without any source; only called when it is needed.
    """

    path: KeyPath
    setting: Setting
    kind: Kind
    field: Any

    @property
    def key(self) -> str:
        """The dotted path."""
        return ".".join(self.path)

    @property
    def env(self) -> str:
        """The variable that sets it."""
        return env_name(self.path)

    @property
    def default(self) -> object:
        """The value without any source."""
        if self.path[-1] in PLACEHOLDERS:
            return None
        return self.field.default if self.field.default is not MISSING else self.field.default_factory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A definition, the concrete path of its value, and the kind that reads this spelling of its key."""

    definition: Definition
    path: KeyPath
    kind: Kind


def env_name(path: KeyPath) -> str:
    """Name the variable of a path: ``PILLARBOX_LIMITS__MESSAGES``."""
    return ENV_PREFIX + ENV_SEPARATOR.join(path).replace("-", "_").upper()


def flag_name(path: KeyPath) -> str:
    """Name the command line's option of a path: ``--limits-messages``."""
    return "--" + "-".join(path).replace("_", "-")


def _spelt(name: str, kind: Kind) -> dict[str, Kind]:
    """Return every spelling of a key, its own first, and what reads a value under it."""
    if not isinstance(kind, Span):
        return {name: kind}
    base = name.removesuffix("_ms").removesuffix("_seconds")
    spellings = {base: kind.counted("")}
    spellings |= {base + suffix: kind.counted(unit) for unit, suffix in _UNIT_SUFFIXES.items()}
    return {name: spellings.pop(name), **spellings}


def _definitions(values: type, above: KeyPath) -> Iterator[Definition]:
    for field in fields(values):
        path = (*above, field.name, *([field.metadata[EACH]] if EACH in field.metadata else []))
        if section := field.metadata.get(SECTION):
            yield from _definitions(section, path)
        else:
            setting: Setting = field.metadata[SETTING]
            kind = _spelt(field.name, setting.kind)[field.name]
            yield Definition(path=path, setting=setting, kind=kind, field=field)


TABLE: Final = tuple(_definitions(Settings, ()))
"""Every setting, in the order in which documentation lists them."""

PLACEHOLDERS: Final = frozenset({"NAME", "OPTION"})
_NAMED: Final = {(CHANNELS,): "NAME", (CHANNELS, "NAME", OPTIONS): "OPTION"}

_SPELLINGS: Final[dict[KeyPath, tuple[Definition, Kind]]] = {
    (*one.path[:-1], name): (one, kind) for one in TABLE for name, kind in _spelt(one.path[-1], one.kind).items()
}
_SECTIONS: Final[frozenset[KeyPath]] = frozenset(one.path[:depth] for one in TABLE for depth in range(len(one.path)))


def _pattern(path: KeyPath) -> KeyPath:
    """Put placeholders where users name things."""
    found: KeyPath = ()
    for name in path:
        found = (*found, _NAMED.get(found, name))
    return found


def find(path: KeyPath) -> Found | None:
    """Look a setting up, in any of its spellings; ``None`` where there is none."""
    pattern = _pattern(path)
    if pattern not in _SPELLINGS:
        return None
    definition, kind = _SPELLINGS[pattern]
    own = definition.path[-1]
    name = path[-1] if own in PLACEHOLDERS else own
    return Found(definition=definition, path=(*path[:-1], name), kind=kind)


def is_section(path: KeyPath) -> bool:
    """Whether *path* is a table: limits, channels, channels.ops and the like."""
    return _pattern(path) in _SECTIONS


def names_inside(path: KeyPath) -> tuple[str, ...]:
    """List the names that a section knows, in order; none where users choose them."""
    pattern = _pattern(path)
    if pattern in _NAMED:
        return ()
    depth = len(pattern)
    return tuple(
        dict.fromkeys(one.path[depth] for one in TABLE if len(one.path) > depth and one.path[:depth] == pattern)
    )


def nearest(path: KeyPath) -> KeyPath | None:
    """
    Find the setting or section that *path* may have meant: beside it by likeness, elsewhere by its last name.

    Unknown sections count too: for ``limit.messages`` it is ``limits.messages``.
    """
    import difflib

    for depth in range(1, len(path) + 1):
        here, name = path[: depth - 1], path[depth - 1]
        if find(path[:depth]) is None and not is_section(path[:depth]):
            break
    else:
        return None
    word = _MEANT.get(name.lower())
    if word is not None and find((*here, *word)) is not None:
        return (*here, *word)
    known = [spelt[-1] for spelt in _SPELLINGS if spelt[:-1] == _pattern(here)] + list(names_inside(here))
    if close := difflib.get_close_matches(name.lower(), known, n=1, cutoff=_NEAR):
        meant = (*here, close[0], *path[depth:])
        return meant if find(meant) or is_section(meant) else meant[:depth]
    elsewhere = [one.path for one in TABLE if one.path[-1] == path[-1].lower()]
    return elsewhere[0] if elsewhere else None


def unfolded(name: str) -> str | None:
    """Return the variable that *name* may have meant, which has one underscore where two divide: ``OPS_URL``."""
    flat = name.upper().removeprefix(ENV_PREFIX).replace(ENV_SEPARATOR, "_").lower()
    for one in TABLE:
        if one.path[0] != CHANNELS and "_".join(one.path) == flat:
            return one.env
    section, _, rest = flat.partition("_")
    if section not in {CHANNELS, CHANNELS.removesuffix("s")}:
        return None
    channel, options, option = rest.partition(f"_{OPTIONS}_")
    if options:
        return env_name((CHANNELS, channel, OPTIONS, option))
    # The longest name that fits: the channel "ops" has a "recipient_rate", and no channel "ops_recipient" has a "rate".
    for last in sorted((one.path[-1] for one in TABLE if one.path[0] == CHANNELS), key=len, reverse=True):
        if rest.endswith(f"_{last}"):
            return env_name((CHANNELS, rest.removesuffix(f"_{last}"), last))
    return None


def did_you_mean(meant: str | None, known: Sequence[str]) -> str:
    """Return a hint at what is known: the nearest name, or else all of them."""
    if meant is not None:
        return f"no such setting; did you mean {meant!r}?"
    return f"no such setting; known here: {', '.join(known)}" if known else "no such setting"
