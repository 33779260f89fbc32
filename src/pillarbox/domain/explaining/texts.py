"""How explanations are worded: commands ready to be run, times, counts, and what others said, in one line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from pillarbox.domain.moments import to_datetime

if TYPE_CHECKING:
    from pillarbox.domain.explaining.facts import Gate, WorkerStanding

_SAID_MAX: Final = 300
MANY: Final = 1000
"""Where counting stops."""


def command(verb: str, *arguments: str) -> str:
    """Write a command line as it can be run, in backquotes."""
    return f"`pillarbox {verb}{''.join(f' {shlex.quote(argument)}' for argument in arguments)}`"


def resume(gate: Gate) -> str:
    """Write the command that lets a queue's messages go again."""
    return command("resume", gate.channel, *(("--tenant", gate.tenant) if gate.tenant else ()))


def at(ms: int) -> str:
    """Write a time for people, in UTC to the second."""
    return to_datetime(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def said(text: str | None, otherwise: str = "no reason given") -> str:
    """Give what a platform or a person said, in one line of at most 300 characters."""
    line = " ".join((text or "").split())
    return (line if len(line) <= _SAID_MAX else f"{line[:_SAID_MAX]}…") or otherwise


def many(count: int, one: str, several: str) -> str:
    """Write a count with its noun; one that was not counted to its end says so."""
    return f"{count} {one if count == 1 else several}" if count < MANY else f"{MANY} {several} or more"


def worker(who: WorkerStanding) -> str:
    """Name a worker."""
    return f"worker {who.slot} ({who.host}, pid {who.pid})"
