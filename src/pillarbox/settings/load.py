"""
Where each setting's value comes from: its default, then a file, then variables, then flags; the last one wins.

The only module that reads the process's environment. What settings there are stands in `pillarbox.settings.model`;
how a source is read, in the modules beside it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pillarbox.domain.url_schemes import mask_url
from pillarbox.errors import ConfigError
from pillarbox.settings import explain as explaining
from pillarbox.settings import files, problems
from pillarbox.settings.comis_openclaw import FileLayers, read_file_tree
from pillarbox.settings.environ import read_environ
from pillarbox.settings.explain import Mask, Row
from pillarbox.settings.files import Candidate
from pillarbox.settings.layers import Layer, Source, assign, make_settings, stacked, unknown
from pillarbox.settings.lookup import ENV_PREFIX, find, flag_name
from pillarbox.settings.model import Settings
from pillarbox.settings.places import default_db
from pillarbox.settings.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """
    The settings, and who said so.

    Attributes:
        origins: By dotted key: ``default``, ``file PATH:KEY`` (the key as the file spells it), ``env NAME`` or
            ``flag --NAME``. Every setting is in it; of a channel, every one of its settings.
        file: The configuration file that was read, ``None`` without one.
    """

    settings: Settings
    origins: Mapping[str, str]
    file: Path | None = None


def load(
    *,
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    cwd: Path | None = None,
    other_variables: Collection[str] = (),
    faults: list[ConfigError] | None = None,
) -> Loaded:
    """
    Read the configuration from all its sources. Reads files, writes none; connects nowhere.

    Args:
        path: The configuration file. ``None``: ``PILLARBOX_CONFIG``, else ``pillarbox.toml``, ``.yaml`` or ``.yml``
            in *cwd*, else in the user's configuration directory, else none.
        environ: Variables; ``None`` for the process's own.
        flags: Values by dotted key (``{"limits.messages": "500"}``), as text or typed; ``None`` values are not set.
        cwd: What relative paths count from; ``None`` for the working directory.
        other_variables: Names beginning with ``PILLARBOX_`` that are no settings: the command line's own.
        faults: Where every mistake in a key or a value is noted; what it spoils is left out. ``None``: the first
            mistake is raised. A file that cannot be read is raised in both cases.

    Raises:
        ConfigError: ``field`` is the dotted key as it was written, the file's path, or the variable's name; nothing
            in it is a secret.
    """
    environ = os.environ if environ is None else environ
    cwd = Path() if cwd is None else cwd
    file = next((one for one in files.candidates(path=path, environ=environ, cwd=cwd) if one.used), None)
    from_file = FileLayers()
    if file is not None:
        tree = files.read_config(file.path, because=file.because)
        from_file = read_file_tree(tree, source=Source(name=f"file {file.path}", faults=faults))
    below = stacked(from_file.implied, from_file.written)
    from_environ = read_environ(environ, below=below, cwd=cwd, others=other_variables, faults=faults)
    layer = stacked(below, from_environ, _read_flags(flags or {}, faults))
    _check_one_place(layer, flags or {}, faults)
    values = {key: assignment.value for key, assignment in layer.items()}
    values.setdefault(("db",), default_db(environ))
    settings = make_settings(values)
    return Loaded(settings=settings, origins=_origins(settings, layer), file=file.path if file else None)


def is_default_db(db: str) -> bool:
    """Whether that is the database which is used when none is named: its directory is made where it is missing."""
    return db in {default_db(os.environ), default_db()}


def notify_socket() -> str | None:
    """Return where the service manager that started this process wants to be told of it; ``None`` for nowhere."""
    return os.environ.get("NOTIFY_SOCKET")


def paths(
    *, path: str | Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> list[Candidate]:
    """List where `load` looks for a configuration file, in order; at most one is used. Opens none of them."""
    environ = os.environ if environ is None else environ
    return files.candidates(path=path, environ=environ, cwd=Path() if cwd is None else cwd)


def environ_of_others() -> dict[str, str]:
    """Return the process's environment without our variables: for a child that is configured by a file alone."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}


def show(loaded: Loaded, *, mask: Mask = mask_url) -> list[Row]:
    """List every setting as a row of key, masked value and origin. *mask* is given the URLs of channels."""
    return explaining.show(loaded.settings, loaded.origins, mask)


def check(loaded: Loaded) -> list[Problem]:
    """Look for settings that contradict each other or give something away; empty when nothing does."""
    return problems.check(loaded.settings, loaded.file)


def _read_flags(flags: Mapping[str, object], faults: list[ConfigError] | None) -> Layer:
    layer: Layer = {}
    for key, raw in flags.items():
        if raw is None:
            continue
        path = tuple(key.split("."))
        source = Source(name=f"flag {flag_name(path)}", faults=faults)
        with source.each():
            found = find(path)
            if found is None:
                raise unknown(path, source)
            value = found.kind.of_text(raw) if isinstance(raw, str) else raw
            assign(layer, found, value, source=source, written=path, origin=source.name)
    return layer


def _check_one_place(layer: Layer, flags: Mapping[str, object], faults: list[ConfigError] | None) -> None:
    """Refuse a database beside shards: nobody could tell which of the two holds the messages. A flag wins over both."""
    db, shards = layer.get(("db",)), layer.get(("shards",))
    if db is None or shards is None or not shards.value or flags.get("db") is not None:
        return
    with Source(name=db.origin, faults=faults).each():
        raise ConfigError(
            "db", f"expected either db or shards, not both: {db.origin} says one, {shards.origin} the other"
        )


def _origins(settings: Settings, layer: Layer) -> dict[str, str]:
    return {
        ".".join(path): layer[path].origin if path in layer else "default"
        for path, _, _ in explaining.each_value(settings)
    }
