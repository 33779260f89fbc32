"""
Who writes to a database next: whoever waits for SQLite's write lock stands in a line, in the order in which he came.

SQLite's lock knows no order: who tries in the right instant has it, and so a worker that writes back to back keeps
others waiting for as long as luck will have it. Here, whoever finds the lock taken, or somebody waiting, takes the last
of a few places, and moves up from place to place; the one at the front looks until the lock is free. A place is a byte
of the database file that SQLite does not lock, held by a lock of an open file description (`ofd`): the kernel frees it,
whatever ended its holder. A place is held while waiting only, never while writing.

The line is for order alone. SQLite's lock still decides who writes, so whoever knows nothing of the line (the `sqlite3`
shell, an older version) harms nobody. And nobody waits in the kernel without end: a process that was stopped (SIGSTOP)
in a place is passed by. That costs those behind it a second, once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Self

from pillarbox.clock import pause_thread
from pillarbox.errors import StoreBusy
from pillarbox.store.sqlite import ofd

PATIENCE_SECONDS: Final = 1.0
FIRST: Final = 0x40000400  # behind the bytes that SQLite locks
PLACES: Final = 8
STRAGGLER: Final = (
    "{path}: a process that waits to write does not go on, though it could (stopped with SIGSTOP, or by a debugger?): "
    "others write past it; let it go on, or end it"
)
# A wait is looked after more seldom the longer it is, so that looking delays it by some sixteenth of itself.
_PAUSES_A_WAIT: Final = 16
_PAUSE_SECONDS_MIN: Final = 0.0001
_PAUSE_SECONDS_MAX: Final = 0.005
_COUNTED_SECONDS_MAX: Final = 0.05  # of one pause: this process may have been stopped itself


class Line:
    """
    Those who wait for the write lock of one database, as far as this process is concerned.

    Args:
        descriptor: Of the database file. All that it locks belongs to the whole process.
        is_taken: Whether another process has SQLite's write lock.
        pause: Blocks the thread for some seconds, and returns how many; tests pass one that does not.
    """

    def __init__(
        self, descriptor: int, is_taken: Callable[[], bool], *, pause: Callable[[float], float] = pause_thread
    ) -> None:
        self.is_taken = is_taken
        self.pause = pause
        self._descriptor = descriptor
        # Held while one waits: threads of one process could not tell each other's places from their own.
        self.one_thread = threading.Lock()
        self._passed_by: set[int] = set()

    def turn(self, seconds_max: float) -> Turn:
        """Take part in the line until the context ends, which should be as soon as the lock was taken."""
        return Turn(self, seconds_max)

    def anybody(self) -> bool:
        """Whether somebody waits in another process."""
        return ofd.is_held(self._descriptor, FIRST, PLACES)

    def straggler(self) -> bool:
        """Whether somebody who was passed by still has his place."""
        return any(ofd.is_held(self._descriptor, FIRST + place) for place in tuple(self._passed_by))

    def take(self, place: int, pause: Callable[[float], float], seconds_max: float) -> bool:
        """Wait for a place; return false where whoever has it is to be passed by, after *seconds_max* in any case."""
        waited = idle = 0.0
        while not ofd.take(self._descriptor, ofd.EXCLUSIVE, FIRST + place):
            if place in self._passed_by:
                return False
            took = pause(waited)
            waited += took
            if not self.is_taken():
                idle += took
            # Where others write all the time, the lock may be seldom seen free.
            if idle >= PATIENCE_SECONDS or waited >= seconds_max:
                self._passed_by.add(place)
                return False
        self._passed_by.discard(place)
        return True

    def give(self, place: int) -> None:
        """Leave a place."""
        ofd.release(self._descriptor, FIRST + place)


class Turn(AbstractContextManager["Turn"]):
    """One wait for the write lock, of *seconds_max* at most."""

    def __init__(self, line: Line, seconds_max: float) -> None:
        self._line = line
        self._seconds_max = seconds_max
        self._place: int | None = None
        self._tried = False
        self._waited = self._waited_in_front = 0.0

    def __enter__(self) -> Self:
        self._line.one_thread.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.leave()
        finally:
            self._line.one_thread.release()

    def come(self) -> None:
        """
        Wait until the lock looks free and it is our turn. Called again, if somebody was quicker.

        Raises StoreBusy after *seconds_max* in all.
        """
        if self._tried:
            self._look_later()
        elif not (self._line.anybody() or self._line.is_taken()):
            self._tried = True
            return
        self._tried = True
        if self._place is None:
            self._line_up()
        while self._line.is_taken():
            self._look_later()

    def leave(self) -> None:
        """Leave the line."""
        if self._place is not None:
            self._line.give(self._place)

    def _line_up(self) -> None:
        for place in reversed(range(PLACES)):
            if self._line.take(place, self._pause, self._seconds_max / 2):
                self.leave()
                self._place = place

    def _look_later(self) -> None:
        self._waited_in_front += self._pause(self._waited_in_front)

    def _pause(self, waited: float) -> float:
        if self._waited >= self._seconds_max:
            msg = "writing: somebody else has been writing to the database for longer than the busy timeout"
            raise StoreBusy(msg)
        wanted = min(max(waited / _PAUSES_A_WAIT, _PAUSE_SECONDS_MIN), _PAUSE_SECONDS_MAX)
        took = min(self._line.pause(wanted), _COUNTED_SECONDS_MAX)
        self._waited += took
        return took
