"""Commands on several databases: all of them, or one that is named; what does not answer is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillarbox.cli.exits import Exit
from pillarbox.domain.shards import home_of

if TYPE_CHECKING:
    from tests.cli.commands import Pillarbox
    from tests.cli.typed import Typed

ONE, TWO = (next(f"t{number}" for number in range(40) if home_of(f"t{number}", 2) == home) for home in (1, 2))


@pytest.fixture
def shards(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Two shards with a message of each of two tenants; the channel's sends go into a file."""
    monkeypatch.delenv("PILLARBOX_DB")
    out = typed.home / "out.jsonl"
    config = f'shards = ["a.db", "b.db"]\n\n[channels]\nops = "file://{out}"\n'
    (typed.home / "pillarbox.toml").write_text(config, "utf-8")
    for tenant in (ONE, TWO):
        assert typed(f"send ops --to ann --tenant {tenant} hi").code == Exit.OK
    return typed


def rows(typed: Typed, line: str) -> list[dict[str, object]]:
    ended = typed(f"{line} --json")
    assert ended.code == Exit.OK, ended.err
    found: list[dict[str, object]] = json.loads(ended.out)
    return found


def test_every_tenants_messages_are_in_its_home_and_in_the_lists_of_all(shards: Typed) -> None:
    assert {row["tenant"] for row in rows(shards, "ls")} == {ONE, TWO}
    assert [row["tenant"] for row in rows(shards, "ls --shard 1")] == [ONE]
    assert [row["tenant"] for row in rows(shards, f"ls --db {shards.home / 'b.db'}")] == [TWO]
    assert [row["tenant"] for row in rows(shards, "ls -n 1")] == [TWO]
    assert json.loads(shards("show LAST --json").out)["tenant"] == TWO
    assert shards("stats").out.count("\n") == 3
    assert "a.db, " in shards("status").out
    assert "b.db" in shards("status").out
    (older,) = [str(row["id"]) for row in rows(shards, "ls") if row["tenant"] == ONE]
    assert [row["tenant"] for row in rows(shards, "ls --before LAST")] == [ONE]
    assert "enqueue" in shards(f"history {older}").out
    assert shards(f"explain {older}").code == Exit.OK


def test_a_drain_sends_of_all_shards_or_of_one(shards: Typed) -> None:
    assert shards("run --drain --shard 2").code == Exit.OK
    assert {row["tenant"]: row["state"] for row in rows(shards, "ls")} == {ONE: "scheduled", TWO: "delivered"}
    assert shards("run --drain").code == Exit.OK
    assert len((shards.home / "out.jsonl").read_text("utf-8").splitlines()) == 2


def test_orders_reach_all_shards(shards: Typed) -> None:
    assert shards("pause ops --reason broken").code == Exit.OK
    assert {row["paused"] for row in rows(shards, "channels")} == {True}
    assert shards("resume ops").code == Exit.OK
    assert shards("cancel --all --yes").err.splitlines()[-1].startswith("cancelled: 2 of 2 messages")
    assert {row["state"] for row in rows(shards, "ls")} == {"cancelled"}
    assert shards("replay --all --yes").code == Exit.OK
    assert shards("cancel LAST").code == Exit.OK


def test_a_shard_that_does_not_answer_is_named_and_the_exit_code_tells(shards: Typed) -> None:
    Path("b.db").unlink()
    Path("b.db").mkdir()
    for line in ("ls", "stats", "status", "workers", "channels", "cancel --all --dry-run", "pause ops", "db check"):
        ended = shards(line)
        assert ended.code == Exit.DATABASE, line
        assert "shard 2 of 2 (b.db) did not answer" in ended.err, line
    assert ONE in shards("stats").out
    ended = shards("show AAAAAAAAAAAAAAAAAAAAAA")
    assert (ended.code, "shard 2 of 2" in ended.err) == (Exit.DATABASE, True)
    assert shards("resume ops").code == Exit.DATABASE
    assert shards("run --drain").code == Exit.DATABASE
    assert (shards.home / "out.jsonl").read_text("utf-8").count("\n") == 1
    assert shards(f"send ops --to ann --tenant {ONE} hi").code == Exit.OK
    assert shards(f"send ops --to ann --tenant {TWO} hi").code == Exit.DATABASE


def test_nothing_is_called_well_while_a_shard_does_not_answer(shards: Typed) -> None:
    assert shards("status --strict").code == Exit.TO_LOOK_AT
    Path("b.db").unlink()
    Path("b.db").mkdir()
    for line, good in (("doctor", "all is well"), ("status", "nothing to look at"), ("db check", "no problem found")):
        ended = shards(line)
        assert ended.code == Exit.DATABASE, line
        assert good not in ended.out + ended.err, line
        assert "shard 2 of 2 (b.db) did not answer" in ended.out, line
        if line != "db check":
            assert shards(f"{line} --strict").code == Exit.DATABASE, "what nobody can see comes before what is seen"
        said = json.loads(shards(f"{line} --json").out)
        assert not said.get("ok", False), line
        assert "shard 2 of 2 (b.db)" in str(said), line


async def test_a_worker_names_the_shard_that_it_does_not_serve(pillarbox: Pillarbox) -> None:
    del pillarbox.variables["PILLARBOX_DB"]
    (pillarbox.home / "b.db").mkdir()
    config = f'shards = ["a.db", "b.db"]\n\n[channels]\nops = "file://{pillarbox.home}/out.jsonl"\n'
    (pillarbox.home / "pillarbox.toml").write_text(config, "utf-8")
    ended = await pillarbox("run", "--drain")
    assert ended.code == Exit.DATABASE
    assert "shard 2 of 2 (b.db) did not answer" in ended.err


def test_what_is_done_to_one_database_asks_for_its_number(shards: Typed) -> None:
    ended = shards("db backup copy.db")
    assert (ended.code, "--shard 1" in ended.err) == (Exit.FAILURE, True)
    assert shards("db backup copy.db --shard 1").code == Exit.OK
    assert shards("db migrate").code == Exit.OK
    assert shards("db status").out.startswith("schema ")
    assert shards("doctor").code == Exit.OK
    assert shards("ls --shard 3").code == Exit.CONFIGURATION
    assert shards("ls --shard 1 --db a.db").code == Exit.USAGE
    assert shards("db copy a.db c.db --shard 1").code == Exit.USAGE
    assert shards("run --app x:y --shard 1").code == Exit.USAGE


def test_a_message_is_not_stored_where_its_tenant_is_not_at_home(shards: Typed) -> None:
    for where in ("--shard 1", "--db a.db"):
        ended = shards(f"send ops --to ann --tenant {TWO} hi {where}")
        assert (ended.code, "is at home on shard 2 of 2" in ended.err) == (Exit.USAGE, True)


def test_a_list_of_other_shards_is_a_wrong_configuration(shards: Typed) -> None:
    config = shards.home / "pillarbox.toml"
    config.write_text(config.read_text("utf-8").replace('"a.db", "b.db"', '"b.db", "a.db"'), "utf-8")
    for line in ("ls", "run --drain", f"send ops --to ann --tenant {ONE} hi"):
        ended = shards(line)
        assert (ended.code, "in the same order" in ended.err) == (Exit.CONFIGURATION, True), line


def test_a_password_of_a_shard_is_not_shown(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PILLARBOX_DB")
    monkeypatch.setenv("PILLARBOX_SHARDS", "postgresql://me:hunter2@one/x postgresql://me:hunter2@two/x")
    ended = typed("config show")
    assert ended.code == Exit.OK
    assert "hunter2" not in ended.out
    assert "postgresql://***@one/x postgresql://***@two/x" in ended.out


@pytest.mark.contract("CF2")
def test_a_database_beside_shards_is_refused_and_not_passed_over(
    shards: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILLARBOX_DB", "c.db")
    for line in ("ls", f"send ops --to ann --tenant {ONE} hi", "run --drain", "ls --shard 1", "config check"):
        ended = shards(line)
        assert ended.code == Exit.CONFIGURATION, line
        assert "expected either db or shards, not both: env PILLARBOX_DB says one, file " in ended.out + ended.err, line
    assert [row["tenant"] for row in rows(shards, "ls --db b.db")] == [TWO]
    assert not Path("c.db").exists()
