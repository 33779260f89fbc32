"""What an executor asks of the worker that it sends for."""

from __future__ import annotations

from typing import Protocol

from pillarbox.domain.message import Leased


class Crew(Protocol):
    """The worker that an executor sends for; it counts the slots and knows which processes are alive."""

    def on_slot_freed(self, message: Leased) -> None:
        """Called for each message whose slot is free again."""

    def on_occupied(self, channel: str, change: int) -> None:
        """Called when the calls of a channel that were written off and go on are one more (1) or one less (-1)."""

    async def is_gone(self, acceptor: bytes) -> bool:
        """Whether a process that accepted a message surely runs no more."""
