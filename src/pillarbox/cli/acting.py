"""Commands by which a person steps in: cancel and retry messages, pause and resume channels. All are audited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.options import shared, span_above_zero
from pillarbox.cli.output import emit_json, talk
from pillarbox.cli.session import actor
from pillarbox.errors import NotFound, UnknownChannel

if TYPE_CHECKING:
    from datetime import timedelta

    from pillarbox.cli.session import Call
    from pillarbox.message import Message
    from pillarbox.outbox import Outbox
    from pillarbox.store.base import QueueInfo

_Act = Callable[["Outbox", str], Awaitable[bool]]

_reason = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
_tenant = click.option("--tenant", default="", help="The tenant whose messages are meant.")


@click.command()
@click.argument("messages", metavar="ID|LAST...", nargs=-1, required=True)
@_reason
@shared
def cancel(call: Call, messages: tuple[str, ...], *, reason: str | None) -> int:
    """
    Withdraw messages that are not delivered yet.

    One that is being sent at this moment is cancelled if its attempt fails; it may still be delivered.
    """

    def act(box: Outbox, identity: str) -> Awaitable[bool]:
        return box.cancel(identity, reason=reason, actor=actor())

    return _on_messages(call, messages, act, done="cancelled")


@click.command()
@click.argument("messages", metavar="ID|LAST...", nargs=-1, required=True)
@_reason
@shared
def retry(call: Call, messages: tuple[str, ...], *, reason: str | None) -> int:
    """Make scheduled or held messages due now, whatever they wait for."""

    def act(box: Outbox, identity: str) -> Awaitable[bool]:
        return box.retry(identity, reason=reason, actor=actor())

    return _on_messages(call, messages, act, done="due now")


def _on_messages(call: Call, names: tuple[str, ...], act: _Act, *, done: str) -> int:
    async def act_on_all(box: Outbox) -> list[dict[str, Any]]:
        return [await _one(box, name, act) for name in names]

    rows = call.observe(act_on_all)
    if call.json:
        emit_json(rows)
    for row in rows:
        talk(f"{row['id']}: {_said(row, done)}")
    if any(row["state"] is None for row in rows):
        return Exit.NOT_FOUND
    return Exit.OK if all(row["applied"] for row in rows) else Exit.FAILURE


async def _one(box: Outbox, name: str, act: _Act) -> dict[str, Any]:
    """Act on one message; one that does not exist does not stop the others."""
    from pillarbox.cli.last import find

    try:
        message: Message = await find(box, name)
        applied = await act(box, message.id or name)
        message = await find(box, message.id or name)
    except NotFound:
        return {"id": name, "applied": False, "state": None, "cancel_requested": False}
    view = message.view
    return {
        "id": message.id,
        "applied": applied,
        "state": str(message.state),
        "cancel_requested": view is not None and view.cancel_requested_ms is not None,
    }


def _said(row: dict[str, Any], done: str) -> str:
    if row["state"] is None:
        return "no such message"
    if not row["applied"]:
        return f"nothing was changed: it is {row['state']}"
    if row["state"] == "leased":
        return "is being sent; it is cancelled if that fails"
    return done


@click.command()
@click.argument("channel")
@_reason
@click.option("--for", "span", type=span_above_zero, metavar="SPAN", help="Resume by itself after this.")
@_tenant
@shared
def pause(call: Call, channel: str, *, reason: str | None, span: timedelta | None, tenant: str) -> int:
    """Send nothing more through a channel until it is resumed. Its messages wait, and expire as ever."""
    known = call.loaded().settings.channels

    async def act(box: Outbox) -> QueueInfo | None:
        if channel not in known and not await _used(box, channel):
            raise UnknownChannel(channel, tuple(known))
        await box.pause(channel, tenant=tenant, reason=reason, span=span, actor=actor())
        return await _queue(box, channel, tenant)

    return _told(call, channel, tenant, call.observe(act))


@click.command()
@click.argument("channel")
@_reason
@_tenant
@shared
def resume(call: Call, channel: str, *, reason: str | None, tenant: str) -> int:
    """Send through a channel again."""

    async def act(box: Outbox) -> QueueInfo | None:
        if not await box.resume(channel, tenant=tenant, reason=reason, actor=actor()):
            raise Stop(Exit.NOT_FOUND, f"nothing was ever sent through channel {channel!r}")
        return await _queue(box, channel, tenant)

    return _told(call, channel, tenant, call.observe(act))


async def _used(box: Outbox, channel: str) -> bool:
    return any(queue.channel == channel for queue in await box.queues()) or await box.served(channel)


async def _queue(box: Outbox, channel: str, tenant: str) -> QueueInfo | None:
    found = (queue for queue in await box.queues() if (queue.channel, queue.tenant) == (channel, tenant))
    return next(found, None)


def _told(call: Call, channel: str, tenant: str, queue: QueueInfo | None) -> int:
    from pillarbox.report import stamp

    paused = queue is not None and queue.paused
    until = None if queue is None or not paused else stamp(queue.paused_until_ms)
    if call.json:
        emit_json({"channel": channel, "tenant": tenant, "paused": paused, "paused_until": until})
    talk(f"{channel}: {'paused' if paused else 'resumed'}{f' until {until}' if until else ''}")
    return Exit.OK
