"""Exit codes, and which error ends in which; one sentence for each."""

from __future__ import annotations

from enum import IntEnum

from pillarbox.errors import ConfigError, InvalidMessage, NotFound, PillarboxError, QueueFull, StoreError


class Exit(IntEnum):
    """How a command ends. Stable; `ABOUT` says what each means."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFIGURATION = 4
    DATABASE = 5
    NOT_DELIVERED = 6
    TIMED_OUT = 7
    QUEUE_FULL = 75
    INTERRUPTED = 130
    PIPE_CLOSED = 141


ABOUT: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILURE: "refused or failed: the message's state does not allow it, an import left something behind, what was"
    " read cannot be written, or an internal error",
    Exit.USAGE: "usage: an unknown option, or a value that was refused; nothing was written",
    Exit.NOT_FOUND: "no such message or channel, or nothing there to import",
    Exit.CONFIGURATION: "configuration: a setting, a channel or --app is missing or wrong",
    Exit.DATABASE: "the database: missing, locked, full, read-only, damaged or too new; or db check found something",
    Exit.NOT_DELIVERED: "not delivered: dead, expired, cancelled or held",
    Exit.TIMED_OUT: "timed out: the message stays queued",
    Exit.QUEUE_FULL: "queue full: try again later (EX_TEMPFAIL)",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
    Exit.PIPE_CLOSED: "nobody read the output any more; `run`, and what was done, do not end so",
}


class Stop(Exception):
    """Ends a command with a code and a sentence."""

    def __init__(self, code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def code_of(error: PillarboxError) -> Exit:
    """Return the exit code of a command that met *error*."""
    match error:
        case InvalidMessage():
            return Exit.USAGE
        case NotFound():
            return Exit.NOT_FOUND
        case ConfigError():
            return Exit.CONFIGURATION
        case StoreError():
            return Exit.DATABASE
        case QueueFull():
            return Exit.QUEUE_FULL
        case _:
            return Exit.FAILURE
