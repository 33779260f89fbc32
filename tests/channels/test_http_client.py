"""What every adapter gets of the HTTP client, beyond what the webhook channel's tests show of it."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from yarl import URL

from pillarbox.channels.egress import AddrInfo, Egress, open_socket
from pillarbox.channels.http.answer_reader import ANSWER_BYTES_MAX, HEAD_BYTES_MAX
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.client import Client
from pillarbox.clock import SystemClock
from pillarbox.domain.outcome import Deferred, Unavailable, Uncertain
from pillarbox.errors import ConfigError, NotStarted
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.receiver import Answer as Reply
from pillarbox.testing.receiver import Receiver
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 60.0
OURS_AND_PARSER = ("pillarbox.channels.", "pillarbox.deadline", "httptools.")


def a_client(**options: Any) -> Client:
    usual: dict[str, Any] = {"egress": Egress(operator=True), "headers": {}, "timeout_seconds": 10.0, "concurrency": 3}
    return Client(**(usual | options))


@asynccontextmanager
async def started(client: Client) -> AsyncIterator[Client]:
    await client.start(SystemClock())
    try:
        yield client
    finally:
        await client.close()


async def test_a_request_and_its_answer() -> None:
    reply = Reply(status=418, headers={"X-Kind": "pot"}, body=b"a\x00b")
    async with Receiver(reply) as receiver, started(a_client(headers={"X-Token": "7"})) as client:
        attempt = an_attempt()
        answer = await client.post(
            URL(receiver.url) / "room",
            b"{}",
            content_type="text/x",
            headers={"X-Try": "1"},
            attempt=attempt,
            method="PUT",
        )
        request = receiver.requests[0]
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["x-kind"], answer.body) == (418, "pot", b"ab")
    assert attempt.progress.written is True
    assert (request.method, request.path, request.body) == ("PUT", "/room", b"{}")
    found = {name: request.headers[name] for name in ("content-type", "x-token", "x-try", "accept-encoding")}
    assert found == {"content-type": "text/x", "x-token": "7", "x-try": "1", "accept-encoding": "identity"}


async def test_no_more_of_an_answer_is_read_than_the_cap() -> None:
    async with Receiver(Reply(body=b"x" * 5_000_000)) as receiver, started(a_client()) as client:
        answer = await client.post(URL(receiver.url), b"", content_type="text/plain", headers={}, attempt=an_attempt())
    assert isinstance(answer, Answer)
    assert len(answer.body) == ANSWER_BYTES_MAX


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("covered", [True, False])
async def test_no_answer_is_an_outcome_that_says_whether_a_second_copy_is_dropped(covered: bool) -> None:
    async with Receiver(Reply.reset()) as receiver, started(a_client()) as client:
        found = await client.post(
            URL(receiver.url), b"", content_type="text/plain", headers={}, attempt=an_attempt(), covered=covered
        )
    assert found == Uncertain(
        "connection lost: Connection reset by peer after the request was written", covered=covered
    )


async def test_nothing_is_sent_outside_of_start_and_close() -> None:
    client = a_client()
    assert not client.is_started
    with pytest.raises(NotStarted):
        await client.post(URL("http://127.0.0.1:9/"), b"", content_type="text/plain", headers={}, attempt=an_attempt())
    await client.close()


@pytest.mark.parametrize(
    ("options", "field"),
    [({"timeout_seconds": 0}, "timeout"), ({"timeout_seconds": 3601}, "timeout"), ({"concurrency": 0}, "concurrency")],
)
def test_its_bounds_are_named_as_the_options_are(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        a_client(**options)
    assert refused.value.field == field


async def test_a_cancelled_request_gives_its_connection_back() -> None:
    async with Receiver(Reply.hang()) as receiver, started(a_client(concurrency=1)) as client:
        post = client.post(URL(receiver.url), b"", content_type="text/plain", headers={}, attempt=an_attempt())
        sending = asyncio.create_task(post)
        await receiver.wait_for(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await receiver.wait_until_quiet()


async def post(client: Client, url: str | URL, **options: Any) -> Any:
    usual: dict[str, Any] = {"content_type": "text/plain", "headers": {}, "attempt": an_attempt()}
    return await client.post(URL(url), b"{}", **(usual | options))


async def test_what_is_under_way_when_the_client_closes_ends_as_lost() -> None:
    async with Receiver(Reply.hang()) as receiver, started(a_client()) as client:
        sending = asyncio.create_task(post(client, receiver.url))
        await receiver.wait_for(1)
        await client.close()
        assert await sending == Uncertain("disconnected after the request was written")


@pytest.mark.contract("CL6")
async def test_what_waits_for_a_connection_when_the_client_closes_was_surely_not_sent() -> None:
    names = Names("127.0.0.1")
    names.open.clear()
    async with Receiver() as receiver, started(names.client(concurrency=1)) as client:
        looks_up, waits = (asyncio.create_task(post(client, named(receiver))) for _ in range(2))
        await names.asking.wait()
        await client.close()
        names.open.set()
        not_sent = Deferred("the channel was closed before the request was written")
        assert (await looks_up, await waits) == (not_sent, not_sent)
        await receiver.wait_until_quiet()
        assert receiver.count == 0


# --- what would break out of its line -------------------------------------------------------------------------------


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("text", ["a\r\nX: y", "a\nX", "a\rX", "\r\n", "a\0b", "a\r\n\r\nPOST / HTTP/1.1"], ids=ascii)
async def test_no_header_goes_out_that_is_more_than_a_line(text: str) -> None:
    async with Receiver() as receiver, started(a_client()) as client:
        for options in ({"headers": {"X-Try": text}}, {"headers": {text: "1"}}, {"content_type": text}):
            attempt = an_attempt()
            with pytest.raises(ValueError, match="a header with a line break"):
                await post(client, receiver.url, attempt=attempt, **options)
            assert not attempt.progress.written
        with pytest.raises(ValueError, match="a header with a line break"):
            a_client(headers={"X-Token": text})
        assert receiver.connections == 0


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/a HTTP/1.1\r\n\r\n", "/\0", "/?a\tb", "/\x7f"], ids=ascii)
async def test_no_url_goes_out_that_is_more_than_a_word(path: str) -> None:
    async with Receiver() as receiver, started(a_client()) as client:
        here = URL(receiver.url)
        path, _, query = path.partition("?")
        url = URL.build(scheme="http", host="127.0.0.1", port=here.port, path=path, query_string=query, encoded=True)
        with pytest.raises(ValueError, match="a URL with blanks or control characters"):
            await post(client, url)
        assert receiver.connections == 0
        # As a URL is read everywhere else, such a path is escaped.
        assert (await post(client, receiver.url.rstrip("/") + "/a b")).status == 200
        assert receiver.requests[0].path == "/a%20b"


# --- names and addresses ----------------------------------------------------------------------------------------------


class Names:
    """A name server that knows one name."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0
        self.dialled: list[str] = []
        self.asking = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def resolve(self, _host: str, _port: int) -> list[str]:
        self.asked += 1
        self.asking.set()
        await self.open.wait()
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.addresses

    def dial(self, info: AddrInfo) -> socket.socket:
        self.dialled.append(info[4][0])
        return open_socket(info)

    def client(self, **options: Any) -> Client:
        return a_client(egress=Egress(operator=True, resolve=self.resolve, dial=self.dial), **options)


def named(receiver: Receiver) -> str:
    return receiver.url.replace("127.0.0.1", "hooks.example.com")


async def test_a_name_is_looked_up_once_in_ten_seconds_whoever_asks() -> None:
    clock, names = FakeClock(), Names("127.0.0.1")
    async with Receiver(Reply(headers={"Connection": "close"})) as receiver:
        client = names.client()
        await client.start(clock)
        names.open.clear()
        sending = [asyncio.create_task(post(client, named(receiver))) for _ in range(3)]
        await names.asking.wait()
        names.open.set()
        assert [answer.status for answer in await asyncio.gather(*sending)] == [200] * 3
        clock.advance(9.9)
        await post(client, named(receiver))
        assert names.asked == 1
        clock.advance(0.2)
        await post(client, named(receiver))
        assert names.asked == 2
        await client.close()


async def test_a_look_up_that_failed_or_was_given_up_is_begun_again_by_the_next() -> None:
    names = Names()
    async with Receiver() as receiver, started(names.client()) as client:
        assert isinstance(await post(client, named(receiver)), Deferred)
        names.addresses = ["127.0.0.1"]
        names.asking.clear()
        names.open.clear()
        given_up = asyncio.create_task(post(client, named(receiver)))
        await names.asking.wait()
        given_up.cancel()
        names.open.set()
        assert (await post(client, named(receiver))).status == 200
        assert names.asked == 3


async def test_an_address_is_asked_of_nobody() -> None:
    names = Names()
    async with Receiver() as receiver, started(names.client()) as client:
        assert (await post(client, receiver.url)).status == 200
    assert names.asked == 0


async def test_where_one_address_does_not_answer_the_next_is_dialled() -> None:
    names = Names("::1", "127.0.0.1")  # nobody listens on the first
    async with Receiver() as receiver, started(names.client()) as client:
        assert (await post(client, named(receiver))).status == 200
    assert names.dialled == ["::1", "127.0.0.1"]


async def test_where_the_certificate_of_one_address_is_refused_the_others_are_tried() -> None:
    authority = trustme.CA()
    trusting, right, wrong = ssl.create_default_context(), *(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in "12")
    authority.configure_trust(trusting)
    authority.issue_cert("hooks.example.com").configure_cert(right)
    authority.issue_cert("other.example.com").configure_cert(wrong)
    names = Names("127.0.0.2", "127.0.0.1")
    async with Receiver(tls=right) as receiver, started(names.client(tls=trusting)) as client:
        stray = await asyncio.start_server(lambda _, __: None, "127.0.0.2", URL(receiver.url).port, ssl=wrong)
        async with stray:
            assert (await post(client, named(receiver))).status == 200
            names.addresses = ["127.0.0.2"]
            async with started(names.client(tls=trusting)) as other:
                assert isinstance(await post(other, named(receiver)), Unavailable)
    assert names.dialled == ["127.0.0.2", "127.0.0.1", "127.0.0.2"]


async def test_an_answer_over_tls_is_read_to_its_end_also_where_the_receiver_has_hung_up_by_then() -> None:
    """Of what TLS can decrypt when a connection ends, asyncio hands on one buffer, and drops the rest."""
    authority = trustme.CA()
    trusting, right = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(trusting)
    authority.issue_cert("hooks.example.com").configure_cert(right)
    loop, stands, hung_up, read = asyncio.get_running_loop(), *(threading.Event() for _ in "123")
    body = b"x" * (ANSWER_BYTES_MAX - 1)

    def answer(listening: socket.socket) -> None:
        with right.wrap_socket(listening.accept()[0], server_side=True) as connection:
            connection.recv(HEAD_BYTES_MAX)
            loop.call_soon_threadsafe(stand_still)
            assert stands.wait(SECONDS)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            connection.shutdown(socket.SHUT_WR)
            hung_up.set()
            read.wait(SECONDS)

    def stand_still() -> None:
        stands.set()
        hung_up.wait(SECONDS)

    names = Names("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = asyncio.create_task(asyncio.to_thread(answer, listening))
        async with started(names.client(tls=trusting)) as client:
            found = await post(client, f"https://hooks.example.com:{listening.getsockname()[1]}/")
            read.set()
            await answering
    assert (found.status, len(found.body)) == (200, len(body))


# --- what is kept -----------------------------------------------------------------------------------------------------


async def test_a_slot_goes_to_who_waits_also_past_one_that_gave_up_just_then() -> None:
    async with Receiver() as receiver, started(a_client(concurrency=1)) as client:
        receiver.script(Reply.hang())
        hangs = asyncio.create_task(post(client, receiver.url))
        await receiver.wait_for(1)
        gives_up, waits = (asyncio.create_task(post(client, receiver.url)) for _ in range(2))
        await asyncio.sleep(0)
        hangs.cancel()
        await asyncio.sleep(0)
        gives_up.cancel()
        assert (await waits).status == 200
        assert (await post(client, receiver.url)).status == 200, "and it is free again"
        with pytest.raises(asyncio.CancelledError):
            await gives_up
        assert len(receiver.requests) == 3


async def test_a_wait_for_a_slot_is_as_long_as_a_request() -> None:
    async with Receiver(Reply.hang()) as receiver, started(a_client(concurrency=1)) as client:
        hangs = asyncio.create_task(post(client, receiver.url))
        await receiver.wait_for(1)
        attempt = an_attempt(deadline_seconds=0.1)
        assert await post(client, receiver.url, attempt=attempt) == Deferred(
            "timed out before the request was written", outage=True
        )
        assert attempt.progress.written is False
        hangs.cancel()


async def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    """What refers to itself is freed by it alone, which looks through all that lives."""
    client = a_client()
    await client.start(FakeClock())  # so that its connection is kept, however long this takes
    async with Receiver(Reply(headers={"X-Kind": "pot"}, body=b"ok")) as receiver:
        await post(client, receiver.url)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                assert (await post(client, receiver.url)).status == 200
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(found).__name__ for found in gc.garbage if type(found).__module__.startswith(OURS_AND_PARSER)}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        await client.close()
        assert left == set()


async def test_a_connection_that_the_receiver_closes_is_freed_with_its_buffer_at_once() -> None:
    """Where receivers keep none, each request has one: of those the garbage collector would find many, and late."""
    freed: asyncio.Queue[None] = asyncio.Queue()
    async with Receiver(Reply(headers={"Connection": "close"})) as receiver, started(a_client()) as client:
        pool: Any = client._pool
        gc.disable()
        try:
            for _ in range(2):
                assert (await post(client, receiver.url)).status == 200
                weakref.finalize(next(iter(pool._open)), freed.put_nowait, None)
                async with asyncio.timeout(10):
                    await freed.get()
        finally:
            gc.enable()


async def test_connections_that_nobody_uses_are_closed_and_their_places_forgotten() -> None:
    clock = FakeClock()
    client = a_client()
    await client.start(clock)
    async with Receiver() as receiver:
        await post(client, receiver.url)
        assert receiver.connections == 1
        clock.advance(2)
        await receiver.wait_until_quiet()
        clock.advance(20)
        pool: Any = client._pool
        assert (pool._known, pool._open, pool._sweeping) == ({}, set(), None)
        assert (await post(client, receiver.url)).status == 200
        assert receiver.connections == 2
        await client.close()
