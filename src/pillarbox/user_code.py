"""
Fences: what an application passes in is called from behind one, so that whatever it raises stops there (contract EN8).

``KeyboardInterrupt`` and ``SystemExit`` are orders to the whole program. They do not get lost, but they wait until
every waiting caller has its answer: see `pass_on`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

FATAL: Final = (KeyboardInterrupt, SystemExit)
channel_at_work: Final[contextvars.ContextVar[str | None]] = contextvars.ContextVar("channel_at_work", default=None)
"""The channel whose code runs, or a subscriber's for a message of it: what is logged there must not become one more."""


class _ThreadAtWork(threading.local):
    task: asyncio.Task[Any] | None = None


thread_at_work: Final = _ThreadAtWork()
"""Its ``task`` waits for what this thread does, a channel's call; ``None`` on a thread of anybody else's."""


def pass_on(error: BaseException) -> None:
    """
    End the running event loop with *error* where it is a `FATAL` one, as soon as the current step is over.

    That is how asyncio itself ends, with one difference: no task of ours dies of it, so that a loop that is run once
    more, to close what is open, finds everything at work. Any other error is dropped.
    """
    if not isinstance(error, FATAL):
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # No loop is there to end: whoever called is the program.
        raise error from None
    loop.call_soon(_raise, error)


def pass_on_after_this_task(error: BaseException) -> None:
    """Do the same when the task that runs now has ended: what it does must be done to its end."""
    task = asyncio.current_task()
    if task is None:
        pass_on(error)
    elif isinstance(error, FATAL):
        task.add_done_callback(lambda _: pass_on(error))


def _raise(error: BaseException) -> None:
    raise error


def is_from_outside(error: BaseException, own: asyncio.Task[Any] | None) -> bool:
    """
    Whether *error* was thrown into a coroutine by who cancels or collects it, and not raised in it.

    Args:
        own: The task that the coroutine runs in. What was left behind is collected while any other one runs.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if isinstance(error, GeneratorExit):
        return task is None or task is not own
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


def name_of(call: object) -> str:
    """Return the name of a user's function for a log line, whatever it is."""
    try:
        return str(getattr(call, "__qualname__", None) or type(call).__name__)
    except BaseException as exc:  # noqa: BLE001 — an object's attributes may be code, too
        pass_on(exc)
        return type(call).__name__


class Log:
    """
    A logger behind a fence: handlers, filters and formatters are an application's own code.

    Each method says whether the line was written, as far as one can know. The first failure is said on stderr in one
    line, unless `logging.raiseExceptions` is off.
    """

    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)
        self._complained = False

    def is_enabled(self, level: int) -> bool:
        """Whether a line of that level would be written."""
        try:
            return self.logger.isEnabledFor(level)
        except BaseException as exc:  # noqa: BLE001 — a logger may be a class of the application's
            self._failed(exc)
            return False

    def log(self, level: int, text: str, *values: object, extra: Mapping[str, Any] | None = None) -> bool:
        """Write a line."""
        return self._write(level, text, values, extra=extra)

    def warning(self, text: str, *values: object) -> bool:
        """Write a warning."""
        return self._write(logging.WARNING, text, values)

    def error(self, text: str, *values: object, exc_info: BaseException | None = None) -> bool:
        """Write an error, and show where *exc_info* was raised."""
        return self._write(logging.ERROR, text, values, exc_info=exc_info)

    def _write(
        self,
        level: int,
        text: str,
        values: tuple[object, ...],
        *,
        extra: Mapping[str, Any] | None = None,
        exc_info: BaseException | None = None,
    ) -> bool:
        try:
            # The line is its caller's, two frames further out.
            self.logger.log(level, text, *values, extra=extra, exc_info=exc_info, stacklevel=3)
        except BaseException as exc:  # noqa: BLE001 — a log that fails is no reason to lose a message
            self._failed(exc)
            return False
        return True

    def _failed(self, error: BaseException) -> None:
        pass_on(error)
        if self._complained or not logging.raiseExceptions:
            return
        self._complained = True
        # Its type alone: what it says may quote what was to be logged.
        with contextlib.suppress(Exception):
            sys.stderr.write(f"pillarbox: a handler or filter of the log raised {type(error).__name__}\n")
