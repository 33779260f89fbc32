"""What ``manage.py check`` says of a project's settings, before a mail is lost to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 — Django's own name
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from pillarbox.integrations.django.project import configured, project

_BACKEND: Final = "pillarbox.integrations.django.mail.EmailBackend"


def check_settings(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 — Django passes which applications are meant
    """Return what is wrong: the configuration, the channels of the mails, the file of the database."""
    try:
        said, own = project(), configured()
    except ImproperlyConfigured as exc:
        return [Error(str(exc), id="pillarbox.E001")]
    found: list[CheckMessage] = []
    # As Django completes them: a project without any has one that does nothing.
    databases: dict[str, dict[str, Any]] = connections.settings
    if said.database not in databases:
        found.append(Error(f"PILLARBOX['DATABASE']: there is no {said.database!r} in DATABASES", id="pillarbox.E002"))
    found += [
        Warning(
            f"no channel {channel!r} is configured: mails are accepted and wait",
            hint=f'say [channels.{channel}] url = "smtp://…" in pillarbox\'s configuration',
            id="pillarbox.W001",
        )
        for channel in dict.fromkeys([said.channel, *_channels_of_mailers()])
        if channel not in own.channels
    ]
    file = _file(own.db.removeprefix("sqlite:///"))
    for name, database in databases.items():
        if str(database.get("ENGINE", "")).endswith("sqlite3") and file == _file(str(database.get("NAME", ""))):
            found.append(
                Error(
                    f"the outbox's file is the one of DATABASES[{name!r}]: two SQLite libraries would break each"
                    " other's locks on it",
                    hint='name another file in pillarbox\'s configuration (db = "outbox.db")',
                    id="pillarbox.E003",
                )
            )
    return found


def _channels_of_mailers() -> list[str]:
    """Return the channels that mailers of ours name (Django 6.1 and later)."""
    mailers: dict[str, dict[str, Any]] = getattr(settings, "MAILERS", {})
    options = [mailer.get("OPTIONS", {}) for mailer in mailers.values() if mailer.get("BACKEND") == _BACKEND]
    return [said["channel"] for said in options if said.get("channel") is not None]


def _file(name: str) -> Path | None:
    """Return which file that is; ``None`` for what is in memory or on a server."""
    return None if not name or name.startswith(":") or "://" in name else Path(name).resolve()
