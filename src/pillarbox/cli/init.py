"""`pillarbox init`: writes a configuration in which every setting stands as a comment, with what it is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import emit_json, reporting, talk
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call

_BARE: Final = re.compile(r"[0-9]+(\.[0-9]+)?|true|false")
_WITHOUT_A_VALUE: Final = frozenset({"empty", "not set"})
_SUCH_AS: Final = {"db": ', such as db = "/var/lib/pillarbox/outbox.db"'}
_HEAD: Final = """\
# The configuration of pillarbox. Everything here is a comment: as it is, this file changes nothing.
# Take the sign "#" away from what you want to change. `pillarbox config check` looks for mistakes,
# `pillarbox config explain KEY` tells more about a setting, `pillarbox config show --origin` what holds.
"""
_CHANNELS: Final = """\

# Channels: ways out, each under a name of yours, which `pillarbox send NAME …` takes.
# A URL may hold a secret. Keep this file to yourself (chmod 600), or keep the URL in a file of its own, and its path
# in the variable PILLARBOX_CHANNELS__OPS__URL_FILE.

# [channels.ops]
# url = "https://example.org/hook"

# [channels.mail]
# url = "smtp://user:password@mail.example.org:587"

# [channels.team]
# url = "tgram://123456789:TOKEN-of-35-characters-from-BotFather"
# ttl = "2h"                # each of the "defaults" above may stand here, for this channel alone
"""


@click.command()
@click.argument("file", default="pillarbox.toml", type=click.Path(path_type=Path), metavar="[FILE]")
@shared
def init(call: Call, file: Path) -> int:
    """
    Write a commented configuration to FILE, pillarbox.toml by default, which must not exist.

    Everything in it is a comment, so that nothing changes until you change it.
    """
    try:
        # Only its owner may read it: channels' URLs hold secrets.
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(text(), "utf-8")
    except FileExistsError:
        raise Stop(Exit.FAILURE, f"{file} is there already: name another file, or move it away") from None
    except OSError as exc:
        raise Stop(Exit.FAILURE, f"{file} cannot be written: {exc.strerror}") from None
    with reporting(f"{file} is written"):
        if call.json:
            emit_json({"file": str(file)})
    talk(f"wrote {file}: add a channel there, then `pillarbox config check`")
    return Exit.OK


def text() -> str:
    """Return the configuration: every setting but channels' with its default, then three channels."""
    from pillarbox.settings.explain import explanations

    lines = [_HEAD]
    group = ""
    for one in explanations():
        above, _, _ = one.key.rpartition(".")
        if above.startswith("channels."):
            continue
        if above != group:
            group = above
            lines.append("")
        value = one.default if _BARE.fullmatch(one.default) else f'"{one.default}"'
        unset = one.key == "db" or one.default in _WITHOUT_A_VALUE
        about = f"{one.help.partition('. ')[0].rstrip('.')}{_SUCH_AS.get(one.key, '')}."
        lines.append(f"# {one.key}: {about}" if unset else f"# {one.key} = {value}")
        if not unset:
            lines[-1] = f"{lines[-1]:<40}  # {one.label}"
    return "\n".join(lines) + "\n" + _CHANNELS
