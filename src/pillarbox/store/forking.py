"""
What a fork must not carry over: SQLite's idea of which locks this process holds.

SQLite keeps one note a file in the process, and asks the kernel for a lock only where the note says that it has none. A
forked child inherits the note but not the locks, which belong to a process; so a connection that it opens on the same
file is not locked at all. When the parent closes then, SQLite finds the file unused and deletes its log, and what the
child commits after that is lost (seen with SQLite 3.54.1; `tests/acceptance/test_fork.py`). Therefore the child closes
every connection that it inherits, at once: the parent is alive and holds its locks, so to the file that close is that
of any idle reader. And therefore no statement may be running when the process forks.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Busy(Protocol):
    """What runs statements. ``idle`` is held while one runs."""

    idle: threading.Lock


class Inherited(Protocol):
    """What owns connections."""

    def drop_inherited(self) -> None:
        """Close every connection, in a forked child. Raises nothing."""


# Held from before a fork until after it: two threads that fork at once must not wait for each other.
_forking = threading.Lock()
_busy: weakref.WeakSet[Busy] = weakref.WeakSet()
_owners: weakref.WeakSet[Inherited] = weakref.WeakSet()
_paused: list[Busy] = []


def pauses(busy: Busy) -> None:
    """Make forks wait for *busy*."""
    with _forking:
        _busy.add(busy)


def drops(owner: Inherited) -> None:
    """Call *owner* in forked children."""
    with _forking:
        _owners.add(owner)


def _before() -> None:
    _forking.acquire()
    for busy in list(_busy):
        busy.idle.acquire()
        _paused.append(busy)


def _after() -> None:
    while _paused:
        _paused.pop().idle.release()
    _forking.release()


def _after_in_child() -> None:
    _after()
    for owner in list(_owners):
        owner.drop_inherited()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
