"""
One connection to a receiver, which may carry one request after the other, and gives none an answer not meant for it.

A receiver may write a body after a 204, more than it announced, a second answer, or "408, you were idle for too long"
just as we write. So an answer begins after its request was begun and ends where HTTP says; what comes at any other time
is dropped, and the connection is not used again. The status that came counts.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Final, cast

from pillarbox.channels.http.answer_reader import ANSWER_BYTES_MAX, HEAD_BYTES_MAX, AnswerReader, Unintelligible
from pillarbox.channels.http.failures import Disconnected
from pillarbox.deadline import RepeatedDeadline

if TYPE_CHECKING:
    from pillarbox.clock import Clock

# As much as is read of an answer: of what TLS can decrypt when the receiver hangs up, asyncio hands on one buffer.
BUFFER_BYTES: Final = HEAD_BYTES_MAX + ANSWER_BYTES_MAX


class Connection(asyncio.BufferedProtocol):
    """
    A connection; make it inside the loop.

    Args:
        clock: By which a request's time passes.
        buffer: Where to read to, of `BUFFER_BYTES`; one for all connections of a loop, as nothing stays in it.
            asyncio's own is so large that the system maps and unmaps it for each answer.

    Attributes:
        idle_since: When it was last given back, for who keeps it; 0 before its first answer.
        gone: Done when it is closed.
    """

    def __init__(self, clock: Clock, buffer: memoryview) -> None:
        self._loop = asyncio.get_running_loop()
        self.idle_since = 0.0
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._buffer = buffer
        self._deadline = RepeatedDeadline(lambda: self._settle(TimeoutError()), clock=clock)
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._encrypted = False
        self._spoiled = False
        self._reader: AnswerReader | None = None
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio's BufferedProtocol, here and below."""
        # Those of TCP and TLS are; uvloop's do not say so.
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._encrypted = transport.get_extra_info("ssl_object") is not None

    def is_silent(self) -> bool:
        """
        Whether nothing came, seen or not yet seen by the loop. What waits to be read may also be the end.

        Where it is not, nothing may be written: whoever asks on another connection was surely not heard on this one.
        """
        if self._spoiled or self._transport is None or self._transport.is_closing():
            return False
        # RFC 8446 §4.6.1: tickets follow the handshake, so what comes before the first request may be one.
        return (self._encrypted and not self.idle_since) or not self._poll.poll(0)

    def ask(self, request: bytes, reader: AnswerReader, *, ends: float) -> asyncio.Future[None]:
        """
        Write *request*, and return a future that is done when *reader* is. Call it where `is_silent`, in the same turn.

        The future may raise OSError, `Disconnected` and `Unintelligible`; TimeoutError when it is *ends* by the clock.
        """
        assert self._transport is not None  # noqa: S101 — it is silent
        self._reader = reader
        self._answered = answered = self._loop.create_future()
        self._deadline.begin(ends)
        self._transport.write(request)
        return answered

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read on. What nobody asked for spoils the connection."""
        reader, transport = self._reader, self._transport
        if reader is None or transport is None:
            self.abort()
            return
        try:
            rest = reader.feed(bytes(self._buffer[:nbytes]))
        except Unintelligible as exc:
            self._settle(exc)
            self.abort()
            return
        if rest or (reader.status and transport.get_write_buffer_size() > 0):
            # There is more than an answer. Or it came before the request has left, and the receiver may take what is
            # still to leave for another one.
            reader.keeps = False
        if reader.over:
            self._settle(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle what waits: a status that came counts, whatever became of the rest."""
        self._transport = None
        if self._reader is not None:
            self._reader.end()
            self._settle(None if self._reader.over else exc or Disconnected())
        self._deadline.close()
        self.gone.set_result(None)

    def _settle(self, error: Exception | None) -> None:
        answered, self._reader, self._answered = self._answered, None, None
        self._deadline.end()
        if answered is not None and not answered.done():
            if error is None:
                answered.set_result(None)
            else:
                answered.set_exception(error)

    def abort(self) -> None:
        """Close at once; it is not used again. Safe to repeat."""
        self._spoiled = True
        if self._transport is not None:
            self._transport.abort()
