"""What ``manage.py check`` says of a project's settings, before a mail is lost to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 — Django's own name
from django.core.exceptions import ImproperlyConfigured

from pillarbox.integrations.django.project import configured, project


def check_settings(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 — Django passes which applications are meant
    """Return what is wrong: the configuration, the channel of the mails, the file of the database."""
    try:
        said, own = project(), configured()
    except ImproperlyConfigured as exc:
        return [Error(str(exc), id="pillarbox.E001")]
    found: list[CheckMessage] = []
    databases: dict[str, dict[str, Any]] = settings.DATABASES
    if said.database not in databases:
        found.append(Error(f"PILLARBOX['DATABASE']: there is no {said.database!r} in DATABASES", id="pillarbox.E002"))
    if said.channel not in own.channels:
        found.append(
            Warning(
                f"no channel {said.channel!r} is configured: mails are accepted and wait",
                hint=f'say [channels.{said.channel}] url = "smtp://…" in pillarbox\'s configuration',
                id="pillarbox.W001",
            )
        )
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


def _file(name: str) -> Path | None:
    """Return which file that is; ``None`` for what is in memory or on a server."""
    return None if not name or name.startswith(":") or "://" in name else Path(name).resolve()
