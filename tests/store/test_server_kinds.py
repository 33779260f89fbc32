"""Which server it is, by the words that such servers answer, and which of them nothing is stored on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.cli.exits import Exit, code_of
from pillarbox.errors import ConfigError, StoreUnsafe
from pillarbox.store.base import Durability
from pillarbox.store.postgres import dsn
from pillarbox.store.postgres.connection import connect
from pillarbox.store.postgres.server_kinds import TRAITS, ServerKind, Words, check, is_pooler, kind
from tests.store.postgres_server import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

# What each of them answers, with where that is written down.
SAID = {
    ServerKind.PLAIN: Words(version="PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu"),
    # docs.citusdata.com: the extension is named citus
    ServerKind.CITUS: Words(version="PostgreSQL 17.2 on x86_64-pc-linux-gnu, compiled by gcc", citus="13.0-1"),
    # dev.to/yugabyte/postgresql-15-compatibility-in-yugabytedb-225-top-15-features-53b5
    ServerKind.YUGABYTE: Words(
        version="PostgreSQL 15.2-YB-2.25.0.0-b0 on aarch64-unknown-linux-gnu, compiled by clang version 17.0.6"
        " (https://github.com/yugabyte/llvm-project.git 9b881774e40024e901fc6f3d313607b071c08631), 64-bit",
        isolation="read committed",
    ),
    # github.com/neondatabase/neon: the settings neon.tenant_id and neon.timeline_id of each compute
    ServerKind.NEON: Words(version="PostgreSQL 17.5 (6bc9ef8) on x86_64", neon="814ce0bd2ae452e11575402e8296b64d"),
    # docs.aws.amazon.com/AmazonRDS: SELECT aurora_version()
    ServerKind.AURORA: Words(version="PostgreSQL 16.6 on x86_64-pc-linux-gnu, compiled by gcc", aurora=True),
    # github.com/psycopg/psycopg, psycopg/crdb/connection.py: is_crdb asks for this parameter
    ServerKind.COCKROACH: Words(crdb_version="CockroachDB CCL v23.1.10 (x86_64-pc-linux-gnu, built 2023/09/18)"),
    # docs.aws.amazon.com/aurora-dsql: the hostname of a cluster
    ServerKind.DSQL: Words(host="abcdefghijklmnopqrst123456.dsql.us-east-1.on.aws", version="PostgreSQL 16"),
}


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as url:
        yield url


def test_each_kind_is_known_by_its_words_and_has_traits() -> None:
    assert {named: kind(words) for named, words in SAID.items()} == {named: named for named in ServerKind}
    assert set(TRAITS) == set(ServerKind)
    assert {named for named in ServerKind if TRAITS[named].refused} == {ServerKind.COCKROACH, ServerKind.DSQL}
    assert {named for named in ServerKind if not TRAITS[named].notices} == {
        ServerKind.YUGABYTE,
        ServerKind.COCKROACH,
        ServerKind.DSQL,
    }


@pytest.mark.parametrize(
    ("host", "pooler"),
    [
        ("ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech", True),
        ("ep-cool-darkness-123456.us-east-2.aws.neon.tech", False),
        ("orders.proxy-abcdefghijkl.eu-west-1.rds.amazonaws.com", True),
        ("orders.cluster-abcdefghijkl.eu-west-1.rds.amazonaws.com", False),
    ],
)
def test_a_pooler_is_known_by_its_name(host: str, pooler: bool) -> None:
    assert is_pooler(host) is pooler


@pytest.mark.contract("SG3")
@pytest.mark.parametrize(
    ("of", "version", "isolation", "said"),
    [
        (ServerKind.DSQL, 160000, None, "Aurora DSQL, on which nothing is stored: it has no sequences"),
        (ServerKind.COCKROACH, 130000, None, "CockroachDB, on which nothing is stored: it has neither NOTIFY"),
        (ServerKind.PLAIN, 130014, None, "the server is PostgreSQL 13; pillarbox needs 14 or newer"),
        (ServerKind.YUGABYTE, 110002, None, "14 or newer (YugabyteDB 2025.1)"),
        (ServerKind.YUGABYTE, 150002, "repeatable read", "set yb_enable_read_committed_isolation"),
    ],
)
def test_a_server_on_which_something_would_go_wrong_is_refused_with_the_reason(
    of: ServerKind, version: int, isolation: str | None, said: str
) -> None:
    with pytest.raises(StoreUnsafe) as refused:
        check(of, version, isolation)
    assert said in str(refused.value)
    assert code_of(refused.value) is Exit.DATABASE
    check(ServerKind.YUGABYTE, 150002, "READ COMMITTED")


def test_a_real_server_says_what_it_is(url: str) -> None:
    def titled(said: str = "") -> str:
        connection = connect(dsn.parse(url + said), Durability.POWER)
        connection.close()
        return connection.traits.title

    assert titled() == "PostgreSQL"
    assert titled("&options=-cneon.timeline_id%3D814ce0bd") == "Neon"
    assert titled("&backend=aurora") == "Aurora PostgreSQL"
    with pytest.raises(StoreUnsafe, match="CockroachDB"):
        titled("&backend=cockroach")
    with pytest.raises(ConfigError, match=r"backend: expected one of auto, plain, citus") as refused:
        dsn.parse("postgresql://ann:hunter2@h/app?backend=oracle")
    assert "hunter2" not in str(refused.value)
