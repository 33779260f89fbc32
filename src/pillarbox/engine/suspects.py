"""
When a worker sends suspects, messages whose workers keep dying, and for how long the others wait for that.

A suspect flies alone for a few seconds at most; then the others start again beside it. Whatever it takes, the others
have nine times as long before the next one flies alone, so that suspects together hold no message back for more than a
tenth of the time (contract LA2, lanes.md "Poison").
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

ALONE_SECONDS: Final = 5.0
# Of these: how long what is under way may take to end. What flies on was begun before, and is told apart by that.
QUIET_SECONDS: Final = 1.0
OTHERS_SHARE: Final = 9


class Suspects:
    """
    The suspects of one worker.

    Args:
        mono: Seconds, for spans inside this process.

    Attributes:
        flying: Those that are being sent.
    """

    def __init__(self, mono: Callable[[], float]) -> None:
        self._mono = mono
        self._since: float | None = None
        self._alone: int | None = None
        self._rest_until = 0.0
        self.flying: set[int] = set()

    def begin(self) -> None:
        """Called when a suspect waits: nothing else is started from now on, unless the others' time is not over yet."""
        if self._since is None and self._mono() >= self._rest_until:
            self._since = self._mono()

    def withdraw(self) -> None:
        """Called when no suspect waits any more: it was cancelled, or its channel paused."""
        if self._alone is None:
            self.end()

    def hold_back(self) -> bool:
        """Whether nothing else may be started now."""
        if self._since is not None and self._mono() - self._since >= ALONE_SECONDS:
            self.end()
        return self._since is not None

    def may_start(self, under_way: Collection[int]) -> bool:
        """
        Whether the suspect may be started now.

        Args:
            under_way: What is being sent. Suspects whose time alone is over are not waited for.
        """
        if self._since is None or self._alone is not None:
            return False
        return self.flying.issuperset(under_way) or self._mono() - self._since >= QUIET_SECONDS

    def started(self, seq: int) -> None:
        """Called when a suspect is being sent."""
        self.flying.add(seq)
        self._alone = seq

    def landed(self, seq: int) -> bool:
        """Note that a message is not being sent any more; return whether the others waited for it."""
        self.flying.discard(seq)
        if seq != self._alone:
            return False
        self.end()
        return True

    def end(self) -> None:
        """Hold no message back any more."""
        if self._since is not None:
            alone = self._mono() - self._since
            self._rest_until = self._mono() + OTHERS_SHARE * alone
        self._since = self._alone = None

    def wait_seconds(self) -> float:
        """Return how long it is until something changes by itself: until more may start, or the next suspect."""
        now = self._mono()
        if self._since is None:
            return max(0.0, self._rest_until - now)
        quiet = self._since + QUIET_SECONDS
        return max(0.0, (quiet if self._alone is None and now < quiet else self._since + ALONE_SECONDS) - now)
