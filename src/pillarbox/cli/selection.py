"""How commands pick messages: by id, or by the filter that all of them share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from pillarbox.cli.shared_options import no_such, span

STATES: Final = ("scheduled", "leased", "held", "delivered", "dead", "expired", "cancelled")

_SHORT: Final = ("channel", "to", "tenant", "older", "newer")
_WHERE_HELP: Final = (
    "Only messages that fit, such as 'state=dead error~timeout older=2h'; may be repeated, all must fit."
)


class _State(click.Choice[str]):
    """A state's name; where another system's word or a slip is given, the error names ours."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.Choice`."""
        if value in STATES:
            return value
        if "," in value:
            several = " ".join(f"--state {one.strip()}" for one in value.split(","))
            raise click.BadParameter(f"expected one state; say it once for each: {several}.", ctx, param)
        from pillarbox.outbox.filters import STATE_WORDS

        raise click.BadParameter(no_such("state", value, STATES, STATE_WORDS), ctx, param)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """
    What a command line says of the messages it is for.

    ``where`` are texts of the filter grammar, the short options' among them; ``every`` means all messages.
    """

    ids: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    every: bool = False


def filtered(command: Callable[..., int]) -> Callable[..., int]:
    """Add --where and its short forms; the command gets their texts as ``where``."""

    @click.option("--where", metavar="EXPR", multiple=True, help=_WHERE_HELP)
    @click.option("--state", "states", type=_State(STATES), multiple=True, help="Only these; may be repeated.")
    @click.option("--channel", help="Only this channel.")
    @click.option("--to", help="Only this recipient.")
    @click.option("--tenant", help="Only this tenant.")
    @click.option("--older", metavar="SPAN", type=_span_text, help="Only those accepted longer ago.")
    @click.option("--newer", metavar="SPAN", type=_span_text, help="Only those accepted since.")
    @functools.wraps(command)
    def wrapped(*args: Any, where: tuple[str, ...], states: tuple[str, ...], **options: Any) -> int:
        short = {field: options.pop(field) for field in _SHORT}
        return command(*args, where=(*where, *_texts(states, short)), **options)

    return wrapped


def picking(command: Callable[..., int]) -> Callable[..., int]:
    """Add ids, the filter, and --all; the command gets a `Picked`."""

    @click.argument("messages", metavar="[ID|LAST]...", nargs=-1)
    @filtered
    @click.option("--all", "every", is_flag=True, help="All messages that this can be done to.")
    @functools.wraps(command)
    def wrapped(*args: Any, messages: tuple[str, ...], where: tuple[str, ...], every: bool, **options: Any) -> int:
        said = [bool(messages), any(text.strip() for text in where), every]
        if sum(said) > 1:
            raise click.UsageError("ids, a filter and --all exclude each other.")
        if not any(said):
            raise click.UsageError("expected ids, a filter such as --where state=dead, or --all.")
        return command(*args, Picked(ids=messages, where=where, every=every), **options)

    return wrapped


def _span_text(text: str) -> str:
    span(text)
    return text


def _texts(states: tuple[str, ...], short: dict[str, str | None]) -> list[str]:
    """Write the short options in the grammar."""
    from pillarbox.outbox.filters import written

    texts = [written("state", *states)] if states else []
    return texts + [written(field, value) for field, value in short.items() if value is not None]
