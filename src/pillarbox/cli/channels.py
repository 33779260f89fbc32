"""The command that shows what goes through each channel, and what keeps messages back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import Cell, Row, listing, to_second
from pillarbox.cli.shared_options import never_used, shared

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.store.base import Flow


@click.command()
@click.argument("channel", required=False)
@shared
def channels(call: Call, *, channel: str | None) -> int:
    """Show what goes through each channel: breaker, pauses, rates, and recipients that get nothing."""

    async def look(box: Outbox) -> list[Flow]:
        return await box.flow()

    flows = call.observe(look)
    if channel is not None and all(one.channel != channel for one in flows):
        raise Stop(Exit.NOT_FOUND, never_used(channel, [one.channel for one in flows]))
    flows = [one for one in flows if channel in {None, one.channel}]
    columns = ("CHANNEL", "TENANT", "IS", "UNTIL", "RESTING", "SUPPRESSED", "WHY")
    listing([flow_row(one) for one in flows], columns, _cells, as_json=call.json)
    return Exit.OK


def flow_row(flow: Flow) -> dict[str, Any]:
    """Return what is said of a queue in JSON."""
    from pillarbox.views import stamp

    return {
        "channel": flow.channel,
        "tenant": flow.tenant,
        "is": flow.word,
        "paused": flow.paused,
        "paused_at": stamp(flow.paused_ms) if flow.paused else None,
        "paused_until": stamp(flow.paused_until_ms),
        "paused_by": flow.paused_by if flow.paused else None,
        "pause_reason": flow.pause_reason,
        "strikes": flow.strikes,
        "reopened_at": stamp(flow.reopened_ms),
        "full_until": stamp(flow.full_until_ms),
        "resting": flow.resting,
        "suppressed": flow.suppressed,
        "first_due_at": stamp(flow.due_ms),
    }


def _cells(row: Row) -> tuple[Cell, ...]:
    until = row["paused_until"] or row["full_until"]
    when = to_second(until) if until else ("resumed" if row["paused"] else None)
    return row["channel"], row["tenant"], row["is"], when, row["resting"], row["suppressed"], row["pause_reason"]
