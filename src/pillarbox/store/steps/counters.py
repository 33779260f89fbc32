"""
How many messages and content bytes each queue has in each state: summed up here, written once per transaction.

Limits are judged by these counters, never by a scan (contract EN5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.domain.message import FIRST_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.store.steps.numbers import Numbers
    from pillarbox.store.steps.writing import Writing

_ALL = 0  # where the counters of all queues together are kept

Changes = dict[tuple[int, int], list[int]]
"""Messages and bytes by queue and state."""


class Counters:
    """The changes that one transaction makes to the counters."""

    def __init__(self, tx: Writing, numbers: Numbers) -> None:
        self._tx = tx
        self._numbers = numbers
        self._changes: Changes = {}

    def count(self, queue: int, state: int, messages: int, size: int) -> None:
        """Change a counter."""
        entry = self._changes.get((queue, state))
        if entry is None:
            self._changes[queue, state] = [messages, size]
        else:
            entry[0] += messages
            entry[1] += size

    def move(self, queue: int, before: int, after: int, sizes: Sequence[int]) -> None:
        """Count messages of such sizes from a state to another."""
        messages, size = len(sizes), sum(sizes)
        self.count(queue, before, -messages, -size)
        self.count(queue, after, messages, size)

    def active(self) -> tuple[int, int]:
        """Return how many active messages and content bytes there are, this transaction's included."""
        messages, size = self._tx.overview.messages, self._tx.overview.bytes
        for (_, state), (count, octets) in self._changes.items():
            if state < FIRST_TERMINAL:
                messages += count
                size += octets
        return messages, size

    def active_in(self, scope: str, name: str) -> int:
        """Return how many active messages a ``channel`` or ``tenant`` has, this transaction's included."""
        row = self._tx.one(f"active_{scope}", (name,)) or (0,)
        at = 1 if scope == "channel" else 0
        return int(row[0]) + sum(
            count
            for (queue, state), (count, _) in self._changes.items()
            if state < FIRST_TERMINAL and self._numbers.queue_name(queue)[at] == name
        )

    def pending(self, queue: int, state: int) -> int:
        """Return how many messages this transaction has added to a counter that is not written yet."""
        return self._changes.get((queue, state), (0, 0))[0]

    def copy(self) -> Changes:
        """Copy the changes, to be given back to `restore` when a part of the transaction is undone."""
        return {key: list(value) for key, value in self._changes.items()}

    def restore(self, changes: Changes) -> None:
        """Forget the changes that were made since *changes* was copied."""
        self._changes = changes

    def write(self) -> None:
        """Add the changes to the stored counters: to each queue's, and to those of all queues together."""
        total: Changes = {}
        for (_, state), (messages, size) in self._changes.items():
            kept = total.setdefault((_ALL, state), [0, 0])
            kept[0] += messages
            kept[1] += size
        changes = (*self._changes.items(), *total.items())
        rows = [(queue, state, messages, size) for (queue, state), (messages, size) in changes if messages or size]
        if rows:
            self._tx.each("tally_add", rows)
