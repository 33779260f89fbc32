"""Kept connections: an answer is about the request that it was asked for, whatever else a receiver writes, and when."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pillarbox.channels.base import Seams
from pillarbox.channels.http.connection import BUFFER_BYTES, Connection
from pillarbox.channels.http.failures import CONNECTIONS_MAX
from pillarbox.channels.webhook import WebhookChannel
from pillarbox.clock import Clock, SystemClock
from pillarbox.domain.message import Content
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected, Uncertain
from pillarbox.testing.fakes import FakeClock
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_SECONDS = 60.0


@dataclass
class Served:
    """One connection of the receiver below."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: int = 0

    async def request(self) -> bytes:
        """Read one request to its end; gives its head."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await self.reader.readexactly(length)
        self.requests += 1
        return head

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)

    def hang_up(self) -> None:
        self.writer.close()


@dataclass
class Raw:
    """A receiver that writes what it is told; ``serve`` is called with each connection."""

    serve: Callable[[Served], Awaitable[None]]
    connections: list[Served] = field(default_factory=list)
    url: str = ""

    @property
    def requests(self) -> list[int]:
        """How many requests each connection carried."""
        return [connection.requests for connection in self.connections]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Served(len(self.connections) + 1, reader, writer)
        self.connections.append(connection)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.serve(connection)


@asynccontextmanager
async def receiving(
    serve: Callable[[Served], Awaitable[None]],
    *,
    tls: trustme.CA | None = None,
    clock: Clock | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Raw, WebhookChannel]]:
    raw = Raw(serve)
    mine = theirs = None
    if tls is not None:
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.issue_cert("127.0.0.1").configure_cert(theirs)
        mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.configure_trust(mine)
    server = await asyncio.start_server(raw.accept, "127.0.0.1", 0, ssl=theirs)
    port = server.sockets[0].getsockname()[1]
    channel = WebhookChannel(f"{'https' if tls else 'http'}://127.0.0.1:{port}/", tls=mine, **options)
    await channel.start(Seams(clock=clock or SystemClock()))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield raw, channel
    finally:
        await channel.close()
        server.close()
        for connection in raw.connections:
            connection.hang_up()


async def send(channel: WebhookChannel, **fields: Any) -> AnyOutcome:
    return await channel.send(an_attempt(**fields))


def ok(name: object, *, close: bool = False) -> bytes:
    body = b'{"id": "%s"}' % str(name).encode()
    extra = b"Connection: close\r\n" if close else b""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), extra, body)


def receipt(outcome: AnyOutcome) -> str | None:
    assert isinstance(outcome, Delivered)
    return outcome.receipt


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, authority: trustme.CA) -> trustme.CA | None:
    return authority if request.param == "tls" else None


# --- more than an answer ------------------------------------------------------------------------------------------

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n"
MORE = {
    "body after 204": (NO_CONTENT + b"\r\n", b"ok"),
    "body announced by 204": (NO_CONTENT + b"Content-Length: 2\r\n\r\n", b"ok"),
    "chunks announced by 204": (NO_CONTENT + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"),
    "json after 204": (NO_CONTENT + b"\r\n", b'{"id": "stray"}\n'),
    "204 of HTTP/1.0": (b"HTTP/1.0 204 No Content\r\n\r\n", b"ok"),
    "204 of HTTP/1.0 that is kept": (b"HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\n\r\n", b"ok"),
    "body after 304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"ok"),
    "body announced by 304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", b"ok"),
    "more than announced": (ok("first"), b"more"),
    "a line too many": (ok("first"), b"\r\n"),
    "another 200": (ok("first"), ok("stray")),
    "another 500": (ok("first"), b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
    "another 204": (NO_CONTENT + b"\r\n", NO_CONTENT + b"\r\n"),
    "a late 100": (ok("first"), b"HTTP/1.1 100 Continue\r\n\r\n"),
    "half another": (ok("first"), b"HTTP/1.1 200 O"),
    "after chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"0\r\n\r\n"),
    "after an empty body": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"ok"),
    "after 103 and 200": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok("first"), b"ok"),
    "after 400": (b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno", b"no"),
}


def kind_of(answer: bytes) -> type:
    return Rejected if b" 400 " in answer else Deferred if b" 304 " in answer else Delivered


@pytest.mark.contract("CL5", "CL6")
@pytest.mark.parametrize("at_once", [True, False], ids=["in one piece", "in two"])
@pytest.mark.parametrize("case", MORE)
async def test_the_status_that_came_counts_and_what_follows_is_nobodys_answer(
    case: str, tls: trustme.CA | None, *, at_once: bool
) -> None:
    answer, more = MORE[case]

    async def serve(connection: Served) -> None:
        await connection.request()
        if connection.number == 1:
            connection.say(*([answer + more] if at_once else [answer, more]))
            await connection.request()
        connection.say(ok("second"))

    async with receiving(serve, tls=tls) as (raw, channel):
        first = await send(channel)
        assert type(first) is kind_of(answer)
        assert b"stray" not in repr(first).encode()
        assert receipt(await send(channel)) == "second"
        assert raw.requests == [1, 1]


@pytest.mark.contract("CL6")
async def test_a_204_that_announces_a_body_is_the_last_answer_of_its_connection(tls: trustme.CA | None) -> None:
    async def serve(connection: Served) -> None:
        while await connection.request():
            connection.say(NO_CONTENT + b"Content-Length: 2\r\n\r\n")

    async with receiving(serve, tls=tls) as (raw, channel):
        for _ in range(3):
            assert await send(channel) == Delivered()
        assert raw.requests == [1, 1, 1]


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    "stray",
    [ok("stray"), NO_CONTENT + b"\r\n", b"ok", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", b"\r\n"],
    ids=ascii,
)
@pytest.mark.parametrize("seen", [True, False], ids=["read meanwhile", "still unread"])
async def test_what_comes_while_a_connection_is_idle_is_not_the_next_answer(
    stray: bytes, tls: trustme.CA | None, *, seen: bool
) -> None:
    idle = asyncio.Event()
    said = asyncio.Event()

    async def serve(connection: Served) -> None:
        await connection.request()
        connection.say(ok(connection.number))
        if connection.number == 1:
            await idle.wait()
            connection.say(stray)
            said.set()

    async with receiving(serve, tls=tls) as (raw, channel):
        assert receipt(await send(channel)) == "1"
        idle.set()
        await said.wait()
        if seen:
            # Each turn of the loop reads what has arrived; TLS needs a few.
            for _ in range(20):
                await asyncio.sleep(0)
        assert receipt(await send(channel)) == "2"
        assert raw.requests == [1, 1]


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "not yet seen"])
async def test_a_receiver_that_hangs_up_while_idle_costs_nothing(tls: trustme.CA | None, *, seen: bool) -> None:
    idle = asyncio.Event()
    gone = asyncio.Event()

    async def serve(connection: Served) -> None:
        await connection.request()
        connection.say(ok(connection.number))
        if connection.number == 1:
            await idle.wait()
            connection.hang_up()
            gone.set()

    async with receiving(serve, tls=tls) as (raw, channel):
        assert receipt(await send(channel)) == "1"
        idle.set()
        await gone.wait()
        if seen:
            for _ in range(20):
                await asyncio.sleep(0)
        assert receipt(await send(channel)) == "2"
        assert raw.requests == [1, 1]


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("seen", [True, False], ids=["read meanwhile", "still unread"])
@pytest.mark.parametrize("early", [ok("stray"), b"220 mail.example.org ESMTP\r\n", b""], ids=ascii)
async def test_what_comes_before_a_request_is_no_answer_and_nothing_is_written(early: bytes, *, seen: bool) -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    with theirs:
        buffer = memoryview(bytearray(BUFFER_BYTES))
        made = await loop.create_connection(lambda: Connection(SystemClock(), buffer), sock=ours)
        connection = made[1]
        theirs.send(early) if early else theirs.shutdown(socket.SHUT_WR)
        for _ in range(3 if seen else 0):
            await asyncio.sleep(0)
        assert not connection.is_silent()
        connection.abort()
        await connection.gone


@pytest.mark.contract("CL6")
async def test_a_receiver_that_hangs_up_at_once_is_asked_a_few_times_only() -> None:
    async def serve(connection: Served) -> None:
        connection.hang_up()

    async with receiving(serve) as (raw, channel):
        attempt = an_attempt()
        outcome = await channel.send(attempt)
        assert isinstance(outcome, Deferred | Uncertain)
        assert len(raw.connections) <= CONNECTIONS_MAX
        assert attempt.progress.written is isinstance(outcome, Uncertain)


# --- too early ----------------------------------------------------------------------------------------------------


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("status", [b"200 OK", b"413 Content Too Large", b"503 Service Unavailable"])
async def test_an_answer_before_the_request_was_written_counts_and_ends_its_connection(status: bytes) -> None:
    async def serve(connection: Served) -> None:
        if connection.number == 1:
            await connection.reader.readuntil(b"\r\n\r\n")
            connection.say(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)
            # Never reads the rest; whoever writes on here is not understood.
            await asyncio.Event().wait()
        await connection.request()
        connection.say(ok(connection.number))

    async with receiving(serve, concurrency=1) as (raw, channel):
        large = Content(payload=b"x" * 30_000_000, content_type="application/x-large")
        first = await send(channel, content=large)
        assert type(first) is {b"2": Delivered, b"4": Rejected, b"5": Deferred}[status[:1]]
        assert receipt(await send(channel)) == "2"
        assert raw.requests == [0, 1]


# --- answers in pieces --------------------------------------------------------------------------------------------


@pytest.mark.contract("CL5")
async def test_an_answer_may_come_in_any_two_pieces_and_its_connection_is_kept(authority: trustme.CA) -> None:
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok("all")

    async def serve(connection: Served) -> None:
        for cut in range(len(whole) + 1):
            await connection.request()
            connection.say(whole[:cut])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            connection.say(whole[cut:])

    for over in (None, authority):
        async with receiving(serve, tls=over) as (raw, channel):
            for _ in range(len(whole) + 1):
                assert receipt(await send(channel)) == "all"
            assert raw.requests == [len(whole) + 1]


@pytest.mark.contract("CL5")
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_body_that_is_not_http_changes_nothing_about_its_status(*, at_once: bool) -> None:
    head, junk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"no chunk at all\r\n\r\n"

    async def serve(connection: Served) -> None:
        await connection.request()
        connection.say(*([head + junk] if at_once else [head, junk]))
        await connection.reader.read()

    async with receiving(serve, timeout_seconds=3600) as (raw, channel):
        assert isinstance(await send(channel), Delivered)
        assert raw.requests == [1]


@pytest.mark.contract("CL6")
async def test_what_is_no_answer_at_all_is_still_uncertain() -> None:
    async def serve(connection: Served) -> None:
        await connection.request()
        connection.say(b"220 mail.example.org ESMTP\r\n\r\n")

    async with receiving(serve) as (_, channel):
        assert isinstance(await send(channel), Uncertain)


# --- answers made to harm -----------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = ok("stray")
HARMFUL: dict[str, tuple[bytes, type]] = {
    "length and chunks": (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Uncertain),
    "two lengths": (OK + b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n", Uncertain),
    "a signed length": (OK + b"Content-Length: +0\r\n\r\n", Uncertain),
    "a blank before the colon": (OK + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Uncertain),
    "a NUL in a header": (OK + b"X: \0\r\nContent-Length: 0\r\n\r\n", Uncertain),
    "not quite chunks": (OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Delivered),
    "a lying chunk": (CHUNKED + b"-1\r\n\r\n0\r\n\r\n", Delivered),
    "a chunk that is longer": (CHUNKED + b"1\r\nok\r\n0\r\n\r\n", Delivered),
    "an interim answer with a body": (b"HTTP/1.1 102 X\r\nContent-Length: 2\r\n\r\nok" + ok("all"), Uncertain),
    "another protocol": (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Deferred),
    "a 204 with chunks": (NO_CONTENT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Delivered),
    "packed": (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", Delivered),
}


@pytest.mark.contract("CL5", "CL6")
@pytest.mark.parametrize("case", HARMFUL)
async def test_what_is_smuggled_into_an_answer_is_in_no_outcome(case: str, tls: trustme.CA | None) -> None:
    answer, kind = HARMFUL[case]

    async def serve(connection: Served) -> None:
        await connection.request()
        connection.say(answer + SMUGGLED if connection.number == 1 else ok("second"))
        if connection.number == 1 and case == "not quite chunks":
            connection.hang_up()
        await connection.request()

    async with receiving(serve, tls=tls) as (raw, channel):
        first = await send(channel)
        assert type(first) is kind, first
        assert getattr(first, "receipt", None) is None
        assert receipt(await send(channel)) == "second"
        assert raw.requests == [1, 1]


FLOODS = {
    "headers": (OK, b"X-Flood: " + b"y" * 100 + b"\r\n", Uncertain),
    "a header": (OK + b"X-Flood: ", b"y" * 4096, Uncertain),
    "a status line": (b"HTTP/1.1 200 ", b"y" * 4096, Uncertain),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", Uncertain),
    "empty lines": (b"", b"\r\n" * 1000, Uncertain),
    "a body to the end": (OK + b"\r\n", b"y" * 4096, Delivered),
    "chunks": (CHUNKED, b"1\r\ny\r\n" * 500, Delivered),
    "an extension": (CHUNKED + b"1;", b"y" * 4096, Delivered),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 500, Delivered),
}


@pytest.mark.contract("ST10")
@pytest.mark.parametrize("case", FLOODS)
async def test_an_answer_without_an_end_is_left_before_the_deadline(case: str) -> None:
    begin, piece, kind = FLOODS[case]
    left = asyncio.Event()

    async def serve(connection: Served) -> None:
        await connection.request()
        if connection.number > 1:
            connection.say(ok("second"))
            return
        connection.say(begin)
        try:
            while True:
                connection.say(piece)
                await connection.writer.drain()
        finally:
            left.set()

    async with receiving(serve, timeout_seconds=3600) as (_, channel):
        assert type(await send(channel)) is kind
        await left.wait()
        assert receipt(await send(channel)) == "second"


@pytest.mark.contract("CL5")
async def test_a_body_that_lasts_until_the_connection_ends_is_whole(tls: trustme.CA | None) -> None:
    async def serve(connection: Served) -> None:
        await connection.request()
        connection.say(b"HTTP/1.%d 200 OK\r\n\r\n" % (connection.number % 2), b'{"id": ', b"%d}" % connection.number)
        connection.hang_up()

    async with receiving(serve, tls=tls) as (raw, channel):
        for number in (1, 2, 3):
            assert receipt(await send(channel)) == str(number)
        assert raw.requests == [1, 1, 1]


# --- how long a connection is kept ----------------------------------------------------------------------------------


@pytest.mark.contract("CL6", "UN1")
@pytest.mark.parametrize(("idle_seconds", "connections"), [(0.9, 1), (1.1, 2)])
async def test_a_connection_idle_for_longer_than_a_second_is_not_used_again(
    idle_seconds: float, connections: int
) -> None:
    clock = FakeClock()

    async def serve(connection: Served) -> None:
        while await connection.request():
            connection.say(ok(connection.number))

    async with receiving(serve, clock=clock) as (raw, channel):
        assert receipt(await send(channel)) == "1"
        clock.advance(0.5)  # what looks for idle connections does so in between
        assert receipt(await send(channel)) == "1"
        clock.advance(idle_seconds)
        assert receipt(await send(channel)) == str(connections)
        assert len(raw.connections) == connections


async def test_a_connection_that_the_receiver_ends_is_not_kept() -> None:
    async def serve(connection: Served) -> None:
        while await connection.request():
            connection.say(ok(connection.number, close=True))

    async with receiving(serve) as (raw, channel):
        for number in (1, 2, 3):
            assert receipt(await send(channel)) == str(number)
        assert raw.requests == [1, 1, 1]


async def test_new_encrypted_connections_are_not_taken_for_spoiled(authority: trustme.CA) -> None:
    # A server's tickets may arrive before the first request.
    async def serve(connection: Served) -> None:
        await asyncio.sleep(0)
        await connection.request()
        connection.say(ok(connection.number, close=True))

    async with receiving(serve, tls=authority) as (raw, channel):
        for number in range(1, 31):
            assert receipt(await send(channel)) == str(number)
        assert raw.requests == [1] * 30
