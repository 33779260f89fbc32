"""What is answered where a command has no such option: the one that was probably meant, and where it stands."""

from __future__ import annotations

import re
from typing import Final

import click

from pillarbox.cli.shared_options import no_such

# Other programs' words for options of ours; each is named only where the command has the option.
_MEANT: Final = {
    "--since": "--newer", "--after": "--newer", "--until": "--older", "--status": "--state", "--database": "--db",
    "--dsn": "--db", "--recipient": "--to", "--count": "--limit", "--max": "--limit", "--follow": "--watch",
    "--delay": "--at", "--eta": "--at", "--schedule": "--at", "--expires": "--ttl", "--retries": "--max-attempts",
    "--concurrency": "--workers", "--processes": "--workers", "--id": "--key", "--idempotency-key": "--key",
    "--body": "--payload", "--data": "--payload", "--attach": "--file", "--burst": "--drain", "--once": "--drain",
    "--conf": "--config", "--format-json": "--json",
}  # fmt: skip
_EXTRA: Final = re.compile(r"^Got unexpected extra arguments? \((?P<first>\S+?)[ )]")
# What every command takes, and `pillarbox` itself does not: elsewhere such options stand before the command.
_OF_COMMANDS: Final = ("--db", "--shard", "--config", "--json", "-j", "--quiet", "-q")


def no_such_option(error: click.NoSuchOption) -> str:
    """Return the sentence that leads from an option that is not there to the one that is."""
    if error.ctx is None:
        return error.format_message()
    given, command = error.option_name, error.ctx.command
    if error.ctx.parent is None and given in _OF_COMMANDS:
        return f"{given} goes after the command: pillarbox ls {given}"
    known = [name for option in command.params if isinstance(option, click.Option) for name in option.opts]
    meant = {word: ours for word, ours in _MEANT.items() if ours in known}
    return no_such("option", given, [name for name in known if name.startswith("--")] or known, meant)


def extra_argument(error: click.UsageError) -> str:
    """Return what leads on from an argument too many, behind click's own sentence; nothing for any other error."""
    extra = _EXTRA.search(error.message)
    if extra is None or error.ctx is None:
        return ""
    if any(param.name == "text" for param in error.ctx.command.params):
        return ": the text is one argument, so put it between quotes."
    if extra["first"].endswith((".toml", ".yaml", ".yml", ".json")):
        return f": a configuration is named by --config {extra['first']}."
    return f": put it between quotes, or see what {error.ctx.command_path} takes."
