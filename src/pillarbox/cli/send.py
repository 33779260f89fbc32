"""`pillarbox send`: accept one message, and with ``--wait`` see it through."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pillarbox.cli.command_context import naming
from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.last_sent import remember
from pillarbox.cli.numbers import WholeNumber
from pillarbox.cli.output import emit, emit_json, reporting, talk
from pillarbox.cli.shared_options import FOREVER, json_object, json_text, moment, shared, span, span_or_none

if TYPE_CHECKING:
    from datetime import timedelta

    from pillarbox.app import Sender
    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.message import Message
    from pillarbox.settings.model import Settings

_PRIORITIES: Final = ("bulk", "normal", "high", "urgent")


@click.command(short_help="Accept a message, and with --wait see it through.")
@click.argument("channel", metavar="CHANNEL|URL")
@click.argument("text", required=False, metavar="[TEXT|-]")
@click.option("--to", required=True, metavar="RECIPIENT", help="The recipient, as the channel writes it.")
@click.option("--payload", type=json_text, metavar="JSON", help="Instead of text: sent as it is, as application/json.")
@click.option("--payload-file", metavar="FILE", help="Instead of text: a file's bytes, sent as they are; - is stdin.")
@click.option("--file", "files", multiple=True, metavar="PATH|URL", help="Goes with the text; again for each file.")
@click.option("--content-type", metavar="TYPE", help="Of the payload.")
@click.option("--subject", help="Where the channel has one.")
@click.option("--format", type=click.Choice(("plain", "markdown", "html")), help="How the text is written.")
@click.option("--thread", help="The thread at the recipient.")
@click.option("--key", help="Idempotency key: the same key and content are accepted once.")
@click.option("--at", type=moment, metavar="TIME|SPAN", help="Not before this time, or this long from now.")
@click.option("--ttl", type=span_or_none, metavar="SPAN|none", help="Past it, counted from --at, it expires.")
@click.option("--lane", metavar="NAME|none", help="What must stay in order; 'none' for no order.")
@click.option("--priority", type=click.Choice(_PRIORITIES), help="Between lanes, never inside one.")
@click.option("--max-attempts", type=WholeNumber(), metavar="N", help="After so many charged attempts it is dead.")
@click.option("--ephemeral", is_flag=True, help="Not worth sending again by another process; needs --wait.")
@click.option("--tenant", help="Whose message it is.")
@click.option("--account", help="The sending account, where the channel has several.")
@click.option("--metadata", type=json_object, metavar="JSON", help="An object of your own, at most 16 KiB.")
@click.option("--correlation-id", help="What messages belong together.")
@click.option("--wait", is_flag=True, help="Wait until it is delivered; deliver it here where no worker runs.")
@click.option("--timeout", type=span, default="30s", show_default=True, metavar="SPAN", help="How long --wait waits.")
@shared
def send(
    call: Call,
    channel: str,
    text: str | None,
    *,
    wait: bool,
    timeout: timedelta,
    payload: bytes | None,
    payload_file: str | None,
    files: tuple[str, ...],
    **options: Any,
) -> int:
    """
    Accept a message for CHANNEL, or for a URL that stands nowhere else. Its id is written to stdout.

    When this returns, the message is on disk, and its files with it. The text comes from stdin where it is "-", or
    where it is left out and something is piped in. A URL on the command line may be private; it is not stored, so
    without --wait its messages wait until a channel of that name is configured.

    Where the queue is disabled (enabled = false), it is sent at once, whether --wait is given or not, and nothing is
    stored. The exit code shows what became of it.
    """
    from pillarbox import app

    settings = app.at_home(call.loaded().settings, options["tenant"] or "")
    if options["ephemeral"] and not wait and settings.enabled:
        raise click.UsageError("--ephemeral needs --wait: such a message is never sent by another process.", call.ctx)
    arguments = _arguments(options)
    if files:
        arguments["files"] = files
    if text is not None or payload is not None or payload_file is not None or not files:
        arguments |= _content(call, text, payload, payload_file, limit=settings.content_bytes_max)
    sender = app.sender(settings, channel)
    if sender.channel is None:
        if text in settings.channels:
            raise click.UsageError(f"the channel comes first: pillarbox send {text} {channel!r}.", call.ctx)
        _must_be_served(settings, sender)
    if not settings.enabled:
        return asyncio.run(_pass_on(call, sender, arguments, timeout=timeout.total_seconds() if wait else None))
    with naming(settings.db):
        return asyncio.run(_send(call, sender, arguments, timeout=timeout.total_seconds() if wait else None))


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Turn the options that were given into arguments of `Outbox.send`."""
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    if given.get("ttl") is FOREVER:
        given["ttl"] = None
    if given.get("lane") == "none":
        given["lane"] = None
    if "priority" in given:
        given["priority"] = _PRIORITIES.index(given["priority"])
    return given


def _content(
    call: Call, text: str | None, payload: bytes | None, payload_file: str | None, *, limit: int
) -> dict[str, Any]:
    given = [
        name
        for name, value in (("TEXT", text), ("--payload", payload), ("--payload-file", payload_file))
        if value is not None
    ]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other.", call.ctx)
    if payload is not None:
        return {"payload": payload, "content_type": call.ctx.params["content_type"] or "application/json"}
    if payload_file is not None:
        return {"payload": _stdin_bytes(limit) if payload_file == "-" else _file_bytes(call, payload_file, limit)}
    if text is not None and text != "-":
        return {"text": text}
    if text is None and sys.stdin.isatty():
        raise click.UsageError("expected TEXT, --payload or --payload-file.", call.ctx)
    piped = _stdin_bytes(limit)
    if text is None and not piped:
        raise click.UsageError("expected TEXT, --payload or --payload-file; nothing came from stdin.", call.ctx)
    return {"text": _as_text(call, piped, limit)}


def text_of(call: Call, text: str) -> str:
    """Return the text that an argument stands for; "-" is stdin's."""
    limit = call.loaded().settings.content_bytes_max
    return text if text != "-" else _as_text(call, _stdin_bytes(limit), limit)


def _as_text(call: Call, piped: bytes, limit: int) -> str:
    try:
        # What is too long was cut, perhaps inside a character; that it is too long is what will be said.
        said = piped.decode("utf-8", "replace" if len(piped) > limit else "strict")
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"expected text in UTF-8 from stdin; byte {exc.start} is none.", call.ctx) from None
    return said.removesuffix("\n").removesuffix("\r")


def _stdin_bytes(limit: int) -> bytes:
    return sys.stdin.buffer.read(limit + 1)


def _file_bytes(call: Call, name: str, limit: int) -> bytes:
    """Read one byte more than is allowed, so that what is too long is refused and never read whole."""
    try:
        with Path(name).open("rb") as file:
            return file.read(limit + 1)
    except OSError as exc:
        raise click.UsageError(f"--payload-file {name}: {exc.strerror}.", call.ctx) from None


def _must_be_served(settings: Settings, sender: Sender) -> None:
    """Refuse a name that is configured nowhere, unless a worker that runs has it (run --app module:box)."""
    from pillarbox import app
    from pillarbox.errors import ConfigError, StoreNotFound, UnknownChannel
    from pillarbox.outbox.outbox import inside

    async def served() -> bool:
        async with app.observer(settings) as box:
            return await inside(box).reads.served(sender.name)

    try:
        with naming(settings.db):
            # No worker serves anything while the queue is disabled.
            known = settings.enabled and asyncio.run(served())
    except Stop as stop:
        if not isinstance(stop.__cause__, StoreNotFound):
            raise
        known = False
    if not known:
        if sender.name in settings.channels:
            raise ConfigError(
                f"channels.{sender.name}.url", "is not set, and no worker that runs has that channel: give it a URL"
            )
        names = tuple(name for name, item in settings.channels.items() if item.url is not None)
        raise UnknownChannel(sender.name, names)


async def _pass_on(call: Call, sender: Sender, arguments: dict[str, Any], *, timeout: float | None) -> int:
    """Send it without a queue, within *timeout* seconds where there is one (contract EN12)."""
    from pillarbox.cli.wait_command import verdict

    async with sender.box as box:
        try:
            async with asyncio.timeout(timeout):
                message = await box.send(sender.name, **arguments)
        except TimeoutError:
            talk(f"not delivered within {timeout:g}s, and cut off: the receiver may have it; nothing is queued")
            return Exit.NOT_DELIVERED
        if message.id is None:
            return _nothing_to_send(call, message)
        with reporting(f"message {message.id} was passed on"):
            if call.json:
                emit_json(_row(message, message))
            else:
                emit(message.id)
        return verdict(sender, message, timeout or 0)


async def _send(call: Call, sender: Sender, arguments: dict[str, Any], *, timeout: float | None) -> int:
    """Accept it, and wait *timeout* seconds at most; ``None`` does not wait."""
    from pillarbox.cli.wait_command import until_settled, verdict, who_sends
    from pillarbox.outbox.outbox import inside
    from pillarbox.store.registry import file_of

    box = sender.box
    file = file_of(box.settings.db)
    new = file is not None and not file.exists()
    async with box:
        if new:
            # A path that was mistyped would be a second queue, which nobody delivers from.
            talk(f"made a new database: {file}")
        message = await box.send(sender.name, **arguments)
        if message.id is None:
            return _nothing_to_send(call, message)
        remember(box.settings, message.id)
        if timeout is not None:
            try:
                await until_settled(sender, message, timeout)
            except asyncio.CancelledError:
                talk(f"message {message.id} stays queued")
                raise
        seen = await box.get(message.id) or message
        with reporting(f"message {message.id} is stored"):
            if call.json:
                emit_json(_row(seen, message))
            else:
                emit(message.id)
        if not message.created:
            talk(f"the key was used before: this is message {message.id}, {seen.state}")
        if timeout is not None:
            return verdict(sender, seen, timeout)
        if not seen.settled and not await inside(box).reads.served(sender.name):
            talk(f"queued; {who_sends(sender)}")
    return Exit.OK


def _nothing_to_send(call: Call, message: Message) -> int:
    talk("nothing to send: the text is empty")
    if call.json:
        with reporting("nothing was sent"):
            emit_json(message.to_dict())
    return Exit.OK


def _row(seen: Message, accepted: Message) -> dict[str, Any]:
    """Return the state of the message now, and how it was accepted."""
    return {**seen.to_dict(), "created": accepted.created, "durability": accepted.durability, "skipped": None}
