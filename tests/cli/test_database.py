"""What is wrong with the database: each its own line, exit code 5, and what was in it stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import apsw
import pytest

from pillarbox.store.sqlite import migrations

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Ended, Pillarbox


@pytest.fixture
async def filled(pillarbox: Pillarbox, receiver: Receiver) -> Pillarbox:
    pillarbox.serving(receiver.url)
    await pillarbox("send", "ops", "hi", "--to", "x")
    return pillarbox


def execute(database: Path, statement: str) -> None:
    connection = apsw.Connection(str(database))
    connection.execute(statement)
    connection.close()


def refused(ended: Ended, said: str) -> None:
    assert (ended.code, ended.out) == (5, "")
    assert said in ended.said
    assert ended.said.startswith("error: ")


@pytest.mark.contract("SG7")
async def test_a_sound_database_has_no_problems(filled: Pillarbox) -> None:
    plain, as_json = await filled("db", "check"), await filled("db", "check", "--json")
    assert (plain.code, plain.out, plain.said) == (0, "", "no problem found")
    assert (as_json.code, as_json.json) == (0, {"ok": True, "problems": []})


@pytest.mark.contract("SG7")
async def test_counters_and_lanes_that_are_wrong_are_found(filled: Pillarbox) -> None:
    execute(filled.db, "UPDATE tally SET messages = messages + 1")
    execute(filled.db, "UPDATE message SET waiting = 1, lane = 'x'")
    found = await filled("db", "check")
    problems = found.out.splitlines()
    assert (found.code, found.said) == (5, f"{len(problems)} problems found")
    assert {"counters", "lane"} <= {line.partition(":")[0] for line in problems}
    as_json = await filled("db", "check", "--json")
    assert (as_json.code, as_json.json) == (5, {"ok": False, "problems": problems})


@pytest.mark.contract("SG7")
async def test_a_backup_is_written_beside_running_work_and_never_over_anything(filled: Pillarbox) -> None:
    made = await filled("db", "backup", "copy.db")
    size = (filled.home / "copy.db").stat().st_size
    assert (made.code, made.out, made.said) == (0, "", f"backed up to copy.db, {size} bytes")
    assert (await filled("db", "check", "--db", "copy.db")).code == 0
    assert (await filled("ls", "--db", "copy.db", "--json")).json[0]["to"] == "x"
    again = await filled("db", "backup", "copy.db")
    assert (again.code, again.out) == (2, "")
    assert again.said == "error: path: copy.db exists already; expected a name that is free"
    as_json = await filled("db", "backup", "other.db", "--json")
    assert (as_json.code, as_json.json) == (0, {"file": "other.db", "bytes": size})
    for name in ("outbox.db", "outbox.db-journal", "nowhere/copy.db", "."):
        assert (await filled("db", "backup", name)).code == 2
    refused(await filled("db", "backup", "third.db", "--db", "missing.db"), "no database at missing.db")
    assert not (filled.home / "missing.db").exists()


@pytest.mark.contract("SG3", "SG1")
async def test_a_directory_is_no_database(pillarbox: Pillarbox) -> None:
    for command in ("ls", "run", "send ops hi --to x"):
        pillarbox.serving("http://127.0.0.1:1/")
        refused(await pillarbox(*command.split(), "--db", "."), ". is a directory; expected a database file")


@pytest.mark.contract("SG1")
async def test_no_command_falls_back_to_memory_that_ends_with_it(pillarbox: Pillarbox) -> None:
    pillarbox.serving("http://127.0.0.1:1/")
    pillarbox.variables["PILLARBOX_FALLBACK"] = "memory"
    refused(await pillarbox("send", "ops", "hi", "--to", "x", "--db", "."), ". is a directory")


@pytest.mark.contract("SG3", "SG1")
async def test_what_is_no_database_is_left_as_it_is(filled: Pillarbox) -> None:
    for name, content in (
        ("text", b"This is no database, and longer than a header. " * 100),
        ("noise", os.urandom(8192)),
    ):
        place = filled.home / name
        place.write_bytes(content)
        place.chmod(0o600)
        for command in ("ls", "db check", "send ops hi --to x"):
            refused(await filled(*command.split(), "--db", name), f"(database {name})")
        assert place.read_bytes() == content


@pytest.mark.contract("SG3")
async def test_a_damaged_database_is_told_apart(filled: Pillarbox) -> None:
    with filled.db.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 4000)
    refused(await filled("db", "check"), "damaged")
    refused(await filled("send", "ops", "hi", "--to", "x"), "damaged")


@pytest.mark.contract("SG2", "SG3")
async def test_a_database_of_a_newer_version_is_not_touched(filled: Pillarbox) -> None:
    newer = migrations.VERSION + 1
    execute(filled.db, f"UPDATE meta SET value = {newer} WHERE key IN ('version', 'usable_from')")  # noqa: S608
    for command in ("ls", "db check", "send ops hi --to x", "run --drain"):
        refused(await filled(*command.split()), f"the database has schema {newer}, usable from {newer}")


@pytest.mark.contract("SG3")
async def test_a_database_of_another_program_is_not_touched(filled: Pillarbox) -> None:
    execute(filled.home / "theirs", "CREATE TABLE a (b)")
    refused(await filled("send", "ops", "hi", "--to", "x", "--db", "theirs"), "a database of another program")


@pytest.mark.contract("SG4")
async def test_a_link_is_not_followed(filled: Pillarbox) -> None:
    (filled.home / "link").symlink_to(filled.db)
    refused(await filled("ls", "--db", "link"), "link is a symbolic link; name the file itself")


@pytest.mark.contract("SG3")
async def test_a_scheme_that_nobody_knows_is_a_matter_of_configuration(pillarbox: Pillarbox) -> None:
    for dsn in ("mysql://user:CANARY@host/db", "sqlite://outbox.db"):
        wrong = await pillarbox("ls", "--db", dsn)
        assert (wrong.code, wrong.out) == (4, "")
        assert wrong.said.startswith("error: db: ")
        assert "CANARY" not in wrong.said


def in_small_place(size: str, then: str) -> list[str]:
    """Give what runs a command with a file system of *size* at ./disk, prepared by *then*; it ends with the command."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1) here: a full or read-only disk cannot be made")
    rights = [] if os.geteuid() == 0 else ["-r"]
    script = f'mkdir -p disk && mount -t tmpfs -o size={size} none disk && {then} && exec "$@"'
    before = ["unshare", "-m", *rights, "sh", "-c", script, "sh"]
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    return before


@pytest.mark.contract("SG3", "EN4")
async def test_a_full_disk_is_told_apart_and_the_message_is_not_accepted(
    filled: Pillarbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(filled.home)
    send = ("send", "ops", "--to", "x", "--payload-file", "large", "--db", "disk/outbox.db")
    (filled.home / "large").write_bytes(os.urandom(190_000))
    refused(await filled(*send, before=in_small_place("100k", "true")), "disk is full")
    # The second finds room for the database, and none for the message.
    refused(await filled(*send, before=in_small_place("500k", "true")), "; nothing was written: make room there")


@pytest.mark.contract("SG3")
async def test_a_read_only_disk_is_told_apart(filled: Pillarbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(filled.home)
    before = in_small_place("9m", f"cp {filled.db} disk/outbox.db && mount -o remount,ro disk")
    for command in ("ls", "send ops hi --to x"):
        refused(await filled(*command.split(), "--db", "disk/outbox.db", before=before), "read-only")
    refused(await filled("send", "ops", "hi", "--to", "x", "--db", "disk/new.db", before=before), "Read-only")


@pytest.mark.contract("SG3")
async def test_a_disk_without_room_for_the_log_s_index_is_full_to_every_command(
    filled: Pillarbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite calls it a disk I/O error: nobody else has the database open, so its index has to be made anew."""
    monkeypatch.chdir(filled.home)
    before = in_small_place("4m", f"cp {filled.db} disk/outbox.db && (dd if=/dev/zero of=disk/ball 2>/dev/null; true)")
    commands = ("ls", "stats", "db check", "purge --all --yes", "send ops hi --to x", "pause ops", "run --drain")
    for command in commands:
        refused(await filled(*command.split(), "--db", "disk/outbox.db", before=before), "the disk is full")


@pytest.mark.contract("SG10")
async def test_a_mistyped_place_makes_no_second_queue_unseen(filled: Pillarbox) -> None:
    send = ("send", "ops", "hi", "--to", "x", "--db")
    refused(await filled(*send, "mistyped/outbox.db"), "there is no directory mistyped: make it first")
    assert not (filled.home / "mistyped").exists()
    made = await filled(*send, "second.db")
    assert (made.code, made.err.splitlines()[0]) == (0, "made a new database: second.db")
    again = await filled(*send, "second.db")
    assert (again.code, "new database" in again.err) == (0, False)


@pytest.mark.contract("SG10", "SG4")
async def test_the_default_place_is_made_with_its_parents(pillarbox: Pillarbox) -> None:
    pillarbox.serving("http://127.0.0.1:9/")
    del pillarbox.variables["PILLARBOX_DB"]
    state = pillarbox.home / "a" / "b"
    sent = await pillarbox("send", "ops", "hi", "--to", "x", XDG_STATE_HOME=str(state))
    assert sent.code == 0
    assert (state / "pillarbox" / "outbox.db").is_file()
    assert f"made a new database: {state}/pillarbox/outbox.db" in sent.err


@pytest.mark.contract("SG2")
async def test_a_schema_is_made_and_told_of_by_commands(pillarbox: Pillarbox) -> None:
    refused(await pillarbox("db", "status"), "no database at ")
    made = await pillarbox("db", "migrate")
    assert (made.code, made.out) == (0, f"schema {migrations.VERSION}, usable from {migrations.USABLE_FROM}\n")
    told = {"version": migrations.VERSION, "usable_from": migrations.USABLE_FROM}
    assert (await pillarbox("db", "status", "--json")).json == told
    newer = migrations.VERSION + 1
    execute(pillarbox.db, f"UPDATE meta SET value = {newer} WHERE key IN ('version', 'usable_from')")  # noqa: S608
    for command in ("status", "migrate"):
        refused(await pillarbox("db", command), f"the database has schema {newer}, usable from {newer}")


async def test_the_sql_of_a_schema_is_written_without_a_server(pillarbox: Pillarbox) -> None:
    written = await pillarbox("db", "sql", "--db", "postgresql://ann:CANARY@127.0.0.1:9/app?schema=outbox")
    assert (written.code, written.err) == (0, "")
    assert "CREATE SCHEMA IF NOT EXISTS outbox;" in written.out
    assert written.out.endswith("COMMIT;\n")
    assert "CANARY" not in written.out
    file = await pillarbox("db", "sql")
    assert (file.code, file.out) == (1, "")
    assert file.said == (
        "error: a file is made by the worker or the application that starts first; it takes no SQL by hand"
    )


@pytest.mark.contract("SG7")
async def test_a_database_is_copied_and_the_copy_goes_on(filled: Pillarbox) -> None:
    copy = str(filled.home / "copy.db")
    done = await filled("db", "copy", str(filled.db), copy)
    assert (done.code, done.out) == (0, "")
    assert done.said.startswith("copied and compared: 1 message (1 ")
    told = (await filled("db", "copy", str(filled.db), copy, "--json")).json
    assert (told["messages"], told["before"]) == (1, True)
    assert (await filled("ls", "--db", copy, "--json")).out == (await filled("ls", "--json")).out
    assert "copied to another database" in (await filled("status")).out
    back = await filled("db", "copy", copy, str(filled.db))
    assert back.code == 1
    assert "there is something in it already" in back.said


async def test_a_file_is_shared_with_an_application(pillarbox: Pillarbox) -> None:
    shop = pillarbox.home / "shop.db"
    execute(shop, "CREATE TABLE shop_order (number INTEGER)")
    refused_usage = await pillarbox("db", "init", str(shop))
    assert (refused_usage.code, "say --shared" in refused_usage.err) == (2, True)
    made = await pillarbox("db", "init", "--shared", str(shop))
    assert (made.code, made.out, made.said) == (0, "", f"{shop} is now a shared file")
    again = await pillarbox("db", "init", "--shared", str(shop), "--json")
    assert (again.code, again.json) == (0, {"file": str(shop), "made": False})
    for db in (str(shop), f"sqlite3:///{shop}"):
        assert (await pillarbox("db", "check", "--db", db)).said == "no problem found"
    execute(pillarbox.home / "other.db", "CREATE TABLE message (number INTEGER)")
    refused(await pillarbox("db", "init", "--shared", str(pillarbox.home / "other.db")), "which the outbox needs")
