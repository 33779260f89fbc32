"""
Connections that are kept for the next request, and give it no answer that was not meant for it.

aiohttp takes whatever comes on a connection for the answer to the request that is under way, or to the next one. But a
receiver may write a body after a 204, more than it announced, a second answer, or "408, you were idle for too long"
just as we write. So here an answer begins after its request was begun and ends where HTTP says; what comes at any other
time is dropped, and its connection is not used again. The status that came counts.

The only place that knows how aiohttp works inside: that a connector makes its protocols with ``_factory``, and that
`ResponseHandler` hands each answer's head to its own ``feed_data`` as soon as it is complete.
``tests/channels/test_http_connection.py`` fails where that is no longer so.
"""

from __future__ import annotations

import functools
import re
import select
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    import asyncio

    from aiohttp import BaseConnector

# RFC 9112 §2.2: a lone LF may be taken for a line's end.
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_CHUNKS_END: Final = re.compile(rb"0\r\n\r\n")
_LOOK_BACK: Final = 4  # one octet less than the longer of the two: either may come in pieces
_NO_BODY: Final = frozenset({204, 304})


class _Stage(Enum):
    """What may come next on a connection."""

    SILENCE = 1  # nothing: no request was begun, or its answer is over
    HEAD = 2  # the head of an answer
    BODY = 3  # the rest of it


class KeptConnection(ResponseHandler):
    """
    aiohttp's protocol of one connection, which may carry one request after the other.

    Bytes that come while nothing may come are dropped, and mark the connection: it is neither pooled nor taken out of
    the pool again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._stage = _Stage.SILENCE
        self._reused = False
        self._spoiled = False
        self._answer: Any = None
        self._left: int | None = None  # octets of the body to come; None where it does not say
        self._last = b""  # what came last, of what has no end yet

    def begin(self) -> bool:
        """
        Wait for an answer from now on; to be called just before the first byte of a request is written.

        Returns:
            False where something came already, or the receiver hung up. Then nothing may be written: whoever asks on
            another connection has surely not been heard on this one.
        """
        if self._stage is not _Stage.SILENCE or not self._is_silent():
            self._spoil()
            return False
        self._stage, self._last, self._answer = _Stage.HEAD, b"", None
        self._reused = True
        return True

    def is_connected(self) -> bool:
        """See aiohttp: asked before a connection is taken out of the pool."""
        if not super().is_connected():
            return False
        return self._stage is not _Stage.SILENCE or self._is_silent()

    def data_received(self, data: bytes) -> None:
        """See asyncio. What follows an answer is kept from the parser: where that fails, it forgets the answer too."""
        if not data:
            self._go_on(data)  # aiohttp goes on with what it has put aside
        while data and self._stage is not _Stage.SILENCE and self.exception() is None:
            piece, data = self._up_to_end(data)
            self._go_on(piece)
            if not piece:
                break
        if data:
            self._spoil()

    def _go_on(self, piece: bytes) -> None:
        super().data_received(piece)
        if self._stage is _Stage.BODY:
            self._look_for_end()

    def feed_data(self, data: Any, size: int = 0) -> None:  # noqa: ANN401 — of aiohttp's own types
        """See aiohttp's queue: called with each head, and with the body that will follow it."""
        message, body = data
        if self._stage is not _Stage.HEAD:
            self._spoil()  # a second answer
            return
        super().feed_data(data, size)
        if 100 <= message.code < 200 and message.code != 101:
            return  # RFC 9110 §15.2: the answer is still to come
        self._stage, self._answer = _Stage.BODY, body
        length = message.headers.get("Content-Length")
        self._left = int(length) if length is not None and length.isdigit() and not message.chunked else None
        if self._answers_too_early() or (message.code in _NO_BODY and (self._left or message.chunked)):
            # Before the request has left: its receiver may take the rest for another one. Or a body is announced where
            # there is none (RFC 9110 §8.6): whoever does that may well send it.
            self.force_close()
        self._look_for_end()

    def _up_to_end(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut *data* where a head or a body ends; in what is not a body's last piece it may also be cut elsewhere."""
        if self._stage is _Stage.BODY and self._left is not None:
            piece = data[: self._left]
            self._left -= len(piece)
            return piece, data[len(piece) :]
        end = _HEAD_END if self._stage is _Stage.HEAD else _CHUNKS_END
        found = end.search(self._last + data)
        if found is None:
            self._last = (self._last + data)[-_LOOK_BACK:]
            return data, b""
        cut = found.end() - len(self._last)
        self._last = b""
        return data[:cut], data[cut:]

    def _look_for_end(self) -> None:
        if self.exception() is not None and not self._answer.is_eof():
            # aiohttp tells the queue of answers, which nobody reads any more.
            self._answer.set_exception(ClientPayloadError("the answer's body is not HTTP"))
        if self._answer.is_eof():
            self._stage = _Stage.SILENCE

    def _answers_too_early(self) -> bool:
        return self.transport is None or self.transport.get_write_buffer_size() > 0

    def _is_silent(self) -> bool:
        """Whether nothing came, seen or not yet seen by the loop. What waits to be read may also be the end."""
        if self._spoiled or self.transport is None or self.transport.is_closing():
            return False
        if not self._reused and self.transport.get_extra_info("ssl_object") is not None:
            return True  # RFC 8446 §4.6.1: tickets follow the handshake
        return not _is_readable(self.transport)

    def _spoil(self) -> None:
        self._spoiled = True
        self.force_close()


def _is_readable(transport: asyncio.Transport) -> bool:
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def keep_apart(connector: BaseConnector, loop: asyncio.AbstractEventLoop) -> None:
    """Make *connector* create its connections here. Each request has to `begin`, or its answer is dropped."""
    connector._factory = functools.partial(KeptConnection, loop=loop)  # type: ignore[assignment]  # noqa: SLF001 — no public way
