"""
Which server it is that speaks PostgreSQL's protocol, by its own words, and what it does otherwise than PostgreSQL.

What differs is a line of a table here, and nothing asks for a kind by its name elsewhere. What every one of them lacks
some of is used by nobody: session state where there is none, locks that are no rows, two changes in one statement.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from pillarbox.errors import StoreUnsafe

OLDEST: Final = 14
"""The oldest PostgreSQL whose words our statements are in."""


class ServerKind(StrEnum):
    """What ``backend=`` in the URL may say."""

    PLAIN = "plain"
    CITUS = "citus"
    YUGABYTE = "yugabyte"
    NEON = "neon"
    AURORA = "aurora"
    COCKROACH = "cockroach"
    DSQL = "dsql"


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a kind of server does otherwise.

    Attributes:
        title: Its name, for people.
        notices: Whether it has LISTEN and NOTIFY, unless somebody has turned them off.
        one_server: Whether a connection sees all others that write (``pg_stat_activity``), so that a commit whose
            answer was lost can be ended. Elsewhere leases that nobody knows of run out by themselves.
        table_locks: Whether a table can be locked against others that lock it. Elsewhere the first era of leases never
            ends.
        copies: Whether many messages are stored by COPY.
        refused: Why nothing is stored there; empty where it is.
    """

    title: str
    notices: bool = True
    one_server: bool = True
    table_locks: bool = True
    copies: bool = True
    refused: str = ""


TRAITS: Final = {
    ServerKind.PLAIN: Traits(title="PostgreSQL"),
    # Tables that nobody distributes are plain tables of the coordinator.
    # https://docs.citusdata.com/en/stable/get_started/concepts.html#type-3-local-tables
    ServerKind.CITUS: Traits(title="Citus"),
    # Off unless ysql_yb_enable_listen_notify is set: github.com/yugabyte/yugabyte-db/pull/31306. Each node
    # is a PostgreSQL of its own, whose pg_stat_activity shows the connections to it alone.
    # Of table locks it has one mode, unless it is told otherwise:
    # docs.yugabyte.com/stable/api/ysql/the-sql-language/statements/txn_lock
    # It was never tried there whether COPY is worth it.
    ServerKind.YUGABYTE: Traits(title="YugabyteDB", notices=False, one_server=False, table_locks=False, copies=False),
    # One PostgreSQL over storage of its own; its pooler is PgBouncer: neon.com/docs/manage/connection-pooling
    ServerKind.NEON: Traits(title="Neon"),
    ServerKind.AURORA: Traits(title="Aurora PostgreSQL"),
    # No notices, no pg_terminate_backend: www.psycopg.org/psycopg3/docs/api/crdb.html. No named arguments of functions:
    # www.cockroachlabs.com/docs/v24.1/known-limitations
    ServerKind.COCKROACH: Traits(
        title="CockroachDB",
        notices=False,
        one_server=False,
        refused="it has neither NOTIFY, nor functions that are called with named arguments, nor a way to end a commit"
        " whose answer was lost, and nothing of pillarbox was ever run on it",
    ),
    # docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-postgresql-compatibility-unsupported-features.html
    ServerKind.DSQL: Traits(
        title="Aurora DSQL",
        notices=False,
        one_server=False,
        refused="it has no sequences, by which lanes are ordered, no savepoints, no triggers, and no functions in"
        " PL/pgSQL",
    ),
}


class Words(NamedTuple):
    """
    What a server says of itself, and where it is.

    Attributes:
        host: To which we are connected.
        crdb_version: A parameter that CockroachDB reports when a connection begins.
        version: What ``version()`` returns.
        citus: The version of that extension, where it is installed.
        neon: Neon's name for the database's history.
        aurora: Whether there is a function ``aurora_version``.
        isolation: What YugabyteDB makes of READ COMMITTED.
    """

    host: str = ""
    crdb_version: str | None = None
    version: str = ""
    citus: str | None = None
    neon: str | None = None
    aurora: bool = False
    isolation: str | None = None


# docs.aws.amazon.com/aurora-dsql/latest/userguide: <cluster>.dsql.<region>.on.aws
_OF_DSQL: Final = re.compile(r"\.dsql(-\w+)?\.[a-z0-9-]+\.on\.aws\.?$", re.IGNORECASE)
# neon.com/docs/manage/connection-pooling: ep-…-pooler.<region>.aws.neon.tech; RDS Proxy:
# <name>.proxy-<id>.<region>.rds.amazonaws.com
_OF_POOLERS: Final = re.compile(r"-pooler\.|\.proxy-[a-z0-9]+\.[a-z0-9-]+\.rds\.", re.IGNORECASE)
_YUGABYTE: Final = re.compile(r"-YB-\d")


def by_name(host: str, crdb_version: str | None) -> ServerKind | None:
    """Return the kind that can be told before anything is asked; ``None`` where the server has to be asked."""
    if crdb_version:
        return ServerKind.COCKROACH
    return ServerKind.DSQL if _OF_DSQL.search(host) else None


def kind(words: Words) -> ServerKind:
    """Return which server says that."""
    found = by_name(words.host, words.crdb_version)
    if found is not None:
        return found
    # PostgreSQL 15.2-YB-2025.1.0.0-b168 on x86_64-pc-linux-gnu, …
    if _YUGABYTE.search(words.version):
        return ServerKind.YUGABYTE
    if words.neon:
        return ServerKind.NEON
    if words.aurora:
        return ServerKind.AURORA
    return ServerKind.CITUS if words.citus else ServerKind.PLAIN


def is_pooler(host: str) -> bool:
    """Whether a name says that connections behind it are shared."""
    return _OF_POOLERS.search(host) is not None


def check(of: ServerKind, server_version: int, isolation: str | None) -> None:
    """
    Refuse a server on which something would go wrong.

    Args:
        of: Its kind.
        server_version: The PostgreSQL that it is, or is made of, as libpq says it: 150002 is 15.2.
        isolation: See `Words`.

    Raises:
        StoreUnsafe: It is refused; says why.
    """
    traits = TRAITS[of]
    if traits.refused:
        raise StoreUnsafe(f"the server is {traits.title}, on which nothing is stored: {traits.refused}")
    if server_version < OLDEST * 10_000:
        newer = " (YugabyteDB 2025.1)" if of is ServerKind.YUGABYTE else ""
        raise StoreUnsafe(
            f"the server is PostgreSQL {server_version // 10_000}; pillarbox needs {OLDEST} or newer{newer}"
        )
    if isolation and isolation.lower() != "read committed":
        raise StoreUnsafe(
            f"the server makes {isolation} of READ COMMITTED, under which messages could wait for ever:"
            " set yb_enable_read_committed_isolation"
        )
