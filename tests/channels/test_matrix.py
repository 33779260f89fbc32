"""Matrix: what a homeserver's answers mean, who sends, and that a second copy is the first event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox import Outbox
from pillarbox.channels.base import Attempt, Seams
from pillarbox.channels.matrix import MatrixChannel
from pillarbox.channels.registry import build
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content
from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Delivered,
    RateLimited,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.errors import ConfigError, InvalidMessage
from pillarbox.testing.platforms import FakeMatrix
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import TOKEN as TXN
from tests.channels.attempts import chat_attempt, started
from tests.channels.tables import rules_without_an_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.channels.base import Channel
    from pillarbox.testing.receiver import Received

ROOM = "!U2Ajg9room"
EVENT = "$event"
SECRET = "CANARY-7f3a9-xyz"


@pytest.fixture
async def matrix() -> AsyncIterator[FakeMatrix]:
    async with FakeMatrix(password=SECRET) as matrix:
        yield matrix


@pytest.fixture
async def channel(matrix: FakeMatrix) -> AsyncIterator[Channel]:
    async with started(matrix.url) as channel:
        yield channel


def attempt(text: str = "Hello", *, to: str = ROOM, **fields: Any) -> Attempt:
    return chat_attempt(text, to=to, **fields)


def sent(matrix: FakeMatrix) -> list[Received]:
    return [request for request in matrix.receiver.requests if request.method == "PUT"]


def code(status: int, errcode: str, *, headers: dict[str, str] | None = None, **fields: object) -> Answer:
    body = {"errcode": errcode, "error": "No", **fields}
    return Answer(status=status, headers=headers or {}, body=msgspec.json.encode(body))


def every(status: int, codes: str, outcome: type[AnyOutcome], **fields: Any) -> list[tuple[Answer, AnyOutcome]]:
    return [(code(status, one), outcome(f"{one} (HTTP {status})", **fields)) for one in codes.split()]


THREAD_OF_A_RELATION = "Cannot start threads from an event with a relation"
ANSWERS: list[tuple[Answer, AnyOutcome]] = [
    (Answer(body=b'{"event_id": "$e"}'), Delivered("$e")),
    (
        code(429, "M_LIMIT_EXCEEDED", headers={"Retry-After": "1"}, retry_after_ms=220),
        RateLimited("M_LIMIT_EXCEEDED (HTTP 429)", scope="channel", after=0.22),
    ),
    (
        code(429, "M_LIMIT_EXCEEDED", headers={"Retry-After": "7"}),
        RateLimited("M_LIMIT_EXCEEDED (HTTP 429)", scope="channel", after=7),
    ),
    (Answer(status=429, body=b"<html>"), RateLimited("HTTP 429 Too Many Requests", scope="channel")),
    *every(401, "M_MISSING_TOKEN", Unavailable, auth=True),
    *every(403, "M_USER_DEACTIVATED", Unavailable, auth=True),
    *every(401, "M_USER_LOCKED", Unavailable),
    *every(403, "M_USER_SUSPENDED M_CONSENT_NOT_GIVEN M_EXCLUSIVE M_UNKNOWN_DEVICE", Unavailable),
    *every(403, "M_RESOURCE_LIMIT_EXCEEDED M_USER_LIMIT_EXCEEDED", Unavailable),
    *every(404, "M_UNRECOGNIZED", Unavailable),
    (Answer(status=401, body=b"<html>"), Unavailable("HTTP 401 Unauthorized", auth=True)),
    *every(403, "M_FORBIDDEN M_GUEST_ACCESS_FORBIDDEN", Rejected, about="recipient"),
    *every(404, "M_NOT_FOUND M_UNKNOWN_ROOM", Rejected, about="recipient"),
    *every(400, "M_INCOMPATIBLE_ROOM_VERSION", Rejected, about="recipient"),
    *every(413, "M_TOO_LARGE", Rejected),
    *every(400, "M_BAD_JSON M_NOT_JSON M_INVALID_PARAM M_MISSING_PARAM M_DUPLICATE_ANNOTATION", Rejected),
    (code(400, "M_UNKNOWN", error=THREAD_OF_A_RELATION), Rejected("M_UNKNOWN (HTTP 400)")),
    (Answer(status=413, body=b"<html>"), Rejected("HTTP 413 Content Too Large")),
    *every(500, "M_UNKNOWN", Uncertain, covered=True),
    (Answer(status=502, body=b"<html>"), Uncertain("HTTP 502 Bad Gateway", covered=True)),
    (Answer(status=200, body=b"<html>"), Uncertain("HTTP 200 OK", covered=True)),
    *every(400, "M_SOMETHING_NEW", Deferred, unclassified=True),
]


@pytest.mark.contract("CH2", "CL2")
@pytest.mark.parametrize(("answer", "outcome"), ANSWERS)
async def test_what_an_answer_means(matrix: FakeMatrix, channel: Channel, answer: Answer, outcome: AnyOutcome) -> None:
    assert isinstance(await channel.send(attempt(token=TXN[:-1] + "9")), Delivered)
    matrix.script(answer)
    found = await channel.send(attempt())
    found.answer = None
    assert found == outcome
    assert len(sent(matrix)) == 2
    assert isinstance(await channel.send(attempt()), Delivered)


@pytest.mark.contract("CH2")
def test_every_rule_has_an_answer_that_it_is_about() -> None:
    channel = MatrixChannel(access_token=SECRET, base_url="http://127.0.0.1:8008")
    assert rules_without_an_answer(channel, (answer for answer, _ in ANSWERS)) == []


# What goes out


@pytest.mark.contract("CO1", "UN2")
async def test_a_message_is_one_event_under_the_attempts_token(matrix: FakeMatrix, channel: Channel) -> None:
    outcome = await channel.send(attempt("**b** & c", written="markdown", extra={"com.example.key": 1}))
    assert isinstance(outcome, Delivered)
    assert outcome.receipt == matrix.messages[0]["event_id"]
    (request,) = sent(matrix)
    assert request.path == f"/_matrix/client/v3/rooms/%21U2Ajg9room/send/m.room.message/{TXN}"
    assert request.json == {
        "msgtype": "m.text",
        "body": "b & c",
        "format": "org.matrix.custom.html",
        "formatted_body": "<strong>b</strong> &amp; c",
        "m.mentions": {},
        "com.example.key": 1,
    }


@pytest.mark.contract("CO1")
@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("a\nb *i* ~~s~~ <u>u</u> `c<d`", "a<br>b <em>i</em> <del>s</del> <u>u</u> <code>c&lt;d</code>"),
        ('[l](https://e.example/?a="b")', '<a href="https://e.example/?a=%22b%22">l</a>'),
        ("x\n\n```py\n1\n\n2\n```\n\ny", 'x<pre><code class="language-py">1\n\n2</code></pre>y'),
        ("> q\n> r\n\nend", "<blockquote>q<br>r</blockquote>end"),
        ("<tg-spoiler>s</tg-spoiler>", "<span data-mx-spoiler>s</span>"),
    ],
)
async def test_markup_is_html_that_clients_know(matrix: FakeMatrix, channel: Channel, markdown: str, html: str) -> None:
    assert isinstance(await channel.send(attempt(markdown, written="markdown")), Delivered)
    assert matrix.messages[0]["content"]["formatted_body"] == html


@pytest.mark.contract("CO1")
async def test_threads_and_replies_are_relations(matrix: FakeMatrix, channel: Channel) -> None:
    for number, fields in enumerate(({"thread": "$t"}, {"reply_to": "$r"}, {"thread": "$t", "reply_to": "$r"})):
        token = f"{TXN[:-1]}{number}"
        assert isinstance(await channel.send(attempt(token=token, silent=True, **fields)), Delivered)
    thread = {"rel_type": "m.thread", "event_id": "$t"}
    assert [event["content"]["m.relates_to"] for event in matrix.messages] == [
        {**thread, "is_falling_back": True, "m.in_reply_to": {"event_id": "$t"}},
        {"m.in_reply_to": {"event_id": "$r"}},
        {**thread, "is_falling_back": False, "m.in_reply_to": {"event_id": "$r"}},
    ]
    assert {event["content"]["msgtype"] for event in matrix.messages} == {"m.notice"}


@pytest.mark.contract("CO5")
async def test_a_message_is_edited_and_deleted(matrix: FakeMatrix, channel: Channel) -> None:
    first = await channel.send(attempt("First"))
    assert isinstance(first, Delivered)
    edit = attempt("Second", op=Op.EDIT, target=first.receipt, token=TXN[:-1] + "1")
    assert isinstance(await channel.send(edit), Delivered)
    assert matrix.texts(ROOM) == ["Second"]
    redaction = attempt(op=Op.DELETE, target=first.receipt, token=TXN[:-1] + "2")
    assert isinstance(await channel.send(redaction), Delivered)
    assert matrix.texts(ROOM) == []


@pytest.mark.contract("CH3")
async def test_a_thread_that_cannot_be_goes_without(matrix: FakeMatrix, channel: Channel) -> None:
    assert isinstance(await channel.send(attempt(token=TXN[:-1] + "9")), Delivered)
    matrix.script(code(400, "M_UNKNOWN", error=THREAD_OF_A_RELATION))
    outcome = await channel.send(attempt(thread="$t"))
    assert isinstance(outcome, Delivered)
    assert outcome.degraded == f"sent without its thread: {THREAD_OF_A_RELATION}"
    assert "m.relates_to" not in matrix.messages[-1]["content"]


@pytest.mark.contract("PA1")
async def test_a_long_text_goes_out_in_events_that_fit(matrix: FakeMatrix, tmp_path: Path) -> None:
    text = "".join(f'- **point** {i} "quoted" `code`\n' for i in range(4000))
    async with Outbox(tmp_path / "outbox.db", channels={"chat": matrix.url}) as box:
        message = await box.send("chat", to=ROOM, text=text, format="markdown")
        await message.wait(timeout=60)
        assert message.state == "delivered"
    assert len(matrix.messages) > 2
    assert max(len(request.body) for request in sent(matrix)) < 65_000
    assert "\n".join(matrix.texts(ROOM)) == "\n".join(f'• point {i} "quoted" code' for i in range(4000))


# Who sends it, and how often


@pytest.mark.contract("UN2", "UN5")
async def test_a_second_copy_is_the_first_event_as_long_as_the_device_is_the_same(matrix: FakeMatrix) -> None:
    receipts = []
    for lose in (None, matrix.expire_tokens, matrix.revoke_tokens):
        # A restart each time: what was known of tokens is gone.
        channel = MatrixChannel.from_url(matrix.url)
        await channel.start(Seams())
        outcome = await channel.send(attempt())
        if lose is not None:
            lose()
        again = await channel.send(attempt(number=2))
        await channel.close()
        receipts += [outcome, again]
    first = matrix.messages[0]["event_id"]
    assert {outcome.receipt for outcome in receipts if isinstance(outcome, Delivered)} == {first}
    assert len(receipts) == 6
    assert len(matrix.messages) == 1
    assert matrix.logins == 4  # a refresh needed none


@pytest.mark.contract("UN5")
async def test_many_at_once_log_in_once_and_refresh_once(matrix: FakeMatrix, channel: Channel) -> None:
    for _ in range(2):
        sends = (channel.send(attempt(token=f"{TXN[:-2]}{number:02}")) for number in range(10))
        assert all(isinstance(outcome, Delivered) for outcome in await asyncio.gather(*sends))
        matrix.expire_tokens()
    assert matrix.logins == 1
    refreshes = [request for request in matrix.receiver.requests if request.path.endswith("/refresh")]
    assert len(refreshes) == 1


@pytest.mark.contract("UN5", "CL6")
@pytest.mark.parametrize("has_device", [True, False])
async def test_only_a_token_with_a_device_covers_a_second_copy(matrix: FakeMatrix, *, has_device: bool) -> None:
    if has_device:
        channel = MatrixChannel.from_url(matrix.url)
    else:
        channel = MatrixChannel(access_token=matrix.token_without_device(), base_url=matrix.base_url)
    await channel.start(Seams())
    assert isinstance(await channel.send(attempt(token=TXN[:-1] + "9")), Delivered)
    matrix.script(Answer.reset())
    outcome = await channel.send(attempt())
    assert isinstance(outcome, Uncertain)
    assert outcome.covered is has_device
    await channel.close()


@pytest.mark.contract("CL6", "CH8")
@pytest.mark.parametrize(
    ("plans", "outcome"),
    [
        ([code(403, "M_FORBIDDEN")], Unavailable("M_FORBIDDEN (HTTP 403) before the message was sent", auth=True)),
        (
            [code(429, "M_LIMIT_EXCEEDED", retry_after_ms=2500)],
            RateLimited("M_LIMIT_EXCEEDED (HTTP 429) before the message was sent", scope="channel", after=2.5),
        ),
        ([Answer(status=502)], Deferred("no code (HTTP 502) before the message was sent")),
        ([Answer(body=b"<html>")], Deferred("unintelligible answer before the message was sent")),
        ([Answer.reset()], Deferred("disconnected after the request was written; nothing of the message was in it")),
    ],
)  # fmt: skip
async def test_where_nobody_is_logged_in_nothing_of_the_message_was_sent(
    matrix: FakeMatrix, channel: Channel, plans: list[Answer], outcome: AnyOutcome
) -> None:
    matrix.script(*plans)
    trying = attempt()
    found = await channel.send(trying)
    found.answer = None
    assert type(found) is type(outcome)
    if not isinstance(found, Deferred):
        assert found == outcome
    assert trying.progress.written is False
    assert sent(matrix) == []
    assert isinstance(await channel.send(attempt()), Delivered)


@pytest.mark.contract("CL2")
async def test_a_token_that_is_over_and_cannot_be_renewed_stops_the_channel(matrix: FakeMatrix) -> None:
    channel = MatrixChannel(access_token=matrix.token_without_device(), base_url=matrix.base_url)
    await channel.start(Seams())
    matrix.revoke_tokens()
    assert isinstance(await channel.send(attempt()), Unavailable)
    await channel.close()


LOGGED_IN = Answer(body=b'{"access_token": "abc", "device_id": "PILLARBOX"}')


@pytest.mark.contract("CL6", "CH1")
@pytest.mark.parametrize(
    ("plans", "kind"),
    [
        ([LOGGED_IN, code(403, "M_FORBIDDEN")], Unavailable),
        ([LOGGED_IN, code(400, "M_BAD_JSON")], Unavailable),
        ([LOGGED_IN, Answer(status=404)], Unavailable),
        ([LOGGED_IN, Answer(status=413)], Unavailable),
        ([LOGGED_IN, Answer(body=b"<html>Sign in")], Deferred),
        ([LOGGED_IN, Answer(body=b"{}")], Deferred),
        ([LOGGED_IN, Answer(body=b"[" * 10_000)], Deferred),
        ([Answer(body=b'{"access_token": "a\\r\\nX-Evil: y"}')], Deferred),
        ([Answer(body='{"access_token": "a€"}'.encode())], Deferred),
        ([Answer(body=b'{"access_token": "' + b"a" * 10_000 + b'"}')], Deferred),
    ],
)
async def test_a_server_that_answers_nonsense_before_the_message_costs_no_message(
    matrix: FakeMatrix, channel: Channel, plans: list[Answer], kind: type[AnyOutcome]
) -> None:
    matrix.script(*plans)
    trying = attempt()
    assert isinstance(await channel.send(trying), kind)
    assert trying.progress.written is False
    assert sent(matrix) == []
    assert isinstance(await channel.send(attempt()), Delivered)


@pytest.mark.parametrize("room", ["../../admin", "!" + "x" * 300, "!a b", "", "@ann:test.local"])
async def test_an_alias_leads_to_a_room_or_nowhere(matrix: FakeMatrix, channel: Channel, room: str) -> None:
    matrix.aliases["#ops:test.local"] = room
    assert isinstance(await channel.send(attempt(to="#ops:test.local")), Deferred)
    assert sent(matrix) == []


@pytest.mark.parametrize("token", ["a%0d%0aX%3a%20y", "a%e2%82%ac", "a%00"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(f"matrix://{token}@test.local")
    assert refused.value.field == "access_token"


async def test_an_alias_is_looked_up_once(matrix: FakeMatrix, channel: Channel) -> None:
    alias = "#ops:test.local"
    unknown = await channel.send(attempt(to=alias))
    assert isinstance(unknown, Rejected)
    assert unknown.about == "recipient"
    matrix.aliases[alias] = ROOM
    for number in range(2):
        assert isinstance(await channel.send(attempt(to=alias, token=f"{TXN[:-1]}{number}")), Delivered)
    assert matrix.texts(ROOM) == ["Hello", "Hello"]
    looked_up = [request for request in matrix.receiver.requests if "/directory/" in request.path]
    assert len(looked_up) == 2
    assert looked_up[0].path.endswith("/directory/room/%23ops%3Atest.local")


# What is refused at once


@pytest.mark.contract("EN16")
@pytest.mark.parametrize(
    ("to", "content", "thread", "field"),
    [
        ("", Content(text="x"), None, "to"),
        ("ops", Content(text="x"), None, "to"),
        ("@ann:test.local", Content(text="x"), None, "to"),
        ("#ops", Content(text="x"), None, "to"),
        (ROOM, Content(text="x"), "main", "thread"),
        (ROOM, Content(text="x", reply_to="last"), None, "reply_to"),
        (ROOM, Content(text=" "), None, "text"),
        (ROOM, Content(payload=b"x"), None, "payload"),
    ],
)
def test_what_matrix_cannot_take_is_refused_by_the_name_of_its_field(
    to: str, content: Content, thread: str | None, field: str
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        MatrixChannel(access_token=SECRET, base_url="https://test.local").admit(to=to, content=content, thread=thread)
    assert refused.value.field == field


@pytest.mark.contract("CH8")
@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("matrix://", "url"),
        ("matrix://test.local", "url"),
        (f"matrix://alice:{SECRET}@", "url"),
        (f"matrix://alice:{SECRET}@test.local/room", "url"),
        (f"matrix://alice:{SECRET}@test.local?color=red", "color"),
        (f"matrix://alice:{SECRET}@test.local?device_id=a/b", "device_id"),
        (f"matrix://alice:{SECRET}@test.local?base_url=x", "base_url"),
    ],
)
def test_a_wrong_url_or_option_is_named_and_the_secret_is_not(url: str, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(url)
    assert refused.value.field == field
    assert "CANARY" not in str(refused.value)


def test_where_messages_go() -> None:
    assert build(f"matrix://alice:{SECRET}@test.local:8448").describe() == "https://test.local:8448/"
    assert build(f"matrix://{SECRET}@test.local").describe() == "https://test.local/"
    with pytest.raises(ConfigError):
        MatrixChannel(user="alice", base_url="https://test.local")
