"""Exit codes, and which error ends in which; one sentence for each."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Self

from pillarbox.errors import ConfigError, InvalidMessage, NotFound, PillarboxError, QueueFull, StoreError


class Exit(IntEnum):
    """How a command ends. Stable; ``about`` says what each means."""

    about: str

    def __new__(cls, code: int, about: str) -> Self:
        """Make a code of the two that stand beside its name."""
        made = int.__new__(cls, code)
        made._value_, made.about = code, about
        return made

    OK = 0, "done"
    FAILURE = (
        1,
        (
            "refused or failed: the message's state does not allow it, an import left something behind, what was read"
            " cannot be written, or an internal error"
        ),
    )
    USAGE = 2, "usage: an unknown option, or a value that was refused; nothing was written"
    NOT_FOUND = 3, "no such message or channel, or nothing there to import"
    CONFIGURATION = 4, "configuration: a setting, a channel or --app is missing or wrong"
    DATABASE = (
        5,
        (
            "the database: missing, locked, full, read-only, damaged or too new; or db check found something; or one of"
            " several did not answer, and the others did"
        ),
    )
    NOT_DELIVERED = 6, "not delivered: dead, expired, cancelled or held"
    TIMED_OUT = 7, "timed out: the message stays queued"
    TO_LOOK_AT = 8, "there is something to look at (`status --strict`, `doctor --strict`)"
    QUEUE_FULL = 75, "queue full: try again later (EX_TEMPFAIL)"
    INTERRUPTED = 130, "interrupted (Ctrl-C)"
    PIPE_CLOSED = 141, "nobody read the output any more; `run`, and what was done, do not end so"


class Stop(Exception):
    """Ends a command with a code and a sentence."""

    def __init__(self, code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


_CODES: Final[tuple[tuple[type[PillarboxError], Exit], ...]] = (
    (InvalidMessage, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (ConfigError, Exit.CONFIGURATION),
    (StoreError, Exit.DATABASE),
    (QueueFull, Exit.QUEUE_FULL),
)


def code_of(error: PillarboxError) -> Exit:
    """Return the exit code of a command that met *error*."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILURE)
