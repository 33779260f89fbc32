"""`pillarbox export`: every message once, as `show --json` has it, on stdout or in a file that is there whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.cli.exits import Exit
from pillarbox.domain.shards import home_of
from tests.cli.test_output_gone import shell
from tests.store.postgres_server import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.commands import Ended, Pillarbox
    from tests.cli.typed import Typed

TENANTS = [next(f"t{number}" for number in range(40) if home_of(f"t{number}", 2) == home) for home in (1, 2)]


@pytest.fixture(params=["file", "server"])
def db(request: pytest.FixtureRequest, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "file":
        yield str(typed.db)
        return
    with fresh_database() as url:
        monkeypatch.setenv("PILLARBOX_DB", url)
        yield url


def rows(ended: Ended) -> list[dict[str, Any]]:
    assert ended.code == Exit.OK, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


@pytest.mark.contract("OP1")
def test_each_message_is_a_line_as_show_has_it(typed: Typed, db: str) -> None:
    ids = typed.stored(Outbox(db, deliver=False), "ops", "mail", "ops", metadata={"a": "\x1b[2J"})
    assert typed(f"cancel {ids[2]}").code == Exit.OK
    found = rows(typed("export"))
    assert found == [json.loads(typed(f"show {one} --json").out) for one in ids]
    assert found[0]["content"]["text"] == "hi"
    assert "\x1b" not in typed("export").out
    assert [row["id"] for row in rows(typed("export state=scheduled channel=ops"))] == [ids[0]]
    assert [row["id"] for row in rows(typed("export --channel mail --state scheduled"))] == [ids[1]]
    assert rows(typed("export state=dead")) == []
    bare = rows(typed("export --no-content --history --json -o -"))
    assert [(list(row)[:-1], row["content"]) for row in bare] == [(list(row), None) for row in found]
    assert bare[2]["history"] == json.loads(typed(f"history {ids[2]} --json").out)


@pytest.mark.contract("OP1")
def test_a_file_is_there_whole_or_as_it_was(typed: Typed) -> None:
    ids = typed.stored(Outbox(typed.db, deliver=False), "ops", "mail")
    Path("link").symlink_to("there.jsonl")
    Path("there.jsonl").write_text("before", "utf-8")
    ended = typed("export -o link")
    assert (ended.code, ended.out, ended.said) == (Exit.OK, "", "2 messages in link")
    assert Path("link").is_symlink()
    assert [json.loads(line)["id"] for line in Path("there.jsonl").read_text("utf-8").splitlines()] == ids
    assert Path("there.jsonl").stat().st_mode & 0o777 == 0o600
    listed = sorted(Path().iterdir())
    for output, code, said in (
        ("nosuch/x", Exit.FAILURE, "nosuch/x: it cannot be written: No such file or directory"),
        (".", Exit.USAGE, ".: expected the name of a file; without -o it goes to stdout"),
        ("/dev/null", Exit.USAGE, "/dev/null: expected the name of a file; without -o it goes to stdout"),
        ("outbox.db", Exit.USAGE, "outbox.db: that is the database, or a name that it uses itself"),
        ("./outbox.db-wal", Exit.USAGE, "./outbox.db-wal: that is the database, or a name that it uses itself"),
    ):
        ended = typed(f"export -o {output}")
        assert (ended.code, ended.out, ended.said) == (code, "", f"error: {said}"), output
    ended = typed("export stat=dead -o there.jsonl")
    assert (ended.code, ended.said.startswith("error: where: ")) == (Exit.USAGE, True)
    assert Path("there.jsonl").read_text("utf-8").count("\n") == 2
    assert sorted(Path().iterdir()) == listed
    assert len(rows(typed("export"))) == 2


@pytest.mark.contract("OP1")
def test_what_is_no_format_and_no_database_is_said(typed: Typed) -> None:
    assert typed("export --format csv").code == Exit.USAGE
    ended = typed("export -o out.jsonl")
    assert (ended.code, Path("out.jsonl").exists()) == (Exit.DATABASE, False)
    assert "no database at" in ended.said


@pytest.mark.contract("OP1")
def test_a_shard_that_does_not_answer_is_named_and_no_file_is_made_without_it(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PILLARBOX_DB")
    Path("pillarbox.toml").write_text('shards = ["a.db", "b.db"]\n\n[channels]\nops = "file:///dev/null"\n', "utf-8")
    for tenant in TENANTS:
        assert typed(f"send ops --to ann --tenant {tenant} hi").code == Exit.OK
    assert [row["tenant"] for row in rows(typed("export --history"))] == TENANTS
    assert typed("export -o b.db").code == Exit.USAGE
    Path("b.db").unlink()
    Path("b.db").mkdir()
    ended = typed("export")
    assert (ended.code, [json.loads(line)["tenant"] for line in ended.out.splitlines()]) == (5, TENANTS[:1])
    assert "shard 2 of 2 (b.db) did not answer" in ended.err
    ended = typed("export -o out.jsonl")
    assert (ended.code, Path("out.jsonl").exists()) == (5, False)
    assert "out.jsonl was not written: shard 2 of 2 (b.db) did not answer" in ended.said


@pytest.mark.contract("OP1")
async def test_an_output_that_is_full_or_not_read_ends_it(pillarbox: Pillarbox) -> None:
    async with Outbox(pillarbox.db, deliver=False) as box:
        for number in range(3):
            await box.send("ops", to=f"r{number}", text="x" * 100_000)
    code, said = await shell(pillarbox, "PB export >/dev/full")
    assert (code, "the output cannot be written" in said) == (1, True)
    code, said = await shell(pillarbox, "set -o pipefail; PB export | (exec <&-)")
    assert (code in {0, 141}, said) == (True, "")
    ended = await pillarbox("export", "-o", "/dev/full")
    assert ended.code == Exit.USAGE
