"""Commands about recipients: those that have another address now, and those that were refused for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pillarbox.cli.command_context import actor
from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import Cell, Row, emit_json, listing, reporting, talk, to_second
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.store.base import Redirect, Suppressed


@click.group()
def recipients() -> None:
    """What is known of recipients."""


@recipients.command()
@click.argument("channel", required=False)
@shared
def redirects(call: Call, *, channel: str | None) -> int:
    """List recipients that have another address now, of all channels or of one."""
    from pillarbox.views import stamp

    async def look(box: Outbox) -> list[Redirect]:
        return [one for one in await box.redirects() if channel in {None, one.channel}]

    rows = [
        {
            "channel": one.channel,
            "tenant": one.tenant,
            "recipient": one.recipient,
            "address": one.address,
            "since": stamp(one.at_ms),
        }
        for one in call.observe(look)
    ]
    listing(rows, ("CHANNEL", "TENANT", "RECIPIENT", "ADDRESS", "SINCE"), _listed, as_json=call.json)
    return Exit.OK


def _listed(row: Row) -> tuple[Cell, ...]:
    return row["channel"], row["tenant"], row["recipient"], row["address"], to_second(row["since"])


@recipients.command()
@click.argument("channel")
@click.argument("recipient")
@click.option("--tenant", metavar="TEXT", default="", help="Whose messages.")
@click.option("--reason", metavar="TEXT", help="Why; it is stored.")
@shared
def forget(call: Call, channel: str, recipient: str, *, tenant: str, reason: str | None) -> int:
    """Send to RECIPIENT itself again, and no more to its other address."""

    async def act(box: Outbox) -> bool:
        return await box.forget_redirect(channel, recipient, tenant=tenant, reason=reason, actor=actor())

    if not call.operate(act):
        raise Stop(Exit.NOT_FOUND, f"channel {channel!r} knows no other address of {recipient!r}")
    if call.json:
        with reporting(f"the other address of {recipient} is forgotten"):
            emit_json({"channel": channel, "tenant": tenant, "recipient": recipient, "address": None})
    talk(f"{channel}: messages to {recipient} go there again")
    return Exit.OK


@recipients.command()
@click.argument("channel", required=False)
@shared
def ls(call: Call, *, channel: str | None) -> int:
    """List recipients that get no more messages because they were refused for good, of all channels or of one."""
    from pillarbox.views import stamp

    async def look(box: Outbox) -> list[Suppressed]:
        return [one for one in await box.suppressed() if channel in {None, one.channel}]

    rows = [
        {
            "channel": one.channel,
            "tenant": one.tenant,
            "recipient": one.recipient,
            "reason": one.reason,
            "since": stamp(one.at_ms),
        }
        for one in call.observe(look)
    ]
    listing(rows, ("CHANNEL", "TENANT", "RECIPIENT", "SINCE", "WHY"), _refused, as_json=call.json)
    return Exit.OK


def _refused(row: Row) -> tuple[Cell, ...]:
    return row["channel"], row["tenant"], row["recipient"], to_second(row["since"]), row["reason"]


@recipients.command()
@click.argument("channel")
@click.argument("recipient", required=False)
@click.option("--all", "every", is_flag=True, help="Every recipient of the channel.")
@click.option("--tenant", metavar="TEXT", default="", help="Whose messages.")
@click.option("--reason", metavar="TEXT", help="Why; it is stored.")
@shared
def clear(call: Call, channel: str, recipient: str | None, *, every: bool, tenant: str, reason: str | None) -> int:
    """Send again to RECIPIENT, which was refused for good."""
    if every is (recipient is not None):
        raise click.UsageError("give a recipient, or --all")

    async def act(box: Outbox) -> bool:
        return await box.clear_recipient(channel, recipient, tenant=tenant, reason=reason, actor=actor())

    whom = recipient or "every recipient"
    if not call.operate(act):
        raise Stop(Exit.NOT_FOUND, f"channel {channel!r} does not keep messages from {whom}")
    if call.json:
        with reporting(f"{whom} gets messages again"):
            emit_json({"channel": channel, "tenant": tenant, "recipient": recipient, "suppressed": False})
    talk(f"{channel}: {whom} gets messages again")
    return Exit.OK
