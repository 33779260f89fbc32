"""Which store a DSN means. Concrete stores are loaded here alone, when they are asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from pillarbox.errors import ConfigError
from pillarbox.store.base import Store

_MODULES: Final = {
    "sqlite": ("pillarbox.store.sqlite.store", "SQLiteStore"),
    "sqlite3": ("pillarbox.store.sqlite.python_store", "PythonStore"),
    "postgresql": ("pillarbox.store.postgres.store", "PostgresStore"),
}
_NAMES: Final = {"postgres": "postgresql"}
"""Other names of schemes."""
_FILES: Final = frozenset({"sqlite", "sqlite3"})
_MEMORY: Final = ":memory:"


def open_store(dsn: str | Path, **options: Any) -> Store:  # noqa: ANN401 — passed on to the store as they are
    """
    Make the store that *dsn* names, without opening it.

    ``outbox.db``, ``/var/lib/app/outbox.db``, ``sqlite:///outbox.db`` (relative), ``sqlite:////var/lib/outbox.db``
    (absolute) and ``:memory:`` mean SQLite; ``sqlite3:///shop.db`` means a shared file, opened with Python's own
    library (`share`); ``postgresql://user@host/database`` means PostgreSQL.

    Raises:
        ConfigError: An empty DSN, an unknown scheme, or one whose library is not installed.
    """
    scheme, place = _split(str(dsn))
    module, name = _MODULES[scheme]
    try:
        driver = importlib.import_module(module)
    except ModuleNotFoundError as exc:
        raise ConfigError("db", f"{scheme} needs {exc.name}: pip install 'pillarbox[postgres]'") from exc
    return cast("Store", getattr(driver, name)(place, **options))


def no_store(key: bytes) -> Store:
    """Make what stands in for the store of a disabled queue. *key*, random, makes the log's hashes of recipients."""
    from pillarbox.store.null import NullStore

    return NullStore(key)


def file_of(dsn: str | Path) -> Path | None:
    """
    Return the file that *dsn* names; ``None`` where it is a server's database, or one in memory.

    Raises:
        ConfigError: As `open_store`.
    """
    scheme, place = _split(str(dsn))
    return Path(place) if scheme in _FILES and place != _MEMORY else None


def share(path: Path) -> bool:
    """
    Make a shared file of *path*: new, or of another program's, whose tables stay as they are.

    Returns:
        Whether it was none before.

    Raises:
        StoreError: It cannot be one, or something else has it open; it is as it was.
    """
    from pillarbox.store.sqlite import shared_files

    return shared_files.share(path)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(dsn: str) -> tuple[str, str]:
    if not dsn.strip() or "\0" in dsn or not _is_unicode(dsn):
        msg = "expected a path such as outbox.db, or a URL such as sqlite:///outbox.db"
        raise ConfigError("db", msg)
    if dsn == _MEMORY:
        return "sqlite", dsn
    said, separator, _ = dsn.partition("://")
    if not separator:
        if dsn.startswith((_MEMORY, "file:")):
            raise ConfigError(
                "db", "expected a path, :memory: alone or sqlite:///outbox.db: SQLite's own file: URLs are not read"
            )
        return "sqlite", dsn
    scheme = _NAMES.get(said.lower(), said.lower())
    if scheme not in _MODULES:
        known = ", ".join(sorted(_MODULES))
        raise ConfigError("db", f"unknown database scheme {said!r}; known: {known}, or a path")
    if scheme not in _FILES:
        return scheme, dsn
    try:
        parts = urlsplit(dsn)
    except ValueError as exc:
        raise ConfigError("db", "a SQLite URL names no host, and [ ] are %5B and %5D in it") from exc
    if parts.netloc:
        raise ConfigError("db", "a SQLite URL has three slashes before a relative path, four before an absolute one")
    path = unquote(parts.path).removeprefix("/")
    if not path:
        raise ConfigError("db", "the URL names no file")
    if path != _MEMORY:
        return scheme, path
    if scheme != "sqlite":
        raise ConfigError("db", "nobody shares a database in memory: expected a file, as in sqlite3:///shop.db")
    return scheme, _MEMORY
