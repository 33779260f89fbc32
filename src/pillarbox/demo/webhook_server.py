"""
The demonstration's receiver: a real HTTP server in a process of its own, with a ledger, which can hold its answers.

It reads its orders from stdin and writes what happens to stdout, one JSON object a line; it ends when stdin does. The
ledger gets a line for each request that was read, before anything else happens, and one for each answer, before its
first byte leaves: so it knows more than the worker, never less.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from pillarbox.clock import SystemClock
from pillarbox.testing.connection import Connection, Hooks, RequestHead

_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_NEVER: Final = 1 << 62
# A receiver that answers at once could not see that two requests of a lane were under way together.
_WORK_SECONDS: Final = 0.02


class Order(msgspec.Struct, frozen=True):
    """What stdin may say: let go of what is held, and hold again once so many messages have been answered."""

    hold_after: int = _NEVER


class Receiver:
    """Answers every request with 200 after a moment's work, or keeps its answer back."""

    def __init__(self, ledger: BinaryIO) -> None:
        self._ledger = ledger
        self._clock = SystemClock()
        self._hold_after = _NEVER
        self._next: Order | None = None
        self._held: list[tuple[Connection, int]] = []
        self._late = 0
        self._answered: set[str] = set()
        self._requests = 0
        self._connections = 0
        self._open: set[Connection] = set()
        self.hooks = Hooks(opened=self._opened, closed=self._closed, begun=lambda: False, read=self._read)

    def _opened(self, connection: Connection) -> int:
        self._connections += 1
        self._open.add(connection)
        return self._connections

    def _closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._turn_over()

    def _read(self, connection: Connection, head: RequestHead, body: bytes) -> None:
        self._requests += 1
        number, identity = self._requests, head.headers.get("webhook-id", "")
        self._note(
            event="read",
            number=number,
            at_ms=self._clock.wall_ms(),
            id=identity,
            attempt=int(head.headers.get("pillarbox-attempt", "0")),
            body=body.decode("utf-8", "replace"),
        )
        if self._next is not None or len(self._answered) >= self._hold_after:
            self._held.append((connection, number))
            _say(event="held")
        else:
            asyncio.get_running_loop().call_later(_WORK_SECONDS, self._answer, connection, number, identity)

    def _answer(self, connection: Connection, number: int, identity: str) -> None:
        if connection not in self._open:
            self._note(event="answered_too_late", number=number)
            return
        self._note(event="answered", number=number)
        connection.write(_ANSWER)
        connection.next()
        self._answered.add(identity)
        _say(event="answered", count=len(self._answered))

    def obey(self, order: Order) -> None:
        """
        Answer what is held, too late: the worker that waited for it is dead. Then go on as ordered.

        But not before every connection of the dead worker is closed: what it wrote last may still be on its way.
        """
        self._next = order
        self._turn_over()

    def _turn_over(self) -> None:
        if self._next is None:
            return
        held, self._held = self._held, []
        self._late += len(held)
        for connection, number in held:
            self._note(event="answered_too_late", number=number)
            connection.write(_ANSWER)
            connection.end()
        if not self._open:
            self._hold_after, self._next = self._next.hold_after, None
            _say(event="ready", count=self._late)
            self._late = 0

    def _note(self, **entry: object) -> None:
        self._ledger.write(msgspec.json.encode(entry) + b"\n")


def _say(**line: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def serve(ledger: Path) -> None:
    """Serve on a free port of 127.0.0.1 until stdin ends."""
    loop = asyncio.get_running_loop()
    with ledger.open("ab", buffering=0) as file:
        receiver = Receiver(file)
        server = await loop.create_server(lambda: Connection(receiver.hooks), "127.0.0.1", 0)
        orders = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        _say(event="listening", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        while line := await orders.readline():
            receiver.obey(msgspec.json.decode(line, type=Order))
        server.close()


def main() -> None:
    """Run the receiver."""
    parser = argparse.ArgumentParser(prog="python -m pillarbox.demo.webhook_server")
    parser.add_argument("--ledger", type=Path, required=True)
    asyncio.run(serve(parser.parse_args().ledger))


if __name__ == "__main__":
    main()
