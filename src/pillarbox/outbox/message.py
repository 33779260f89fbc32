"""`Message`: what `send` and `get` return; a handle on one message, not the message itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pillarbox.domain.arrival import Aggregate, aggregate
from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Content, MessageView, Part, State, decode_content
from pillarbox.domain.moments import patience_seconds, to_datetime
from pillarbox.errors import NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from pillarbox.outbox.checks import Skipped
    from pillarbox.outbox.lifetime import Lifetime
    from pillarbox.store.base import Durability

Timeout = float | timedelta | str | None
"""How long is waited: seconds, a timedelta or text such as ``"30s"``; ``None`` for as long as it takes."""


class BaseMessage:
    """
    One accepted message, as it was when it was last read.

    Attributes:
        id: 22 characters; ``None`` where nothing was stored (``skipped``).
        created: False where ``key`` found an earlier message, whose id this is.
        durability: What the commit survives; ``None`` for a message that was read.
        skipped: Why nothing was stored: ``empty``, ``hook`` or ``aborted``; else ``None``.
    """

    __slots__ = ("_lifetime", "_view", "created", "durability", "id", "skipped")

    def __init__(
        self,
        lifetime: Lifetime,
        *,
        id: str | None,  # noqa: A002 — the field's name
        created: bool = True,
        durability: Durability | None = None,
        skipped: Skipped | None = None,
        view: MessageView | None = None,
    ) -> None:
        self._lifetime = lifetime
        self.id = id
        self.created = created
        self.durability = durability
        self.skipped = skipped
        self._view = view

    @property
    def view(self) -> MessageView | None:
        """Everything that was read of it last; ``None`` before anything was."""
        return self._view

    @property
    def state(self) -> State:
        """Its state when it was last read."""
        if self._view is None:
            return State.CANCELLED if self.id is None else State.SCHEDULED
        return self._view.state

    @property
    def settled(self) -> bool:
        """Whether nothing more happens by itself: terminal, or held."""
        return self.id is None or self.state.terminal or self.state is State.HELD

    @property
    def receipt(self) -> str | None:
        """The platform's id for it."""
        return None if self._view is None else self._view.receipt

    @property
    def reason(self) -> str | None:
        """Why it is dead, held, expired or cancelled: a stable word (`domain.lifecycle.Reason`)."""
        return self.skipped if self._view is None else self._view.terminal_reason

    @property
    def error(self) -> str | None:
        """What the last attempt that failed said."""
        return None if self._view is None else self._view.last_error

    @property
    def attempts(self) -> int:
        """How often it was claimed."""
        return 0 if self._view is None else self._view.claims

    @property
    def parts(self) -> tuple[Part, ...]:
        """
        Its pieces and what became of each: one for a message that goes out whole.

        Empty before it was read, and for a split one that was only listed. ``reason`` is what the attempt of a split
        message's part met; of a message that goes out whole, the same word as `reason`.
        """
        view = self._view
        if view is None or view.part_count > 1:
            return () if view is None else view.parts
        return (Part(number=0, state=view.state, receipt=view.receipt, reason=view.terminal_reason),)

    @property
    def aggregate(self) -> Aggregate | None:
        """
        How much of it the recipient has: ``delivered``, ``partial``, ``rejected`` (nothing) or ``uncertain``.

        ``None`` while it may still be sent, and where nothing was stored.
        """
        return None if self._view is None else aggregate(self._view)

    @property
    def content(self) -> Content | None:
        """What it says; ``None`` unless it was read whole."""
        if self._view is None or self._view.content is None:
            return None
        return decode_content(self._view.content)

    @property
    def created_at(self) -> datetime | None:
        """When it was accepted."""
        return None if self._view is None else to_datetime(self._view.created_ms)

    @property
    def due_at(self) -> datetime | None:
        """When it may next be tried."""
        return None if self._view is None else to_datetime(self._view.due_ms)

    async def _until_settled(self, timeout: Timeout) -> None:
        seconds = patience_seconds("timeout", timeout)
        if self.id is None or self.state.terminal:
            return
        self._lifetime.must_not_wait_for_itself("message.wait()", message=self.id)
        runtime = await self._lifetime.opened()
        clock, identity = runtime.clock, MessageId(self.id)
        deadline = None if seconds is None else clock.mono() + seconds
        with runtime.waits.waiting(identity) as wait:
            while True:
                wait.begin()
                view = await runtime.store.get(identity)
                if view is None:
                    raise NotFound("message", identity)
                self._view = shifted(view, clock.ahead_ms())
                left = None if deadline is None else deadline - clock.mono()
                if self.settled or (left is not None and left <= 0):
                    return
                await wait.changed(left)

    def to_dict(self) -> dict[str, Any]:
        """Return what was last read as plain values: the JSON of the command line and the API."""
        if self._view is None:
            return {"id": self.id, "created": self.created, "state": str(self.state), "skipped": self.skipped}
        from pillarbox.views import message_dict

        return message_dict(self._view)

    def __repr__(self) -> str:
        """Show what it is and how it stands; never what it says."""
        parts = [f"id={self.id!r}", f"state={str(self.state)!r}"]
        for name in ("receipt", "reason", "error"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name}={value!r}")
        return f"Message({', '.join(parts)})"


class Message(BaseMessage):
    """A message, for programs that await."""

    __slots__ = ()

    async def wait(self, timeout: Timeout = None) -> Message:
        """
        Wait until it is delivered, dead, expired or cancelled, or held for a person to decide.

        Args:
            timeout: Seconds, a timedelta or text such as ``"30s"``; ``None`` waits as long as it takes.

        Returns:
            Itself, with ``state``, ``receipt``, ``reason`` and ``parts`` as they are then; after a timeout ``settled``
            is false.

        Raises:
            InvalidMessage: *timeout* is no span of 0 or more.
            NotFound: It was pruned meanwhile.
            Refused: Called inside the channel that sends this very message.
        """
        await self._until_settled(timeout)
        return self
