"""
Chat platforms on 127.0.0.1, to test bots against: each takes what its platform takes, and refuses what that refuses.

    async with FakeTelegram() as telegram:
        box.channel("chat", telegram.url)
        ...
        assert telegram.texts(42) == ["Deploy done"]

They are written from the platforms' own documents, and are driven by the platforms' own client libraries in our tests.
"""

from __future__ import annotations

from pillarbox.testing.platforms.discord import FakeDiscord
from pillarbox.testing.platforms.matrix import FakeMatrix
from pillarbox.testing.platforms.slack import FakeSlack
from pillarbox.testing.platforms.telegram import FakeTelegram

__all__ = ["FakeDiscord", "FakeMatrix", "FakeSlack", "FakeTelegram"]
