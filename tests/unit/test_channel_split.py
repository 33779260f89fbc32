"""How a channel cuts its messages: by its own limit, unit and mode, and as the text's format says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.base import Attempt, Capabilities, Channel, Mode, Unit
from pillarbox.channels.function import FunctionChannel
from pillarbox.channels.text.split import SPLITTER, length, split_text
from pillarbox.domain.message import Content, File, Format, decode_content
from pillarbox.domain.outcome import Delivered
from pillarbox.errors import ConfigError, InvalidMessage

if TYPE_CHECKING:
    from pillarbox.domain.outcome import AnyOutcome

pytestmark = pytest.mark.contract("PA1")

PICTURE = File(url="https://example.org/a.png")
CODE = "```py\na = 1\nb = 2\nc = 3\n```"


class Limited(Channel):
    """A channel that takes *limit* units of text."""

    def __init__(self, limit: int | None, unit: Unit = "codepoints", mode: Mode = "paragraph") -> None:
        self.capabilities = Capabilities(text_limit=limit, unit=unit)
        self.split_mode = mode

    async def send(self, attempt: Attempt) -> AnyOutcome:
        return Delivered()

    def contents(self, text: str | None, **fields: Any) -> list[Content]:
        """Admit a message; gives what its parts say."""
        admission = self.admit(to="ann", content=Content(text=text, **fields))
        assert admission.splitter == (SPLITTER if admission.parts else None)
        return [decode_content(part) for part in admission.parts]

    def texts(self, text: str, **fields: Any) -> list[str | None]:
        return [content.text for content in self.contents(text, **fields)]


@pytest.mark.parametrize("limit", [None, 9])
def test_text_that_fits_is_not_split(limit: int | None) -> None:
    assert Limited(limit).contents("One. Two.") == []


@pytest.mark.parametrize("unit", get_args(Unit))
@pytest.mark.parametrize("mode", get_args(Mode))
def test_each_channel_cuts_by_its_own_unit_and_mode(unit: Unit, mode: Mode) -> None:
    text = "Gr\u00fc\u00dfe. \U0001f642\U0001f642 und mehr.\nZeile zwei.\n\nAbsatz zwei." * 3
    expected = split_text(text, limit=20, unit=unit, mode=mode, fences=False)
    assert Limited(20, unit, mode).texts(text) == list(expected)


def test_units_and_modes_make_different_parts() -> None:
    """Else the test above could not tell one from another."""
    text = "\U0001f642\U0001f642\U0001f642 " * 2 + "a"
    assert len({tuple(Limited(9, unit).texts(text)) for unit in get_args(Unit)}) == 3
    story = "aa aa.\n\nbb bb.\ncc. dd ee"
    assert len({tuple(Limited(21, mode=mode).texts(story)) for mode in get_args(Mode)}) == 4


def test_only_markdown_has_code_blocks() -> None:
    """A plain text with the same signs is cut like any other: nothing is closed, reopened or held together."""
    assert Limited(24).texts(CODE, format=Format.MARKDOWN) == ["```py\na = 1\nb = 2\n```", "```py\nc = 3\n```"]
    for form in (Format.PLAIN, Format.HTML):
        assert Limited(24).texts(CODE, format=form) == ["```py\na = 1\nb = 2\nc = 3", "```"]


def test_what_introduces_a_message_goes_with_its_first_part_and_what_says_how_with_each() -> None:
    fields: dict[str, Any] = {"format": Format.MARKDOWN, "silent": True, "reply_to": "7", "extra": {"a": 1}}
    first, second = Limited(3).contents("one two", subject="s", files=(PICTURE,), mirror={"k": 1}, **fields)
    assert first == Content(text="one", subject="s", files=(PICTURE,), mirror={"k": 1}, **fields)
    assert second == Content(text="two", **fields)


def test_more_parts_than_a_token_can_tell_apart_are_refused() -> None:
    assert len(Limited(1).texts("a" * 4096)) == 4096
    with pytest.raises(InvalidMessage, match=r"^text: expected at most 4096 parts, not 4097$"):
        Limited(1).contents("a" * 4097)


def test_a_limit_below_a_code_point_refuses_the_text() -> None:
    with pytest.raises(InvalidMessage, match=r"^text: .*limit of 3 is below"):
        Limited(3, "bytes").contents("a \U0001f642")


def test_a_text_that_only_white_space_makes_too_long_is_one_part_without_it() -> None:
    """It is stored as it was given, and nothing beside it: what goes out is fitted when it is sent."""
    channel, content = Limited(5), Content(text="hello\n", subject="s", files=(PICTURE,))
    assert channel.contents("hello\n") == []
    assert channel.fitted(content) == Content(text="hello", subject="s", files=(PICTURE,))
    assert channel.fitted(Content(text="hello")) == Content(text="hello")


def test_blank_text_beside_a_file_is_left_out_where_it_is_too_long() -> None:
    channel = Limited(3)
    assert channel.contents(" " * 9, files=(PICTURE,)) == []
    assert channel.fitted(Content(text=" " * 9, files=(PICTURE,))) == Content(files=(PICTURE,))


@pytest.mark.parametrize("text", ["one two", "\U0001f642", None])
def test_what_was_admitted_under_another_limit_goes_out_as_it_is(text: str | None) -> None:
    content = Content(text=text)
    assert Limited(3, "bytes").fitted(content) is content


@pytest.mark.parametrize("unit", get_args(Unit))
@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_function_says_what_it_takes(unit: Unit, mode: Mode) -> None:
    text = "Gr\u00fc\u00dfe. \U0001f642\U0001f642 und mehr.\nZeile zwei.\n\nAbsatz zwei." * 3
    channel = FunctionChannel(print, text_limit=20, unit=unit, split_mode=mode)
    admission = channel.admit(to="ann", content=Content(text=text))
    parts = [decode_content(part).text for part in admission.parts]
    assert parts == Limited(20, unit, mode).texts(text)
    assert FunctionChannel(print).admit(to="ann", content=Content(text=text)).parts == ()


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"text_limit": 0}, r"^text_limit: expected a whole number from 1"),
        ({"text_limit": "many"}, r"^text_limit: expected a whole number from 1"),
        ({"unit": "letters"}, r"^unit: expected one of utf16, bytes, codepoints, not 'letters'$"),
        ({"split_mode": "word"}, r"^split_mode: expected one of paragraph, newline, sentence, length, not 'word'$"),
    ],
)
def test_a_limit_that_is_none_is_refused_with_the_field_named(option: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        FunctionChannel(print, **option)


@given(text=st.text(max_size=40), limit=st.integers(4, 12), unit=st.sampled_from(get_args(Unit)))
def test_nothing_that_goes_out_is_longer_than_the_channel_takes(text: str, limit: int, unit: Unit) -> None:
    channel = Limited(limit, unit)
    content = Content(text=text, files=(PICTURE,))
    sent = channel.texts(text) or [channel.fitted(content).text]
    assert all(length(piece or "", unit) <= limit for piece in sent)
    assert "".join("".join(piece or "" for piece in sent).split()) == "".join(text.split())
