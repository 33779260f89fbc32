"""Plugs our own channels into the suite that every channel must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.testing.channel_suite import ChannelSuite, Platform, Point
from tests.channels.platforms import (
    ConsolePlatform,
    DiscordPlatform,
    DiscordWebhookPlatform,
    FilePlatform,
    FunctionPlatform,
    MailPlatform,
    MatrixPlatform,
    SlackPlatform,
    SlackWebhookPlatform,
    TelegramPlatform,
    WebhookPlatform,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

NO_OTHER_SIDE = "nobody is there who could say so"
NO_HTTP: Mapping[Point, str] = {
    Point.NONSENSE: "it speaks no HTTP; what such an answer is, tests of its own say",
    Point.REDIRECT: "it speaks no HTTP",
}
NO_TLS = "what a connection is made of is not its affair"


class TestWebhook(ChannelSuite):
    of_nonsense: ClassVar = (Delivered, Deferred, Uncertain, Rejected)  # here a status says all, whatever is with it

    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with WebhookPlatform() as platform:
            yield platform


class TestTelegram(ChannelSuite):
    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with TelegramPlatform() as platform:
            yield platform


class TestSlack(ChannelSuite):
    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with SlackPlatform() as platform:
            yield platform


class TestSlackWebhook(ChannelSuite):
    absent: ClassVar = {Point.REJECTED_RECIPIENT: "a webhook has one conversation"}

    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with SlackWebhookPlatform() as platform:
            yield platform


class TestDiscord(ChannelSuite):
    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with DiscordPlatform() as platform:
            yield platform


class TestDiscordWebhook(ChannelSuite):
    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with DiscordWebhookPlatform() as platform:
            yield platform


class TestMatrix(ChannelSuite):
    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with MatrixPlatform() as platform:
            yield platform


class TestMail(ChannelSuite):
    absent: ClassVar = NO_HTTP

    @pytest.fixture
    async def platform(self) -> AsyncIterator[Platform]:
        async with MailPlatform() as platform:
            yield platform


class TestFile(ChannelSuite):
    absent: ClassVar = {
        **NO_HTTP,
        Point.REJECTED_MESSAGE: NO_OTHER_SIDE,
        Point.REJECTED_RECIPIENT: NO_OTHER_SIDE,
        Point.RATE_LIMITED: NO_OTHER_SIDE,
        Point.NOT_SENT: "there is no connection; a file that cannot be opened is the channel's fault",
        Point.UNCERTAIN: "a write has no answer that could be lost",
        Point.BAD_TLS: NO_TLS,
        Point.LONG_ANSWER: NO_OTHER_SIDE,
        Point.ENDLESS_ANSWER: NO_OTHER_SIDE,
        Point.DESCRIBE: "where messages go is the file's path",
    }

    @pytest.fixture
    def platform(self, tmp_path: Path) -> Iterator[Platform]:
        platform = FilePlatform(tmp_path / "out.jsonl")
        yield platform
        platform.accept()  # a thread may still wait for it


class TestConsole(ChannelSuite):
    absent: ClassVar = {
        **NO_HTTP,
        Point.REJECTED_MESSAGE: NO_OTHER_SIDE,
        Point.REJECTED_RECIPIENT: NO_OTHER_SIDE,
        Point.RATE_LIMITED: NO_OTHER_SIDE,
        Point.NOT_SENT: "there is no connection",
        Point.BAD_TLS: NO_TLS,
        Point.LONG_ANSWER: NO_OTHER_SIDE,
        Point.ENDLESS_ANSWER: NO_OTHER_SIDE,
        Point.TEXT_AS_IT_IS: "what a terminal would obey is spelt out, and a message stays one line",
    }

    @pytest.fixture
    def platform(self, monkeypatch: pytest.MonkeyPatch) -> Platform:
        return ConsolePlatform(monkeypatch)


class FunctionSuite(ChannelSuite):
    absent: ClassVar = {
        **NO_HTTP,
        Point.BAD_TLS: NO_TLS,
        Point.LONG_ANSWER: "what a function reads is its author's affair",
        Point.ENDLESS_ANSWER: "what a function reads is its author's affair",
        Point.DESCRIBE: "it has a name and no address",
    }


class TestAsyncFunction(FunctionSuite):
    @pytest.fixture
    def platform(self) -> Platform:
        return FunctionPlatform(is_async=True)


class TestPlainFunction(FunctionSuite):
    @pytest.fixture
    def platform(self) -> Platform:
        return FunctionPlatform(is_async=False)
