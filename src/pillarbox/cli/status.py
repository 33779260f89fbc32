"""`pillarbox status`: the queue on one screen, and what somebody should look at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from pillarbox.cli.condition import Condition, Finding, findings
from pillarbox.cli.exits import Exit
from pillarbox.cli.output import emit, emit_json, pairs
from pillarbox.cli.shared_options import shared, span
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.outbox import Outbox


def alerting(command: Callable[..., int]) -> Callable[..., int]:
    """Add --strict and --late, by which a timer or a monitor hears that somebody has to be woken."""
    command = click.option(
        "--late",
        type=span,
        metavar="SPAN",
        default="10m",
        show_default=True,
        help="How long the first message of a channel may have been due.",
    )(command)
    return click.option(
        "--strict", is_flag=True, help="Exit code 8 where there is something to look at that does not pass by itself."
    )(command)


def verdict(found: list[Finding], *, strict: bool) -> Exit:
    """Return the exit code for what was found in a queue that can be read."""
    return Exit.TO_LOOK_AT if strict and any(one.wakes for one in found) else Exit.OK


@click.command()
@alerting
@shared
def status(call: Call, *, strict: bool, late: timedelta) -> int:
    """
    Show the queue on one screen: messages, workers, and what somebody should look at, with the command for it.

    With --strict, exit code 8 where there is something: for a timer or a monitor.
    """
    seen = call.observe(look)
    found = [*silent(call), *findings(seen, late_ms=late // timedelta(milliseconds=1))]
    code = verdict(found, strict=strict)
    states = {str(state): count for state, count in seen.states().items() if count}
    alive = seen.alive()
    channels = sorted(seen.served())
    db = _place(call)
    if call.json:
        emit_json(
            {
                "db": db,
                "states": states,
                "workers": len(alive),
                "channels": channels,
                "findings": [one._asdict() for one in found],
            }
        )
        return code
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    pairs(
        [
            ("database", db),
            ("messages", counted or "none"),
            ("workers", f"{len(alive)}, for {', '.join(channels)}" if alive else "none"),
        ]
    )
    for one in found:
        show(one)
    if not found:
        emit("nothing to look at")
    return code


def silent(call: Call) -> list[Finding]:
    """Return a finding for each shard that did not answer. Whom to wake the exit code tells."""
    return [
        Finding(f"error: {sentence}", "`pillarbox db check --shard N` asks that one alone", wakes=False)
        for sentence in call.unanswered
    ]


def show(finding: Finding) -> None:
    """Write a finding, and what to do beneath it."""
    emit(finding.what)
    emit(f"  → {finding.remedy}")


async def look(box: Outbox) -> Condition:
    """Read what there is to know of a queue's condition."""
    tallies, flows, workers = await box.stats(), await box.flow(), await box.workers()
    return Condition(tallies, flows, workers, SystemClock().wall_ms())


def _place(call: Call) -> str:
    from pillarbox.settings.derived import databases
    from pillarbox.settings.explain import mask_dsn

    return ", ".join(map(mask_dsn, databases(call.loaded().settings)))
