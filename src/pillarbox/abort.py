"""`AbortSignal`: how a program calls back what it is still saying, as when a turn is interrupted."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Final

from pillarbox.user_code import FATAL, Log, name_of

REASON_MAX: Final = 500
_log = Log("pillarbox.engine")


class AbortSignal:
    """
    Passed to `send`, it withdraws the messages that it was passed with, once `abort` is called (contract PA5).

    What the platform has stays delivered: of a long message the parts before the abort. Nothing of what was not begun
    is sent. Safe to use from any thread; once aborted, it stays so, and further messages are not accepted.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._listeners: list[Callable[[str], None]] = []
        self._reason: str | None = None

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._reason is not None

    @property
    def reason(self) -> str:
        """The reason that `abort` was called with; empty before."""
        return self._reason or ""

    def abort(self, reason: str = "aborted") -> None:
        """
        Withdraw whatever this was given to. Does not wait for it; only the first call counts.

        A listener that raises keeps no other from being called; what ends a program is raised when all were.

        Args:
            reason: Kept in each message's history; cut at 500 characters.
        """
        with self._guard:
            if self._reason is not None:
                return
            self._reason = reason[:REASON_MAX] or "aborted"
            listeners, self._listeners = self._listeners, []
        fatal = [error for listener in listeners if (error := _call(listener, self._reason)) is not None]
        if fatal:
            raise fatal[0]

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call *listener* with the reason, at once where it is aborted already; return a function that ends it."""
        with self._guard:
            if self._reason is None:
                self._listeners.append(listener)
                # Who can stop listening keeps the signal from nothing: it goes with the program's last use of it.
                known = weakref.ref(self)
                return lambda: _forget(known, listener)
        error = _call(listener, self._reason)
        if error is not None:
            raise error
        return lambda: None

    def forget(self, listener: Callable[[str], None]) -> None:
        """Call *listener* no more."""
        with self._guard:
            if listener in self._listeners:
                self._listeners.remove(listener)


def _forget(known: weakref.ref[AbortSignal], listener: Callable[[str], None]) -> None:
    signal = known()
    if signal is not None:
        signal.forget(listener)


def _call(listener: Callable[[str], None], reason: str) -> BaseException | None:
    """Call a listener; return what it raised where that is to end the program."""
    try:
        listener(reason)
    except BaseException as exc:  # noqa: BLE001 — an application's own code, which must not keep others from stopping
        _log.error("listener %s of an abort signal failed", name_of(listener), exc_info=exc)
        return exc if isinstance(exc, FATAL) else None
    return None
