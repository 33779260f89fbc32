"""Commands about the database itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pillarbox.cli.exits import Exit
from pillarbox.cli.options import shared
from pillarbox.cli.output import emit, emit_json, talk

if TYPE_CHECKING:
    from pillarbox.cli.session import Call
    from pillarbox.outbox import Outbox


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@shared
def check(call: Call) -> int:
    """
    Look for damage: the file's integrity, its counters, its lanes and its leases.

    Each problem is one line on stdout; with any of them the exit code is 5. Nothing is changed.
    """

    async def look(box: Outbox) -> list[str]:
        return await box.check()

    problems = call.observe(look)
    if call.json:
        emit_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            emit(problem)
    talk(f"{len(problems)} problems found" if problems else "no problem found")
    return Exit.DATABASE if problems else Exit.OK
