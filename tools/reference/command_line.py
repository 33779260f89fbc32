"""The page of the command line: every command with its options, and the exit codes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from pillarbox.cli.exits import Exit
from pillarbox.cli.program import program
from tools.reference.page import code, table

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENV_IN_HELP: Final = re.compile(r"(?<!\s)\s*+\[env var: (?P<name>\w+)(?:; )?(?P<rest>[^\]]*)\]")


def commands() -> dict[str, click.Command]:
    """Return every command by its full name, ``pillarbox`` itself first."""
    return dict(_commands(program, "pillarbox", click.Context(program, info_name="pillarbox")))


def _commands(command: click.Command, name: str, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner in command.list_commands(ctx):
            found = command.get_command(ctx, inner)
            if found is not None:
                yield from _commands(found, f"{name} {inner}", ctx)


def blocks() -> dict[str, str]:
    """Return the generated text by the name of its block."""
    found = {name: _command(name, command) for name, command in commands().items()}
    codes = ((str(int(one)), code(one.name), one.about) for one in Exit)
    return {**found, "exit codes": table(("Code", "Name", "Meaning"), codes)}


def _command(name: str, command: click.Command) -> str:
    arguments = " ".join(param.make_metavar(click.Context(command)) for param in _arguments(command))
    options = [param for param in command.params if isinstance(param, click.Option)]
    usage = f"    {name}{' [OPTIONS]' if options else ''}{f' {arguments}' if arguments else ''}\n"
    if not options:
        return usage
    rows = table(("Option", "Variable", "Meaning"), (_row(name, option) for option in options))
    return f"{usage}\n{rows}"


def _arguments(command: click.Command) -> list[click.Argument]:
    return [param for param in command.params if isinstance(param, click.Argument)]


def _row(name: str, option: click.Option) -> tuple[str, str, str]:
    spelt = ", ".join(f"`{text}`" for text in option.opts)
    if not option.is_flag:
        spelt += f" {option.make_metavar(click.Context(program))}"
    about, variable = option.help or "", f"`{name.upper().replace(' ', '_')}_{str(option.name).upper()}`"
    if (told := _ENV_IN_HELP.search(about)) is not None:
        variable = f"`{told['name']}`"
        about = _ENV_IN_HELP.sub(f" {told['rest'].capitalize()}." if told["rest"] else "", about)
    elif isinstance(option.envvar, str):
        variable = f"`{option.envvar}`"
    elif option.is_eager:
        variable = ""
    notes = " Required." if option.required else ""
    if option.show_default:
        notes += f" Default: `{option.default}`."
    return spelt, variable, f"{about}{notes}"
