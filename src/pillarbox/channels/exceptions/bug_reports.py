"""
Shows the author of a channel's function where it has a bug: file, line and function of each frame, logged at ERROR.

Never a value of a variable, a source line, or more of the exception's text than may be shown (contract EV3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.channels.exceptions.judge import carried, text_of
from pillarbox.channels.exceptions.text_patterns import classify_text
from pillarbox.channels.privacy.foreign_text import masked
from pillarbox.domain.outcome import name_of
from pillarbox.errors import InvalidOutcome
from pillarbox.tracebacks import frames_of, place_of_error
from pillarbox.user_code import Log

if TYPE_CHECKING:
    from pillarbox.clock import Clock

_log = Log("pillarbox.channels")

AGAIN_SECONDS: Final = 60.0
"""How long nothing more is said of the same place."""
_PLACES_MAX: Final = 200

# What Python raises where a program is wrong.
_BUGS: Final = (
    TypeError, AttributeError, NameError, LookupError, ArithmeticError, AssertionError, NotImplementedError,
    ImportError, SyntaxError, RecursionError, UnicodeError, BufferError, ReferenceError, StopIteration,
    StopAsyncIteration,
)  # fmt: skip
# What it also raises there, and people for other reasons: a bug where nothing says what else it is.
_PERHAPS: Final = (ValueError, RuntimeError)


class Bugs:
    """The bugs of one channel's function; each place is logged once a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[tuple[object, ...], float] = {}

    def note(self, error: Exception, *, channel: str, message: str, hide: tuple[str, ...]) -> None:
        """Log *error* if it is a bug. *hide* is what its text must not repeat of the message."""
        if not _is_bug(error, hide):
            return
        place = place_of_error(error)
        now = self._clock.mono()
        told = self._told.pop(place, None)
        if told is not None and now - told < AGAIN_SECONDS:
            self._told[place] = told
            return
        self._told[place] = now
        if len(self._told) > _PLACES_MAX:
            del self._told[next(iter(self._told))]
        said = masked(f"{name_of(type(error))}: {text_of(error)}", *hide)
        _log.error(
            "the function of channel %s has a bug, met on message %s: %s\n%s",
            channel,
            message,
            said,
            "\n".join(frames_of(error)),
        )


def _is_bug(error: Exception, hide: tuple[str, ...]) -> bool:
    if isinstance(error, InvalidOutcome):
        return False  # the engine tells of it
    if carried(error, "", hide=(), now_ms=0) is not None:
        return False
    if isinstance(error, _BUGS):
        return True
    # Not a library's own class that derives from one.
    mine = type(error).__module__ == "builtins" and isinstance(error, _PERHAPS)
    return mine and classify_text(text_of(error), hide=hide) is None
