"""`pillarbox export`: every message that a filter picks, as one JSON object a line."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import encoded, messages, talk
from pillarbox.cli.selection import filtered
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.message import Message
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.settings.model import Settings

FORMATS: Final = ("jsonl",)
_STDOUT: Final = "-"


@click.command()
@click.argument("filters", metavar="[FILTER]...", nargs=-1)
@filtered
@click.option("--no-content", is_flag=True, help="Leave out what messages say: content is null.")
@click.option("--history", is_flag=True, help="Add what happened to each, as `history --json` has it.")
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="One JSON object a line.",
)
@click.option(
    "-o", "--output", metavar="FILE", help="Write FILE instead of stdout: it is there whole, or stays as it was."
)
@shared
def export(
    call: Call,
    *,
    filters: tuple[str, ...],
    where: tuple[str, ...],
    no_content: bool,
    history: bool,
    format: str,  # noqa: A002, ARG001 — the option's name, and there is one
    output: str | None,
) -> int:
    """
    Write messages whole, one JSON object a line, the oldest first.

    FILTER is what --where takes; without any, all messages are written. Each stands as `show --json` has it, once: as
    it was when its page was read, whatever is written meanwhile. What is accepted after the beginning is not among
    them. Nothing is changed, and no worker is needed.
    """
    settings = call.loaded().settings

    async def write_all(box: Outbox, write: Callable[[bytes], object]) -> int:
        from pillarbox.outbox.outbox import inside

        count = 0
        pages = inside(box).reads.pages((*filters, *where))
        while page := await pages.following():
            rows = [await _row(box, message, content=not no_content, with_history=history) for message in page]
            write(b"".join(map(encoded, rows)))
            count += len(rows)
        return count

    async def to_stdout(box: Outbox) -> int:
        return await write_all(box, lambda lines: click.echo(lines, nl=False))

    async def to_file(box: Outbox) -> int:
        from pillarbox.cli.whole_file import whole_file
        from pillarbox.outbox.outbox import inside

        with whole_file(output or "") as write:
            count = await write_all(box, write)
            shards = inside(box).shards
            if shards is not None and shards.unanswered:
                silent = "; ".join(f"{name} did not answer: {why}" for name, why in shards.unanswered.items())
                raise Stop(Exit.DATABASE, f"{output} was not written: {silent}")
        return count

    if output is None or output == _STDOUT:
        call.observe(to_stdout, settings=settings)
    else:
        _check_apart(output, settings)
        talk(f"{messages(call.observe(to_file, settings=settings))} in {output}")
    return Exit.OK


async def _row(box: Outbox, message: Message, *, content: bool, with_history: bool) -> dict[str, Any]:
    row = message.to_dict()
    if not content:
        row["content"] = None
    if with_history:
        from pillarbox.views import event_dict

        row["history"] = [event_dict(event) for event in await box.history(row["id"])]
    return row


def _check_apart(output: str, settings: Settings) -> None:
    """Refuse to put the file in the place of a database, or of what lies beside one."""
    from pillarbox.settings.derived import several
    from pillarbox.store.registry import file_of

    with contextlib.suppress(ValueError):
        target = os.path.realpath(output)
        for db in settings.shards if several(settings) else [settings.db]:
            file = file_of(db)
            own = None if file is None else os.path.realpath(file)
            if own is not None and (target == own or target.startswith(f"{own}-")):
                raise Stop(Exit.USAGE, f"{output}: that is the database, or a name that it uses itself")
