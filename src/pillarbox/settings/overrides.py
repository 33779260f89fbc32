"""Settings that a program says in its own code: over what was loaded, as strictly checked as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pillarbox.errors import ConfigError
from pillarbox.settings.explain import each_value
from pillarbox.settings.layers import Source, make_settings, read_tree
from pillarbox.settings.lookup import find
from pillarbox.settings.model import Settings

_SOURCE: Final = Source(name="argument")


def override(base: Settings | None, values: Mapping[str, object], *, db: str | None = None) -> Settings:
    """
    Put *values*, nested as in a file, over *base*.

    Args:
        base: ``None`` for the defaults; no file or variable is looked at.
        db: The database's name, taken as it is.

    Raises:
        ConfigError: An unknown key, or a value that does not fit.
    """
    if base is not None and not isinstance(base, Settings):  # what a caller hands over may be anything
        raise ConfigError(
            "settings",
            f"expected Settings, as `pillarbox.settings.load.load(path=…).settings` are, not {type(base).__name__};"
            " single ones are arguments of their own, as in Outbox(defaults={'ttl': '2h'})",
        )
    layer = read_tree(dict(values), source=_SOURCE)
    merged = {} if base is None else {path: value for path, _, value in each_value(base)}
    merged.update({path: assignment.value for path, assignment in layer.items()})
    if db is not None:
        merged["db",] = db
    return make_settings(merged)


def with_channel(base: Settings, name: str, values: Mapping[str, object]) -> Settings:
    """
    Put what a program says of one channel over *base*. A value that is no channel setting is its adapter's option.

    Raises:
        ConfigError: A bad name, or a value that does not fit.
    """
    own: dict[object, object] = {}
    options: dict[object, object] = {}
    for key, value in values.items():
        known = key != "options" and find(("channels", name, key)) is not None
        (own if known else options)[key] = value
    layer = read_tree({"channels": {name: own}}, source=_SOURCE)
    merged = {path: value for path, _, value in each_value(base)}
    merged.update({path: assignment.value for path, assignment in layer.items()})
    # Options of an object or a function may be anything; the adapter checks them.
    merged.update({("channels", name, "options", str(key)): value for key, value in options.items()})
    return make_settings(merged)
