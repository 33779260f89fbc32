"""What is answered where a command has no such option: the one that was probably meant, and where it stands."""

from __future__ import annotations

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
