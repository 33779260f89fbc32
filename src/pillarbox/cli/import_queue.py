"""`pillarbox import`: move what waits in another system's queue into ours."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pillarbox.cli.command_context import naming, whole_of
from pillarbox.cli.exits import Exit
from pillarbox.cli.last_sent import remember
from pillarbox.cli.output import counted, emit_json, messages, reporting, table, talk
from pillarbox.cli.shared_options import shared, span_above_zero

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call
    from pillarbox.imports.entry import Line, SourceReport
    from pillarbox.settings.model import Settings

_SYSTEMS: Final = ("openclaw-files", "openclaw-sqlite", "openclaw-outbox", "comis")
_FILES: Final = "openclaw-files"
_QUEUE_FOLDER: Final = "delivery-queue"
_DATABASES: Final = {"openclaw-sqlite": "openclaw.sqlite", "openclaw-outbox": "openclaw.sqlite", "comis": "memory.db"}
# What a person should look at: it stays in its source.
_STAYS: Final = frozenset({"left", "quarantined"})


def _instant(text: str) -> datetime:
    """Read a time with its zone, or milliseconds since 1970."""
    from pillarbox.domain.moments import MS_MAX, to_datetime

    try:
        at = to_datetime(_whole(text, MS_MAX)) if text.isascii() and text.isdigit() else datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise click.BadParameter(
            f"expected a time with its zone such as 2030-01-31T09:00+01:00, or milliseconds since 1970, not {text!r}."
        )
    return at


def _whole(digits: str, most: int) -> int:
    if len(digits) > len(str(most)) or int(digits) > most:
        raise ValueError(digits)
    return int(digits)


def _channel_map(ctx: click.Context, _param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in pairs:
        theirs, _, ours = text.partition("=")
        if not theirs.strip() or not ours.strip() or not ours.isprintable() or "," in ours:
            raise click.BadParameter(f"expected THEIRS=OURS, such as telegram=ops, not {text!r}.", ctx)
        if theirs in found:
            raise click.BadParameter(f"expected one channel for {theirs!r}, not two.", ctx)
        found[theirs] = ours
    return found


@click.command("import", short_help="Move what waits in another system's queue into ours.")
@click.argument("system", type=click.Choice(_SYSTEMS), metavar="SYSTEM")
@click.argument("path", metavar="PATH")
@click.option("--dry-run", is_flag=True, help="Only report; nothing is written, neither here nor there.")
@click.option(
    "--map", multiple=True, callback=_channel_map, metavar="THEIRS=OURS",
    help="Send what was for their channel, or their/account, through ours; may be repeated.",
)  # fmt: skip
@click.option(
    "--on-uncertain", type=click.Choice(("hold", "resend")), default="hold", show_default=True,
    help="What to do with what was being sent when their program stopped.",
)  # fmt: skip
@click.option(
    "--max-age", type=span_above_zero, default="72h", show_default=True, metavar="SPAN",
    help="What waits in OpenClaw's queues for longer stays where it is.",
)  # fmt: skip
@click.option("--now", type=_instant, metavar="TIME", help="Judge ages as of then: RFC 3339, or ms since 1970.")
@click.option("--archive-failed", is_flag=True, help="Move the files of failed/ away too, once they are imported.")
@click.option("--leave-failed", is_flag=True, help="Do not import the files of failed/.")
@shared
def import_(call: Call, system: str, path: str, *, archive_failed: bool, leave_failed: bool, **options: Any) -> int:
    """
    Move what waits in the queue of SYSTEM at PATH into ours.

    SYSTEM is openclaw-files, openclaw-sqlite, openclaw-outbox or comis. Stop its program first: what it sends after it
    was read is sent twice. It is safe to repeat: nothing is imported a second time. Exit code 1 where something stays
    behind that somebody should look at.
    """
    if archive_failed and leave_failed:
        raise click.UsageError("--archive-failed and --leave-failed exclude each other.", call.ctx)
    if (archive_failed or leave_failed) and system != _FILES:
        raise click.UsageError(f"--archive-failed and --leave-failed are for {_FILES}.", call.ctx)
    _must_be_the_queue(call, system, Path(path))
    failed = "archive" if archive_failed else "leave" if leave_failed else "import"
    settings = call.loaded().settings
    with naming(whole_of(settings)):
        channels = options.pop("map")
        report = asyncio.run(_imported(settings, system, path, failed=failed, channels=channels, **options))
    newest = next((line.id for line in reversed(report.entries) if line.id is not None), None)
    if newest is not None:
        remember(settings, newest)
    with reporting("a dry run was made" if report.dry_run else "the import was made"):
        _show(report, json=call.json)
    _warn(report, settings, channels)
    return Exit.OK if report.complete else Exit.FAILURE


def _must_be_the_queue(call: Call, system: str, path: Path) -> None:
    """Refuse what lies above the queue, and name what is meant."""
    if system == _FILES and (path / _QUEUE_FOLDER).is_dir():
        raise click.UsageError(f"path: the queue is a folder in it, {path / _QUEUE_FOLDER}.", call.ctx)
    if system in _DATABASES and path.is_dir():
        raise click.UsageError(f"path: expected the database in {path}, such as {path / _DATABASES[system]}.", call.ctx)


async def _imported(settings: Settings, system: str, path: str, **options: Any) -> SourceReport:
    from pillarbox import app
    from pillarbox.imports import import_queue

    return await import_queue(app.importer(settings), system, path, **options)


def _show(report: SourceReport, *, json: bool) -> None:
    if json:
        import msgspec

        emit_json({**msgspec.to_builtins(report), "complete": report.complete})
        return
    table(("RESULT", "ENTRIES"), list(report.totals.items()))
    stays = [(line.source_id, str(line.outcome), line.reason) for line in report.entries if _stays(line)]
    if stays:
        table(("STAYS", "RESULT", "WHY"), stays)


def _stays(line: Line) -> bool:
    """Whether people should know of it: it waits where it was, or there was nothing in it to be sent."""
    return line.outcome in _STAYS or line.reason == "empty"


def _warn(report: SourceReport, settings: Settings, channels: dict[str, str]) -> None:
    """Print the warnings that the table does not show."""
    if report.dry_run:
        talk("a dry run: nothing was written")
    if report.retired:
        talk(f"moved to imported/: {counted(report.retired, 'file')}")
    if report.kept is not None:
        talk(f"their files stay, although their messages are stored: {report.kept}")
    for name in sorted({*report.waiting, *channels.values()} - set(settings.channels)):
        talk(f"no channel {name} is configured here: {_stranded(report, name)}")


def _stranded(report: SourceReport, name: str) -> str:
    """Return what becomes of the messages of a channel that is not configured, and what to do about it."""
    count = report.waiting.get(name, 0)
    if not count:
        return "--map names it, but nothing was imported for it"
    if report.dry_run:
        return f"{messages(count)} would wait for a worker that has it; configure it first, or name another with --map"
    wait = "waits" if count == 1 else "wait"
    return f"{messages(count)} {wait} for a worker that has it; configure it, or start the application that has it"
