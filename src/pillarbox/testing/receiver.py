"""
A real HTTP receiver on 127.0.0.1 that keeps a ledger and misbehaves on request: what webhooks are tested against.

Public: use it for tests of your own. As a process (``python -m pillarbox.testing.receiver --ledger FILE``) it prints
its URL as the first line and appends one JSON line a request *before* it answers, so an answered request is in it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from pillarbox.clock import Clock, SystemClock
from pillarbox.testing.connection import Connection, Hooks, RequestHead

if TYPE_CHECKING:
    import ssl
    from types import TracebackType


_POURED_BYTES: Final = 1 << 50
_BLOCK: Final = b" " * 65536


class Fault(StrEnum):
    """Ways not to answer, or not to end."""

    NONE = "none"
    HANG = "hang"  # read the request, say nothing
    RESET = "reset"  # read the request, then break the connection
    RESET_UNREAD = "reset_unread"  # break the connection at the request's first byte
    POUR = "pour"  # answer, and go on with blanks for as long as the connection stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What to do with one request.

    Attributes:
        delay_seconds: Before the answer begins.
        drip_seconds: Between any two bytes of the body.
        cut: Send only ``answer[:cut]``, then close: 9 leaves half a status line, -5 all but the last five bytes.
        wire: These bytes instead of an answer made of status, headers and body.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    cut: int | None = None
    wire: bytes | None = None
    fault: Fault = Fault.NONE

    @classmethod
    def hang(cls) -> Answer:
        """Read the request and never answer."""
        return cls(fault=Fault.HANG)

    @classmethod
    def reset(cls) -> Answer:
        """Read the request, then reset the connection."""
        return cls(fault=Fault.RESET)

    @classmethod
    def reset_unread(cls) -> Answer:
        """Reset the connection when the request begins to arrive; it is in no ledger."""
        return cls(fault=Fault.RESET_UNREAD)

    @classmethod
    def pour(cls, *, status: int = 200, body: bytes = b"") -> Answer:
        """Answer with *body*, and blanks behind it for as long as the client reads."""
        return cls(status=status, body=body, fault=Fault.POUR)

    @classmethod
    def gzip_bomb(cls, *, size: int = 32 * 1024 * 1024) -> Answer:
        """Answer with *size* zeros in gzip, a thousandth of that on the wire."""
        return cls(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(size)))

    def head(self, *, close: bool) -> bytes:
        """Return the status line and the headers."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        length = _POURED_BYTES if self.fault is Fault.POUR else len(self.body)
        lines = [f"HTTP/1.1 {self.status} {phrase}", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += ["Connection: close"] if close else []
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """
    One request, read to its end.

    Attributes:
        number: 1, 2, … in the order in which requests were complete.
        at_ms: Milliseconds since 1970.
        path: As it was sent, with its query.
        headers: Names in lower case; several of one name are joined by ", ".
        connection: The number of the connection it came in on.
        answered: The whole answer was handed to the system.
    """

    number: int
    at_ms: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    answered: bool = False

    @property
    def json(self) -> Any:  # noqa: ANN401 — it is whatever was sent
        """The body, decoded."""
        return msgspec.json.decode(self.body)


Plan = Answer | Callable[[Received], Answer]


class Receiver:
    """
    The receiver, inside the calling loop. Use it as an async context manager.

    Args:
        answer: For every request that `script` does not speak of; may be a function of the request.
        port: 0 for any free one.
        tls: Serve https with it.
        keep: How many requests to remember; ``None`` for all. ``count`` grows either way.
        on_request: Called with each request before it is answered.

    Attributes:
        requests: The ledger, in order.
        count: How many requests were read.
        connections: How many connections were accepted.
    """

    def __init__(
        self,
        answer: Plan | None = None,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        keep: int | None = None,
        on_request: Callable[[Received], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.answer: Plan = answer or Answer()
        self.requests: list[Received] = []
        self.count = 0
        self.connections = 0
        self.url = ""
        self._port = port
        self._tls = tls
        self._keep = keep
        self._on_request = on_request
        self._clock = clock or SystemClock()
        self._script: deque[Plan] = deque()
        self._open = asyncio.Event()
        self._open.set()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._hooks = Hooks(opened=self._joined, closed=self._left, begun=self._breaks_at_first_byte, read=self._take)
        self._alive: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen; ``url`` is known afterwards."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self._hooks), "127.0.0.1", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/"

    async def close(self) -> None:
        """Stop listening and drop every connection, answered or not. Safe to repeat."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._alive):
            connection.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def script(self, *plans: Plan) -> None:
        """Answer the next requests like this, in this order; after them ``answer`` holds again."""
        self._script.extend(plans)

    def hold(self) -> None:
        """Read requests, but answer none until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Answer what is held, and everything after it."""
        self._open.set()

    async def wait_for(self, count: int, *, timeout: float = 30.0) -> list[Received]:
        """Wait until *count* requests were read; return the ledger. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while self.count < count:
                await self._changed.wait()
        return self.requests

    async def wait_until_quiet(self, *, timeout: float = 30.0) -> None:
        """Wait until no connection is open. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while self._alive:
                await self._changed.wait()

    def _notify(self) -> None:
        # Everyone who waits now looks again; who comes later gets a fresh event.
        self._changed.set()
        self._changed = asyncio.Event()

    def _joined(self, connection: Connection) -> int:
        self._alive.add(connection)
        self.connections += 1
        return self.connections

    def _left(self, connection: Connection) -> None:
        self._alive.discard(connection)
        self._notify()

    def _breaks_at_first_byte(self) -> bool:
        plan = self._script[0] if self._script else self.answer
        if not isinstance(plan, Answer) or plan.fault is not Fault.RESET_UNREAD:
            return False
        if self._script:
            self._script.popleft()
        return True

    def _take(self, connection: Connection, head: RequestHead, body: bytes) -> None:
        self.count += 1
        request = Received(
            number=self.count,
            at_ms=self._clock.wall_ms(),
            method=head.method,
            path=head.path,
            headers=head.headers,
            body=body,
            connection=connection.number,
        )
        place = len(self.requests) if self._keep is None or len(self.requests) < self._keep else None
        if place is not None:
            self.requests.append(request)
        if self._on_request is not None:
            self._on_request(request)
        self._notify()
        plan = self._script.popleft() if self._script else self.answer
        answer = plan if isinstance(plan, Answer) else plan(request)
        if answer.fault not in {Fault.NONE, Fault.POUR}:
            if answer.fault is not Fault.HANG:
                connection.reset()
        elif self._open.is_set() and not (answer.delay_seconds or answer.drip_seconds or answer.fault is Fault.POUR):
            self._finish(connection, answer, place)
        else:
            task = asyncio.get_running_loop().create_task(self._answer_slowly(connection, answer, place))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_slowly(self, connection: Connection, answer: Answer, place: int | None) -> None:
        await self._open.wait()
        if answer.delay_seconds:
            await self._clock.sleep(answer.delay_seconds)
        if answer.fault is Fault.POUR:
            connection.write(answer.head(close=True) + answer.body)
            while connection in self._alive:
                if connection.waiting_bytes < len(_BLOCK):
                    connection.write(_BLOCK)
                await self._clock.sleep(0)
            return
        if answer.drip_seconds:
            connection.write(answer.head(close=True))
            for byte in answer.body:
                await self._clock.sleep(answer.drip_seconds)
                connection.write(bytes([byte]))
            connection.end()
            return
        self._finish(connection, answer, place)

    def _finish(self, connection: Connection, answer: Answer, place: int | None) -> None:
        close = connection.last or answer.cut is not None or answer.wire is not None
        whole = answer.wire if answer.wire is not None else answer.head(close=close) + answer.body
        connection.write(whole[: answer.cut])
        if place is not None and answer.cut is None:
            self.requests[place] = replace(self.requests[place], answered=True)
        connection.end() if close else connection.next()


def ledger_line(request: Received) -> bytes:
    """Write one request as the ledger's JSON: ``body`` where it is text, else ``body_base64``."""
    entry: dict[str, object] = {
        "number": request.number,
        "at_ms": request.at_ms,
        "method": request.method,
        "path": request.path,
        "headers": request.headers,
    }
    try:
        entry["body"] = request.body.decode()
    except UnicodeDecodeError:
        entry["body_base64"] = base64.b64encode(request.body).decode("ascii")
    return msgspec.json.encode(entry) + b"\n"


async def _serve(ledger: Path, port: int, status: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with ledger.open("ab", buffering=0) as file:
        answer = Answer(status=status)
        async with Receiver(answer, port=port, keep=0, on_request=lambda got: _append(file.write, got)) as receiver:
            sys.stdout.write(f"{receiver.url}\n")
            sys.stdout.flush()
            await stop.wait()


def _append(write: Callable[[bytes], int | None], request: Received) -> None:
    line = ledger_line(request)
    if write(line) != len(line):
        raise OSError("the ledger took only a part of a line")


def main(arguments: list[str] | None = None) -> int:
    """Run the receiver until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m pillarbox.testing.receiver", description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True, help="file that gets one JSON line a request")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) for any free one")
    parser.add_argument("--status", type=int, default=200, help="status of every answer")
    options = parser.parse_args(arguments)
    asyncio.run(_serve(options.ledger, options.port, options.status))
    return 0


if __name__ == "__main__":
    sys.exit(main())
