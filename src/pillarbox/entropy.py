"""Randomness as an argument: the only module that draws random numbers, so that a seed can replay a run."""

from __future__ import annotations

import os
import random
import weakref
from typing import TYPE_CHECKING, Final, Protocol

from pillarbox.domain.ids import ID_RANDOM_BYTES, MessageId, message_id

if TYPE_CHECKING:
    from pillarbox.clock import Clock


class Entropy(Protocol):
    """Where ids, leases and jitter come from."""

    def token(self, size: int) -> bytes:
        """Return *size* unpredictable bytes."""

    def fraction(self) -> float:
        """Return a number in [0, 1), for jitter."""


def new_message_id(clock: Clock, entropy: Entropy) -> MessageId:
    """Make an id for a message of this moment."""
    return message_id(clock.wall_ms(), entropy.token(ID_RANDOM_BYTES))


class SystemEntropy:
    """
    The operating system's generator, read in blocks: one system call for hundreds of ids.

    A forked child forgets what its parent had read ahead, or both would make the same ids.
    """

    __slots__ = ("__weakref__", "_ahead", "_at")

    def __init__(self) -> None:
        self._ahead = b""
        self._at = 0
        _all_systems.add(self)

    def token(self, size: int) -> bytes:
        """See `Entropy`."""
        at = self._at
        if at + size > len(self._ahead):
            self._ahead = os.urandom(max(size, _BLOCK))
            at = 0
        self._at = at + size
        return self._ahead[at : at + size]

    def fraction(self) -> float:
        """See `Entropy`."""
        return random.random()  # noqa: S311 — jitter is no secret

    def forget(self) -> None:
        """Drop what was read ahead."""
        self._ahead = b""
        self._at = 0


_BLOCK: Final = 4096
_all_systems: weakref.WeakSet[SystemEntropy] = weakref.WeakSet()


def _forget_all() -> None:
    for system in _all_systems:
        system.forget()


os.register_at_fork(after_in_child=_forget_all)
