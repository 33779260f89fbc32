"""The webhook channel over real sockets, against a receiver that does to the connection what a test says."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import standardwebhooks
import svix.webhooks
import trustme

from pillarbox.__about__ import __version__
from pillarbox.channels.base import Seams
from pillarbox.channels.egress import Egress
from pillarbox.channels.http.answer_reader import ANSWER_BYTES_MAX
from pillarbox.channels.webhook import WebhookChannel
from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import dedupe_token
from pillarbox.domain.message import Content, File, Format
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.domain.retry import WEBHOOK
from pillarbox.errors import ConfigError, InvalidMessage, NotStarted
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.receiver import Answer, Receiver
from tests.channels.attempts import an_attempt
from tests.kept_port import kept_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ID = "AZq0fV9xcRKaW3bQ0pYl2A"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
CANARY = "CANARY7f3a9"
PATIENCE_SECONDS = 60
DEADLINE_SECONDS = 10.0
STEPS = 500  # in which that much time passes


@asynccontextmanager
async def started(channel: WebhookChannel, seams: Seams | None = None) -> AsyncIterator[WebhookChannel]:
    await channel.start(seams or Seams())
    try:
        yield channel
    finally:
        await channel.close()


def attempt(**fields: Any) -> Any:
    return an_attempt(**({"token": dedupe_token(ID, 0, 0), "id": ID} | fields))


async def sent(url: str, answer: Answer | None = None, /, **options: Any) -> AnyOutcome:
    """Send once to a receiver that does *answer*; with a *url* of "" to that receiver, else to *url*."""
    fields = options.pop("fields", {})
    async with (
        Receiver(answer) as receiver,
        started(WebhookChannel(url or f"{receiver.url}hook", **options)) as channel,
    ):
        return await channel.send(attempt(**fields))


async def given_up(answer: Answer, *, deadline_seconds: float = DEADLINE_SECONDS, **options: Any) -> AnyOutcome:
    """Send to a receiver that does *answer*, and let time pass once it has the request, until the deadline."""
    clock = FakeClock()
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        Receiver(answer, clock=clock) as receiver,
        started(WebhookChannel(receiver.url, **options), Seams(clock=clock)) as channel,
    ):
        sending = asyncio.create_task(channel.send(attempt(deadline_seconds=deadline_seconds)))
        await receiver.wait_for(1)
        for _ in range(STEPS):
            clock.advance(DEADLINE_SECONDS / STEPS)
            for _ in range(3):
                await clock.sleep(0)
        return await sending


# --- What goes out ----------------------------------------------------------------------------------------


async def request_of(*, options: dict[str, Any] | None = None, seams: Seams | None = None, **fields: Any) -> Any:
    async with (
        Receiver() as receiver,
        started(WebhookChannel(f"{receiver.url}hook?shop=7", **(options or {})), seams) as channel,
    ):
        assert await channel.send(attempt(**fields)) == Delivered()
        return receiver.requests[0]


async def test_a_text_goes_out_as_json_of_the_fields_that_are_present() -> None:
    request = await request_of(to="ann", text="Zażółć", traceparent=None)
    assert (request.method, request.path) == ("POST", "/hook?shop=7")
    assert request.headers["content-type"] == "application/json"
    assert request.body == f'{{"id":"{ID}","to":"ann","text":"Zażółć"}}'.encode()


@pytest.mark.contract("EN2", "CO1")
async def test_every_field_of_a_message_is_in_its_json() -> None:
    content = Content(
        text="<b>x</b>",
        format=Format.HTML,
        subject="S\r\nBcc: x",
        reply_to="r1",
        silent=True,
        files=(File(name="a.pdf", media_type="application/pdf", url="https://example.com/a.pdf"),),
        extra={"buttons": [1, {"a": None}]},
    )
    request = await request_of(
        content=content,
        to="ann",
        thread="t1",
        op=Op.EDIT,
        target="m1",
        correlation_id="turn-1",
        part=2,
        part_count=3,
    )
    assert request.json == {
        "id": ID,
        "to": "ann",
        "text": "<b>x</b>",
        "format": "html",
        "subject": "S\r\nBcc: x",
        "thread": "t1",
        "reply_to": "r1",
        "silent": True,
        "files": [{"url": "https://example.com/a.pdf", "name": "a.pdf", "media_type": "application/pdf"}],
        "extra": {"buttons": [1, {"a": None}]},
        "op": "edit",
        "target": "m1",
        "correlation_id": "turn-1",
        "part": 2,
        "part_count": 3,
    }


@pytest.mark.contract("EN2")
@pytest.mark.parametrize(
    ("payload", "content_type", "sent_type"),
    [
        (b'{ "a" :1}\n', "application/cloudevents+json", "application/cloudevents+json"),
        (bytes(range(256)), None, "application/octet-stream"),
        (b"", "text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (b"x" * 3_000_000, "application/x-big", "application/x-big"),
    ],
)
async def test_a_raw_payload_goes_out_byte_for_byte(payload: bytes, content_type: str | None, sent_type: str) -> None:
    request = await request_of(
        content=Content(payload=payload, content_type=content_type), options={"secrets": [SECRET]}
    )
    assert request.body == payload
    assert request.headers["content-type"] == sent_type
    if payload[:1] == b"{":
        standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))


async def test_what_we_say_about_ourselves_and_what_we_want_back() -> None:
    request = await request_of(options={"headers": {"X-Shop": "7", "Authorization": "Bearer x"}})
    assert request.headers["user-agent"] == f"pillarbox/{__version__}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-shop"] == "7"
    assert request.headers["authorization"] == "Bearer x"
    assert "cookie" not in request.headers
    assert (await request_of(options={"headers": {"user-agent": "me/1"}})).headers["user-agent"] == "me/1"


async def test_user_and_password_of_the_url_become_basic_authentication() -> None:
    async with Receiver() as receiver:
        url = receiver.url.replace("://", "://me:p%40ss%C5%BC@")
        async with started(WebhookChannel(url)) as channel:
            await channel.send(attempt())
        pair = base64.b64decode(receiver.requests[0].headers["authorization"].removeprefix("Basic "))
    assert pair.decode() == "me:p@ssż"
    with pytest.raises(ConfigError, match=r"headers\.Authorization"):
        WebhookChannel("https://me:x@example.com/", headers={"authorization": "Bearer x"})


@pytest.mark.parametrize(
    ("traceparent", "goes_out"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX: y", False),
        ("nonsense", False),
        (None, False),
    ],
)
async def test_a_trace_is_carried_on_when_it_is_one(traceparent: str | None, goes_out: bool) -> None:
    request = await request_of(traceparent=traceparent)
    assert request.headers.get("traceparent") == (traceparent if goes_out else None)
    assert "x" not in request.headers


# --- Signatures and tokens --------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", [standardwebhooks.Webhook, svix.webhooks.Webhook])
async def test_what_arrives_is_verified_by_libraries_of_others_while_secrets_rotate(verifier: Any) -> None:
    request = await request_of(text="Zażółć", options={"secrets": [SECRET, OTHER_SECRET]})
    headers = dict(request.headers)
    verifier(SECRET).verify(request.body, headers)
    verifier(OTHER_SECRET).verify(request.body, headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier(SECRET).verify(request.body + b" ", headers)


@pytest.mark.contract("UN2")
async def test_every_attempt_carries_the_same_id_and_token_and_its_own_timestamp() -> None:
    clock = FakeClock(wall_ms=1_767_323_045_678)
    async with (
        Receiver(Answer(status=503)) as receiver,
        started(WebhookChannel(receiver.url, secrets=[SECRET]), Seams(clock=clock)) as channel,
    ):
        for number in range(1, 4):
            await channel.send(attempt(number=number))
            clock.advance(300)
        headers = [request.headers for request in receiver.requests]
        assert len({request.body for request in receiver.requests}) == 1
    assert {one["webhook-id"] for one in headers} == {ID}
    assert {one["idempotency-key"] for one in headers} == {ID + "AAA"}
    assert [one["webhook-timestamp"] for one in headers] == ["1767323045", "1767323345", "1767323645"]
    assert len({one["webhook-signature"] for one in headers}) == 3


@pytest.mark.contract("UN2")
async def test_parts_and_ordered_copies_are_new_to_a_receiver_and_an_inherited_token_is_not() -> None:
    async def ids(**fields: Any) -> tuple[str, str]:
        headers = (await request_of(**fields)).headers
        return headers["webhook-id"], headers["idempotency-key"]

    first, second = dedupe_token(ID, 0, 0), dedupe_token(ID, 1, 0)
    copy, last = dedupe_token(ID, 0, 1), dedupe_token(ID, 4095, 63)
    assert await ids(token=first, part_count=2) == (ID, first)
    assert await ids(token=second, part=1, part_count=2) == (second, second)
    assert await ids(token=copy) == (copy, copy)
    assert await ids(token=last, part=4095, part_count=4096) == (last, last)
    # A replay is a message of its own, but where the first may have arrived it carries the first one's token.
    assert await ids(id="BBBBBBBBBBBBBBBBBBBBBB", token=first) == (ID, first)


# --- What an answer means ---------------------------------------------------------------------------------


@pytest.mark.contract("CL1", "CL5")
@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((200, 201, 202, 204, 226, 299), Delivered()),
        ((400, 413, 415, 422), Rejected("…")),
        ((410,), Rejected("…", about="endpoint")),
        ((408, 409, 425), Deferred("…")),
        ((429,), RateLimited("…", scope="channel")),
        ((401, 402, 403, 404, 405, 406, 411, 418, 423, 451, 499), Deferred("…", unclassified=True)),
        ((500, 501, 502, 504, 505, 507, 511, 599), Uncertain("…")),
        ((503,), Deferred("…", outage=True)),
        ((300, 301, 302, 303, 304, 307, 308, 399), Deferred("…")),
    ],
    ids=["2xx", "rejected", "gone", "retry", "slow", "unknown", "uncertain", "busy", "redirect"],
)
async def test_what_each_status_means(statuses: tuple[int, ...], outcome: AnyOutcome) -> None:
    async with Receiver() as receiver, started(WebhookChannel(receiver.url)) as channel:
        for status in statuses:
            body = b"" if status in {204, 304} else b"TEXT FROM THE RECEIVER"
            receiver.script(Answer(status=status, body=body, headers={"Location": receiver.url}))
            found = await channel.send(attempt())
            if isinstance(found, Delivered):
                assert found == Delivered(answer=body.decode() or None)
                continue
            assert found.reason.startswith(f"HTTP {status}")
            assert "RECEIVER" not in found.reason
            assert found.answer == (body.decode() or None)
            assert "RECEIVER" not in repr(found)
            found.reason = "…"
            assert found == outcome
        assert receiver.count == len(statuses)


@pytest.mark.contract("CL2")
async def test_a_user_may_say_what_a_status_means() -> None:
    async with Receiver() as receiver:
        outcomes = {"409": "delivered", "401": "unavailable", "5xx": "deferred", "2xx": "uncertain", "200": "delivered"}
        async with started(WebhookChannel(receiver.url, outcomes=outcomes)) as channel:
            found = {}
            for status in (409, 401, 500, 503, 202, 200, 404):
                receiver.script(Answer(status=status))
                found[status] = type(await channel.send(attempt()))
    assert found == {
        409: Delivered,
        401: Unavailable,
        500: Deferred,
        503: Deferred,
        202: Uncertain,
        200: Delivered,
        404: Deferred,
    }


@pytest.mark.contract("RE4")
@pytest.mark.parametrize("status", [429, 503, 408, 502, 404])
async def test_a_servers_hint_is_handed_on_to_the_schedule(status: int) -> None:
    clock = FakeClock(wall_ms=1_445_412_400_000)
    async with Receiver() as receiver, started(WebhookChannel(receiver.url), Seams(clock=clock)) as channel:
        for headers, body, after in (
            ({"Retry-After": "1.5"}, b"", 1.5),
            ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", 80.0),
            ({"RateLimit-Reset": "9"}, b"", 9.0),
            ({}, b'{"retry_after": 2.5}', 2.5),
            ({"Retry-After": "nonsense"}, b"", None),
            ({}, b"", None),
        ):
            receiver.script(Answer(status=status, headers=headers, body=body))
            found = await channel.send(attempt())
            assert isinstance(found, Deferred | RateLimited | Uncertain)
            assert found.after == after


@pytest.mark.parametrize(
    ("body", "receipt"),
    [
        (b'{"id": "evt_1", "ok": true}', "evt_1"),
        (b'{"id": 17}', "17"),
        (b'{"id": null}', None),
        (b'{"id": ""}', None),
        (b'{"id": ["x"]}', None),
        (b'{"id": "a\\nb"}', None),
        (b'{"id": "' + b"x" * 129 + b'"}', None),
        (b'{"id": ' + b"[" * 50_000, None),
        (b"evt_1", None),
        (b'[{"id": "x"}]', None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
async def test_the_receivers_own_id_is_the_receipt(body: bytes, receipt: str | None) -> None:
    outcome = await sent("", Answer(body=body))
    assert isinstance(outcome, Delivered)
    assert outcome.receipt == receipt


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"thanks", "thanks"),
        (b"", None),
        (b"a\x00b", "ab"),
        (b"x" * 5000, "x" * 1024),
        ("ż".encode() * 5000, "ż" * 512),
        (b"x" + "ż".encode() * 5000, "x" + "ż" * 511),
    ],
)
async def test_at_most_a_kilobyte_of_an_answer_is_kept(body: bytes, answer: str | None) -> None:
    outcome = await sent("", Answer(body=body))
    assert outcome == Delivered(answer=answer)


# --- When no answer comes ---------------------------------------------------------------------------------


@pytest.mark.contract("CL6")
async def test_without_a_listener_nothing_was_sent() -> None:
    with kept_port() as port:
        outcome = await sent(f"http://127.0.0.1:{port}/")
    assert outcome == Deferred("not connected: Connection refused before the request was written", outage=True)


@pytest.mark.contract("CL6")
async def test_without_a_name_nothing_was_sent() -> None:
    async def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    outcome = await sent("http://hooks.example.com/", egress=Egress(operator=True, resolve=unknown))
    assert outcome == Deferred(
        "name not resolved: Name or service not known before the request was written", outage=True
    )


@pytest.mark.contract("CL6")
async def test_a_name_server_that_hangs_has_sent_nothing() -> None:
    async def hangs(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    outcome = await sent(
        "http://hooks.example.com/", egress=Egress(operator=True, resolve=hangs), fields={"deadline_seconds": 0.05}
    )
    assert outcome == Deferred("timed out before the request was written", outage=True)


@pytest.mark.contract("CL6")
async def test_a_connection_that_is_never_accepted_has_sent_nothing() -> None:
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (one, two):  # they fill the queue, so the kernel answers no third
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        outcome = await sent(f"http://127.0.0.1:{full.getsockname()[1]}/", fields={"deadline_seconds": 0.2})
    assert outcome == Deferred("timed out before the request was written", outage=True)


@pytest.mark.contract("CL6")
async def test_a_failed_tls_handshake_has_sent_nothing() -> None:
    def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        outcome = await sent(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert isinstance(outcome, Deferred)
        assert outcome.reason.startswith("TLS failed: ")
    async with Receiver(Answer.reset_unread()) as receiver:
        outcome = await sent(receiver.url.replace("http://", "https://"))
    assert outcome == Deferred("not connected: Connection reset by peer before the request was written", outage=True)


@asynccontextmanager
async def tls_receiver(name: str) -> AsyncIterator[tuple[Receiver, ssl.SSLContext]]:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Receiver(tls=served) as receiver:
        yield receiver, trusting


@pytest.mark.contract("CL2", "CL6")
async def test_a_certificate_that_is_not_trusted_stops_the_channel_and_no_message() -> None:
    async with tls_receiver("127.0.0.1") as (receiver, trusting):
        outcome = await sent(receiver.url)
        assert isinstance(outcome, Unavailable)
        assert outcome.reason.startswith("certificate refused: ")
        assert receiver.requests == []
        assert isinstance(await sent(receiver.url, tls=trusting), Delivered)
    async with tls_receiver("other.example.com") as (receiver, trusting):
        assert isinstance(await sent(receiver.url, tls=trusting), Unavailable)
        assert receiver.requests == []


@pytest.mark.contract("CL5", "CL6")
@pytest.mark.parametrize("dedupe", [False, True])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer.reset(), "connection lost: Connection reset by peer"),
        (Answer.reset_unread(), "connection lost: Connection reset by peer"),
        (Answer(cut=0), "disconnected"),
        (Answer(cut=9), "disconnected"),
        (Answer(headers={"X-Long": "y" * 100}, cut=60), "disconnected"),
        (Answer(wire=b"SSH-2.0-OpenSSH\r\n\r\n"), "unintelligible answer"),
        (Answer(wire=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n\r\n"), "unintelligible answer"),
    ],
    ids=["reset", "reset unread", "closed", "half a line", "half a head", "not HTTP", "long header"],
)
async def test_after_the_request_was_written_nobody_knows(answer: Answer, reason: str, dedupe: bool) -> None:
    outcome = await sent("", answer, dedupe=dedupe)
    assert outcome == Uncertain(f"{reason} after the request was written", covered=dedupe)


@pytest.mark.contract("CL5", "CL6")
@pytest.mark.parametrize("dedupe", [False, True])
async def test_where_no_answer_comes_in_time_nobody_knows_either(dedupe: bool) -> None:
    outcome = await given_up(Answer.hang(), dedupe=dedupe)
    assert outcome == Uncertain("timed out after the request was written", covered=dedupe)


@pytest.mark.contract("CL6")
async def test_a_request_that_only_half_left_is_uncertain() -> None:
    # The receiver breaks the connection at the first of five million bytes: some left, and a server might act on them.
    content = Content(payload=b"x" * 5_000_000, content_type="application/x-big")
    outcome = await sent("", Answer.reset_unread(), fields={"content": content})
    assert isinstance(outcome, Uncertain)


@pytest.mark.contract("CL6", "UN5")
async def test_a_status_that_may_hide_a_delivery_is_covered_by_a_receiver_that_dedupes() -> None:
    assert await sent("", Answer(status=500), dedupe=True) == Uncertain("HTTP 500 Internal Server Error", covered=True)
    assert await sent("", Answer(status=500)) == Uncertain("HTTP 500 Internal Server Error", covered=False)


@pytest.mark.parametrize("cut", [-1, -5, -10])
async def test_a_status_that_arrived_settles_it_even_if_the_rest_is_lost(cut: int) -> None:
    body = b"0123456789"
    assert await sent("", Answer(body=body, cut=cut)) == Delivered(answer=body[:cut].decode() or None)
    assert isinstance(await sent("", Answer(status=400, body=body, cut=cut)), Rejected)


@pytest.mark.parametrize(("status", "kind"), [(200, Delivered), (503, Deferred), (500, Uncertain)])
async def test_an_answer_that_drips_is_left_at_the_deadline(status: int, kind: type) -> None:
    answer = Answer(status=status, body=b"x" * 2 * STEPS, drip_seconds=DEADLINE_SECONDS / STEPS)
    assert isinstance(await given_up(answer), kind)


async def test_the_channels_own_timeout_holds_where_the_executor_would_wait_longer() -> None:
    outcome = await given_up(Answer.hang(), deadline_seconds=1000 * DEADLINE_SECONDS, timeout_seconds=DEADLINE_SECONDS)
    assert outcome == Uncertain("timed out after the request was written")


def test_the_executors_deadline_comes_after_the_channels_own() -> None:
    assert WebhookChannel("http://x/", timeout_seconds=7).send_timeout_seconds > 7


async def test_a_cancelled_send_is_cancelled_and_leaves_the_channel_usable() -> None:
    async with Receiver() as receiver, started(WebhookChannel(receiver.url, concurrency=1)) as channel:
        receiver.script(Answer.hang())
        sending = asyncio.create_task(channel.send(attempt()))
        await receiver.wait_for(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert isinstance(await channel.send(attempt()), Delivered)


# --- Hostile receivers ------------------------------------------------------------------------------------


async def test_redirects_are_not_followed() -> None:
    async with Receiver() as inside:
        for status in (301, 302, 303, 307, 308):
            outcome = await sent("", Answer(status=status, headers={"Location": inside.url}))
            assert isinstance(outcome, Deferred)
            assert "redirects are not followed" in outcome.reason
        assert inside.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert isinstance(await sent(""), Delivered)
        assert proxy.connections == 0


async def test_cookies_are_not_kept() -> None:
    async with Receiver(Answer(headers={"Set-Cookie": "a=b; Path=/"})) as receiver:
        async with started(WebhookChannel(receiver.url)) as channel:
            for _ in range(2):
                await channel.send(attempt())
        assert not any("cookie" in request.headers for request in receiver.requests)


@pytest.mark.parametrize("status", [200, 429])
async def test_a_gzip_bomb_is_not_unpacked(status: int) -> None:
    bomb = Answer.gzip_bomb(size=32 * 1024 * 1024)
    outcome = await sent("", Answer(status=status, headers=bomb.headers, body=bomb.body))
    assert outcome in (Delivered(), RateLimited("HTTP 429 Too Many Requests", scope="channel"))


async def test_nothing_in_a_packed_answer_is_looked_at() -> None:
    packed = gzip.compress(b'{"retry_after": 5, "id": "x"}')
    headers = {"Content-Encoding": "gzip"}
    slow = await sent("", Answer(status=429, headers=headers, body=packed))
    assert slow == RateLimited("HTTP 429 Too Many Requests", scope="channel", after=None)
    assert await sent("", Answer(headers=headers, body=packed)) == Delivered()


async def test_an_endless_answer_is_read_no_further_than_the_cap() -> None:
    async with Receiver() as receiver, started(WebhookChannel(receiver.url, concurrency=1)) as channel:
        receiver.script(Answer(body=b'{"id": "x"}' + b" " * 20_000_000))
        outcome = await channel.send(attempt())
        assert isinstance(outcome, Delivered)
        assert outcome.answer is not None
        assert len(outcome.answer) == 1024
        assert isinstance(await channel.send(attempt()), Delivered)
        assert receiver.connections == 2  # the first was not read to its end, so it cannot be used again
    assert ANSWER_BYTES_MAX == 64 * 1024


@pytest.mark.contract("EV3")
@pytest.mark.parametrize(
    "answer",
    [
        Answer.reset(),
        Answer.reset_unread(),
        Answer.hang(),
        Answer(cut=5),
        Answer(wire=f"HTTP/1.1 500 {CANARY}\r\nContent-Length: 0\r\n\r\n".encode()),
        Answer(wire=f"{CANARY}\r\n\r\n".encode()),
        *(Answer(status=status, body=CANARY.encode()) for status in (301, 400, 404, 410, 429, 500, 503)),
    ],
)
async def test_no_reason_holds_a_secret_the_text_or_the_recipient(answer: Answer) -> None:
    async with Receiver(answer) as receiver:
        url = receiver.url.replace("://", f"://me:{CANARY}@") + f"bot1:{CANARY}/x?token={CANARY}"
        channel = WebhookChannel(url, headers={"X-Key": CANARY}, secrets=[SECRET])
        async with started(channel):
            outcome = await channel.send(attempt(to=CANARY, text=CANARY, deadline_seconds=0.2))
        assert CANARY in receiver.requests[0].path if receiver.requests else True
    assert CANARY not in repr(outcome)
    assert CANARY not in channel.describe()
    assert CANARY not in repr(channel)


# --- What is refused before anything is sent --------------------------------------------------------------

CONTROLS = [
    "a\r\nX: y", "a\nX: y", "a\rX: y", "\r\n", "\n", "\r", "a\r\n", "\na", "a\x00b", "\x00", "a\x0bb", "a\x0cb",
    "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b", "a\r\n\r\nbody", "a%0d%0a\r\n", "a\x1fb", "a\x08b",
]  # fmt: skip


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("text", CONTROLS, ids=ascii)
def test_what_would_break_out_of_a_header_is_refused_with_its_field(text: str) -> None:
    channel = WebhookChannel("http://example.com/")
    fine = Content(text="x")
    with pytest.raises(InvalidMessage) as to:
        channel.admit(to=text, content=fine)
    with pytest.raises(InvalidMessage) as content_type:
        channel.admit(to="ann", content=Content(payload=b"x", content_type=text))
    with pytest.raises(InvalidMessage) as file:
        channel.admit(to="ann", content=Content(text="x", files=(File(url=f"https://example.com/{text}"),)))
    with pytest.raises(ConfigError) as value:
        WebhookChannel("http://example.com/", headers={"X-Shop": text})
    with pytest.raises(ConfigError) as name:
        WebhookChannel("http://example.com/", headers={text: "7"})
    with pytest.raises(ConfigError) as url:
        WebhookChannel(f"http://example.com/{text}")
    found = [refused.value.field for refused in (to, content_type, file, value, name, url)]
    assert found == ["to", "content_type", "files", "headers.X-Shop", "headers", "url"]
    for refused in (to, content_type, file, value, name, url):
        assert text not in str(refused.value)


@pytest.mark.contract("EN13")
def test_an_empty_recipient_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"^to: "):
        WebhookChannel("http://example.com/").admit(to="", content=Content(text="x"))


@pytest.mark.parametrize("to", ["ann", "-100123", "ann@example.com", "Zażółć gęślą", "a/b?c#d", "x" * 2000])
def test_any_other_recipient_is_admitted_as_it_is(to: str) -> None:
    admission = WebhookChannel("http://example.com/").admit(to=to, content=Content(text="x"), thread="t")
    assert (admission.recipient, admission.parts) == (to, ())


@pytest.mark.parametrize("content_type", ["", " text/plain", "text/plain ", "text/plain; a=ż"])
def test_a_content_type_that_is_no_header_value_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidMessage, match=r"^content_type: "):
        WebhookChannel("http://x/").admit(to="a", content=Content(payload=b"x", content_type=content_type))


@pytest.mark.parametrize(
    "name",
    [
        "Host", "content-length", "Transfer-Encoding", "Connection", "webhook-id", "Webhook-Timestamp",
        "webhook-signature", "Idempotency-Key", "Accept-Encoding", "Content-Type", "Content-Encoding", "Expect",
        "traceparent",
    ],
)  # fmt: skip
def test_headers_that_the_channel_sets_itself_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="the channel sets this header itself") as refused:
        WebhookChannel("http://example.com/", headers={name: "7"})
    assert refused.value.field == f"headers.{name}"


@pytest.mark.parametrize("name", ["", "X Shop", "X:Shop", "X(Shop)", "Zażółć", 7])
def test_header_names_are_tokens(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^headers: expected names"):
        WebhookChannel("http://example.com/", headers={name: "7"})


@pytest.mark.contract("CO4")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/a.pdf", "egress.allow would allow it"),
        ("http://2130706433/a.pdf", "not a public address"),
        ("http://169.254.169.254/", "no setting allows it"),
        ("http://10.1.2.3/a.pdf", "egress.allow would allow it"),
        ("file:///etc/passwd", "expected a URL that begins with http"),
        ("https://me:x@example.com/", "user name or password"),
    ],
)
def test_a_file_that_leads_inside_or_nowhere_is_refused(url: str | None, words: str) -> None:
    content = Content(text="x", files=(File(url="https://example.com/fine"), File(url=url, digest="d")))
    with pytest.raises(InvalidMessage) as refused:
        WebhookChannel("http://127.0.0.1/").admit(to="a", content=content)
    assert refused.value.field == "files"
    assert words in refused.value.expected


def test_networks_that_the_operator_opened_may_hold_files() -> None:
    channel = WebhookChannel.from_url("http://127.0.0.1/", allow_networks="10.1.0.0/16, fd12::/48")
    content = Content(text="x", files=(File(url="http://10.1.2.3/a.pdf"), File(url="http://[fd12::1]/")))
    assert channel.admit(to="a", content=content).recipient == "a"


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/", "http://100.100.100.200/"],
)
def test_not_even_the_operator_points_a_channel_at_a_metadata_address(url: str) -> None:
    with pytest.raises(ConfigError, match="no setting allows it") as refused:
        WebhookChannel(url)
    assert refused.value.field == "url"


async def test_a_name_that_leads_to_a_metadata_address_stops_the_channel_and_dials_nothing() -> None:
    dialled: list[Any] = []

    async def metadata(_host: str, _port: int) -> list[str]:
        return ["169.254.169.254"]

    def cannot_dial(info: Any) -> socket.socket:
        dialled.append(info)
        raise OSError

    egress = Egress(operator=True, resolve=metadata, dial=cannot_dial)
    outcome = await sent("http://hooks.example.com/", egress=egress)
    assert outcome == Unavailable("169.254.169.254 is a link-local or metadata address: no setting allows it")
    assert dialled == []


# --- Connections ------------------------------------------------------------------------------------------


async def test_one_connection_serves_message_after_message() -> None:
    async with Receiver() as receiver:
        async with started(WebhookChannel(receiver.url)) as channel:
            for _ in range(50):
                await channel.send(attempt())
        assert (receiver.count, receiver.connections) == (50, 1)
        await receiver.wait_until_quiet()


async def test_no_more_connections_are_opened_than_the_channel_may_use() -> None:
    async with Receiver() as receiver, started(WebhookChannel(receiver.url, concurrency=3)) as channel:
        receiver.hold()
        sending = [asyncio.create_task(channel.send(attempt())) for _ in range(10)]
        await receiver.wait_for(3)
        receiver.release()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert {type(outcome) for outcome in await asyncio.gather(*sending)} == {Delivered}
        assert receiver.connections == 3


async def test_a_receiver_that_closes_after_each_answer_is_served_all_the_same() -> None:
    async with Receiver(Answer(headers={"Connection": "close"})) as receiver:
        async with started(WebhookChannel(receiver.url)) as channel:
            for _ in range(5):
                assert isinstance(await channel.send(attempt()), Delivered)
        assert receiver.connections == 5


async def test_a_channel_sends_only_between_start_and_close() -> None:
    channel = WebhookChannel("http://127.0.0.1:9/")
    with pytest.raises(NotStarted):
        await channel.send(attempt())
    await channel.close()
    await channel.start(Seams())
    await channel.close()
    await channel.close()
    with pytest.raises(NotStarted):
        await channel.send(attempt())


def test_what_a_webhook_declares() -> None:
    channel = WebhookChannel("https://example.com/hook?token=x")
    assert (channel.kind, channel.ordered, channel.policy) == ("webhook", False, WEBHOOK)
    assert channel.concurrency == 100
    assert channel.describe() == "https://example.com/"


async def test_a_body_once_signed_is_the_body_that_is_sent() -> None:
    request = await request_of(
        content=Content(text="x", extra={"b": 1, "a": [2.50, "\u2028"]}), options={"secrets": [SECRET]}
    )
    standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    assert json.loads(request.body)["extra"] == {"b": 1, "a": [2.5, "\u2028"]}
