"""`pillarbox top`: the queue on a live screen."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import on_terminal
from pillarbox.cli.shared_options import shared, span_above_zero

if TYPE_CHECKING:
    from datetime import timedelta

    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.outbox import Outbox


@click.command(short_help="Watch channels and dead letters on a live screen, and step in.")
@click.option(
    "--every", type=span_above_zero, default="1s", show_default=True, metavar="SPAN", help="From one look to the next."
)
@shared
def top(call: Call, *, every: timedelta) -> int:
    """
    Watch the queue on a live screen: its channels, workers and newest dead letters.

    p pauses or resumes the chosen channel; r retries or replays the chosen message, c cancels it: each asks before.
    s shows what is held or waits instead of what is dead, Tab goes to the next table, q ends. It needs the extra tui.
    """
    if call.json:
        raise click.UsageError("top is a screen: `pillarbox status --json` and `stats --json` have the same.", call.ctx)
    if find_spec("textual") is None:
        raise Stop(
            Exit.CONFIGURATION,
            "top needs textual: pip install 'pillarbox[tui]'; `pillarbox status` and `ls --watch` do without",
        )
    if not (on_terminal() and on_terminal(sys.stdin)):
        raise Stop(Exit.USAGE, "top needs a terminal: `pillarbox status` and `stats` write the same anywhere")
    from pillarbox.cli.top_screen import Top

    async def watch(box: Outbox) -> int | None:
        screen = Top(box, seconds=every.total_seconds())
        await screen.run_async()
        return screen.return_code

    return call.operate(watch) or Exit.OK
