"""
Writes the generated parts of docs/reference/cli.md: ``python -m pillarbox.cli.reference docs/reference/cli.md``.

Generated text stands between ``<!-- begin NAME -->`` and ``<!-- end -->``; the rest of the page is written by hand. A
test fails when a block is missing or out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pillarbox.cli.exits import ABOUT
from pillarbox.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = re.compile(r"(?P<begin><!-- begin (?P<name>[^>]+?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
_ENV_IN_HELP: Final = re.compile(r"(?<!\s)\s*+\[env var: (?P<name>\w+)(?:; )?(?P<rest>[^\]]*)\]")


def commands() -> dict[str, click.Command]:
    """Give every command by its full name, ``pillarbox`` itself first."""
    return dict(_commands(program, "pillarbox", click.Context(program, info_name="pillarbox")))


def _commands(command: click.Command, name: str, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner in command.list_commands(ctx):
            found = command.get_command(ctx, inner)
            if found is not None:
                yield from _commands(found, f"{name} {inner}", ctx)


def blocks() -> dict[str, str]:
    """Give the generated text by the name of its block."""
    found = {name: _command(name, command) for name, command in commands().items()}
    codes = "".join(f"| {code} | `{code.name}` | {about} |\n" for code, about in ABOUT.items())
    found["exit codes"] = f"| Code | Name | Meaning |\n|---|---|---|\n{codes}"
    return found


def _command(name: str, command: click.Command) -> str:
    arguments = " ".join(param.make_metavar(click.Context(command)) for param in _arguments(command))
    options = [param for param in command.params if isinstance(param, click.Option)]
    usage = f"    {name}{' [OPTIONS]' if options else ''}{f' {arguments}' if arguments else ''}\n"
    rows = "".join(_row(name, option) for option in options)
    table = f"\n| Option | Variable | Meaning |\n|---|---|---|\n{rows}" if rows else ""
    return f"{usage}{table}"


def _arguments(command: click.Command) -> list[click.Argument]:
    return [param for param in command.params if isinstance(param, click.Argument)]


def _row(name: str, option: click.Option) -> str:
    spelt = ", ".join(f"`{text}`" for text in option.opts)
    if not option.is_flag:
        spelt += f" {_cell(option.make_metavar(click.Context(program)))}"
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
    return f"| {spelt} | {variable} | {_cell(about)}{notes} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def rewritten(page: str) -> str:
    """Give *page* with every block as it should be. Raises KeyError for a block of an unknown name."""
    made = blocks()
    return _BLOCK.sub(lambda block: f"{block['begin']}{made[block['name']]}{block['end']}", page)


def names_in(page: str) -> list[str]:
    """Name the blocks of *page*."""
    return [block["name"] for block in _BLOCK.finditer(page)]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.write_text(rewritten(place.read_text("utf-8")), "utf-8")
