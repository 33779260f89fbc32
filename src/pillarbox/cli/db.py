"""Commands about the database itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pillarbox.cli.exits import Exit
from pillarbox.cli.guided import Guided
from pillarbox.cli.output import counted, emit, emit_json, reporting, talk
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.store.base import Schema


_MEANT: Final = {
    "dump": "backup", "save": "backup", "verify": "check", "integrity": "check", "upgrade": "migrate",
    "create": "init", "version": "status", "move": "copy", "schema": "sql",
}  # fmt: skip
_TOLD: Final = {
    "restore": "a backup is put back by hand, while nothing runs: move the database and what lies beside it away, and"
    " the backup to its place",
    "vacuum": "what is deleted is used again, so the file needs no care",
}


@click.group(cls=Guided, meant=_MEANT, told=_TOLD)
def db() -> None:
    """Look after the database."""


@db.command()
@shared
def check(call: Call) -> int:
    """
    Look for damage: the file's integrity, its counters, its lanes and its leases.

    Also for what keeps messages from being stored or sent now: a full disk, or what its workers say is wrong with
    them.

    Each problem is one line on stdout; with any of them the exit code is 5. Nothing is changed. Found too are processes
    that work on a database which was deleted, moved or replaced under them. Where the platform cannot lock the file
    against programs that open and close it, a line on stderr says so.
    """
    from pillarbox.outbox.outbox import inside

    async def look(box: Outbox) -> tuple[list[str], list[str]]:
        return await box.check(), await inside(box).upkeep.remarks()

    problems, remarks = call.observe(look)
    problems += call.unanswered
    for remark in remarks:
        talk(f"note: {remark}")
    if call.json:
        emit_json({"ok": not problems, "problems": problems} | ({"remarks": remarks} if remarks else {}))
    else:
        for problem in problems:
            emit(problem)
    talk(f"{counted(len(problems), 'problem')} found" if problems else "no problem found")
    return Exit.DATABASE if problems else Exit.OK


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@shared
def backup(call: Call, file: Path) -> int:
    """
    Write a copy of the database to FILE, which must not exist.

    It is a copy of one moment, made while workers go on, and read through once before it gets its name: with exit code
    0 it is whole and on the disk, otherwise there is none. Never copy the database's file by itself: what was committed
    last is beside it. To restore: stop everything, move the database and what lies beside it away, move the copy to its
    place, start again.
    """
    size = call.observe(lambda box: box.backup(file))
    # A name need not be text.
    name = os.fsencode(file).decode(errors="backslashreplace")
    if call.json:
        with reporting("the copy was made"):
            emit_json({"file": name, "bytes": size})
    talk(f"backed up to {name}, {size} bytes")
    return Exit.OK


@db.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@shared
def copy(call: Call, source: str, target: str) -> int:
    """
    Copy the database FROM into the empty database TO, for instance a file into PostgreSQL.

    Stop all workers, and whoever sends, first. FROM is paused, and stays so; TO goes on only when everything is there
    and both were compared, row by row. A copy that was ended, however that was, goes on where it was when the same
    command runs again; until then nothing is sent out of TO.
    """
    from pillarbox.outbox.outbox import inside

    if call.db is not None or call.shard is not None:
        raise click.UsageError("FROM and TO say which databases: --db and --shard have nothing to say here")
    copied = replace(call, db=source).operate(lambda box: inside(box).upkeep.copy_to(target))
    total = sum(copied.messages.values())
    if call.json:
        with reporting("the copy was made"):
            emit_json({"messages": total, "states": copied.messages, "before": copied.before})
    by_state = ", ".join(f"{count} {state}" for state, count in copied.messages.items())
    done = "was copied before" if copied.before else "copied and compared"
    talk(f"{done}: {counted(total, 'message')}" + (f" ({by_state})" if by_state else ""))
    return Exit.OK


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--shared", "is_shared", is_flag=True, help="Share FILE with an application that has tables of its own there."
)
@shared
def init(call: Call, file: Path, is_shared: bool) -> int:
    """
    Make a database in FILE that an application opens as well, with Python's sqlite3 or any other SQLite library.

    FILE may be new, or the application's own: its tables stay as they are. Stop every program that has it open first.
    The application then stores messages in its own transactions, and `pillarbox run` sends them from a process of its
    own. Other databases are made by whoever starts to work on them.
    """
    from pillarbox import app

    if call.db is not None:
        raise click.UsageError("FILE says which database: --db has nothing to say here")
    if not is_shared:
        raise click.UsageError("only shared files are made by this command: say --shared (others are made by `run`)")
    made = app.share(file)
    name = os.fsencode(file).decode(errors="backslashreplace")
    if call.json:
        with reporting("the file is shared"):
            emit_json({"file": name, "made": made})
    talk(f"{name} is {'now' if made else 'already'} a shared file")
    return Exit.OK


@db.command()
@shared
def migrate(call: Call) -> int:
    """
    Make the database, or bring its schema up to date.

    Whoever starts to work makes a missing one too, where its role may, and brings a file up to date. PostgreSQL's
    schema is brought up to date by this command alone, run by its owner before the new version starts. Workers of the
    version before go on meanwhile and afterwards.
    """
    from pillarbox.outbox.outbox import inside

    schema = call.migrate(lambda box: inside(box).upkeep.schema())
    with reporting("the schema is brought up to date"):
        _tell(call, schema)
    return Exit.OK


@db.command()
@shared
def status(call: Call) -> int:
    """
    Print which version the database's schema has, and from which version of it on a pillarbox may work on it.

    Where this pillarbox may not work on it, a line on stderr says why, and the exit code is 5. Nothing is changed.
    """
    from pillarbox.outbox.outbox import inside

    _tell(call, call.observe(lambda box: inside(box).upkeep.schema()))
    return Exit.OK


def _tell(call: Call, schema: Schema) -> None:
    if call.json:
        emit_json({"version": schema.version, "usable_from": schema.usable_from})
    else:
        emit(f"schema {schema.version}, usable from {schema.usable_from}")


@db.command()
@shared
def sql(call: Call) -> int:
    """
    Write the SQL that makes the database's schema, for who may not let a program do that.

    With it come roles for workers, senders and readers, none with more rights than it needs. Nothing is connected to. A
    file takes no SQL by hand.
    """
    from pillarbox import app
    from pillarbox.outbox.outbox import inside

    script = inside(app.migrator(call.loaded().settings)).upkeep.script()
    if call.json:
        emit_json({"sql": script})
    else:
        emit(script.rstrip("\n"))
    return Exit.OK
