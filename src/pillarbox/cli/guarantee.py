"""The command that tells what a channel really gives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from pillarbox.cli.exits import Exit
from pillarbox.cli.output import emit_json, pairs
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call


@click.command()
@click.argument("channel")
@shared
def guarantee(call: Call, channel: str) -> int:
    """
    Print what becomes of a second copy that a channel sends, and of a message in doubt, and for how long it is tried.

    The platform may be asked for it.
    """
    from pillarbox import app

    found, policy, looks_up, in_doubt = asyncio.run(app.asker(call.loaded().settings, channel).guarantee(channel))
    told = {
        "channel": channel,
        "recognised_seconds": found.seconds,
        "why": found.why,
        "looks_up": looks_up,
        "asking": found.asking,
        "uncertain": str(policy.uncertain),
        "in_doubt": in_doubt,
        "attempts": policy.max_attempts,
        "last_attempt_seconds": policy.longest_seconds(),
        "ttl_seconds": policy.ttl_seconds,
    }
    if call.json:
        emit_json(told)
    else:
        pairs([(name, None if value is None else str(value)) for name, value in told.items()])
    return Exit.OK
