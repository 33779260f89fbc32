"""Answers every POST with 204 as cheaply as Python can, so that the sender is what is measured. Keeps nothing."""

from __future__ import annotations

import asyncio
import re

from bench.programs.speech import heard, say

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._buffer, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            assert self._transport is not None
            self._transport.write(_ANSWER)


async def serve() -> None:
    """Listen, report where, and go on until the input ends."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    say(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await heard()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
