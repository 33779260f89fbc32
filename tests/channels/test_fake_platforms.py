"""The platforms that we test against are driven by their own client libraries first: they answer as those expect."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import telegram
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient
from telegram.constants import ParseMode
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, RetryAfter

from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.platforms import FakeSlack, FakeTelegram

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from telegram import Bot


@pytest.fixture
async def fake() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram(chat_seconds=1, clock=FakeClock()) as fake:
        yield fake


@pytest.fixture(autouse=True)
def _spans_are_timedeltas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # what the next major version does


@pytest.fixture
async def bot(fake: FakeTelegram) -> AsyncIterator[Bot]:
    async with telegram.Bot(fake.token, base_url=f"{fake.base_url}/bot") as bot:
        yield bot


async def test_telegrams_own_client_sends_edits_and_deletes(fake: FakeTelegram, bot: Bot) -> None:
    assert (await bot.get_me()).is_bot
    sent = await bot.send_message(42, "Hello <b>you</b> 😀", parse_mode=ParseMode.HTML, message_thread_id=5)
    assert (sent.chat.id, sent.message_thread_id) == (42, 5)
    marked = await bot.send_message(-5, "bold", entities=[telegram.MessageEntity("bold", 0, 4)])
    assert marked.entities[0].type == "bold"
    edited = await bot.edit_message_text("Bye", 42, sent.message_id)
    assert isinstance(edited, telegram.Message)
    assert edited.text == "Bye"
    with pytest.raises(BadRequest, match="not modified"):
        await bot.edit_message_text("Bye", 42, sent.message_id)
    assert fake.texts(42) == ["Bye"]
    assert await bot.delete_message(42, sent.message_id)
    assert fake.texts(42) == []
    with pytest.raises(BadRequest, match="to delete not found"):
        await bot.delete_message(42, sent.message_id)


async def test_telegrams_own_client_sends_files(fake: FakeTelegram, bot: Bot) -> None:
    sent = await bot.send_photo(42, b"photo", caption="See", filename="a.png")
    assert sent.photo[0].file_size == 5
    edited = await bot.edit_message_caption(42, sent.message_id, caption="Look")
    assert isinstance(edited, telegram.Message)
    with pytest.raises(BadRequest, match="no text in the message"):
        await bot.edit_message_text("Look", 42, sent.message_id)
    album = await bot.send_media_group(43, [telegram.InputMediaDocument(b"1"), telegram.InputMediaDocument(b"22")])
    assert [kind for kind, _, _ in fake.files(43)] == ["document", "document"]
    assert await bot.delete_messages(43, [one.message_id for one in album])
    assert (fake.texts(42), fake.texts(43)) == (["Look"], [])


async def test_telegrams_own_client_understands_what_is_refused(fake: FakeTelegram, bot: Bot) -> None:
    for text, entities, expected in (
        ("x" * 4097, None, "too long"),
        ("  ", None, "empty"),
        ("x", [telegram.MessageEntity("bold", 0, 2)], "ENTITY_BOUNDS_INVALID|Entity_bounds_invalid"),
    ):
        with pytest.raises(BadRequest, match=expected):
            await bot.send_message(42, text, entities=entities)
    with pytest.raises(BadRequest, match="parse entities"):
        await bot.send_message(42, "<b>x", parse_mode=ParseMode.HTML)
    fake.refuse(7)
    with pytest.raises(Forbidden, match="blocked"):
        await bot.send_message(7, "x")
    fake.migrate(-8, -1008)
    with pytest.raises(ChatMigrated) as moved:
        await bot.send_message(-8, "x")
    assert moved.value.new_chat_id == -1008
    with pytest.raises(InvalidToken):
        async with telegram.Bot(f"{fake.token}x", base_url=f"{fake.base_url}/bot"):
            pass


async def test_telegrams_own_client_is_held_to_its_pace(fake: FakeTelegram, bot: Bot) -> None:
    for _ in range(3):
        await bot.send_message(42, "x")
    await bot.send_message(43, "another chat")
    for _ in range(2):
        with pytest.raises(RetryAfter) as limited:
            await bot.send_message(42, "x")
        assert limited.value.retry_after == timedelta(seconds=1)
    assert fake.ignored_limits == 1
    assert isinstance(fake.clock, FakeClock)
    fake.clock.advance(1)
    await bot.send_message(42, "x")
    assert len(fake.texts(42)) == 4


# Slack


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack(channel_seconds=1, clock=FakeClock()) as slack:
        yield slack


async def test_slacks_own_client_sends_edits_and_deletes(slack: FakeSlack) -> None:
    client = AsyncWebClient(slack.token, base_url=f"{slack.base_url}/api/", retry_handlers=[])
    assert (await client.auth_test())["ok"]
    sent = await client.chat_postMessage(channel="C1", text="Hello &lt;you&gt;", thread_ts="1.2")
    assert sent["message"]["thread_ts"] == "1.2"
    assert slack.texts("C1") == ["Hello <you>"]
    blocks = [
        {
            "type": "rich_text",
            "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "Bye", "style": {"bold": True}}]}
            ],
        }
    ]
    assert (await client.chat_update(channel="C1", ts=sent["ts"], text="Bye", blocks=blocks))["ts"] == sent["ts"]
    assert slack.texts("C1") == ["Bye"]
    assert (await client.chat_delete(channel="C1", ts=sent["ts"]))["ok"]
    assert slack.texts("C1") == []
    hook = AsyncWebhookClient(f"{slack.base_url}/services/{slack.hook}", retry_handlers=[])
    assert (await hook.send(text="Hello")).body == "ok"
    assert slack.texts() == ["Hello"]


async def test_slacks_own_client_reads_what_was_said(slack: FakeSlack) -> None:
    client = AsyncWebClient(slack.token, base_url=f"{slack.base_url}/api/", retry_handlers=[])
    metadata = {"event_type": "task", "event_payload": {"id": "7"}}
    sent = await client.chat_postMessage(channel="C1", text="one", metadata=metadata)
    answer = await client.chat_postMessage(channel="C1", text="two", thread_ts=sent["ts"])
    slack.clock.advance(10)  # type: ignore[attr-defined]
    last = await client.chat_postMessage(channel="C1", text="three")
    page = await client.conversations_history(channel="C1", limit=1, include_all_metadata=True)
    assert [one["text"] for one in page["messages"]] == ["three"]
    cursor = page["response_metadata"]["next_cursor"]
    page = await client.conversations_history(channel="C1", limit=1, include_all_metadata=True, cursor=cursor)
    assert [(one["ts"], one["metadata"]) for one in page["messages"]] == [(sent["ts"], metadata)]
    assert not page["has_more"]
    newest = await client.conversations_history(channel="C1", oldest=sent["ts"])
    assert [one["ts"] for one in newest["messages"]] == [last["ts"]]
    replies = await client.conversations_replies(channel="C1", ts=sent["ts"])
    assert {one["ts"] for one in replies["messages"]} == {sent["ts"], answer["ts"]}
    assert "metadata" not in replies["messages"][-1]
    direct = await client.conversations_open(users="U1")
    await client.chat_postMessage(channel="U1", text="you")
    assert (await client.conversations_history(channel=direct["channel"]["id"]))["messages"][0]["text"] == "you"
    slack.scopes.clear()
    with pytest.raises(SlackApiError, match="missing_scope"):
        await client.conversations_history(channel="C1")


async def test_slacks_own_client_understands_what_is_refused(slack: FakeSlack) -> None:
    client = AsyncWebClient(slack.token, base_url=f"{slack.base_url}/api/", retry_handlers=[])
    slack.refuse("C2", "is_archived")
    for fields, expected in (
        ({"channel": "C1", "text": "", "attachments": []}, "no_text"),
        ({"channel": "C2", "text": "x"}, "is_archived"),
        ({"channel": "general", "text": "x"}, "channel_not_found"),
        ({"channel": "C1", "text": "x", "blocks": [{"type": "rich_text", "elements": []}]}, "invalid_blocks"),
    ):
        with pytest.raises(SlackApiError, match=expected):
            await client.chat_postMessage(**fields)
    with pytest.raises(SlackApiError, match="invalid_auth"):
        await AsyncWebClient("xoxb-other", base_url=f"{slack.base_url}/api/", retry_handlers=[]).auth_test()
    for _ in range(3):
        await client.chat_postMessage(channel="C1", text="x")
    for _ in range(2):
        with pytest.raises(SlackApiError, match="ratelimited") as limited:
            await client.chat_postMessage(channel="C1", text="x")
        assert limited.value.response.headers["Retry-After"] == "1"
    assert slack.ignored_limits == 1
    assert (await AsyncWebhookClient(f"{slack.base_url}/services/T/B/x", retry_handlers=[]).send(text="x")).body == (
        "no_service"
    )
