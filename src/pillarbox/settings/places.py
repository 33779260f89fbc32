"""Where files of ours stand by default: the user's directories for configuration and for state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_APP: Final = "pillarbox"


def config_dir(environ: Mapping[str, str]) -> Path:
    """Return the user's directory for our configuration. It need not exist."""
    if home := _base(environ, "XDG_CONFIG_HOME"):
        return home / _APP
    from platformdirs import user_config_path

    return user_config_path(_APP, appauthor=False)


def default_db(environ: Mapping[str, str] | None = None) -> str:
    """Return the path of the database that is used when none is named: ``outbox.db`` in the user's state directory."""
    if home := _base(environ or {}, "XDG_STATE_HOME"):
        return str(home / _APP / "outbox.db")
    from platformdirs import user_state_path

    return str(user_state_path(_APP, appauthor=False) / "outbox.db")


def _base(environ: Mapping[str, str], name: str) -> Path | None:
    """Read an XDG variable; the specification has relative paths ignored."""
    named = Path(environ.get(name, ""))
    return named if named.is_absolute() else None
