"""How explanations are worded: commands ready to be run, times, counts, and what others said, in one line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Final

from pillarbox.domain.explain.facts import Gate, Standing, WorkerStanding
from pillarbox.domain.message import State
from pillarbox.domain.moments import to_datetime
from pillarbox.domain.orders import Order, allowed

Option = tuple[str, str | None]
"""A flag, and its value; ``None`` for one that takes none."""
_SAID_MAX: Final = 300
_U_MAX: Final = 0xFFFF
MANY: Final = 1000
"""Where counting stops."""


def command(verb: str, *names: str, options: Iterable[Option] = ()) -> str:
    """
    Write a command line as it can be run, in backquotes.

    Whatever *names* and the values of *options* begin with, none of them is read as an option.
    """
    said = [flag if value is None else _with_value(flag, value) for flag, value in options]
    quoted = [_quoted(name) for name in names]
    words = [*said, "--", *quoted] if any(name.startswith("-") for name in names) else [*quoted, *said]
    return f"`{' '.join(('pillarbox', verb, *words))}`"


def order(what: Order, message: str, state: State, *, options: Iterable[Option] = ()) -> str:
    """
    Return the command that gives an order.

    Args:
        state: The state of the message when a person takes the advice.

    Raises:
        ValueError: The order is not for that state: the advice would be of no use.
    """
    if not allowed(what, state):
        raise ValueError(f"{what} is not for what is {state}")
    return command(what, message, options=options)


def _with_value(flag: str, value: str) -> str:
    return f"{flag}{'=' if value.startswith('-') else ' '}{_quoted(value)}"


def _quoted(text: str) -> str:
    """Quote a word for a shell; what it would not show is spelt out, in the way of bash, zsh and ksh."""
    if text.isprintable():
        return shlex.quote(text)
    spelt = "".join(
        f"\\{character}" if character in "\\'" else character if character.isprintable() else _spelt(character)
        for character in text
    )
    return f"$'{spelt}'"


def _spelt(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= _U_MAX else f"\\U{number:08x}"


def resume(gate: Gate) -> str:
    """Write the command that lets a queue's messages go again."""
    return command("resume", gate.channel, options=[("--tenant", gate.tenant)] if gate.tenant else [])


def clear(standing: Standing) -> str:
    """Write the command that lets messages go to a recipient again that was refused."""
    view = standing.view
    options = [("--tenant", view.tenant)] if view.tenant else []
    return command("recipients clear", view.channel, view.recipient, options=options)


def at(ms: int) -> str:
    """Write a time for people, in UTC to the second."""
    return to_datetime(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def said(text: str | None, otherwise: str = "no reason given") -> str:
    """Return what a platform or a person said, in one line of at most 300 characters."""
    line = " ".join((text or "").split())
    return (line if len(line) <= _SAID_MAX else f"{line[:_SAID_MAX]}…") or otherwise


def first_line(answer: str | None) -> str:
    """Return the first line of what a platform answered that says something, of at most 300 characters."""
    return next((said(line) for line in (answer or "").splitlines() if line.strip()), "")


def with_answer(reason: str | None, answer: str | None) -> str:
    """Return the result of an attempt, followed by the platform's answer where that has other words."""
    line = first_line(answer)
    if not line or line in (reason or ""):
        return reason or ""
    return f"{reason}; it answered: {line}" if reason else line


def error(standing: Standing, otherwise: str = "no reason given") -> str:
    """Return what was wrong last with a message, in one line, with what the platform answered then (contract ST10)."""
    return with_answer(said(standing.view.last_error, otherwise), standing.answer)


def many(count: int, one: str, several: str) -> str:
    """Return a count with its noun; one that was not counted to its end is marked as such."""
    return f"{count} {one if count == 1 else several}" if count < MANY else f"{MANY} {several} or more"


def worker(who: WorkerStanding) -> str:
    """Name a worker."""
    return f"worker {who.slot} ({who.host}, pid {who.pid})"
