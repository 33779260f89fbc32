"""The server's side of an HTTP/1.1 connection, down at the bytes, so that a test can break it at any point."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

HEAD_BYTES_MAX: Final = 64 * 1024
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_RESET_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: close sends RST, not FIN


class RequestHead(NamedTuple):
    """A request without its body. Names of headers are in lower case; several of one name are joined by ", "."""

    method: str
    path: str
    version: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """
    What a connection reports to its server.

    Attributes:
        opened: Gives the connection its number.
        begun: A request's first byte is here; true to reset the connection without reading on.
        read: A request is complete. The next one waits for ``Connection.next``.
    """

    opened: Callable[[Connection], int]
    closed: Callable[[Connection], None]
    begun: Callable[[], bool]
    read: Callable[[Connection, RequestHead, bytes], None]


class Connection(asyncio.Protocol):
    """
    The server's side of one connection: cuts what arrives into requests, one at a time.

    ``last`` is whether the client wants it closed after the answer.
    """

    def __init__(self, hooks: Hooks) -> None:
        self.number = 0
        self.last = False
        self._hooks = hooks
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio's Protocol, here and below."""
        # Those of TCP and TLS are; uvloop's do not say so.
        self._transport = cast("asyncio.Transport", transport)
        self.number = self._hooks.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Report the loss to the server."""
        self._transport = None
        self._hooks.closed(self)

    def data_received(self, data: bytes) -> None:
        """Take what came, and read a request if one is complete."""
        if not self._buffer and not self._busy and self._hooks.begun():
            self.reset()
            return
        self._buffer += data
        if not self._busy:
            self._read_request()

    def next(self) -> None:
        """Go on with what arrived meanwhile."""
        self._busy = False
        if self._buffer:
            self._read_request()

    def _read_request(self) -> None:
        if not self._buffer[:1].isalpha():
            self._refuse(400)  # it speaks another protocol, TLS perhaps, and says no more until it is answered
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                self._refuse(431)
            return
        try:
            head = _parsed(bytes(self._buffer[:end]))
            length = int(head.headers.get("content-length", "0"))
        except ValueError:
            self._refuse(400)
            return
        if "transfer-encoding" in head.headers:
            self._refuse(411)  # bodies without a length are not worth the code here
            return
        if not 0 <= length <= BODY_BYTES_MAX:
            self._refuse(413)
            return
        start = end + 4
        if len(self._buffer) < start + length:
            return
        body = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        self._busy = True
        self.last = head.version != "HTTP/1.1" or head.headers.get("connection", "").lower() == "close"
        self._hooks.read(self, head, body)

    def _refuse(self, status: int) -> None:
        self._busy = True
        self.write(f"HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode("ascii"))
        self.end()

    def write(self, data: bytes) -> None:
        """Send, if the other side is still there."""
        if self._transport is not None:
            self._transport.write(data)

    @property
    def waiting_bytes(self) -> int:
        """How many of the bytes to send the system has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def end(self) -> None:
        """Close after everything was sent."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close at once, so that the other side gets a reset."""
        if self._transport is not None:
            plain: socket.socket = self._transport.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
            self._transport.abort()


def _parsed(head: bytes) -> RequestHead:
    """Read a request's head. Raises ValueError when it is none."""
    first, *rest = head.decode("latin-1").split("\r\n")
    method, path, version = first.split(" ")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or not name:
            raise ValueError("a header without a name")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return RequestHead(method, path, version, headers)
