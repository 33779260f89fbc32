"""
Commands by which a person steps in. All are kept in the history.

cancel, retry, resolve, replay and purge messages; pause and resume channels.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from pillarbox.cli.apply_order import Manner, Verb, give, ordering
from pillarbox.cli.command_context import actor
from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import emit_json, reporting, talk
from pillarbox.cli.shared_options import shared, span_above_zero
from pillarbox.errors import UnknownChannel

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from pillarbox.cli.command_context import Call
    from pillarbox.cli.selection import Picked
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.store.base import QueueInfo

_reason = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
_tenant = click.option(
    "--tenant", help="Only this tenant's messages. Default: those of all, also of tenants that come later."
)
_ttl = click.option("--ttl", type=span_above_zero, metavar="SPAN", help="Their new time to live, from now on.")


@click.command()
@ordering
@shared
def cancel(call: Call, picked: Picked, *, manner: Manner) -> int:
    """
    Withdraw messages that are not delivered yet.

    One that is being sent at this moment is cancelled if its attempt fails; it may still be delivered.
    """
    verb = Verb(
        name="cancel",
        done="cancelled",
        one=lambda box, identity, **by: box.cancel(identity, **by),
        many=lambda box, where, **how: box.cancel_many(where, **how),
    )
    return give(call, picked, verb, manner)


@click.command()
@ordering
@_ttl
@shared
def retry(call: Call, picked: Picked, *, manner: Manner, ttl: timedelta | None) -> int:
    """Make scheduled or held messages due now, whatever they wait for."""
    verb = Verb(
        name="retry",
        done="due now",
        one=lambda box, identity, **by: box.retry(identity, ttl=ttl, **by),
        many=lambda box, where, **how: box.retry_many(where, ttl=ttl, **how),
    )
    return give(call, picked, verb, manner)


_VERDICTS = {
    "delivered": "It arrived: that ends it, or goes on with its next part.",
    "not_delivered": "It did not arrive: it is sent, at the tail of its lane.",
    "resend": "It is sent, whatever became of the last attempt.",
}


def _verdict(command: Callable[..., int]) -> Callable[..., int]:
    """Add a flag for each verdict, of which one is to be given; the command gets its word."""
    for word, about in reversed(_VERDICTS.items()):
        command = click.option(f"--{word.replace('_', '-')}", word, is_flag=True, help=about)(command)

    @functools.wraps(command)
    def wrapped(*args: object, **options: object) -> int:
        given = [word for word in _VERDICTS if options.pop(word)]
        if len(given) != 1:
            raise click.UsageError("expected one of --delivered, --not-delivered and --resend.")
        return command(*args, verdict=given[0], **options)

    return wrapped


@click.command()
@ordering
@_verdict
@click.option("--force-copy", is_flag=True, help="With --resend: even if the platform knows it for one that it has.")
@click.option("--receipt", metavar="TEXT", help="With --delivered: the platform's id for it.")
@_ttl
@shared
def resolve(
    call: Call,
    picked: Picked,
    *,
    verdict: str,
    force_copy: bool,
    receipt: str | None,
    ttl: timedelta | None,
    manner: Manner,
) -> int:
    """
    Record what became of held messages.

    Of one that was split, what became of the part at which it stands.
    """
    if receipt is not None and len(picked.ids) != 1:
        raise click.UsageError("--receipt is one message's: give its id.")
    verb = Verb(
        name="resolve",
        done={"delivered": "taken as delivered"}.get(verdict, "due now, at the tail of its lane"),
        one=lambda box, identity, **by: box.resolve(
            identity, verdict, force_copy=force_copy, receipt=receipt, ttl=ttl, **by
        ),
        many=lambda box, where, **how: box.resolve_many(verdict, where, force_copy=force_copy, ttl=ttl, **how),
    )
    return give(call, picked, verb, manner)


@click.command()
@ordering
@click.option("--fresh", is_flag=True, help="A copy on purpose: every part anew, under a dedupe token of its own.")
@shared
def replay(call: Call, picked: Picked, *, fresh: bool, manner: Manner) -> int:
    """
    Send messages that have ended once more, each as a new message.

    A filter picks what is dead, expired or cancelled, and what was delivered only if it says so.
    """
    verb = Verb(
        name="replay",
        done="replayed",
        one=lambda box, identity, **by: box.replay(identity, fresh=fresh, **by),
        many=lambda box, where, **how: box.replay_many(where, fresh=fresh, **how),
    )
    return give(call, picked, verb, manner)


@click.command()
@ordering
@shared
def purge(call: Call, picked: Picked, *, manner: Manner) -> int:
    """
    Delete messages that have ended, whatever their retention: what they said, their parts and attempts.

    What people did to them stays in their history, and keys stay taken, for as long as the settings say.
    """
    verb = Verb(
        name="purge",
        done="deleted",
        one=lambda box, identity, **by: box.purge(identity, **by),
        many=lambda box, where, **how: box.purge_many(where, **how),
    )
    return give(call, picked, verb, manner)


@click.command()
@click.argument("channel")
@_reason
@click.option("--for", "span", type=span_above_zero, metavar="SPAN", help="Resume by itself after this.")
@_tenant
@shared
def pause(call: Call, channel: str, *, reason: str | None, span: timedelta | None, tenant: str | None) -> int:
    """Send nothing more through a channel until it is resumed. Its messages wait, and expire as ever."""
    known = call.loaded().settings.channels

    async def act(box: Outbox) -> list[QueueInfo]:
        if channel not in known and not await _used(box, channel):
            raise UnknownChannel(channel, tuple(known))
        await box.pause(channel, tenant=tenant, reason=reason, span=span, actor=actor())
        return await _paused(box, channel, tenant)

    return _report_paused(call, channel, tenant, call.operate(act))


@click.command()
@click.argument("channel")
@_reason
@_tenant
@shared
def resume(call: Call, channel: str, *, reason: str | None, tenant: str | None) -> int:
    """Send through a channel again."""

    async def act(box: Outbox) -> list[QueueInfo]:
        if not await box.resume(channel, tenant=tenant, reason=reason, actor=actor()):
            whose = "" if tenant is None else f" for tenant {tenant!r}"
            raise Stop(Exit.NOT_FOUND, f"nothing was ever sent through channel {channel!r}{whose}")
        return await _paused(box, channel, tenant)

    return _report_paused(call, channel, tenant, call.operate(act))


async def _used(box: Outbox, channel: str) -> bool:
    from pillarbox.outbox.outbox import inside

    return any(queue.channel == channel for queue in await box.queues()) or await inside(box).reads.served(channel)


async def _paused(box: Outbox, channel: str, tenant: str | None) -> list[QueueInfo]:
    queues = (queue for queue in await box.queues() if queue.channel == channel and tenant in {None, queue.tenant})
    return [queue for queue in queues if queue.paused]


def _report_paused(call: Call, channel: str, tenant: str | None, paused_queues: list[QueueInfo]) -> int:
    from pillarbox.views import stamp

    paused = bool(paused_queues)
    until = stamp(paused_queues[0].paused_until_ms) if paused else None
    if call.json:
        with reporting(f"{channel} is {'paused' if paused else 'resumed'}"):
            emit_json({"channel": channel, "tenant": tenant, "paused": paused, "paused_until": until})
    talk(f"{channel}: {'paused' if paused else 'resumed'}{f' until {until}' if until else ''}")
    return Exit.OK
