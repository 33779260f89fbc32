"""The mark of a copy that may be a second one: in each language of text, and counted in every limit (contract CH6)."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from pillarbox.channels.base import Channel, Unit, admitted
from pillarbox.channels.function import FunctionChannel
from pillarbox.channels.http.chat import ChatChannel
from pillarbox.channels.mail.smtp import SmtpChannel
from pillarbox.channels.registry import build
from pillarbox.channels.text.mark import marked_text
from pillarbox.channels.text.split import length
from pillarbox.domain.message import Content, File, Format, decode_content
from pillarbox.domain.retry import MARK, Policy, UncertainAction
from pillarbox.errors import ConfigError, InvalidMessage
from pillarbox.settings.load import load

pytestmark = pytest.mark.contract("CH6", "UN1")

MARKED = Policy(uncertain=UncertainAction.RESEND_MARKED)
WORDS = "Grüße, <b>all</b> of *you* & `them` 🙂\n\n"
CHATS = [
    ("tgram://123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-a0", "42"),
    ("slack://xoxb-1234567890-FakeFakeFake", "C024BE91L"),
    ("discord://MTIzNDU2Nzg5MDEyMzQ1Njc4.G0FAKE.FakeFakeFakeFakeFakeFakeFakeFakeFake", "123"),
    ("matrix://secret-token@example.org", "!room:example.org"),
]


def parts_of(channel: Channel, to: str, content: Content, policy: Policy = MARKED) -> list[Content]:
    made = admitted(channel, to=to, content=content, thread=None, policy=policy)
    return [decode_content(part) for part in made.parts] or [content]


@pytest.mark.parametrize(("url", "to"), CHATS)
@pytest.mark.parametrize("written", list(Format))
def test_every_part_of_a_chat_fits_with_its_mark(url: str, to: str, written: Format) -> None:
    channel = build(url)
    assert isinstance(channel, ChatChannel)
    limit = channel.capabilities.text_limit or 0
    for count in (1, limit // len(WORDS) - 1, limit // len(WORDS), 2 * limit // len(WORDS)):
        for part in parts_of(channel, to, Content(text=WORDS * count, format=written)):
            assert part.mark is None  # what is stored is no copy
            rich = channel.rich(channel.marked(part, MARK))
            assert rich.text.startswith(f"{MARK}\n")
            assert rich.text.count(MARK) == 1
            assert channel.size(rich) <= limit


@pytest.mark.parametrize(("url", "to"), CHATS)
def test_a_text_that_just_fits_is_split_only_where_a_copy_of_it_could_be_marked(url: str, to: str) -> None:
    channel = build(url)
    just = Content(text="x" * (channel.capabilities.text_limit or 0))
    assert len(parts_of(channel, to, just)) == 2
    assert len(parts_of(channel, to, just, Policy())) == 1


def test_what_counts_from_the_beginning_of_a_text_stays_right() -> None:
    channel = build(CHATS[0][0])
    assert isinstance(channel, ChatChannel)
    bold = {"entities": [{"type": "bold", "offset": 0, "length": 5}]}
    assert channel.rich(channel.marked(Content(text="Hello", extra=bold), MARK)).text == f"Hello\n{MARK}"


def test_a_caption_fits_with_its_mark() -> None:
    channel = build(CHATS[0][0])
    assert isinstance(channel, ChatChannel)
    picture = File(name="a.png", media_type="image/png", size=9, digest="0" * 64)
    with_caption = Content(text="x" * 1024, files=(picture,))
    assert [bool(part.files) for part in parts_of(channel, "42", with_caption)] == [False, True]
    assert [bool(part.files) for part in parts_of(channel, "42", with_caption, Policy())] == [True]
    assert channel.rich(channel.marked(Content(files=(picture,)), MARK)).text == MARK


@pytest.mark.parametrize("unit", get_args(Unit))
@pytest.mark.parametrize("written", list(Format))
def test_every_part_that_a_function_is_called_with_fits_with_its_mark(unit: Unit, written: Format) -> None:
    channel = FunctionChannel(print, text_limit=120, unit=unit)
    for count in range(1, 9):
        for part in parts_of(channel, "ann", Content(text=WORDS * count, format=written)):
            marked = channel.marked(part, MARK)
            assert marked.mark == MARK
            assert marked.text is not None
            assert MARK in marked.text
            assert length(marked.text, unit) <= 120


@pytest.mark.parametrize(
    ("written", "text", "shown"),
    [
        (Format.PLAIN, "<b>a</b>", "twice?*\n<b>a</b>"),
        (Format.PLAIN, None, "twice?*"),
        (Format.MARKDOWN, "===\na", "twice?\\*\n\n===\na"),
        (Format.HTML, "<b>a</b>\nb", "twice?*\n<b>a</b>\nb"),
        (Format.HTML, "<p>a</p>", "<p>twice?*</p>\n<p>a</p>"),
        (Format.HTML, '<html><body class="x"><p>a</p>', '<html><body class="x"><p>twice?*</p>\n<p>a</p>'),
    ],
)
def test_the_mark_is_written_in_the_language_of_the_text(written: Format, text: str | None, shown: str) -> None:
    assert marked_text(Content(text=text, format=written), "twice?*") == shown


def test_a_mail_keeps_its_subject() -> None:
    channel = SmtpChannel.from_url("smtp://localhost?sender=me@example.org")
    marked = channel.marked(Content(text="First line\nSecond"), MARK)
    assert (marked.subject, marked.text) == ("First line", f"{MARK}\nFirst line\nSecond")


def test_what_programs_read_stays_as_it_is() -> None:
    said = Content(text="hello")
    assert build("https://example.org/hook").marked(said, MARK) == msgspec.structs.replace(said, mark=MARK)
    raw = Content(payload=b"{}", content_type="application/json")
    assert FunctionChannel(print).marked(raw, MARK).payload == b"{}"


def test_a_mark_that_would_leave_no_room_for_text_is_refused_by_name() -> None:
    with pytest.raises(InvalidMessage, match="uncertain_mark: expected one that leaves half of the 30"):
        parts_of(FunctionChannel(print, text_limit=30), "ann", Content(text="x" * 90))


@pytest.mark.parametrize("wrong", ["", " ", "two\nlines", "x" * 201, 7, "bell\x07", "hidden\u202e"])
def test_a_mark_is_one_line_that_people_can_read(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="uncertain_mark"):
        load(environ={}, flags={"channels.chat.uncertain_mark": wrong})
