"""What is wrong with a server's database: each its own line, exit code 5, and what was in it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.store.postgres import migrations
from pillarbox.store.registry import open_store
from tests.store.postgres_cluster import Machine, short_folder
from tests.store.postgres_server import as_role, connected, fresh_database
from tests.store.silent_server import silent_server

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
    await refused(pillarbox, nobody, "nothing listens there (", SEND)
    no_role = "it knows no such role or database ("
    await refused(pillarbox, as_role(url, f"nosuchrole:{SECRET}"), no_role, SEND)
    await refused(pillarbox, url.replace("/postgres?", "/nosuchdatabase?"), no_role, SEND)
    read_only = url.replace("?", "?options=-cdefault_transaction_read_only%3Don&")
    await refused(pillarbox, read_only, "sessions here are set read-only (default_transaction_read_only)", SEND)
    await refused(pillarbox, f"{url}&backend=cockroach", "CockroachDB, on which nothing is stored", SEND)


@pytest.mark.contract("SG3")
async def test_a_server_that_says_nothing_or_has_no_encryption_is_told_apart(pillarbox: Pillarbox) -> None:
    pillarbox.serving("http://127.0.0.1:1/")
    with silent_server() as silent, silent_server(b"HTTP/1.1 400 Bad Request\r\n") as web:
        silence = f"postgresql://ann:{SECRET}@127.0.0.1:{silent}/app"
        soon = f"{silence}?sslmode=disable&connect_timeout=1"
        await refused(pillarbox, soon, "it did not answer in time (connect_timeout", SEND)
        await refused(pillarbox, f"{silence}?sslmode=require", "it has no TLS, which the URL asks for (sslmode", SEND)
        other = f"postgresql://ann:{SECRET}@127.0.0.1:{web}/app"
        await refused(pillarbox, other, "what answers there is no PostgreSQL server (", SEND)


@pytest.mark.contract("SG3")
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (f"ann:{SECRET}@127.0.0.1:9/app?backend=oracle", "backend: expected one of auto, plain"),
        (f"ann:{SECRET}@127.0.0.1:9/app?sslmode=never", "invalid sslmode value"),
        (f"ann:{SECRET}@127.0.0.1:99999/app", "invalid port number"),
        *((f"ann:x{odd}{SECRET}@127.0.0.1:9/app", "has to be percent-encoded") for odd in "@/#["),
        (f"ann:x?{SECRET}@127.0.0.1:9/app", "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
    ],
)
async def test_a_url_that_is_not_written_as_it_should_be_is_a_matter_of_configuration(
    pillarbox: Pillarbox, said: str, why: str
) -> None:
    ended = await pillarbox("ls", "--db", f"postgresql://{said}")
    assert (ended.code, ended.out) == (4, "")
    assert ended.said.startswith("error: db: ")
    assert why in ended.said
    assert SECRET not in ended.err


@pytest.mark.contract("SG2", "SG3")
async def test_a_role_without_rights_hears_what_it_may_not_do(pillarbox: Pillarbox, url: str) -> None:
    pillarbox.serving("http://127.0.0.1:1/")
    base, _, schema = url.partition("schema=")
    role = f"poor_{schema}"
    poor = as_role(url, f"{role}:{SECRET}")
    with connected(base) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            await refused(pillarbox, poor, f"this database role may not make the schema {schema}", SEND)
            assert connection.execute("SELECT to_regnamespace(%s)", (schema,)).fetchall() == [(None,)]
            assert (await pillarbox("db", "migrate", "--db", url)).code == 0
            told = f"this database role may not do that (permission denied for schema {schema})"
            await refused(pillarbox, poor, told, SEND, ("ls",), ("db", "check"), ("db", "migrate"))
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
            assert (await pillarbox("ls", "--db", poor)).code == 0
            await refused(pillarbox, poor, "this database role may not do that (permission denied", SEND)
            connection.execute(f"SET search_path = {schema}")
            assert connection.execute("SELECT count(*) FROM message").fetchall() == [(0,)]
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.contract("SG3")
async def test_a_wrong_password_and_a_standby_each_have_a_sentence(pillarbox: Pillarbox) -> None:
    pillarbox.serving("http://127.0.0.1:1/")
    with short_folder() as folder:
        server = Machine(folder)
        server.make()
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all ann scram-sha-256\nlocal all bob reject\n{rules.read_text()}")
        # Without a primary it waits for one, and is read meanwhile.
        (folder / "data" / "standby.signal").touch()
        server.run()
        try:
            await refused(pillarbox, as_role(server.url, f"ann:{SECRET}"), "it does not take this password (", SEND)
            await refused(pillarbox, as_role(server.url, "ann"), "it asks for a password: say one in the URL", SEND)
            await refused(pillarbox, as_role(server.url, f"bob:{SECRET}"), "does not let this role in from here", SEND)
            await refused(pillarbox, server.url, "is a standby: connect to the primary", SEND, ("ls",))
            primary = f"{server.url}&target_session_attrs=read-write"
            await refused(pillarbox, primary, "is a standby: connect to the primary", SEND)
            looked = await pillarbox("doctor", "--db", server.url)
            assert looked.code == 5
            assert "backup" not in looked.out
        finally:
            server.kill()


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
    missing = await pillarbox("db", "copy", str(pillarbox.db), "/nowhere/copy.db")
    assert (missing.code, missing.out) == (5, "")
    assert "/nowhere" in missing.said
    assert "PILLARBOX_DB" not in missing.said


@pytest.mark.contract("SG3", "SG7")
async def test_of_two_databases_the_one_that_failed_after_it_was_opened_is_named(
    pillarbox: Pillarbox, url: str
) -> None:
    for place in ((), ("--db", url)):
        assert (await pillarbox("db", "migrate", *place)).code == 0
    base, _, schema = url.partition("schema=")
    role = f"reads_{schema}"
    poor = as_role(url, f"{role}:{SECRET}")
    with connected(base) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
        try:
            for source, target in ((str(pillarbox.db), poor), (poor, f"{pillarbox.db}.copy")):
                ended = await pillarbox("db", "copy", source, target)
                assert (ended.code, ended.out) == (5, "")
                assert "this database role may not do that" in ended.said
                assert "(database postgresql://***@/postgres?***)" in ended.said
                assert SECRET not in ended.err
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
