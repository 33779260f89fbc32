"""`pillarbox completion`: the script by which a shell completes commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pillarbox.cli.exits import Exit

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS), metavar="bash|zsh|fish")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """
    Print what makes a shell complete commands, options and states.

    For bash or zsh put `eval "$(pillarbox completion bash)"` into ~/.bashrc or ~/.zshrc; for fish write it to
    ~/.config/fish/completions/pillarbox.fish.
    """
    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 — click has one for each of these
    script = kind(root.command, {}, "pillarbox", "_PILLARBOX_COMPLETE")
    # Not `source()`, which runs bash to look at its version: the script may be meant for another machine.
    click.echo(script.source_template % script.source_vars())
    return Exit.OK
