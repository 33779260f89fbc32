"""
Configuration files: which one it is, and its text turned into tables.

A file that is named has to be there; of the places that are looked at unasked, the first one with a file counts.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pillarbox.errors import ConfigError
from pillarbox.settings.lookup import ENV_PREFIX
from pillarbox.settings.places import config_dir
from pillarbox.settings.value_kinds import described

CONFIG_VARIABLE: Final = f"{ENV_PREFIX}CONFIG"
CONFIG_BYTES_MAX: Final = 1 << 20
SECRET_BYTES_MAX: Final = 64 << 10
DEPTH_MAX: Final = 32
_VALUES_MAX: Final = 100_000
_NAMES: Final = ("pillarbox.toml", "pillarbox.yaml", "pillarbox.yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place for the configuration file. ``because`` says why it is looked at; at most one is ``used``."""

    path: Path
    because: str
    exists: bool
    used: bool


def candidates(*, path: str | Path | None, environ: Mapping[str, str], cwd: Path) -> list[Candidate]:
    """
    List the places for a configuration file in the order in which they count.

    A named file is the only candidate. Nothing is opened.

    Raises:
        ConfigError: ``PILLARBOX_CONFIG`` is empty, or one place has two files.
    """
    if path is not None:
        return [_named(cwd / path, "named by the caller")]
    for variable, text in environ.items():
        if variable.upper() == CONFIG_VARIABLE:
            if not text.strip():
                raise ConfigError(variable, "expected the path of a configuration file, not an empty text")
            return [_named(cwd / text, f"named by {variable}")]
    found: list[Candidate] = []
    for folder, because in ((cwd, "the working directory"), (config_dir(environ), "your own configuration")):
        paths = {folder / name: os.path.lexists(folder / name) for name in _NAMES}
        there = [place for place, exists in paths.items() if exists]
        used = not any(one.used for one in found)
        if used and len(there) > 1:
            names = " and ".join(place.name for place in there)
            raise ConfigError(str(folder), f"expected one configuration file, not {names}; remove or name one")
        found += [
            Candidate(path=place, because=because, exists=exists, used=exists and used)
            for place, exists in paths.items()
        ]
    return found


def _named(path: Path, because: str) -> Candidate:
    return Candidate(path=path, because=because, exists=os.path.lexists(path), used=True)


def read_config(path: Path, *, because: str) -> Mapping[object, object]:
    """
    Read a configuration file into tables.

    Raises:
        ConfigError: Missing, a directory, no regular file, unreadable, over 1 MiB, no UTF-8, no TOML, YAML or JSON
            (with the line), nested deeper than 32, too many values or aliases, a key twice, or no table at the top.
            ``field`` is the file's path.
    """
    where = str(path)
    if path.suffix not in _READERS:
        raise ConfigError(where, f"expected a file named .toml, .yaml, .yml or .json ({because})")
    content = read_regular(path, bytes_max=CONFIG_BYTES_MAX, field=where, because=because)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(where, f"expected text in UTF-8; byte {exc.start} is none") from None
    tree = _READERS[path.suffix](text, where)
    if tree is None:
        return {}
    if not isinstance(tree, Mapping):
        raise ConfigError(where, f"expected settings by name, not {described(tree)}")
    _check_shape(tree, where)
    return tree


_YAML_LINE: Final = re.compile(r"[\w.-]+:(?:\s|\Z)")
_TOML_LINE: Final = re.compile(r"\[|[\w.-]+ ?=")


def _first_line(text: str) -> str:
    """Return the first line that is no comment."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def _or_yaml(text: str) -> str:
    return "; it looks like YAML, which a file named .yaml may hold" if _YAML_LINE.match(_first_line(text)) else ""


def _or_toml(text: str) -> str:
    return "; it looks like TOML, which a file named .toml may hold" if _TOML_LINE.match(_first_line(text)) else ""


def _toml(text: str, where: str) -> object:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        # Without the cause: it carries the whole document along.
        raise ConfigError(where, f"expected TOML: {exc}{_or_yaml(text)}") from None
    except RecursionError:
        raise ConfigError(where, f"expected tables nested at most {DEPTH_MAX} deep") from None
    except ValueError:
        raise ConfigError(where, "expected TOML: a number or date in it cannot be read") from None


def _yaml(text: str, where: str) -> object:
    from pillarbox.settings.yaml_text import BadYaml, parse

    try:
        return parse(text, depth_max=DEPTH_MAX)
    except BadYaml as exc:
        raise ConfigError(where, f"expected YAML: {exc}{_or_toml(text)}") from None


def _json(text: str, where: str) -> object:
    from pillarbox.settings.json_text import BadJson, parse

    try:
        return parse(text)
    except BadJson as exc:
        raise ConfigError(where, f"expected JSON: {exc}") from None


_READERS: Final[Mapping[str, Callable[[str, str], object]]] = {
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
    ".json5": _json,
}


def _check_shape(tree: object, where: str) -> None:
    """Limit the size of the document: aliases let a small one stand for a huge or an endless one."""
    level: list[object] = [tree]
    count = 0
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for value in level:
            inside: Iterable[object] = ()
            if isinstance(value, Mapping):
                inside = value.values()
            elif isinstance(value, list):
                inside = value
            for item in inside:
                count += 1
                if count > _VALUES_MAX:
                    raise ConfigError(where, f"expected at most {_VALUES_MAX} values")
                below.append(item)
        level = [item for item in below if isinstance(item, Mapping | list)]
        if not level:
            return
    raise ConfigError(where, f"expected tables nested at most {DEPTH_MAX} deep")


def read_secret(path: Path, *, field: str, because: str) -> str:
    """
    Read a secret's file: its text without the line end that editors leave.

    Raises:
        ConfigError: Missing, no regular file, unreadable, over 64 KiB, no UTF-8 or empty. It holds nothing of the file.
    """
    content = read_regular(path, bytes_max=SECRET_BYTES_MAX, field=field, because=because)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(field, f"expected text in UTF-8 in {path} ({because})") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ConfigError(field, f"expected a secret in {path}, which is empty ({because})")
    return secret


def read_regular(path: Path, *, bytes_max: int, field: str, because: str) -> bytes:
    """
    Read a regular file of at most *bytes_max* bytes. Symbolic links are followed: mounted secrets are links.

    Raises:
        ConfigError: Says which of these it is not, and *because* of what it was looked at.
    """
    try:
        # Not blocking, because opening a named pipe would wait for a writer; and the open file is judged, not the name.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(handle).st_mode
            content = _content(handle, bytes_max + 1) if stat.S_ISREG(mode) else b""
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise ConfigError(field, f"expected a file at {path}; there is none ({because})") from None
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise ConfigError(field, f"expected a file that can be read at {path}: {why} ({because})") from None
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "something else"
        raise ConfigError(field, f"expected a regular file at {path}, not {what} ({because})")
    if len(content) > bytes_max:
        raise ConfigError(field, f"expected at most {bytes_max} bytes in {path} ({because})")
    return content


def _content(handle: int, size: int) -> bytes:
    with os.fdopen(handle, "rb", closefd=False) as file:
        return file.read(size)
