"""What a DSN says: to the library where the server is, to us in which schema the tables are."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from pillarbox.errors import ConfigError
from pillarbox.store.postgres.server_kinds import ServerKind

_FORM: Final = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE"
_UNENCODED: Final = (
    "what is no letter and no digit in a user's name or a password has to be percent-encoded in a URL, as @ is %40, /"
    " is %2F and # is %23"
)
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_AUTO: Final = "auto"
_CONNECT_SECONDS: Final = 10
_USUAL: Final = {
    "application_name": "pillarbox",
    "client_encoding": "utf8",
    "connect_timeout": str(_CONNECT_SECONDS),
    # A server that is gone without a word is noticed by then.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


class Notices(StrEnum):
    """How whoever works hears that somebody else wrote."""

    AUTO = _AUTO
    LISTEN = "listen"
    POLL = "poll"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where a queue is.

    Attributes:
        conninfo: For the library; it may hold a password.
        schema: In which all tables are.
        notices: With ``poll``, look for what others wrote, and rely on nothing that a connection keeps between two
            transactions: for poolers that give each transaction another one. With ``auto``, the connection shows it.
        backend: Which server it is; ``None``: it says so itself.
    """

    conninfo: str
    schema: str
    notices: Notices = Notices.AUTO
    backend: ServerKind | None = None


def _split(dsn: str) -> SplitResult:
    """
    Return the parts of a URL. Raises ConfigError where the library would find others.

    It would take a piece of a password, in which something stands that ends a part, for the host to ask.
    """
    try:
        parts = urlsplit(dsn)
    except ValueError as exc:
        raise ConfigError("db", _UNENCODED) from exc
    user, _, _ = parts.netloc.rpartition("@")
    if "@" in user or "#" in dsn or ("@" in parts.path and not user):
        raise ConfigError("db", _UNENCODED)
    return parts


def parse(dsn: str) -> Place:
    """Read a ``postgresql://`` URL. Raises ConfigError."""
    parts = _split(dsn)
    ours = {"schema": "pillarbox", "notices": _AUTO, "backend": _AUTO}
    theirs = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ours:
            ours[name] = value
        else:
            theirs.append((name, value))
    if not _SCHEMA.fullmatch(ours["schema"]) or ours["schema"].startswith("pg_"):
        raise ConfigError("db", "schema: expected a name of lower-case letters, digits and underscores, not pg_…")
    for name, known in (("notices", list(Notices)), ("backend", [_AUTO, *ServerKind])):
        if ours[name] not in known:
            raise ConfigError("db", f"{name}: expected one of {', '.join(known)}")
    url = urlunsplit(parts._replace(query=urlencode(theirs, quote_via=quote)))
    try:
        said = conninfo_to_dict(url)
    except ProgrammingError as exc:
        # What the library says may quote the password.
        raise ConfigError("db", _FORM) from exc
    usual = dict(_USUAL)
    if "," in str(said.get("host") or ""):
        # Of several servers the one that is the primary now.
        usual["target_session_attrs"] = "read-write"
    missing = {name: value for name, value in usual.items() if name not in said}
    query = urlencode([*theirs, *missing.items()], quote_via=quote)
    conninfo = urlunsplit(parts._replace(query=query))
    return Place(
        conninfo=conninfo,
        schema=ours["schema"],
        notices=Notices(ours["notices"]),
        backend=None if ours["backend"] == _AUTO else ServerKind(ours["backend"]),
    )
