"""
Values on their way from where they were written to the settings: checked one by one, and put on top of each other.

A layer is what one source says. Inside a layer a setting may be written once, in one spelling; the layer above wins.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, TypeVar, cast

from pillarbox.domain.channel_names import is_url
from pillarbox.errors import ConfigError
from pillarbox.settings.lookup import CHANNELS, Found, KeyPath, did_you_mean, find, is_section, names_inside, nearest
from pillarbox.settings.model import EACH, SECTION, Settings
from pillarbox.settings.value_kinds import Unfit, described, shown

_CHANNEL_NAME: Final = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9]+(?:(?:_|-+)[A-Za-z0-9]+)*\Z")
_KEY_SHOWN_MAX: Final = 64
_Values = TypeVar("_Values")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """
    Where a value was written.

    Attributes:
        name: For people: ``file /etc/pillarbox.toml``, ``env PILLARBOX_DB``, ``flag --db``.
        above: Names above our own keys in a file that belongs to another program.
        faults: Where mistakes are noted; ``None``: the first one is raised.
    """

    name: str
    above: KeyPath = ()
    faults: list[ConfigError] | None = field(default=None, repr=False, compare=False)

    def key(self, path: KeyPath) -> str:
        """Name a path as it stands there."""
        return ".".join(_readable(name) for name in (*self.above, *path))

    def refuse(self, path: KeyPath, expected: str) -> ConfigError:
        """Make the error for what stands at *path*."""
        return ConfigError(self.key(path), f"{expected} ({self.name})")

    @contextlib.contextmanager
    def each(self) -> Iterator[None]:
        """Read one of several values: its mistake is noted, where mistakes are, so that the next one is read too."""
        try:
            yield
        except ConfigError as exc:
            if self.faults is None:
                raise
            self.faults.append(exc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One checked value, the key as it was written, and where."""

    value: object = field(repr=False)
    written: str
    origin: str


Layer = dict[KeyPath, Assignment]
Tree = Mapping[str, object] | Mapping[object, object]
"""Nested tables, as a file or a program writes them."""


def assign(layer: Layer, found: Found, raw: object, *, source: Source, written: KeyPath, origin: str) -> None:
    """
    Check *raw* and put it into *layer*.

    Raises:
        ConfigError: It does not fit, or the layer already says something about this setting.
    """
    key = source.key(written)
    if found.path in layer:
        raise ConfigError(key, f"sets the same as {layer[found.path].written}; write only one of them ({source.name})")
    value = read_value(found, raw, source=source, written=written)
    layer[found.path] = Assignment(value=value, written=key, origin=origin)


def read_value(found: Found, raw: object, *, source: Source, written: KeyPath) -> object:
    """Check one value. Raises ConfigError, which never holds anything of a secret."""
    try:
        return found.kind.read(raw)
    except Unfit as unfit:
        secret = found.definition.setting.secret
        seen = "" if unfit.told else f", not {described(raw) if secret else shown(raw)}"
        # No cause: what it holds could be the secret, and tracebacks end up in logs.
        raise source.refuse(written, f"expected {unfit.expected}{seen}") from None


def read_tree(tree: Tree, *, source: Source) -> Layer:
    """
    Read nested tables, as a file holds them, into a layer.

    An empty section is as good as none; a channel may be its URL alone.

    Raises:
        ConfigError: An unknown key (with the nearest known one), a value that does not fit, a table where a value is
            expected or the other way round.
    """
    layer: Layer = {}
    _read_section(layer, tree, (), source)
    return layer


def _read_section(layer: Layer, section: Tree, above: KeyPath, source: Source) -> None:
    for name, raw in section.items():
        with source.each():
            _read_entry(layer, name, raw, above, source)


def _read_entry(layer: Layer, name: object, raw: object, above: KeyPath, source: Source) -> None:
    if not isinstance(name, str):
        raise source.refuse((*above, shown(name)), f"expected a name as the key, not {described(name)}")
    path = (*above, name)
    if above == (CHANNELS,):
        check_channel_name(name, source)
    found = find(path)
    if found is not None:
        origin = f"{source.name}:{source.key(path)}"
        assign(layer, found, raw, source=source, written=path, origin=origin)
    elif is_section(path):
        _read_section(layer, table(path, raw, source), path, source)
    else:
        raise unknown(path, source)


def table(path: KeyPath, raw: object, source: Source) -> Mapping[object, object]:
    """Return a section's content; a channel that is a text is its URL."""
    if raw is None:
        return {}
    if isinstance(raw, str) and path[:-1] == (CHANNELS,):
        return {"url": raw}
    if not isinstance(raw, Mapping):
        raise source.refuse(path, f"expected a table, not {described(raw)}")
    return raw


def check_channel_name(name: str, source: Source) -> None:
    """Refuse a channel's name that could not be said in a variable or on a command line."""
    if is_url(name):
        # It may hold a token, so it is not repeated.
        raise source.refuse((CHANNELS,), "expected names as its keys, not a URL: a channel's URL is its value")
    if not _CHANNEL_NAME.match(name):
        raise source.refuse(
            (CHANNELS, name),
            "expected a name of at most 64 letters, digits, '-' and single '_' that begins and ends with a letter or"
            " digit",
        )


def unknown(path: KeyPath, source: Source) -> ConfigError:
    """Make the error for a key that nothing is known about, with the nearest one that is."""
    meant = nearest(path)
    known = names_inside(path[:-1])
    return source.refuse(path, did_you_mean(source.key(meant) if meant else None, known))


def stacked(*layers: Layer) -> Layer:
    """Put layers on top of each other, the last one on top."""
    merged: Layer = {}
    for layer in layers:
        merged |= layer
    return merged


def make_settings(values: Mapping[KeyPath, object]) -> Settings:
    """Build the settings from checked values; what is missing takes its default."""
    return _make(Settings, values, ())


def _make(kind: type[_Values], values: Mapping[KeyPath, object], above: KeyPath) -> _Values:
    arguments: dict[str, object] = {}
    for item in fields(cast("type[Settings]", kind)):
        path = (*above, item.name)
        section = item.metadata.get(SECTION)
        if EACH in item.metadata:
            names = dict.fromkeys(one[len(path)] for one in values if one[: len(path)] == path)
            arguments[item.name] = {
                name: _make(section, values, (*path, name)) if section else values[(*path, name)] for name in names
            }
        elif section:
            arguments[item.name] = _make(section, values, path)
        elif path in values:
            arguments[item.name] = values[path]
    return kind(**arguments)


def _readable(name: str) -> str:
    return name if name.isprintable() and len(name) <= _KEY_SHOWN_MAX else f"{name[:_KEY_SHOWN_MAX]!r}…"
