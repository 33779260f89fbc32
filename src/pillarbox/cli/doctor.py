"""`pillarbox doctor`: everything that can be found wrong without sending anything, each with its remedy."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from pillarbox.cli.condition import Condition, Finding, findings
from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import emit, emit_json
from pillarbox.cli.shared_options import shared
from pillarbox.cli.status import alerting, look, show, silent, verdict
from pillarbox.errors import StoreNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.settings.model import Settings

_FREE_BYTES_LEAST: Final = 256 << 20
_EXPLAIN: Final = "`pillarbox config explain KEY` tells what a setting accepts"


@click.command()
@alerting
@shared
def doctor(call: Call, *, strict: bool, late: timedelta) -> int:
    """
    Look for everything that can be wrong: configuration, database, disk, workers and messages. Changes nothing.

    Each finding is one line, with what to do beneath it. Exit code 4 where the configuration is wrong, 5 where the
    database is. What only waits for a person is no failure: 0, or 8 with --strict.
    """
    from pillarbox import app
    from pillarbox.cli.program import variables

    found = app.examine(path=call.config, db=call.db, shard=call.shard, other_variables=variables(call.ctx))
    rows = [Finding(f"error: {error}", _EXPLAIN) for error in found.errors]
    rows += [Finding(f"warning: {one.field} {one.advice}", "see there", wakes=False) for one in found.warnings]
    code = Exit.CONFIGURATION if found.errors else Exit.OK
    if (settings := found.settings) is not None:
        if not any(item.url is not None for item in settings.channels.values()):
            advice = "`pillarbox init` writes a configuration to add one to"
            rows.append(Finding("no channel is configured", advice, wakes=False))
        rows += _room(settings)
        broken, seen = _database(call, settings)
        broken += silent(call)
        rows += broken
        code = Exit.DATABASE if any(one.what.startswith("error") for one in broken) else code
        rows += [] if seen is None else findings(seen, late_ms=late // timedelta(milliseconds=1))
    if code == Exit.OK:
        code = verdict(rows, strict=strict)
    if call.json:
        emit_json({"ok": not rows, "findings": [one._asdict() for one in rows]})
        return code
    for one in rows:
        show(one)
    if not rows:
        emit("all is well")
    return code


def _room(settings: Settings) -> Iterator[Finding]:
    """Yield a finding where the disk of the database is nearly full."""
    from pillarbox.settings.derived import databases
    from pillarbox.store.registry import file_of

    files = filter(None, map(file_of, databases(settings)))
    places = (next((each for each in file.absolute().parents if each.is_dir()), None) for file in files)
    for place in dict.fromkeys(filter(None, places)):
        free = shutil.disk_usage(place).free
        if free < _FREE_BYTES_LEAST:
            yield Finding(
                f"only {free >> 20} MiB are free at {place}: what cannot be written is refused",
                "make room there, or name a database elsewhere with --db",
            )


def _database(call: Call, settings: Settings) -> tuple[list[Finding], Condition | None]:
    """Look into the database; ``None`` where it cannot be read."""
    from pillarbox.settings.derived import databases
    from pillarbox.store.registry import file_of

    async def examine(box: Outbox) -> tuple[list[str], Condition]:
        return await box.check(), await look(box)

    try:
        problems, seen = call.observe(examine, settings=settings)
    except Stop as stop:
        if isinstance(stop.__cause__, StoreNotFound):
            return [
                Finding("there is no database yet", "the first `pillarbox send` makes it", wakes=False)
            ], Condition()
        copies = "; `pillarbox db backup` copies what can be read" if any(map(file_of, databases(settings))) else ""
        return [Finding(f"error: {stop}", f"see what it says{copies}")], None
    return [Finding(f"error: {problem}", "`pillarbox db check` looks again") for problem in problems], seen
