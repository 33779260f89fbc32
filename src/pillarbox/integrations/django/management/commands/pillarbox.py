"""``manage.py pillarbox …``: pillarbox's own command line, with the project's configuration."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from pillarbox.cli import main
from pillarbox.integrations.django.project import project


class Command(BaseCommand):
    """Passes on what follows its name."""

    help = "The command line of pillarbox, with the configuration that PILLARBOX['CONFIG'] names."

    def run_from_argv(self, argv: list[str]) -> None:
        """Run it, and end with its exit code: the options after the name are pillarbox's, not Django's."""
        sys.exit(main(with_config(argv[2:])))

    def handle(self, *args: str, **_: Any) -> None:  # noqa: ANN401 — Django's own options
        """Run it from a program: ``call_command("pillarbox", "status")``."""
        code = main(with_config([*args]))
        if code:
            raise CommandError(f"pillarbox ended with {code}", returncode=code)

    def add_arguments(self, parser: Any) -> None:  # noqa: ANN401 — of argparse
        """Take whatever there is."""
        parser.add_argument("args", nargs="*")


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
