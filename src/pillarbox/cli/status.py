"""`pillarbox status`: the queue on one screen, and what somebody should look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pillarbox.cli.condition import Condition, Finding, findings
from pillarbox.cli.exits import Exit
from pillarbox.cli.output import emit, emit_json, pairs
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.outbox import Outbox


@click.command()
@shared
def status(call: Call) -> int:
    """Show the queue on one screen: messages, workers, and what somebody should look at, with the command for it."""
    seen = call.observe(look)
    found = list(findings(seen))
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
        return Exit.OK
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
    return Exit.OK


def show(finding: Finding) -> None:
    """Write a finding, and what to do beneath it."""
    emit(finding.what)
    emit(f"  → {finding.remedy}")


async def look(box: Outbox) -> Condition:
    """Read what there is to know of a queue's condition."""
    return Condition(await box.stats(), await box.queues(), await box.workers())


def _place(call: Call) -> str:
    from pillarbox.settings.derived import databases
    from pillarbox.settings.explain import mask_dsn

    return ", ".join(map(mask_dsn, databases(call.loaded().settings)))
