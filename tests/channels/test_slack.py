"""Slack: what its answers mean, and what goes out as an app and to a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox import Outbox
from pillarbox.channels.base import Attempt, Seams
from pillarbox.channels.registry import build
from pillarbox.channels.slack import SlackChannel, SlackWebhookChannel
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content, File, Format
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
from pillarbox.testing.platforms import FakeSlack
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import chat_attempt, sent, started
from tests.channels.tables import rules_without_an_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.channels.base import Channel


TOKEN = "xoxb-CANARY7f3a9-CANARY7f3a9"
HOOK = "T0CANARY7/B0CANARY7/CANARY7f3a9CANARY7f3a9"
THREAD = "1503435956.000247"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack(token=TOKEN, hook=HOOK) as slack:
        yield slack


@pytest.fixture
async def channel(slack: FakeSlack) -> AsyncIterator[Channel]:
    async with started(slack.url) as channel:
        yield channel


@pytest.fixture
async def hook(slack: FakeSlack) -> AsyncIterator[Channel]:
    async with started(slack.hook_url) as channel:
        assert isinstance(channel, SlackWebhookChannel)
        yield channel


def attempt(text: str = "Hello", *, to: str = "C024BE91L", **fields: Any) -> Attempt:
    return chat_attempt(text, to=to, **fields)


def error(code: str, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=msgspec.json.encode({"ok": False, "error": code}))


def word(status: int, text: str) -> Answer:
    return Answer(status=status, body=text.encode())


def every(codes: str, outcome: type[AnyOutcome], **fields: Any) -> list[tuple[Answer, AnyOutcome]]:
    return [(error(code), outcome(f"{code} (HTTP 200)", **fields)) for code in codes.split()]


def each_word(status: int, codes: str, outcome: type[AnyOutcome], **fields: Any) -> list[tuple[Answer, AnyOutcome]]:
    return [(word(status, code), outcome(f"{code} (HTTP {status})", **fields)) for code in codes.split()]


ANSWERS: list[tuple[Answer, AnyOutcome]] = [
    (Answer(body=b'{"ok": true, "ts": "1503435956.000247"}'), Delivered("1503435956.000247")),
    (
        Answer(body=b'{"ok": true, "ts": "1.2", "response_metadata": {"warnings": ["message_truncated"]}}'),
        Delivered("1.2", degraded="Slack cut the text"),
    ),
    (error("ratelimited", 429, Retry_After="30"), RateLimited("ratelimited (HTTP 429)", after=30)),
    (Answer(status=429, headers={"Retry-After": "7"}), RateLimited("HTTP 429 Too Many Requests", after=7)),
    *every("rate_limited", RateLimited),
    *every("message_limit_exceeded", RateLimited, scope="channel", after=60),
    *every(
        "not_authed invalid_auth account_inactive token_revoked token_expired missing_scope not_allowed_token_type",
        Unavailable,
        auth=True,
    ),
    *every(
        "org_login_required enterprise_is_restricted access_denied accesslimited app_access_restricted"
        " two_factor_setup_required is_bot deprecated_endpoint method_deprecated unknown_method",
        Unavailable,
    ),
    *every(
        "channel_not_found is_archived not_in_channel user_not_found messages_tab_disabled restricted_action"
        " restricted_action_read_only_channel restricted_action_thread_only_channel slack_connect_blocked_x"
        " ekm_access_denied no_permission",
        Rejected,
        about="recipient",
    ),
    *every(
        "cannot_reply_to_message restricted_action_non_threadable_channel restricted_action_thread_locked"
        " slack_connect_canvas_sharing_blocked slack_connect_file_link_sharing_blocked"
        " slack_connect_lists_sharing_blocked team_not_found msg_too_long msg_blocks_too_long no_text invalid_blocks"
        " invalid_blocks_format too_many_attachments attachment_payload_limit_exceeded too_many_contact_cards"
        " markdown_text_conflict metadata_too_large invalid_metadata_format invalid_metadata_schema"
        " metadata_must_be_sent_from_app missing_file_data invalid_arguments invalid_arg_name invalid_array_arg"
        " invalid_charset invalid_form_data invalid_json json_not_object invalid_post_type missing_post_type"
        " send_on_behalf_not_allowed as_user_not_supported draft_x edit_window_closed cant_update_message"
        " is_inactive block_mismatch message_not_found cant_delete_message",
        Rejected,
    ),
    *every(
        "request_timeout service_unavailable team_added_to_org duplicate_message_not_found"
        " duplicate_channel_not_found streaming_state_conflict external_channel_migrating",
        Deferred,
    ),
    *every("internal_error fatal_error update_failed", Uncertain),
    *every("something_new", Deferred, unclassified=True),
    (Answer(status=500), Uncertain("HTTP 500 Internal Server Error")),
    (Answer(status=503), Uncertain("HTTP 503 Service Unavailable")),
    (Answer(status=200, body=b"<html>Sign in"), Uncertain("HTTP 200 OK")),
    (Answer(status=200, body=b'{"ok": "true"}'), Uncertain("HTTP 200 OK")),
    (Answer(status=404), Deferred("HTTP 404 Not Found", unclassified=True)),
    (Answer(status=400, body=b"<html>"), Deferred("HTTP 400 Bad Request", unclassified=True)),
]

WORDS: list[tuple[Answer, AnyOutcome]] = [
    (word(200, "ok"), Delivered(None)),
    (
        Answer(status=429, headers={"Retry-After": "30"}, body=b"rate_limited"),
        RateLimited("rate_limited (HTTP 429)", scope="channel", after=30),
    ),
    *each_word(404, "no_service no_service_id no_active_hooks no_team", Unavailable, auth=True),
    *each_word(403, "invalid_token team_disabled", Unavailable, auth=True),
    *each_word(400, "invalid_payload user_not_found no_text too_many_attachments invalid_blocks", Rejected),
    *each_word(400, "missing_text_or_fallback_or_attachments invalid_blocks_format", Rejected),
    *each_word(403, "action_prohibited posting_to_general_channel_denied", Rejected, about="endpoint"),
    *each_word(404, "channel_not_found", Rejected, about="endpoint"),
    *each_word(410, "channel_is_archived", Rejected, about="endpoint"),
    *each_word(500, "rollup_error", Uncertain),
    *each_word(200, "fine", Deferred, unclassified=True),
    (word(502, "<html>"), Uncertain("HTTP 502 Bad Gateway")),
    (word(200, "<html>"), Uncertain("HTTP 200 OK")),
    (word(403, "<html>"), Deferred("HTTP 403 Forbidden", unclassified=True)),
    (word(400, "<html>"), Deferred("HTTP 400 Bad Request", unclassified=True)),
    (word(400, "something_new"), Deferred("something_new (HTTP 400)", unclassified=True)),
]  # fmt: skip


@pytest.mark.contract("CH2", "CL2")
@pytest.mark.parametrize(("answer", "outcome"), ANSWERS)
async def test_what_an_answer_means(slack: FakeSlack, channel: Channel, answer: Answer, outcome: AnyOutcome) -> None:
    slack.script(answer)
    found = await channel.send(attempt())
    found.answer = None
    assert found == outcome
    assert slack.receiver.count == 1
    assert isinstance(await channel.send(attempt()), Delivered)


@pytest.mark.contract("CH2", "CL2")
@pytest.mark.parametrize(("answer", "outcome"), WORDS)
async def test_what_a_webhooks_answer_means(
    slack: FakeSlack, hook: Channel, answer: Answer, outcome: AnyOutcome
) -> None:
    slack.script(answer)
    found = await hook.send(attempt(to="ann"))
    found.answer = None
    assert found == outcome
    assert isinstance(await hook.send(attempt(to="ann")), Delivered)


@pytest.mark.contract("CH2")
def test_every_rule_has_an_answer_that_it_is_about() -> None:
    assert rules_without_an_answer(SlackChannel(TOKEN), (answer for answer, _ in ANSWERS)) == []
    assert rules_without_an_answer(SlackWebhookChannel(HOOK), (answer for answer, _ in WORDS)) == []


@pytest.mark.contract("CH2")
async def test_a_configuration_says_otherwise(slack: FakeSlack) -> None:
    channel = SlackChannel.from_url(slack.url, outcomes={"200 is_archived": "deferred"})
    await channel.start(Seams())
    slack.script(error("is_archived"))
    assert isinstance(await channel.send(attempt()), Deferred)
    await channel.close()


# What goes out


@pytest.mark.contract("CO1")
async def test_plain_text_calls_nobody_and_is_no_markup(slack: FakeSlack, channel: Channel) -> None:
    outcome = await channel.send(attempt("<!channel> *a* & b", thread=THREAD, extra={"unfurl_links": False}))
    assert isinstance(outcome, Delivered)
    assert outcome.receipt == slack.messages[0]["ts"]
    request = slack.receiver.requests[0]
    assert (request.path, request.headers["authorization"]) == ("/api/chat.postMessage", f"Bearer {TOKEN}")
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert sent(slack) == [
        {
            "channel": "C024BE91L",
            "text": "&lt;!channel&gt; *a* &amp; b",
            "mrkdwn": False,
            "thread_ts": THREAD,
            "unfurl_links": False,
        }
    ]


@pytest.mark.contract("CO1")
async def test_markup_is_a_block_of_rich_text(slack: FakeSlack, channel: Channel) -> None:
    markdown = (
        "# Head\nplain **b *bi*** `c` ~~s~~ <u>u</u> [l](https://e.example)\n\n```\ncode <x>\n```\n\n"
        "> quoted *it*\n\nend"
    )
    assert isinstance(await channel.send(attempt(markdown, written="markdown", reply_to=THREAD)), Delivered)
    (body,) = sent(slack)
    assert body["thread_ts"] == THREAD
    assert body["text"] == "Head\n\nplain b bi c s u l\n\ncode &lt;x&gt;\n\nquoted it\n\nend"
    (block,) = body["blocks"]
    assert [one["type"] for one in block["elements"]] == [
        "rich_text_section", "rich_text_preformatted", "rich_text_quote", "rich_text_section",
    ]  # fmt: skip
    first, code, quote, end = (one["elements"] for one in block["elements"])
    assert [(one["text"], list(one.get("style", {}))) for one in first] == [
        ("Head", ["bold"]), ("\n\nplain ", []), ("b ", ["bold"]), ("bi", ["bold", "italic"]), (" ", []),
        ("c", ["code"]), (" ", []), ("s", ["strike"]), (" ", []), ("u", ["underline"]), (" ", []), ("l", []),
    ]  # fmt: skip
    assert first[-1] == {"type": "link", "text": "l", "url": "https://e.example"}
    assert code == [{"type": "text", "text": "code <x>"}]
    assert quote == [{"type": "text", "text": "quoted "}, {"type": "text", "text": "it", "style": {"italic": True}}]
    assert end == [{"type": "text", "text": "end"}]


@pytest.mark.contract("CO1")
async def test_a_webhook_takes_the_same(slack: FakeSlack, hook: Channel) -> None:
    assert await hook.send(attempt("**b** & c", to="ann", written="markdown", thread=THREAD)) == Delivered(
        None, answer=b"ok"
    )
    assert slack.texts() == ["b & c"]
    (body,) = sent(slack)
    assert body["thread_ts"] == THREAD
    assert "channel" not in body
    assert slack.receiver.requests[0].path == f"/services/{HOOK}"
    assert isinstance(await hook.send(attempt(to="ann", op=Op.DELETE, target="1.2")), Rejected)


@pytest.mark.contract("CO5")
async def test_a_message_is_edited_and_deleted(slack: FakeSlack, channel: Channel) -> None:
    first = await channel.send(attempt("First"))
    assert isinstance(first, Delivered)
    edit = attempt("Second **bold**", written="markdown", op=Op.EDIT, target=first.receipt)
    assert isinstance(await channel.send(edit), Delivered)
    assert slack.texts("C024BE91L") == ["Second bold"]
    for _ in range(2):
        assert isinstance(await channel.send(attempt(op=Op.DELETE, target=first.receipt)), Delivered)
        assert slack.texts("C024BE91L") == []
    assert isinstance(await channel.send(attempt(op=Op.EDIT, target=first.receipt)), Rejected)


@pytest.mark.contract("CH3")
@pytest.mark.parametrize(
    ("code", "fields", "field", "spare"),
    [
        ("invalid_blocks", {"written": "markdown"}, "blocks", "markup"),
        ("msg_blocks_too_long", {"extra": {"blocks": [{"type": "divider"}]}}, "blocks", "markup"),
        ("restricted_action_thread_locked", {"thread": THREAD}, "thread_ts", "thread"),
        ("cannot_reply_to_message", {"reply_to": THREAD}, "thread_ts", "thread"),
    ],
)
async def test_what_is_refused_for_something_it_can_do_without_goes_without_it(
    slack: FakeSlack, code: str, fields: dict[str, Any], field: str, spare: str
) -> None:
    channel = SlackChannel.from_url(slack.url)
    await channel.start(Seams())
    slack.script(error(code))
    outcome = await channel.send(attempt("Hello **you**", **fields))
    assert isinstance(outcome, Delivered)
    assert outcome.degraded == f"sent without its {spare}: {code}"
    first, second = sent(slack)
    assert field in first
    assert field not in second
    await channel.close()


@pytest.mark.contract("PA1")
async def test_a_long_text_goes_out_in_parts_that_slack_takes_whole(slack: FakeSlack, tmp_path: Path) -> None:
    lines = "".join(f"- point {i} & *some* `code {i}` and [a link](https://e.example/{i})\n" for i in range(300))
    async with Outbox(tmp_path / "outbox.db", channels={"chat": slack.url}) as box:
        message = await box.send("chat", to="C024BE91L", text=lines, format="markdown")
        await message.wait(timeout=30)
        plain = await box.send("chat", to="D024BE91L", text="<&>" * 2000)
        await plain.wait(timeout=30)
    said = "\n".join(slack.texts("C024BE91L"))
    assert said == "\n".join(f"• point {i} & some code {i} and a link" for i in range(300))
    assert "".join(slack.texts("D024BE91L")) == "<&>" * 2000
    for body in sent(slack):
        assert len(body["text"]) <= 4000
        assert len(msgspec.json.encode(body.get("blocks", []))) <= 13_000


# What is refused at once


@pytest.mark.contract("EN16")
@pytest.mark.parametrize(
    ("to", "content", "thread", "field"),
    [
        ("C024BE91L", Content(text="x", extra={"channel": "666"}), None, "extra.channel"),
        ("C024BE91L", Content(text="x", extra={"thread_ts": "666"}), None, "extra.thread_ts"),
        ("", Content(text="x"), None, "to"),
        ("#general", Content(text="x"), None, "to"),
        ("general", Content(text="x"), None, "to"),
        ("C024BE91L ", Content(text="x"), None, "to"),
        ("C024BE91L", Content(text="x"), "general", "thread"),
        ("C024BE91L", Content(text="x", reply_to="last"), None, "reply_to"),
        ("C024BE91L", Content(text=""), None, "text"),
        (
            "C024BE91L",
            Content(text="**", format=Format.HTML, files=(File(digest="ab", size=2_000_000_000),)),
            None,
            "files",
        ),
        ("C024BE91L", Content(payload=b"x"), None, "payload"),
    ],
)
def test_what_slack_cannot_take_is_refused_by_the_name_of_its_field(
    to: str, content: Content, thread: str | None, field: str
) -> None:
    with pytest.raises(InvalidMessage) as refused:
        SlackChannel(TOKEN).admit(to=to, content=content, thread=thread)
    assert refused.value.field == field


@pytest.mark.contract("EN16")
def test_a_webhook_takes_any_name_for_whom_it_is() -> None:
    hook = SlackWebhookChannel(HOOK)
    assert hook.admit(to="ann", content=Content(text="x")).recipient == "ann"
    for to, thread, field in ((" ", None, "to"), ("a\nb", None, "to"), ("ann", "x", "thread")):
        with pytest.raises(InvalidMessage) as refused:
            hook.admit(to=to, content=Content(text="x"), thread=thread)
        assert refused.value.field == field
    # Blocks of one's own need no text.
    hook.admit(to="ann", content=Content(text="", extra={"blocks": [{"type": "divider"}]}))


@pytest.mark.contract("CH8")
@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("slack://", "url"),
        ("slack://CANARY7f3a9", "url"),
        (f"slack://{TOKEN}/general", "url"),
        (f"slack://{HOOK}/x", "url"),
        ("slack://T0/B0/CANARY7f3a9", "url"),
        (f"slack://{TOKEN}?color=red", "color"),
        (f"slack://{HOOK}?base_url=x", "base_url"),
    ],
)
def test_a_wrong_url_or_option_is_named_and_the_token_is_not(url: str, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(url)
    assert refused.value.field == field
    assert "CANARY" not in str(refused.value)


def test_where_messages_go() -> None:
    assert SlackChannel(TOKEN).describe() == "https://slack.com/"
    assert SlackWebhookChannel(HOOK).describe() == "https://hooks.slack.com/"
    for broken in (lambda: SlackChannel("nonsense"), lambda: SlackWebhookChannel("T0/B0")):
        with pytest.raises(ConfigError):
            broken()
