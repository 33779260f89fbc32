"""``manage.py pillarbox …``: pillarbox's own command line, with the project's configuration."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from pillarbox.cli import main, signals
from pillarbox.integrations.django.project import project

_DJANGO_S: Final = ("--settings", "--pythonpath")


class Command(BaseCommand):
    """Passes on what follows its name."""

    help = "The command line of pillarbox, with the configuration that PILLARBOX['CONFIG'] names."

    def run_from_argv(self, argv: list[str]) -> None:
        """Run it, and end with its exit code: the options after the name are pillarbox's, but for two of Django's."""
        given = with_config(_without_django_s(argv[2:]))
        signals.heed_for(given)
        sys.exit(main(given))

    def handle(self, *args: str, **_: Any) -> None:  # noqa: ANN401 — Django's own options
        """Run it from a program: ``call_command("pillarbox", "run", "--drain")``."""
        code = main(with_config([*args]))
        if code:
            raise CommandError(f"pillarbox ended with {code}", returncode=code)

    def add_arguments(self, parser: Any) -> None:  # noqa: ANN401 — of argparse
        """Take whatever there is."""
        parser.add_argument("args", nargs=argparse.REMAINDER)


def _without_django_s(arguments: list[str]) -> list[str]:
    """Return *arguments* without those that manage.py itself has obeyed, before it looked for the command."""
    ours: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument in _DJANGO_S:
            next(left, None)
        elif not argument.startswith(tuple(f"{option}=" for option in _DJANGO_S)):
            ours.append(argument)
    return ours


def with_config(arguments: list[str]) -> list[str]:
    """Return *arguments* with the project's configuration file, where their command takes one."""
    config = project().config
    if config is None or "--config" in arguments:
        return arguments
    import click

    from pillarbox.cli.program import program

    command: click.Command | None = program
    place = 0
    with click.Context(program) as ctx:
        while isinstance(command, click.Group) and place < len(arguments):
            command, place = command.get_command(ctx, arguments[place]), place + 1
    takes = command is not None and any(param.name == "config" for param in command.params)
    return [*arguments[:place], "--config", str(config), *arguments[place:]] if takes else arguments
