"""What a channel really gives, at the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.platforms import FakeDiscord

if TYPE_CHECKING:
    from tests.cli.commands import Pillarbox


@pytest.mark.contract("CH4", "UN5", "RE7")
async def test_the_guarantee_of_a_channel_is_told(pillarbox: Pillarbox) -> None:
    async with FakeDiscord() as discord:
        pillarbox.serving(discord.url, name="chat")
        told = (await pillarbox("guarantee", "chat", "--json")).json
        text = (await pillarbox("guarantee", "chat")).out
    for sentence in ("why", "asking", "in_doubt"):
        assert told.pop(sentence) in text
    assert told == {
        "channel": "chat",
        "recognised_seconds": 120.0,
        "looks_up": True,
        "uncertain": "resend",
        "attempts": 5,
        "last_attempt_seconds": pytest.approx(1.2 * (5 + 25 + 120 + 600)),
        "ttl_seconds": 3600.0,
    }
    unknown = await pillarbox("guarantee", "nosuch")
    assert (unknown.code, unknown.out) == (4, "")
