"""What is wrong with a server's database: each its own line, exit code 5, and what was in it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.store.postgres import migrations
from pillarbox.store.registry import open_store
from tests.store.postgres_server import as_role, connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.commands import Pillarbox

SEND = ("send", "ops", "hi", "--to", "x")
SECRET = "hunter2"


@pytest.fixture
def url() -> Iterator[str]:
    """A schema that no other test gets afterwards."""
    with fresh_database() as fresh:
        base, _, schema = fresh.partition("schema=")
        base = as_role(base, f"postgres:{SECRET}")
        yield f"{base}schema=cli_{schema}"
        with connected(base) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS cli_{schema} CASCADE")


async def refused(pillarbox: Pillarbox, url: str, said: str, *commands: tuple[str, ...]) -> None:
    for command in commands:
        ended = await pillarbox(*command, "--db", url)
        assert (ended.code, ended.out) == (5, ""), (command, ended.err)
        assert ended.said.startswith("error: ")
        assert said in ended.said, command
        assert SECRET not in ended.err
        assert "Traceback" not in ended.err


@pytest.mark.contract("SG2", "SG3")
async def test_a_database_without_the_schema_is_not_given_one_by_who_only_looks(pillarbox: Pillarbox, url: str) -> None:
    schema = url.partition("schema=")[2]
    await refused(pillarbox, url, f"no schema {schema} of pillarbox's", ("ls",), ("db", "check"), ("db", "status"))
    with connected(url) as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", (schema,)).fetchall() == [(None,)]


@pytest.mark.contract("SG2", "SG3")
@pytest.mark.parametrize("table", ["message (id integer)", "queue (id integer)", "meta (name text)"], ids=str)
async def test_a_schema_of_somebody_elses_is_not_touched(pillarbox: Pillarbox, url: str, table: str) -> None:
    pillarbox.serving("http://127.0.0.1:1/")
    schema = url.partition("schema=")[2]
    with connected(url) as connection:
        connection.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {table}")
        await refused(pillarbox, url, "another program's", SEND)
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()
    assert found == [(table.partition(" ")[0],)]


@pytest.mark.contract("SG2", "SG3")
async def test_a_schema_of_another_version_is_left_alone(pillarbox: Pillarbox, url: str) -> None:
    pillarbox.serving("http://127.0.0.1:1/")
    store = open_store(url)
    await store.open()
    await store.close()
    newer = str(migrations.VERSION + 1)
    with connected(url) as connection:
        for version, said in ((newer, "upgrade it"), ("0", "let its owner run `pillarbox db migrate`")):
            connection.execute("UPDATE meta SET value = %s WHERE key IN ('version', 'usable_from')", (version,))
            await refused(pillarbox, url, said, SEND)
            await refused(pillarbox, url, f"the database has schema {version}", ("ls",))
            assert connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchall() == [(version,)]
        assert connection.execute("SELECT count(*) FROM message").fetchall() == [(0,)]


@pytest.mark.contract("SG3")
async def test_a_server_that_cannot_be_reached_or_does_not_let_us_in_is_told_apart(
    pillarbox: Pillarbox, url: str
) -> None:
    pillarbox.serving("http://127.0.0.1:1/")
    nobody = f"postgresql://ann:{SECRET}@127.0.0.1:9/app"
    await refused(pillarbox, nobody, "Connection refused", SEND)
    await refused(pillarbox, as_role(url, f"nosuchrole:{SECRET}"), "nosuchrole", SEND)
    await refused(pillarbox, url.replace("/postgres?", "/nosuchdatabase?"), "nosuchdatabase", SEND)
    read_only = url.replace("?", "?options=-cdefault_transaction_read_only%3Don&")
    await refused(pillarbox, read_only, "set read-only; connect to the primary", SEND)
    await refused(pillarbox, f"{url}&backend=cockroach", "CockroachDB, on which nothing is stored", SEND)
    wrong = await pillarbox("ls", "--db", f"{nobody}?backend=oracle")
    assert (wrong.code, wrong.out) == (4, "")
    assert "backend: expected one of auto, plain" in wrong.said
    assert SECRET not in wrong.err


@pytest.mark.contract("SG3", "SG7")
async def test_of_two_databases_the_one_that_failed_is_named(pillarbox: Pillarbox) -> None:
    await pillarbox("db", "migrate")
    unreachable = f"postgresql://ann:{SECRET}@127.0.0.1:9/app"
    for source, target in ((str(pillarbox.db), unreachable), (unreachable, str(pillarbox.db))):
        ended = await pillarbox("db", "copy", source, target)
        assert (ended.code, ended.out) == (5, "")
        assert "(database postgresql://" in ended.said
        assert str(pillarbox.db) not in ended.said
        assert SECRET not in ended.err
