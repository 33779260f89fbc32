"""`Stream`: a text that grows while its recipient reads it: one message, and edits of it that the newest one wins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, Unpack

import msgspec

from pillarbox.channels.base import Channel
from pillarbox.clock import Clock
from pillarbox.domain.envelope import Priority
from pillarbox.domain.message import Content, decode_content
from pillarbox.domain.moments import span_ms
from pillarbox.domain.outgoing import Outgoing
from pillarbox.domain.plain_json import text_of
from pillarbox.engine.loop import Loop
from pillarbox.errors import InvalidMessage, NotFound, NotStarted, PillarboxError, Refused
from pillarbox.outbox.checks import Options, content_of
from pillarbox.outbox.edits import Edits
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.outbox.message import Message
from pillarbox.outbox.routes import Routes
from pillarbox.outbox.sending import Sending

EVERY_SECONDS: Final = 1.0
Every = float | timedelta | str
"""A span: seconds, a timedelta or text such as ``"500ms"``."""
# What goes on with each edit; the rest is said once, with the first message.
_OF_EDITS: Final = ("ttl", "max_attempts", "schedule", "correlation_id", "origin", "metadata", "traceparent")
_REFUSED: Final = ("text", "payload", "content_type", "files", "at", "key", "collapse", "abort", "kind", "mirror")


class Streams:
    """Makes the streams of one outbox."""

    def __init__(self, lifetime: Lifetime, routes: Routes, sending: Sending, edits: Edits) -> None:
        self._lifetime = lifetime
        self._routes = routes
        self._sending = sending
        self._edits = edits

    def stream(self, channel: str, *, to: str, every: Every = EVERY_SECONDS, **options: Unpack[Options]) -> Stream:
        """
        Return an async context manager that says a text while it is being made.

        What was written is committed every so often: first as a message, then as edits of it. An edit that was not sent
        yet gives way to a newer one and to messages of other lanes; the last one has the priority of a message. Text
        that outgrows the channel's limit goes on in another message. On a channel that cannot edit, where this process
        does not have it, and without a queue, the text is one message at the end.

        Args:
            every: The span between two commits, 1 ms or more; what a process that is killed loses was written since.
            options: As of `send`: what stays the same while the text grows.

        Raises:
            InvalidMessage: An option that makes no sense here, or of a wrong type.
            UnknownChannel: As `send`.
        """
        every_ms = span_ms("every", every)
        said = next((field for field in _REFUSED if field in options), None)
        if said is not None:
            raise InvalidMessage(said, "cannot be said of a stream")
        to = text_of("to", to)
        # What is wrong with an option is said now, and not where nobody waits.
        content = content_of(Outgoing(channel=channel, to=to, text="-", **options))  # type: ignore[misc]
        able = self._routes.for_new(channel).channel if self._routes.settings.enabled else None
        pieces = None if able is None or not able.capabilities.edits else able
        place = _Place(channel=channel, to=to, **options)
        return Stream(
            self._sending, self._edits, pieces, place, content, every=every_ms / 1000, clock=self._lifetime.clock
        )


class _Place(Options, total=False):
    channel: str
    to: str


@dataclass(slots=True)
class _Piece:
    """One message of a stream, what was last said in it, and the message that carries that."""

    message: Message
    content: Content
    latest: Message


class Stream:
    """
    One text that grows, to be used in ``async with``.

    At the end of that the whole text is committed; after an exception, what was written of it.

    Args:
        channel: Cuts the text; ``None`` where it is said once, at the end.
        place: Where it goes, and how.
        content: What stays the same of it.
    """

    def __init__(
        self,
        sending: Sending,
        edits: Edits,
        channel: Channel | None,
        place: _Place,
        content: Content,
        *,
        every: float,
        clock: Clock,
    ) -> None:
        self._sending = sending
        self._edits = edits
        self._channel = channel
        self._place = place
        self._content = content
        self._every = every
        self._clock = clock
        self._loop = Loop("stream", self._tick, clock=clock)
        self._text: list[str] = []
        self._pieces: list[_Piece] = []
        self._dirty = False
        self._next = clock.mono()
        self._is_open: bool | None = None

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self._text)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that the text is in: one, several where it is long, none before anything was committed."""
        return tuple(piece.message for piece in self._pieces)

    @property
    def last(self) -> Message | None:
        """The message that carries the newest text; its end is the end of the stream."""
        return self._pieces[-1].latest if self._pieces else None

    async def write(self, more: str) -> None:
        """
        Add to the text. It is committed a little later (``every``).

        Raises:
            InvalidMessage: It is no text.
            NotStarted: Outside of ``async with``.
        """
        if not self._is_open:
            raise NotStarted("the stream is not open: use it in `async with`")
        self._text.append(text_of("text", more))
        self._dirty = True
        self._loop.poke()

    async def __aenter__(self) -> Self:
        """Open. Nothing is committed yet."""
        if self._is_open is not None:
            raise Refused("a stream is said once")
        self._is_open = True
        if self._channel is not None:
            self._loop.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit the whole text. Raises as `send`; where it could not be said at all, as after a rejection, nothing."""
        self._is_open = False
        await self._loop.stop()
        await self._say(self._place.get("priority", Priority.NORMAL))

    async def _tick(self) -> float | None:
        left = self._next - self._clock.mono()
        if not self._dirty or left > 0:
            return left if self._dirty else None
        self._dirty = False
        self._next = self._clock.mono() + self._every
        try:
            await self._say(Priority.BULK)
        except PillarboxError:
            # As where a limit is reached. A newer text tries again, and the last one says so.
            self._dirty = True
            return self._every
        return None

    async def _say(self, priority: int) -> None:
        """Commit what differs from what was committed."""
        contents = self._cut()
        for number, content in enumerate(contents):
            if number == len(self._pieces):
                await self._begin(content)
            elif content != self._pieces[number].content:
                await self._edit(self._pieces[number], content, priority)
        # Markup that came to its end may have made the text shorter.
        while contents and len(self._pieces) > len(contents):
            await _where_possible(self._edits.delete, self._pieces.pop().message)

    def _cut(self) -> list[Content]:
        text = self.text
        if not text.strip():
            return []
        content = msgspec.structs.replace(self._content, text=text)
        cut = () if self._channel is None else self._channel.split(content).get("parts", ())
        return [decode_content(part) for part in cut] or [content]

    async def _begin(self, content: Content) -> None:
        options: dict[str, Any] = {**self._place, **_said(content)}
        if self._pieces:
            options.pop("reply_to", None)
        message = await self._sending.send(**options)
        self._pieces.append(_Piece(message, content, message))

    async def _edit(self, piece: _Piece, content: Content, priority: int) -> None:
        options: dict[str, Any] = {name: self._place[name] for name in _OF_EDITS if name in self._place}
        options |= {**_said(content), "priority": priority}
        piece.latest = await _where_possible(self._edits.edit, piece.message, **options) or piece.latest
        piece.content = content


async def _where_possible(
    change: Callable[..., Awaitable[Message]], message: Message, **options: Any  # noqa: ANN401 — of a change
) -> Message | None:  # fmt: skip
    """Change a message; ``None`` where nobody has it or will, as after a rejection. Its own state tells of that."""
    if message.id is None:
        return None
    try:
        return await change(message, **options)
    except (Refused, NotFound):
        return None


def _said(content: Content) -> dict[str, Any]:
    return {"text": content.text, "format": content.format, "subject": content.subject, "extra": content.extra or None}
