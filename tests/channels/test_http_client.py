"""What every adapter gets of the HTTP client, beyond what the webhook channel's tests show of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from pillarbox.channels.base import Progress
from pillarbox.channels.egress import Egress
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.client import ANSWER_BYTES_MAX, Client, _Body
from pillarbox.clock import SystemClock
from pillarbox.domain.outcome import Uncertain
from pillarbox.errors import ConfigError, NotStarted
from pillarbox.testing.receiver import Answer as Reply
from pillarbox.testing.receiver import Receiver
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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


class ClosingTransport:
    def __init__(self, *, closing: bool) -> None:
        self.closing = closing

    def is_closing(self) -> bool:
        return self.closing


class Writer:
    def __init__(self, transport: ClosingTransport | None) -> None:
        self.transport = transport
        self.written = b""

    async def write(self, chunk: bytes) -> None:
        if self.transport is None or self.transport.closing:
            raise ConnectionResetError
        self.written += chunk


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    ("transport", "written"),
    [(ClosingTransport(closing=False), True), (ClosingTransport(closing=True), False), (None, False)],
)
async def test_a_connection_closed_in_the_pool_has_not_taken_the_request(
    transport: ClosingTransport | None, written: bool
) -> None:
    progress = Progress()
    body = _Body(b"x", "text/plain", progress)
    assert body.written is False
    writer: Any = Writer(transport)
    if written:
        await body.write_with_length(writer, 1)
    else:
        with pytest.raises(ConnectionResetError):
            await body.write_with_length(writer, 1)
    assert body.written is written
    assert bool(progress.written) is written
