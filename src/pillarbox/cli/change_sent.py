"""Commands that change what was sent, or take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pillarbox.cli.exits import Exit
from pillarbox.cli.last_sent import find
from pillarbox.cli.output import emit, emit_json, reporting, talk
from pillarbox.cli.send import text_of
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.message import Message
    from pillarbox.outbox.outbox import Outbox


@click.command()
@click.argument("message", metavar="ID")
@click.argument("text", metavar="TEXT|-")
@click.option("--format", type=click.Choice(("plain", "markdown", "html")), help="How the text is written.")
@click.option("--subject", help="Where the channel has one.")
@shared
def edit(call: Call, message: str, text: str, *, format: str | None, subject: str | None) -> int:  # noqa: A002
    """
    Change what a message says. The id of the change is written to stdout.

    What is not begun yet goes out with the new text. What was sent is edited at its platform, if that can be done, by a
    message of its own, in the same lane.
    """
    said = text_of(call, text)
    return _report(
        call, message, lambda box, found: box.edit(found, text=said, format=format or "plain", subject=subject)
    )


@click.command()
@click.argument("message", metavar="ID")
@shared
def delete(call: Call, message: str) -> int:
    """
    Take a message back, all of its parts. The id of the deletion is written to stdout.

    What is not begun yet is cancelled. What was sent is deleted at its platform, if that can be done. `purge` deletes
    what this outbox knows of a message, and `cancel` withdraws one.
    """
    return _report(call, message, lambda box, found: box.delete(found))


def _report(call: Call, name: str, change: Callable[[Outbox, str], Awaitable[Message]]) -> int:
    async def act(box: Outbox) -> tuple[Message, bool]:
        made = await change(box, (await find(box, name)).id or name)
        return await box.get(made.id or "") or made, made.created

    seen, created = call.operate(act)
    if seen.id is None:
        talk("nothing to change: the text is empty")
        return Exit.OK
    with reporting(f"the change {seen.id} is stored"):
        if call.json:
            emit_json({**seen.to_dict(), "created": created})
        else:
            emit(seen.id)
    talk("queued" if created else f"done before it was sent: {seen.state}")
    return Exit.OK
