"""What is said arrives as it was said, up to the last character that the platform takes."""

from __future__ import annotations

from typing import Final

import pytest

from pillarbox.channels.base import Channel
from pillarbox.channels.text.split import length
from pillarbox.domain.message import Content, decode_content
from pillarbox.domain.outcome import Delivered
from pillarbox.testing.channel_suite.fixtures import ChannelFixtures, Point, sent
from pillarbox.testing.channel_suite.platform import Platform

# Of one, two, three and four bytes, and one that takes two of UTF-16.
_CHARACTERS: Final = ("a", "ż", "中", "😀")
_LONG: Final = 5000
# What protocols and formats take for something else: ends of mails, headers, markup, escapes, JSON, line separators.
_NASTY_ASCII: Final = "First\n.\n..\n.x\nFrom me: x\n\n-- \nlast"
_NASTY: Final = (
    "First\n.\n\"'<b>&amp;</b> {{x}} \\n %0A =C5=BC \u2028 é e\u0301"
    " \U0001f469\u200d\U0001f469\u200d\U0001f467 \u202eabc\u202c end"
)


class ContentSuite(ChannelFixtures):
    """What arrives."""

    @pytest.mark.contract("CO1")
    async def test_a_text_arrives_as_it_is_whatever_is_in_it(self, platform: Platform, channel: Channel) -> None:
        self.needs(Point.TEXT_AS_IT_IS)
        platform.accept()
        for text in (_NASTY_ASCII, _NASTY):
            await sent(Delivered, platform, channel, text)
        assert platform.received() == [_NASTY_ASCII, _NASTY]

    @pytest.mark.contract("PA1", "CO1")
    async def test_a_text_at_the_limit_is_one_message_and_one_character_more_is_two(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.TEXT_LIMIT)
        platform.accept()
        limit, unit = channel.capabilities.text_limit, channel.capabilities.unit
        for character in _CHARACTERS:
            text = character * ((limit or _LONG) // length(character, unit))
            assert await _arrived(platform, channel, text) == [text]
            if limit is not None:
                pieces = await _arrived(platform, channel, text + character)
                assert len(pieces) > 1
                assert max(length(piece, unit) for piece in pieces) <= limit
                assert "".join(pieces) == text + character


async def _arrived(platform: Platform, channel: Channel, text: str) -> list[str]:
    """Admit *text* and send its parts, and return what arrived of each."""
    before = len(platform.received())
    admission = channel.admit(to=platform.recipient, content=Content(text=text))
    contents = [decode_content(part) for part in admission.parts] or [Content(text=text)]
    for place, content in enumerate(contents):
        await sent(Delivered, platform, channel, content=content, part=place, part_count=len(contents))
    return platform.received()[before:]
