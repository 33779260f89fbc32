"""
What a Django project says of its outbox (``PILLARBOX = {...}``), and that outbox, one for the process.

The processes that answer requests only accept; ``manage.py pillarbox run``, or ``pillarbox run``, delivers.
"""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from pillarbox.errors import ConfigError
from pillarbox.settings.load import load
from pillarbox.settings.model import Settings
from pillarbox.sync import Outbox

_KEYS: Final = ("CONFIG", "CHANNEL", "DATABASE")
_turns: dict[int, threading.Lock] = {}
_open: dict[str, Outbox] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """
    ``PILLARBOX`` in a project's settings.

    Attributes:
        config: The configuration file; ``None`` takes what the command line would: ``PILLARBOX_CONFIG``, or
            ``pillarbox.toml`` in the working directory.
        channel: Through which mails go.
        database: Which of ``DATABASES`` has the transactions that mails are part of.
    """

    config: Path | None
    channel: str
    database: str


def project() -> Project:
    """Read ``PILLARBOX``. Raises ImproperlyConfigured, which names the key."""
    given: object = getattr(settings, "PILLARBOX", {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"PILLARBOX: expected a dict, not {type(given).__name__}")
    for key in given:
        if key not in _KEYS:
            raise ImproperlyConfigured(f"PILLARBOX[{key!r}]: no such key; expected one of {', '.join(_KEYS)}")
    config = given.get("CONFIG")
    if config is not None and not isinstance(config, str | Path):
        raise ImproperlyConfigured("PILLARBOX['CONFIG']: expected the path of a file")
    for key in ("CHANNEL", "DATABASE"):
        if not isinstance(given.get(key, "mail"), str) or not given.get(key, "mail"):
            raise ImproperlyConfigured(f"PILLARBOX[{key!r}]: expected a name")
    return Project(
        config=None if config is None else Path(config),
        channel=given.get("CHANNEL", "mail"),
        database=given.get("DATABASE", "default"),
    )


def configured() -> Settings:
    """
    Read pillarbox's own configuration, as the command line does.

    Raises:
        ImproperlyConfigured: It cannot be read; the message names the field.
    """
    try:
        return load(path=project().config).settings
    except ConfigError as exc:
        raise ImproperlyConfigured(f"pillarbox: {exc}") from None


def outbox() -> Outbox:
    """
    Return the project's outbox, open; it accepts and does not deliver. Safe from several threads, and after a fork.

    Raises:
        ImproperlyConfigured: Its configuration cannot be.
        StoreError: Its database cannot be opened; its subclass says why.
    """
    with _turn():
        box = _open.get("box")
        if box is None:
            box = Outbox(settings=configured(), deliver=False)
            box.start()
            _open["box"] = box
            atexit.register(close)
        return box


def _turn() -> threading.Lock:
    """Return what guards it in this process. Of a fork's copy, the lock may be held by a thread that is not there."""
    return _turns.setdefault(os.getpid(), threading.Lock())


def close() -> None:
    """Close it; the next `outbox` opens another. For tests, and called at the end of the process."""
    with _turn():
        box = _open.pop("box", None)
    if box is not None:
        box.close()
