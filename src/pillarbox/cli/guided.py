"""A group of commands that leads on from a word that it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from pillarbox.cli.shared_options import no_such


class Guided(click.Group):
    """
    Answers a slip with the nearest command.

    Args:
        meant: Other programs' words, and the command of ours.
        told: Words for which there is no command, and the sentence that leads on.
    """

    def __init__(self, *args: Any, meant: Mapping[str, str], told: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._meant, self._told = meant, told

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group`."""
        given = args[0]
        if given.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, given) is not None:
            return super().resolve_command(ctx, args)
        if (sentence := self._told.get(given.lower())) is not None:
            raise click.UsageError(f"no command {given!r}: {sentence}.", ctx)
        raise click.UsageError(no_such("command", given, self.list_commands(ctx), self._meant), ctx)
