"""
Settings for people: what each is for, what it is set to and by whom.

Secrets leave this module only through a mask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final, cast

from pillarbox.domain.url_schemes import MASK, mask_url
from pillarbox.errors import ConfigError
from pillarbox.settings.layers import Source, unknown
from pillarbox.settings.lookup import (
    CHANNELS,
    TABLE,
    Definition,
    KeyPath,
    env_name,
    find,
    flag_name,
    is_section,
    names_inside,
)
from pillarbox.settings.model import EACH, SECTION, Settings

Mask = Callable[[str], str]

_QUERY: Final = re.compile(r"[?#].*+", re.DOTALL)


def mask_dsn(dsn: str) -> str:
    """Show where a database is, without user, password and query."""
    if "://" not in dsn:
        return dsn
    scheme, slashes, rest = dsn.partition("//")
    # Up to the last "@": a password, written carelessly, may itself hold "@", "/", "?" or "#".
    _, at, where = rest.rpartition("@")
    return _QUERY.sub(f"?{MASK}", f"{scheme}{slashes}{MASK}@{where}" if at else dsn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """
    What there is to know about one setting.

    Attributes:
        range: What it accepts, as the end of a sentence that begins with "expected".
        default: As one would write it; "not set" where leaving it out means something else than any value.
        flag: ``None`` for what belongs to one channel.
        reload: A running outbox takes it over (`Outbox.reload`, SIGHUP); otherwise it takes a restart.
    """

    key: str
    label: str
    help: str
    range: str
    default: str
    env: str
    flag: str | None
    reload: bool
    secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of ``config show``: the value as one would write it, masked, and where it comes from."""

    key: str
    value: str
    origin: str


def explain(key: str) -> Explanation:
    """
    Describe a setting, in any spelling of its key; ``channels.ops.ttl`` as well as ``channels.NAME.ttl``.

    Raises:
        ConfigError: No such setting (with the nearest one), or a group of them (which are named).
    """
    path = tuple(key.strip().split("."))
    found = find(path)
    if found is not None:
        return explanation(found.definition, found.path)
    if is_section(path):
        inside = ", ".join(names_inside(path)) or "a name of yours"
        raise ConfigError(key, f"is a group of settings; expected one inside it: {inside}")
    raise unknown(path, Source(name="config explain"))


def explanation(definition: Definition, path: KeyPath | None = None) -> Explanation:
    """Describe a setting of the table, as it stands at *path*."""
    path = path or definition.path
    return Explanation(
        key=".".join(path),
        label=definition.setting.label,
        help=definition.setting.help,
        range=definition.kind.expected,
        default=_default_text(definition),
        env=env_name(path),
        flag=None if path[0] == CHANNELS else flag_name(path),
        reload=definition.setting.reload,
        secret=definition.setting.secret,
    )


def _default_text(definition: Definition) -> str:
    if definition.setting.default_text is not None:
        return definition.setting.default_text
    default = definition.default
    if default is None and definition.path[0] == CHANNELS:
        return "not set"
    if default == ():
        return "empty"
    return definition.kind.show(default)


def show(settings: Settings, origins: Mapping[str, str], mask: Mask = mask_url) -> list[Row]:
    """
    List every setting with its value and origin; of channels only what is set.

    *mask* is given the URLs of channels. Adapter options are never shown.
    """
    return [
        Row(key=".".join(path), value=_shown(definition, value, mask), origin=origins.get(".".join(path), "default"))
        for path, definition, value in each_value(settings)
        if path[0] != CHANNELS or value != definition.default
    ]


def _shown(definition: Definition, value: object, mask: Mask) -> str:
    if not definition.setting.secret:
        return definition.kind.show(value)
    match definition.path:
        case ("db",):
            return mask_dsn(str(value))
        case ("shards",) if isinstance(value, tuple):
            return definition.kind.show(tuple(map(mask_dsn, value)))
        case (*_, "url") if value is not None:
            return mask(str(value))
        case _:
            return MASK


def each_value(settings: Settings) -> Iterator[tuple[KeyPath, Definition, object]]:
    """Go through all values in the table's order, channels last, by name."""
    yield from _values(settings, ())


def _values(section: object, above: KeyPath) -> Iterator[tuple[KeyPath, Definition, object]]:
    for item in fields(cast("Settings", section)):
        value = getattr(section, item.name)
        path = (*above, item.name)
        if EACH in item.metadata:
            for name, entry in sorted(value.items()):
                if SECTION in item.metadata:
                    yield from _values(entry, (*path, name))
                else:
                    yield (*path, name), _definition((*path, name)), entry
        elif SECTION in item.metadata:
            yield from _values(value, path)
        else:
            yield path, _definition(path), value


def _definition(path: KeyPath) -> Definition:
    found = find(path)
    if found is None:
        raise LookupError(".".join(path))
    return found.definition


def explanations() -> list[Explanation]:
    """Describe every setting, in the table's order: what documentation is generated from."""
    return [explanation(one) for one in TABLE]
