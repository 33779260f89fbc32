"""Telegram: what its answers mean, what goes out, and what is recorded of what had to be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Message, Outbox
from pillarbox.channels.base import Attempt, Seams
from pillarbox.channels.registry import build
from pillarbox.channels.telegram import TelegramChannel
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content, File, Format, decode_content
from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Delivered,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.errors import ConfigError, InvalidMessage
from pillarbox.events import MessageDelivered
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.platforms import FakeTelegram
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import chat_attempt, sent, started
from tests.channels.tables import rules_without_an_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.channels.base import Channel
    from pillarbox.store.base import Event

TOKEN = "123456789:CANARY7f3a9CANARY7f3a9CANARY7f3a9xy"


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram(token=TOKEN) as telegram:
        yield telegram


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[Channel]:
    async with started(telegram.url) as channel:
        yield channel


def attempt(text: str = "Hello", *, to: str = "42", **fields: Any) -> Attempt:
    return chat_attempt(text, to=to, **fields)


async def told(box: Outbox, message: Message) -> list[Event]:
    """Wait for a message's end, and return the ends of its attempts."""
    await message.wait(timeout=30)
    assert message.id is not None
    return [event for event in await box.history(message.id) if event.act == "settle"]


def refusal(status: int, description: str, **parameters: object) -> Answer:
    inside = f', "parameters": {{"{(name := next(iter(parameters)))}": {parameters[name]}}}' if parameters else ""
    text = f'{{"ok": false, "error_code": {status}, "description": "{description}"{inside}}}'
    return Answer(status=status, body=text.encode())


OK = Answer(body=b'{"ok": true, "result": {"message_id": 9}}')
MESSAGE = Rejected("HTTP 400 Bad Request")
NOBODY = Rejected("HTTP 400 Bad Request", about="recipient")
FORBIDDEN = Rejected("HTTP 403 Forbidden", about="recipient")


def constant(status: int, code: str, about: str) -> tuple[Answer, AnyOutcome]:
    made = Rejected(f"{code} (HTTP {status})", about="recipient" if about == "recipient" else "message")
    return refusal(status, f"Bad Request: {code}"), made


ANSWERS: list[tuple[Answer, AnyOutcome]] = [
    (OK, Delivered("9")),
    (refusal(400, "Bad Request: message is not modified: specified new …"), Delivered(None)),
    (refusal(400, "Bad Request: message to delete not found"), Delivered(None)),
    # The bot.
    (refusal(401, "Unauthorized"), Unavailable("HTTP 401 Unauthorized", auth=True)),
    (refusal(401, "Unauthorized: invalid token specified"), Unavailable("HTTP 401 Unauthorized", auth=True)),
    (refusal(404, "Not Found"), Unavailable("HTTP 404 Not Found")),
    (refusal(421, "Misdirected Request: unallowed token"), Unavailable("HTTP 421 Misdirected Request", auth=True)),
    (refusal(400, "Bad Request: FROZEN_METHOD_INVALID"), Unavailable("FROZEN_METHOD_INVALID (HTTP 400)")),
    (refusal(400, "Logged out"), Unavailable("HTTP 400 Bad Request")),
    (refusal(400, "Bad Request: the bot has already been closed"), Unavailable("HTTP 400 Bad Request")),
    # Too much.
    (
        refusal(429, "Too Many Requests: retry after 35", retry_after=35),
        RateLimited("HTTP 429 Too Many Requests", after=35),
    ),
    (refusal(429, "Too Many Requests"), RateLimited("HTTP 429 Too Many Requests")),
    (refusal(500, "Too Many Requests: retry later"), RateLimited("HTTP 500 Internal Server Error")),
    # Nobody is there.
    *(
        (refusal(400, f"Bad Request: {text}"), NOBODY)
        for text in (
            "chat not found", "private chat not found", "user not found", "group is deactivated", "chat_id is empty",
            "chat identifier must be a valid Integer", "group chat was upgraded to a supergroup chat",
            "not enough rights to send text messages to the chat", "have no rights to send a message",
            "need administrator rights in the channel chat",
        )
    ),
    *(
        (refusal(403, f"Forbidden: {text}"), FORBIDDEN)
        for text in (
            "bot was blocked by the user", "user is deactivated", "bot was kicked from the supergroup chat",
            "bot is not a member of the channel chat", "the group chat was deleted",
            "bot can't initiate conversation with a user", "bot can't send messages to bots",
        )
    ),
    *(
        constant(400, code, "recipient")
        for code in (
            "PEER_ID_INVALID", "CHANNEL_PRIVATE", "CHAT_WRITE_FORBIDDEN", "CHAT_SEND_PLAIN_FORBIDDEN",
            "CHAT_RESTRICTED", "USER_BANNED_IN_CHANNEL", "TOPIC_CLOSED", "TOPIC_DELETED",
        )
    ),
    (refusal(400, "Bad Request: message thread not found"), NOBODY),
    # The message.
    *(constant(400, code, "message") for code in ("ENTITY_BOUNDS_INVALID", "BUTTON_URL_INVALID", "MESSAGE_TOO_LONG")),
    *(
        (refusal(400, f"Bad Request: {text}"), MESSAGE)
        for text in (
            "message is too long", "message caption is too long", "message text is empty",
            "text must be encoded in UTF-8", "wrong file identifier/HTTP URL specified", "file is too big",
            "Wrong HTTP URL specified", "reply markup is too long", "can't parse entities: unexpected end tag",
            "entities too long", "message to be replied not found", "message to edit not found",
            "message can't be edited",
        )
    ),
    (Answer(status=413), Rejected("HTTP 413 Content Too Large")),
    # What nobody knows, or not now.
    (refusal(400, "Bad Request: failed to get HTTP URL content"), Deferred("HTTP 400 Bad Request", unclassified=True)),
    (refusal(400, "Bad Request: 1500 wonders"), Deferred("HTTP 400 Bad Request", unclassified=True)),
    (refusal(400, "Bad Request: SOMETHING_NEW"), Deferred("SOMETHING_NEW (HTTP 400)", unclassified=True)),
    (refusal(409, "Conflict"), Deferred("HTTP 409 Conflict")),
    (Answer(status=418), Deferred("HTTP 418 I'm a Teapot", unclassified=True)),
    (refusal(500, "Internal Server Error: restart"), Uncertain("HTTP 500 Internal Server Error")),
    (Answer(status=502, body=b"<html>"), Uncertain("HTTP 502 Bad Gateway")),
    (Answer(status=504), Uncertain("HTTP 504 Gateway Timeout")),
    (Answer(status=200, body=b"<html>Sign in"), Uncertain("HTTP 200 OK")),
    (Answer(status=200, body=b'{"ok": "yes"}'), Uncertain("HTTP 200 OK")),
]  # fmt: skip


@pytest.mark.contract("CH2", "CL2", "CL3")
@pytest.mark.parametrize(("answer", "outcome"), ANSWERS)
async def test_what_an_answer_means(
    telegram: FakeTelegram, channel: Channel, answer: Answer, outcome: AnyOutcome
) -> None:
    telegram.script(answer)
    found = await channel.send(attempt())
    found.answer = None
    assert found == outcome
    assert telegram.receiver.count == 1
    assert isinstance(await channel.send(attempt()), Delivered)


@pytest.mark.contract("CH2")
def test_every_rule_has_an_answer_that_it_is_about() -> None:
    assert rules_without_an_answer(TelegramChannel(TOKEN), (answer for answer, _ in ANSWERS)) == []


@pytest.mark.contract("CH2")
async def test_a_configuration_says_otherwise(telegram: FakeTelegram) -> None:
    channel = TelegramChannel.from_url(telegram.url, outcomes={"400 CHAT_RESTRICTED": "deferred", "403": "deferred"})
    await channel.start(Seams())
    telegram.script(
        refusal(400, "Bad Request: CHAT_RESTRICTED"), refusal(403, "Forbidden: bot was blocked by the user")
    )
    for _ in range(2):
        assert isinstance(await channel.send(attempt()), Deferred)
    await channel.close()


# What goes out


@pytest.mark.contract("CO1")
async def test_a_message_is_one_request_with_what_was_asked_for(telegram: FakeTelegram, channel: Channel) -> None:
    outcome = await channel.send(
        attempt("Hi 😀 **you**", written="markdown", thread="5", silent=True, extra={"reply_markup": {"x": []}})
    )
    assert isinstance(outcome, Delivered)
    assert (outcome.receipt, outcome.degraded) == ("1", None)
    assert telegram.receiver.requests[0].path == f"/bot{TOKEN}/sendMessage"
    assert sent(telegram) == [
        {
            "chat_id": 42,
            "text": "Hi 😀 you",
            "entities": [{"type": "bold", "offset": 6, "length": 3}],
            "disable_notification": True,
            "message_thread_id": 5,
            "reply_markup": {"x": []},
        }
    ]


@pytest.mark.contract("CO1")
async def test_every_mark_is_an_entity(telegram: FakeTelegram, channel: Channel) -> None:
    html = (
        '<b>b</b><i>i</i><u>u</u><s>s</s><tg-spoiler>h</tg-spoiler><code>c</code><a href="https://e.example/">l</a>\n'
        '<pre lang="python">p</pre>\n<blockquote>q</blockquote>'
    )
    assert isinstance(await channel.send(attempt(html, written="html", subject="Head")), Delivered)
    (body,) = sent(telegram)
    assert body["text"] == "Head\nbiushcl\np\nq"
    assert [(one["type"], one["offset"], one["length"]) for one in body["entities"]] == [
        ("bold", 0, 4), ("bold", 5, 1), ("italic", 6, 1), ("underline", 7, 1), ("strikethrough", 8, 1),
        ("spoiler", 9, 1), ("code", 10, 1), ("text_link", 11, 1), ("pre", 13, 1), ("blockquote", 15, 1),
    ]  # fmt: skip
    assert body["entities"][7]["url"] == "https://e.example/"
    assert body["entities"][8]["language"] == "python"


@pytest.mark.contract("CO1")
async def test_a_public_name_stays_a_name(telegram: FakeTelegram, channel: Channel) -> None:
    assert isinstance(await channel.send(attempt(to="@news_channel")), Delivered)
    assert sent(telegram)[0]["chat_id"] == "@news_channel"


@pytest.mark.contract("CO5")
async def test_a_message_is_edited_and_deleted_and_to_find_it_so_already_is_fine(
    telegram: FakeTelegram, channel: Channel
) -> None:
    first = await channel.send(attempt("First"))
    assert isinstance(first, Delivered)
    for _ in range(2):
        edit = attempt("Second **bold**", written="markdown", op=Op.EDIT, target=first.receipt)
        assert isinstance(await channel.send(edit), Delivered)
        assert telegram.texts(42) == ["Second bold"]
    for _ in range(2):
        assert isinstance(await channel.send(attempt(op=Op.DELETE, target=first.receipt)), Delivered)
        assert telegram.texts(42) == []
    assert isinstance(await channel.send(attempt(op=Op.EDIT, target=first.receipt)), Rejected)
    assert isinstance(await channel.send(attempt(op=Op.EDIT, target="1", part_count=2)), Rejected)


# What it can do without


@pytest.mark.contract("CH3")
@pytest.mark.parametrize(
    ("description", "fields", "gone"),
    [
        ("Bad Request: can't parse entities: Can't find end tag", {"written": "markdown"}, ("entities", "markup")),
        ("Bad Request: ENTITY_BOUNDS_INVALID", {"written": "markdown"}, ("entities", "markup")),
        ("Bad Request: can't parse entities: x", {"extra": {"parse_mode": "HTML"}}, ("parse_mode", "markup")),
        ("Bad Request: message to be replied not found", {"reply_to": "8"}, ("reply_parameters", "reply")),
        ("Bad Request: message thread not found", {"thread": "5"}, ("message_thread_id", "thread")),
        ("Bad Request: TOPIC_DELETED", {"thread": "5"}, ("message_thread_id", "thread")),
    ],
)
async def test_what_is_refused_for_something_it_can_do_without_goes_without_it_and_says_so(
    telegram: FakeTelegram,
    channel: Channel,
    description: str,
    fields: dict[str, Any],
    gone: tuple[str, str],
) -> None:
    field, spare = gone
    telegram.script(refusal(400, description))
    outcome = await channel.send(attempt("Hello **you**", **fields))
    assert isinstance(outcome, Delivered)
    assert outcome.degraded == f"sent without its {spare}: {description}"
    first, second = sent(telegram)
    assert field in first
    assert field not in second
    assert {**second, field: first[field]} == first
    assert len(telegram.texts(42)) == 1


@pytest.mark.contract("CH3")
async def test_it_goes_without_each_at_most_once(telegram: FakeTelegram, channel: Channel) -> None:
    telegram.script(
        refusal(400, "Bad Request: message thread not found"),
        refusal(400, "Bad Request: message to be replied not found"),
        refusal(400, "Bad Request: can't parse entities: x"),
        refusal(400, "Bad Request: can't parse entities: x"),
    )
    outcome = await channel.send(attempt("**x**", written="markdown", reply_to="8", thread="5"))
    assert isinstance(outcome, Rejected)
    assert telegram.receiver.count == 4


@pytest.mark.contract("CH3", "CL6")
async def test_where_the_second_request_has_no_answer_the_message_may_have_arrived(
    telegram: FakeTelegram, channel: Channel
) -> None:
    telegram.script(refusal(400, "Bad Request: can't parse entities: x"), Answer.reset())
    trying = attempt("**x**", written="markdown")
    assert isinstance(await channel.send(trying), Uncertain)
    assert trying.progress.written


@pytest.mark.contract("CH3")
async def test_what_was_left_out_stands_in_the_messages_history(telegram: FakeTelegram, tmp_path: Path) -> None:
    async with Outbox(tmp_path / "outbox.db", channels={"chat": telegram.url}) as box:
        heard: list[str | None] = []
        box.subscribe(lambda event: heard.append(event.degraded), MessageDelivered)
        telegram.script(refusal(400, "Bad Request: can't parse entities: Can't find end tag"))
        message = await box.send("chat", to="42", text="**Hello**", format="markdown")
        reasons = [event.reason for event in await told(box, message)]
        assert reasons == ["sent without its markup: Bad Request: can't parse entities: Can't find end tag"]
        assert [event.reason for event in await told(box, await box.send("chat", to="42", text="Hello"))] == [None]
    assert heard == [*reasons, None]
    assert telegram.texts(42) == ["Hello", "Hello"]


@pytest.mark.contract("CH3", "CL1")
async def test_a_group_that_became_a_supergroup_gets_its_messages_there(telegram: FakeTelegram, tmp_path: Path) -> None:
    telegram.migrate(-42, -100_000_000_0042)
    async with Outbox(tmp_path / "outbox.db", channels={"chat": telegram.url}) as box:
        message = await box.send("chat", to="-42", text="Hello")
        reasons = [event.reason for event in await told(box, message)]
        assert reasons == ["the group became a supergroup", None]
        assert message.view is not None
        assert message.view.recipient == "-1000000000042"
    assert telegram.texts(-100_000_000_0042) == ["Hello"]


@pytest.mark.contract("CH3")
async def test_where_a_group_went_is_remembered_over_restarts_until_it_is_revoked(
    telegram: FakeTelegram, tmp_path: Path
) -> None:
    telegram.migrate(-42, -100_000_000_0042)

    async def asked(**fields: Any) -> list[str]:
        before = telegram.receiver.count
        async with Outbox(tmp_path / "outbox.db", channels={"chat": telegram.url}) as box:
            if fields:
                assert await box.forget_redirect("chat", "-42", **fields)
            await told(box, await box.send("chat", to="-42", text="Hello"))
        return [str(request.json["chat_id"]) for request in telegram.receiver.requests[before:]]

    assert await asked() == ["-42", "-1000000000042"]
    assert await asked() == ["-1000000000042"]
    assert await asked(reason="it was a lie") == ["-42", "-1000000000042"]


async def test_a_chat_that_moved_to_itself_is_nobody(telegram: FakeTelegram, channel: Channel) -> None:
    there = refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=42)
    elsewhere = refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-(10**12))
    telegram.script(there, elsewhere)
    assert isinstance(await channel.send(attempt()), Rejected)
    assert await channel.send(attempt()) == Redirected(-(10**12), reason="the group became a supergroup")


@pytest.mark.contract("CH3")
@pytest.mark.parametrize("number", [7, 0, 10**40, -(10**40)])
async def test_what_is_no_supergroup_gets_nothing(telegram: FakeTelegram, channel: Channel, number: int) -> None:
    text = "Bad Request: group chat was upgraded to a supergroup chat"
    telegram.script(refusal(400, text, migrate_to_chat_id=number))
    assert isinstance(await channel.send(attempt(to="-42")), Rejected)
    assert telegram.receiver.count == 1


# Parts


@pytest.mark.contract("PA1")
async def test_a_long_text_goes_out_in_parts_whose_entities_fit(telegram: FakeTelegram, tmp_path: Path) -> None:
    lines = "".join(f"- point {i} with *some* `code {i}` and [a link](https://e.example/{i})\n" for i in range(400))
    async with Outbox(tmp_path / "outbox.db", channels={"chat": telegram.url}) as box:
        message = await box.send("chat", to="42", text=lines, format="markdown")
        await told(box, message)
        assert message.view is not None
        assert (message.view.state, message.view.splitter) == ("delivered", "rich 3")
    assert len(telegram.messages) > 3
    assert "\n".join(telegram.texts(42)) == "\n".join(f"• point {i} with some code {i} and a link" for i in range(400))
    for one in telegram.messages:
        assert len(one["entities"]) <= 100
        kinds = {kind: sum(entity["type"] == kind for entity in one["entities"]) for kind in ("code", "text_link")}
        assert kinds["code"] == kinds["text_link"] == len(one["text"].splitlines())


@pytest.mark.contract("PA1")
def test_what_is_stored_of_a_part_says_all_that_is_needed(telegram: FakeTelegram) -> None:
    channel = TelegramChannel(TOKEN)
    content = Content(text="**" + "word " * 2000 + "end**", format=Format.MARKDOWN, subject="Head", reply_to="3")
    admission = channel.admit(to="42", content=content)
    parts = [decode_content(part) for part in admission.parts]
    assert len(parts) == 3
    assert all(part.format is Format.HTML and part.subject is None for part in parts)
    assert parts[0].text is not None
    assert parts[0].text.startswith("<b>Head</b>\n<b>word word")


# What is refused at once


@pytest.mark.contract("EN16")
@pytest.mark.parametrize(
    ("to", "content", "thread", "field"),
    [
        ("42", Content(text="x", extra={"chat_id": "666"}), None, "extra.chat_id"),
        ("", Content(text="x"), None, "to"),
        ("ann", Content(text="x"), None, "to"),
        ("42 ", Content(text="x"), None, "to"),
        ("@x", Content(text="x"), None, "to"),
        ("-" + "9" * 30, Content(text="x"), None, "to"),
        ("42", Content(text="x"), "general", "thread"),
        ("42", Content(text="x", reply_to="last"), None, "reply_to"),
        ("42", Content(text=""), None, "text"),
        ("42", Content(text=" \n"), None, "text"),
        ("42", Content(text="<b> </b><script>x</script>", format=Format.HTML), None, "text"),
        ("42", Content(text="x", files=(File(digest="ab", size=60_000_000),)), None, "files"),
        ("42", Content(payload=b"x"), None, "payload"),
    ],
)
def test_what_telegram_cannot_take_is_refused_by_the_name_of_its_field(
    to: str, content: Content, thread: str | None, field: str
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        TelegramChannel(TOKEN).admit(to=to, content=content, thread=thread)
    assert refused.value.field == field


@pytest.mark.contract("CH8")
@pytest.mark.parametrize(
    ("url", "options", "field"),
    [
        ("tgram://", {}, "url"),
        ("tgram://CANARY7f3a9", {}, "url"),
        (f"tgram://{TOKEN}/42", {}, "url"),
        (f"tgram://{TOKEN}#x", {}, "url"),
        (f"tgram:{TOKEN}", {}, "url"),
        (f"tgram://{TOKEN}%zz", {}, "url"),
        (f"tgram://{TOKEN}?color=red", {}, "color"),
        (f"tgram://{TOKEN}?base_url=ftp://x", {}, "base_url"),
        (f"tgram://{TOKEN}?base_url=http://a:b@x.example", {}, "base_url"),
        (f"tgram://{TOKEN}", {"base_url": "http://x.example/?a=b"}, "base_url"),
        (f"tgram://{TOKEN}", {"timeout": "soon"}, "timeout"),
        (f"tgram://{TOKEN}", {"concurrency": 0}, "concurrency"),
        (f"tgram://{TOKEN}", {"outcomes": {"400 X": "perhaps"}}, "outcomes.400 X"),
    ],
)
def test_a_wrong_url_or_option_is_named_and_the_token_is_not(url: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(url, **options)
    assert refused.value.field == field
    assert "CANARY" not in str(refused.value)


def test_the_token_may_be_percent_encoded_and_a_server_may_be_ones_own() -> None:
    channel = build(f"TGRAM://{TOKEN.replace(':', '%3A')}?base_url=http://127.0.0.1:8081/telegram&timeout=5s")
    assert isinstance(channel, TelegramChannel)
    assert channel.describe() == "http://127.0.0.1:8081/"
    assert TelegramChannel(TOKEN).describe() == "https://api.telegram.org/"
    with pytest.raises(ConfigError):
        TelegramChannel("nonsense")


@pytest.mark.contract("FL2")
@pytest.mark.parametrize(
    ("first", "between", "second", "scope"),
    [
        (35, 0.5, 35, "channel"),
        (35, 0.9, 34, "channel"),
        (None, 0.5, None, "channel"),
        (35, 0.5, 3, "recipient"),  # each chat has a limit of its own
        (35, 0.5, None, "recipient"),
        (35, 1.5, 34, "recipient"),
    ],
)
async def test_what_two_chats_are_told_at_once_is_about_the_bot(
    telegram: FakeTelegram, first: int | None, between: float, second: int | None, scope: str
) -> None:
    clock = FakeClock()
    channel = build(telegram.url)
    await channel.start(Seams(clock=clock))

    async def limited(to: str, seconds: int | None) -> RateLimited:
        telegram.script(refusal(429, "Too Many Requests", **({} if seconds is None else {"retry_after": seconds})))
        outcome = await channel.send(chat_attempt("Hello", to=to))
        assert isinstance(outcome, RateLimited)
        assert outcome.after == seconds
        return outcome

    assert (await limited("1", first)).scope == "recipient"
    clock.advance(between)
    assert (await limited("2", second)).scope == scope
    assert (await limited("2", second)).scope == "recipient"  # one chat says nothing of others
    await channel.close()


@pytest.mark.contract("FL2", "CL3")
async def test_a_configuration_has_the_last_word_about_a_limit(telegram: FakeTelegram) -> None:
    channel = build(telegram.url, outcomes={"429": "rate_limited_recipient"})
    await channel.start(Seams(clock=FakeClock()))
    telegram.script(*[refusal(429, "Too Many Requests", retry_after=9)] * 2)
    for to in ("1", "2"):
        outcome = await channel.send(chat_attempt("Hello", to=to))
        assert isinstance(outcome, RateLimited)
        assert outcome.scope == "recipient"
    await channel.close()
