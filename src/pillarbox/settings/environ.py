"""
Variables as a source of settings: ``PILLARBOX_CHANNELS__OPS__URL``, and ``…_FILE`` for what stands in a file.

The environment comes in as an argument; only `pillarbox.settings.load` touches the process's own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from pillarbox.errors import ConfigError
from pillarbox.settings.files import CONFIG_VARIABLE, read_secret
from pillarbox.settings.layers import Layer, Source, assign, check_channel_name
from pillarbox.settings.lookup import (
    CHANNELS,
    ENV_PREFIX,
    ENV_SEPARATOR,
    OPTIONS,
    KeyPath,
    did_you_mean,
    env_name,
    find,
    is_section,
    names_inside,
    nearest,
    unfolded,
)

FILE_SUFFIX: Final = "_file"
# What Kubernetes and Docker links put into every container beside a service called "pillarbox".
_SERVICE_LINK: Final = re.compile(
    r"PILLARBOX_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)\Z"
)


def read_environ(
    environ: Mapping[str, str],
    *,
    below: Layer,
    cwd: Path,
    others: Collection[str] = (),
    faults: list[ConfigError] | None = None,
) -> Layer:
    """
    Read every variable of ours.

    Args:
        below: What the file said. A variable cannot spell every name, so ``OPS_TEAM`` is the file's ``ops-team``.
        others: Variables that the command line has for itself.
        faults: Where mistakes are noted; ``None``: the first one is raised.

    Raises:
        ConfigError: An unknown variable (with the nearest known one), two for the same setting, a value that does not
            fit, or a secret's file that cannot be read.
    """
    layer: Layer = {}
    known = {name.upper() for name in (CONFIG_VARIABLE, *others)}
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in known or _SERVICE_LINK.match(upper):
            continue
        source = Source(name=f"env {name}", faults=faults)
        with source.each():
            _read_variable(layer, name, environ[name], source, below=below, cwd=cwd)
    return layer


def _read_variable(layer: Layer, name: str, text: str, source: Source, *, below: Layer, cwd: Path) -> None:
    path = _path_of(name.upper().removeprefix(ENV_PREFIX), below)
    if len(path) > 1 and path[0] == CHANNELS:
        check_channel_name(path[1], source)
    if len(path) == 2 and path[0] == CHANNELS:  # noqa: PLR2004 — a channel alone is its URL, as in a file
        path = (*path, "url")
    if path[-1].endswith(FILE_SUFFIX):
        own = _as_below((*path[:-1], path[-1].removesuffix(FILE_SUFFIX)), below)
        of_file = find(own)
        if of_file is not None and of_file.definition.setting.secret:
            raw = read_secret(cwd / text, field=source.key(own), because=source.name)
            assign(layer, of_file, raw, source=source, written=own, origin=source.name)
            return
    found = find(path)
    if found is None:
        raise _unknown(name, path)
    assign(layer, found, found.kind.of_text(text), source=source, written=path, origin=source.name)


def _path_of(name: str, below: Layer) -> KeyPath:
    path: KeyPath = ()
    for part in name.split(ENV_SEPARATOR):
        path = _as_below((*path, part.lower()), below)
    return path


def _as_below(path: KeyPath, below: Layer) -> KeyPath:
    """Write the last name as the file does, where the user chose it: a channel, an adapter's option."""
    if path[:-1] != (CHANNELS,) and path[2:3] != (OPTIONS,):
        return path
    depth = len(path)
    alike = {one[depth - 1] for one in below if one[: depth - 1] == path[:-1] and len(one) >= depth}
    same = sorted(name for name in alike if _folded(name) == _folded(path[-1]))
    if len(same) > 1:
        names = " and ".join(same)
        raise ConfigError(env_name(path), f"means {names} alike; rename one of them, or set it in the file")
    return (*path[:-1], same[0]) if same else path


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _unknown(name: str, path: KeyPath) -> ConfigError:
    if is_section(path):
        inside = ", ".join(env_name((*path, one)) for one in names_inside(path)[:3])
        return ConfigError(name, f"is a group of settings; expected one of them, such as {inside or env_name(path)}")
    meant = unfolded(name)
    if meant is None and (near := nearest(path)) is not None:
        meant = env_name(near)
    return ConfigError(name, did_you_mean(meant, ()))
