"""
What signals mean to a worker before it has handlers of its own, and after it.

While a worker is loaded, each of them would kill it. When it has stopped, its process ends; a program that called the
command goes on. This module stays light: it is the first thing that `pillarbox run` does.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Final

_STDERR: Final = 2
_WORKERS: Final = ("run", "worker")
_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_kept: list[int] = []
_ours = False


def heed_for(arguments: Sequence[str]) -> None:
    """
    Begin a process that ends with the command.

    A worker stops with success when it is told to stop, and keeps a SIGHUP, until it has handlers of its own.
    """
    global _ours  # noqa: PLW0603 — one process, one answer
    _ours = True
    if next((word for word in arguments if not word.startswith("-")), "") not in _WORKERS:
        return
    on_terminal = os.isatty(_STDERR)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    keep_reloads(on_terminal=on_terminal)


def keep_reloads(*, on_terminal: bool = False) -> None:
    """Keep a SIGHUP; or stop, where it says that the terminal we are on was closed."""

    def keep(number: int, frame: FrameType | None) -> None:
        if on_terminal and not os.isatty(_STDERR):
            _stop(number, frame)
        _kept.append(number)

    signal.signal(signal.SIGHUP, keep)


def ends_with_the_command() -> bool:
    """Whether this process does; else a program has called the command, and goes on."""
    return _ours


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """
    Put the handlers of a program that called the command back: what it starts afterwards would inherit ours.

    In a process that ends with the command, a signal that comes when it has stopped changes nothing any more.
    """
    before = {number: signal.getsignal(number) for number in _HEARD}
    try:
        yield
    finally:
        if not _ours:
            # That of a supervisor, which is closed by now.
            signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            if _ours:
                signal.signal(number, signal.SIG_IGN)
            elif handler is not None:
                signal.signal(number, handler)


def reload_was_asked() -> bool:
    """Whether a SIGHUP was kept. It is told once."""
    asked = bool(_kept)
    _kept.clear()
    return asked


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Nothing is open yet, so there is nothing to put in order.
    raise SystemExit(0)
