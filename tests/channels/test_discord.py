"""Discord: what its answers mean, and what goes out as a bot and to a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox import Outbox
from pillarbox.channels.base import Attempt, Seams
from pillarbox.channels.discord import DiscordChannel, DiscordWebhookChannel
from pillarbox.channels.registry import build
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content, File
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
from pillarbox.testing.platforms import FakeDiscord
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import TOKEN as NONCE
from tests.channels.attempts import chat_attempt, sent, started
from tests.channels.tables import rules_without_an_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.channels.base import Channel


TOKEN = "CANARY7f3a9CANARY.CANARY.CANARY7f3a9CANARY7f3a9CANARY"
HOOK = ("123456789012345678", "CANARY7f3a9CANARY7f3a9")
TOO_LONG = {"content": {"_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."}]}}
NO_REPLY = {"message_reference": {"_errors": [{"code": "REPLIES_UNKNOWN_MESSAGE", "message": "Unknown message"}]}}


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord(token=TOKEN, hook=HOOK) as discord:
        yield discord


@pytest.fixture
async def channel(discord: FakeDiscord) -> AsyncIterator[Channel]:
    async with started(discord.url) as channel:
        yield channel


@pytest.fixture
async def hook(discord: FakeDiscord) -> AsyncIterator[Channel]:
    async with started(discord.hook_url) as channel:
        assert isinstance(channel, DiscordWebhookChannel)
        yield channel


def attempt(text: str = "Hello", *, to: str = "42", **fields: Any) -> Attempt:
    return chat_attempt(text, to=to, **fields)


def refusal(status: int, code: int, *, headers: dict[str, str] | None = None, **body: object) -> Answer:
    said = {"code": code, "message": "No", **body}
    return Answer(status=status, headers=headers or {}, body=msgspec.json.encode(said))


def every(status: int, codes: str, outcome: type[AnyOutcome], **fields: Any) -> list[tuple[Answer, AnyOutcome]]:
    return [(refusal(status, int(code)), outcome(f"{code} (HTTP {status})", **fields)) for code in codes.split()]


COMMON: list[tuple[Answer, AnyOutcome]] = [
    (Answer(body=b'{"id": "9", "channel_id": "42"}'), Delivered("9")),
    (Answer(status=204), Delivered(None)),
    *every(401, "40001 50014", Unavailable, auth=True),
    *every(403, "50025", Unavailable, auth=True),
    *every(401, "40002", Unavailable),
    *every(403, "50026 40012 20001 20002 40333", Unavailable),
    *every(400, "50041", Unavailable),
    (refusal(401, 0), Unavailable("HTTP 401 Unauthorized", auth=True)),
    *every(400, "50006 50109 40005 50045 50046 30015 200000 200001 240000 50081 520004 20009 400001", Rejected),
    *every(400, "50159 50160 50161 50173 50600 520002 160014 50005 520003 50162 10008 160002", Rejected),
    *every(400, "50083 160005", Rejected),
    (refusal(400, 50035, errors=TOO_LONG), Rejected("50035 (HTTP 400)")),
    (refusal(400, 50035, errors=NO_REPLY), Rejected("50035 (HTTP 400)")),
    (Answer(status=413, body=b"<html>"), Rejected("HTTP 413 Content Too Large")),
    *every(404, "10003 10004 10013", Rejected, about="recipient"),
    *every(403, "50001 50007 50008 50009 50013 50024 50033 50278 40007", Rejected, about="recipient"),
    *every(400, "40058 40066 40067 220001 220002 220003 220004", Rejected, about="recipient"),
    *every(429, "20016 20022 20028 20029 30046 40003 40062 160006", RateLimited),
    (refusal(429, 20016, retry_after=4.5), RateLimited("20016 (HTTP 429)", after=4.5)),
    *every(400, "40004 40006 110000 110001 130000", Deferred),
    (refusal(400, 99999), Deferred("99999 (HTTP 400)", unclassified=True)),
    (Answer(status=403, body=b"<html>"), Deferred("HTTP 403 Forbidden", unclassified=True)),
    (Answer(status=500), Uncertain("HTTP 500 Internal Server Error")),
    (Answer(status=502, body=b"<html>"), Uncertain("HTTP 502 Bad Gateway")),
    (Answer(status=200, body=b"<html>"), Uncertain("HTTP 200 OK")),
    (Answer(status=200, body=b"{}"), Uncertain("HTTP 200 OK")),
]
LIMIT = {"message": "You are being rate limited.", "retry_after": 0.64, "global": False}
CLOUDFLARE = Answer(status=429, headers={"Retry-After": "3600"}, body=b"<html>Error 1015")
ANSWERS: list[tuple[Answer, AnyOutcome]] = [
    *COMMON,
    (
        Answer(status=429, headers={"Retry-After": "1"}, body=msgspec.json.encode(LIMIT)),
        RateLimited("HTTP 429 Too Many Requests", after=0.64),
    ),
    (
        Answer(status=429, body=msgspec.json.encode(LIMIT | {"global": True})),
        RateLimited("global (HTTP 429)", scope="channel", after=0.64),
    ),
    (
        Answer(status=429, headers={"X-RateLimit-Scope": "global"}, body=msgspec.json.encode(LIMIT)),
        RateLimited("global (HTTP 429)", scope="channel", after=0.64),
    ),
    (CLOUDFLARE, RateLimited("cloudflare (HTTP 429)", scope="channel", after=3600)),
    (refusal(404, 10015), Deferred("10015 (HTTP 404)", unclassified=True)),
]
HOOK_ANSWERS: list[tuple[Answer, AnyOutcome]] = [
    *COMMON,
    *every(404, "10015", Unavailable, auth=True),
    *every(401, "50027", Unavailable, auth=True),
    (Answer(status=404, body=b"<html>"), Unavailable("HTTP 404 Not Found")),
    (
        Answer(status=429, body=msgspec.json.encode(LIMIT)),
        RateLimited("HTTP 429 Too Many Requests", scope="channel", after=0.64),
    ),
    (CLOUDFLARE, RateLimited("cloudflare (HTTP 429)", scope="channel", after=3600)),
]


@pytest.mark.contract("CH2", "CL2")
@pytest.mark.parametrize(("answer", "outcome"), ANSWERS)
async def test_what_an_answer_means(
    discord: FakeDiscord, channel: Channel, answer: Answer, outcome: AnyOutcome
) -> None:
    discord.script(answer)
    found = await channel.send(attempt())
    found.answer = None
    assert found == outcome
    assert discord.receiver.count == 1
    assert isinstance(await channel.send(attempt()), Delivered)


@pytest.mark.contract("CH2", "CL2")
@pytest.mark.parametrize(("answer", "outcome"), HOOK_ANSWERS)
async def test_what_an_answer_to_a_webhook_means(
    discord: FakeDiscord, hook: Channel, answer: Answer, outcome: AnyOutcome
) -> None:
    discord.script(answer)
    found = await hook.send(attempt(to="ann"))
    found.answer = None
    assert found == outcome
    assert isinstance(await hook.send(attempt(to="ann")), Delivered)


@pytest.mark.contract("CH2")
def test_every_rule_has_an_answer_that_it_is_about() -> None:
    assert rules_without_an_answer(DiscordChannel(TOKEN), (answer for answer, _ in ANSWERS)) == []
    assert rules_without_an_answer(DiscordWebhookChannel(*HOOK), (answer for answer, _ in HOOK_ANSWERS)) == []


# What goes out


@pytest.mark.contract("CO1", "UN2")
async def test_a_message_is_one_request_with_a_nonce_that_calls_nobody(discord: FakeDiscord, channel: Channel) -> None:
    outcome = await channel.send(attempt("**b** @everyone <@1>", written="markdown", silent=True, extra={"tts": True}))
    assert isinstance(outcome, Delivered)
    assert outcome.receipt == discord.messages[0]["id"]
    request = discord.receiver.requests[0]
    assert request.path == "/api/v10/channels/42/messages"
    assert request.headers["authorization"] == f"Bot {TOKEN}"
    assert request.headers["user-agent"].startswith("DiscordBot (")
    assert sent(discord) == [
        {
            "content": "**b** @everyone \\<@1>",
            "allowed_mentions": {"parse": []},
            "flags": 4096,
            "tts": True,
            "nonce": NONCE,
            "enforce_nonce": True,
        }
    ]
    assert len(NONCE) == 25


@pytest.mark.contract("UN2")
async def test_a_second_copy_within_minutes_is_the_first_message(discord: FakeDiscord, channel: Channel) -> None:
    first = await channel.send(attempt())
    second = await channel.send(attempt(number=2))
    assert isinstance(first, Delivered)
    assert isinstance(second, Delivered)
    assert first.receipt == second.receipt
    assert discord.texts(42) == ["Hello"]
    # It was there, and somebody has deleted it: nothing is left to send.
    discord.messages.clear()
    assert isinstance(await channel.send(attempt(number=2)), Delivered)
    assert isinstance(await channel.send(attempt()), Rejected)


@pytest.mark.contract("CO1")
async def test_a_thread_is_a_channel_and_a_reply_names_its_message(discord: FakeDiscord, channel: Channel) -> None:
    first = await channel.send(attempt("First", thread="77"))
    assert isinstance(first, Delivered)
    token = NONCE[:-1] + "1"
    assert isinstance(await channel.send(attempt(thread="77", reply_to=first.receipt, token=token)), Delivered)
    assert [request.path for request in discord.receiver.requests] == ["/api/v10/channels/77/messages"] * 2
    assert sent(discord)[1]["message_reference"] == {"message_id": first.receipt}


@pytest.mark.contract("CO1")
async def test_a_webhook_takes_the_same_and_tells_the_id(discord: FakeDiscord, hook: Channel) -> None:
    outcome = await hook.send(attempt("**b**", to="ann", written="markdown", thread="77"))
    assert isinstance(outcome, Delivered)
    assert outcome.receipt == discord.messages[0]["id"]
    assert discord.receiver.requests[0].path == f"/api/v10/webhooks/{HOOK[0]}/{HOOK[1]}?wait=true&thread_id=77"
    assert sent(discord) == [{"content": "**b**", "allowed_mentions": {"parse": []}}]
    answered = await hook.send(attempt(to="ann", reply_to="5"))
    assert isinstance(answered, Delivered)
    assert answered.degraded == "sent without its reply: a webhook cannot answer"


@pytest.mark.contract("CO5")
@pytest.mark.parametrize("way", ["bot", "webhook"])
async def test_a_message_is_edited_and_deleted(discord: FakeDiscord, channel: Channel, hook: Channel, way: str) -> None:
    through, place = (channel, 42) if way == "bot" else (hook, 0)
    first = await through.send(attempt("First"))
    assert isinstance(first, Delivered)
    edit = attempt("Second **bold**", written="markdown", op=Op.EDIT, target=first.receipt)
    assert isinstance(await through.send(edit), Delivered)
    assert discord.texts(place) == ["Second **bold**"]
    for _ in range(2):
        assert isinstance(await through.send(attempt(op=Op.DELETE, target=first.receipt)), Delivered)
        assert discord.texts(place) == []
    assert isinstance(await through.send(attempt(op=Op.EDIT, target=first.receipt)), Rejected)


@pytest.mark.contract("CH3")
@pytest.mark.parametrize(
    ("answer", "fields", "degraded"),
    [
        (refusal(400, 50035, errors=NO_REPLY), {"reply_to": "5"}, "reply"),
        (refusal(404, 10008), {"reply_to": "5"}, "reply"),
        (refusal(403, 160002), {"reply_to": "5"}, "reply"),
        (refusal(404, 10003), {"thread": "77"}, "thread"),
        (refusal(400, 50083), {"thread": "77"}, "thread"),
        (refusal(400, 160005), {"thread": "77"}, "thread"),
    ],
)
async def test_what_is_refused_for_something_it_can_do_without_goes_without_it(
    discord: FakeDiscord, answer: Answer, fields: dict[str, Any], degraded: str
) -> None:
    channel = DiscordChannel.from_url(discord.url)
    await channel.start(Seams())
    discord.script(answer)
    outcome = await channel.send(attempt(**fields))
    assert isinstance(outcome, Delivered)
    assert outcome.degraded is not None
    assert outcome.degraded.startswith(f"sent without its {degraded}: No")
    assert "message_reference" not in sent(discord)[1]
    assert discord.texts(42) == ["Hello"]
    await channel.close()


@pytest.mark.contract("PA1")
async def test_a_long_text_goes_out_in_parts_and_escapes_count(discord: FakeDiscord, tmp_path: Path) -> None:
    lines = "".join(f"- point_{i} *some* `code {i}` and [a link](https://e.example/{i})\n" for i in range(100))
    async with Outbox(tmp_path / "outbox.db", channels={"chat": discord.url}) as box:
        for text, written in ((lines, "markdown"), ("_*_" * 1500, "plain"), ("> quoted\n" * 500, "markdown")):
            message = await box.send("chat", to="42", text=text, format=written)
            await message.wait(timeout=30)
            assert message.state == "delivered"
    assert all(len(body["content"]) <= 2000 for body in sent(discord))
    said = "\n".join(discord.texts(42))
    assert [f"• point_{i} *some* `code {i}` and [a link](https://e.example/{i})" in said for i in range(100)].count(
        False
    ) == 0
    assert said.replace("\n", "").count("_*_") == 1500
    assert said.count("> quoted") == 500


# What is refused at once


@pytest.mark.contract("EN16")
@pytest.mark.parametrize(
    ("to", "content", "thread", "field"),
    [
        ("42", Content(text="x", extra={"nonce": "666"}), None, "extra.nonce"),
        ("", Content(text="x"), None, "to"),
        ("#general", Content(text="x"), None, "to"),
        ("42 ", Content(text="x"), None, "to"),
        ("42", Content(text="x"), "general", "thread"),
        ("42", Content(text="x", reply_to="last"), None, "reply_to"),
        ("42", Content(text=" "), None, "text"),
        ("42", Content(text="x", files=(File(digest="ab", size=11 << 20),)), None, "files"),
        ("42", Content(payload=b"x"), None, "payload"),
    ],
)
def test_what_discord_cannot_take_is_refused_by_the_name_of_its_field(
    to: str, content: Content, thread: str | None, field: str
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        DiscordChannel(TOKEN).admit(to=to, content=content, thread=thread)
    assert refused.value.field == field


@pytest.mark.contract("EN16")
def test_a_webhook_takes_any_name_for_whom_it_is() -> None:
    hook = DiscordWebhookChannel(*HOOK)
    assert hook.admit(to="ann", content=Content(text="x")).recipient == "ann"
    for to, thread, field in ((" ", None, "to"), ("a\nb", None, "to"), ("ann", "x", "thread")):
        with pytest.raises(InvalidMessage) as refused:
            hook.admit(to=to, content=Content(text="x"), thread=thread)
        assert refused.value.field == field


@pytest.mark.contract("CH8")
@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("discord://", "url"),
        ("discord://CANARY7f3a9", "url"),
        (f"discord://{TOKEN}/42", "url"),
        ("discord://123/CANARY/CANARY7f3a9CANARY", "url"),
        (f"discord://{TOKEN}?color=red", "color"),
        (f"discord://{'/'.join(HOOK)}?base_url=x", "base_url"),
    ],
)
def test_a_wrong_url_or_option_is_named_and_the_token_is_not(url: str, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(url)
    assert refused.value.field == field
    assert "CANARY" not in str(refused.value)


def test_where_messages_go() -> None:
    assert DiscordChannel(TOKEN).describe() == DiscordWebhookChannel(*HOOK).describe() == "https://discord.com/"
    for broken in (lambda: DiscordChannel("nonsense"), lambda: DiscordWebhookChannel("1", "x")):
        with pytest.raises(ConfigError):
            broken()


@pytest.mark.contract("FL1")
@pytest.mark.parametrize(
    ("remaining", "reset", "rest"),
    [("0", "1.25", 1.25), ("1", "1.25", None), ("0", "soon", None), ("0", None, None)],
)
async def test_an_empty_bucket_lets_its_channel_rest_before_there_is_a_429(
    discord: FakeDiscord, channel: Channel, remaining: str, reset: str | None, rest: float | None
) -> None:
    said = {"X-RateLimit-Remaining": remaining, **({} if reset is None else {"X-RateLimit-Reset-After": reset})}
    discord.script(Answer(body=b'{"id": "9", "channel_id": "42"}', headers=said))
    found = await channel.send(attempt())
    found.answer = None
    assert found == Delivered("9", rest=rest)


@pytest.mark.contract("FL1")
async def test_the_fake_says_when_a_channel_is_full() -> None:
    async with FakeDiscord(channel_seconds=60) as discord, started(discord.url) as channel:
        outcomes = [await channel.send(attempt(token=f"{NONCE[:-1]}{n}")) for n in range(3)]
    rests = [outcome.rest for outcome in outcomes if isinstance(outcome, Delivered)]
    assert rests == [None, None, pytest.approx(60, abs=30)]
