"""
A loop that stood still for longer than a send may take finds the answer in its socket, and takes it.

The servers are threads, which answer while the loop stands still.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest

from pillarbox.channels.base import Channel, Seams
from pillarbox.channels.egress import Egress
from pillarbox.channels.mail.smtp import SmtpChannel
from pillarbox.channels.webhook import WebhookChannel
from pillarbox.deadline import GRACE
from pillarbox.domain.message import Content
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Uncertain
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.receiver import Receiver
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE_SECONDS = 60
# Seconds of a clock that stands still for as long as nothing is to be late, however busy the machine is.
TIMEOUT = 0.2
STILL = 0.5  # longer than that, and late enough to be seen


class ThreadedServer:
    """
    A server of one connection at a time, which at one place waits until the loop stands still.

    Attributes:
        reached: It has come to that place.
        still: The loop stands still now.
    """

    def __init__(self, serve: Callable[[ThreadedServer, socket.socket], None]) -> None:
        self.reached = asyncio.Event()
        self.still = threading.Event()
        self.answered = threading.Event()
        self.heard: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def wait_here(self) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self.still.wait(PATIENCE_SECONDS)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                with connection:
                    self._serve(self, connection)
            except OSError:
                return

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.still.set()
        self._thread.join(PATIENCE_SECONDS)


def http(server: ThreadedServer, connection: socket.socket) -> None:
    read = b""
    while not read.endswith(b"Hello"):
        piece = connection.recv(65536)
        if not piece:
            return
        read += piece
    server.heard.append(read)
    server.wait_here()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    server.answered.set()


def silent_http(server: ThreadedServer, connection: socket.socket) -> None:
    connection.recv(65536)
    server.wait_here()
    server.answered.set()
    connection.recv(65536)


def smtp(place: bytes) -> Callable[[ThreadedServer, socket.socket], None]:
    """Answer every command, and at *place* only once the loop stands still."""

    def serve(server: ThreadedServer, connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"220 here\r\n")
        mail = False
        while line := lines.readline():
            server.heard.append(line)
            command = b"." if mail and line == b".\r\n" else line[:4].upper().strip()
            if mail and command != b".":
                continue
            if command == place:
                server.wait_here()
            mail = command == b"DATA"
            connection.sendall(b"354 go on\r\n" if mail else b"250 fine\r\n")
            if command == place:
                server.answered.set()

    return serve


@asynccontextmanager
async def started(channel: Channel, clock: FakeClock) -> AsyncIterator[Channel]:
    await channel.start(Seams(clock=clock))
    try:
        yield channel
    finally:
        await channel.close()


async def sent_while_still(
    server: ThreadedServer, channel: Channel, *, grace_ends: bool = False, **fields: Any
) -> AnyOutcome:
    """Send, and let the loop stand still past the deadline as soon as the server has the request."""
    clock = FakeClock()
    async with asyncio.timeout(PATIENCE_SECONDS), server, started(channel, clock):
        sending = asyncio.create_task(channel.send(an_attempt(**fields)))
        await server.reached.wait()
        server.still.set()
        assert server.answered.wait(PATIENCE_SECONDS)
        clock.stall(STILL)
        if grace_ends:
            for _ in range(2 * GRACE.turns):
                await clock.sleep(0)
            assert not sending.done()
            clock.advance(GRACE.seconds)
        return await sending


def payload() -> dict[str, Any]:
    return {"content": Content(payload=b"Hello", content_type="text/plain")}


@pytest.mark.contract("CL6", "ST6")
async def test_a_webhooks_answer_that_came_while_the_loop_stood_still_is_taken() -> None:
    server = ThreadedServer(http)
    channel = WebhookChannel(f"http://127.0.0.1:{server.port}/", timeout_seconds=TIMEOUT)
    assert await sent_while_still(server, channel, **payload()) == Delivered()


@pytest.mark.contract("ST6")
async def test_a_webhook_says_that_its_request_was_written_while_it_waits_for_the_answer() -> None:
    """So that a resumed worker, whose lease is lost, gives that answer a little time."""
    server = ThreadedServer(http)
    channel = WebhookChannel(f"http://127.0.0.1:{server.port}/", timeout_seconds=PATIENCE_SECONDS)
    attempt = an_attempt(**payload())
    async with asyncio.timeout(PATIENCE_SECONDS), server, started(channel, FakeClock()):
        sending = asyncio.create_task(channel.send(attempt))
        await server.reached.wait()
        assert attempt.progress.written is True
        server.still.set()
        assert await sending == Delivered()


@pytest.mark.contract("CL6")
async def test_a_webhook_that_was_not_answered_meanwhile_is_cut_off_after_one_grace() -> None:
    server = ThreadedServer(silent_http)
    channel = WebhookChannel(f"http://127.0.0.1:{server.port}/", timeout_seconds=TIMEOUT)
    outcome = await sent_while_still(server, channel, grace_ends=True, **payload())
    assert outcome == Uncertain("timed out after the request was written")


@pytest.mark.contract("CL6")
async def test_a_webhook_whose_time_was_over_before_its_connection_came_is_not_sent_any_more() -> None:
    clock = FakeClock()

    async def resolve(_host: str, _port: int) -> list[str]:
        clock.stall(STILL)
        return ["127.0.0.1"]

    async with Receiver() as receiver:
        url = receiver.url.replace("127.0.0.1", "hooks.example.com")
        egress = Egress(operator=True, resolve=resolve)
        async with started(WebhookChannel(url, timeout_seconds=TIMEOUT, egress=egress), clock) as channel:
            attempt = an_attempt()
            assert await channel.send(attempt) == Deferred("timed out before the request was written", outage=True)
            assert attempt.progress.written is False
        await receiver.wait_until_quiet()
        assert receiver.count == 0


def mail_channel(port: int, **options: Any) -> SmtpChannel:
    url = f"smtp://127.0.0.1:{port}?sender=me@example.org&starttls=never"
    return SmtpChannel.from_url(url, **({"timeout": 2 * TIMEOUT} | options))


@pytest.mark.contract("CL6", "ST6")
async def test_a_mail_servers_last_word_that_came_while_the_loop_stood_still_is_taken() -> None:
    server = ThreadedServer(smtp(b"."))
    outcome = await sent_while_still(server, mail_channel(server.port))
    assert isinstance(outcome, Delivered), outcome


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("place", [b"EHLO", b"MAIL", b"RCPT", b"DATA"])
async def test_an_answer_to_a_command_that_came_meanwhile_is_taken_too(place: bytes) -> None:
    """The commands' own timeouts are over then, the mail's is not."""
    server = ThreadedServer(smtp(place))
    limits = {"timeout": 60, "command_timeout": TIMEOUT, "data_timeout": TIMEOUT, "connect_timeout": 5}
    outcome = await sent_while_still(server, mail_channel(server.port, **limits))
    assert isinstance(outcome, Delivered), outcome


@pytest.mark.contract("CL6")
async def test_a_mail_whose_time_was_over_before_the_dot_is_not_sent_any_more() -> None:
    server = ThreadedServer(smtp(b"DATA"))
    outcome = await sent_while_still(server, mail_channel(server.port))
    assert isinstance(outcome, Deferred)
    assert b".\r\n" not in server.heard
