"""
Which stored messages an `AbortSignal` would withdraw.

A signal may be given to any number of messages, and live as long as its program. It is followed by one listener for
each outbox, which knows the messages that may still be withdrawn, and lets go of those that have ended: by being told,
where this process sees them end, and by asking from time to time, where another one delivers. The last of them takes
the listener along.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pillarbox.abort import AbortSignal
    from pillarbox.domain.ids import MessageId

ASKED_FROM: Final = 64
"""So many messages of one signal are kept without asking whether they have ended."""


class Followed:
    """The messages of one signal, and how to stop listening to it."""

    __slots__ = ("_asking", "_forget", "_limit", "_messages")

    def __init__(self, signal: AbortSignal, aborted: Callable[[Collection[MessageId], str], None]) -> None:
        self._messages: dict[MessageId, None] = {}
        self._limit = ASKED_FROM
        self._asking = False
        messages = self._messages
        self._forget = signal.listen(lambda reason: aborted(tuple(messages), reason))

    def __len__(self) -> int:
        """How many messages it would withdraw."""
        return len(self._messages)

    def add(self, message: MessageId) -> bool:
        """Follow one more; says whether they have become many, so that somebody should ask which have ended."""
        self._messages[message] = None
        if self._asking or len(self._messages) < self._limit:
            return False
        self._asking = True
        return True

    def to_ask(self) -> tuple[MessageId, ...]:
        """Give those to ask about; none where they are few enough again."""
        if len(self._messages) >= self._limit:
            return tuple(self._messages)
        self._asking = False
        return ()

    def asked(self, *, active: int) -> None:
        """*active* of those that were asked about have not ended: ask again when there are twice as many."""
        self._limit = max(ASKED_FROM, 2 * active)

    def ended(self, message: MessageId) -> None:
        """Let go of a message."""
        self._messages.pop(message, None)

    def stop(self) -> None:
        """Stop listening."""
        self._messages.clear()
        self._forget()


class Following:
    """What one outbox follows. Signals that nobody else knows any more are not kept."""

    def __init__(self) -> None:
        self._signals: weakref.WeakKeyDictionary[AbortSignal, Followed] = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        """How many messages would be withdrawn by one signal or another."""
        return sum(len(followed) for followed in self._signals.values())

    def of(self, signal: AbortSignal, aborted: Callable[[Collection[MessageId], str], None]) -> Followed:
        """Give what is followed of *signal*; *aborted* is called with all of it and the reason when it is aborted."""
        followed = self._signals.get(signal)
        if followed is None:
            followed = self._signals[signal] = Followed(signal, aborted)
        return followed

    def ended(self, signal: AbortSignal, message: MessageId) -> None:
        """Let go of a message, and of its signal with the last one."""
        followed = self._signals.get(signal)
        if followed is not None:
            followed.ended(message)
            if not followed:
                self._signals.pop(signal).stop()

    def clear(self) -> None:
        """Let go of everything: the outbox is closed."""
        for followed in self._signals.values():
            followed.stop()
        self._signals.clear()
