"""A platform that refuses, hangs or goes away is seen to do so, and another channel of its outbox goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State
from pillarbox.events import BusEvent, ChannelPaused, RetryScheduled
from tests.channels.platforms import (
    DiscordPlatform,
    DiscordWebhookPlatform,
    MatrixPlatform,
    SlackPlatform,
    SlackWebhookPlatform,
    TelegramPlatform,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.store.base import Flow
    from pillarbox.testing.channel_suite import HttpPlatform

PATIENCE_SECONDS = 60
CHATS = (
    TelegramPlatform,
    SlackPlatform,
    SlackWebhookPlatform,
    DiscordPlatform,
    DiscordWebhookPlatform,
    MatrixPlatform,
)


class Heard:
    """The next event, of those that come."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[BusEvent] = asyncio.Queue()

    def __call__(self, event: BusEvent) -> None:
        self._events.put_nowait(event)

    async def next(self) -> BusEvent:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._events.get()


async def flow_of(box: Outbox, channel: str) -> Flow:
    return next(flow for flow in await box.flow() if flow.channel == channel)


@pytest.mark.contract("LA2", "FL2", "OP1")
@pytest.mark.parametrize("make", CHATS, ids=lambda make: make.__name__)
async def test_what_is_wrong_with_a_platform_is_seen_and_another_channel_delivers(
    make: type[HttpPlatform], tmp_path: Path
) -> None:
    async with make() as platform:
        taken: list[str] = []
        pauses, retries = Heard(), Heard()
        channels: dict[str, Any] = {"bad": platform.make_channel(), "good": lambda attempt: taken.append(attempt.text)}
        async with Outbox(tmp_path / "outbox.db", channels=channels) as box:
            box.subscribe(pauses, ChannelPaused)
            box.subscribe(retries, RetryScheduled)

            async def another_delivers() -> None:
                message = await box.send("good", to="ann", text=f"{len(taken)}")
                assert (await message.wait(timeout=PATIENCE_SECONDS)).state is State.DELIVERED

            platform.refuse_credentials()
            message = await box.send("bad", to=platform.recipient, text="Hello")
            assert message.id is not None
            await retries.next()
            paused = await pauses.next()
            assert isinstance(paused, ChannelPaused)
            flow = await flow_of(box, "bad")
            assert (flow.word, flow.pause_reason, flow.due_ms is not None) == ("paused", paused.reason, True)
            assert paused.reason
            assert not any(secret in paused.reason for secret in platform.secrets)
            await another_delivers()

            platform.hang()
            before = platform.receiver.count
            await box.resume("bad")
            await box.retry(message.id)
            await platform.receiver.wait_for(before + 1, timeout=PATIENCE_SECONDS)
            await another_delivers()
            (leased,) = [tally for tally in await box.stats() if tally.state is State.LEASED]
            assert (leased.channel, leased.messages) == ("bad", 1)

            await platform.vanish()
            await retries.next()
            view = await box.get(message.id)
            assert view is not None
            assert (view.state, bool(view.error)) == (State.SCHEDULED, True)
            assert (await flow_of(box, "bad")).due_ms is not None
            await another_delivers()
            assert (await flow_of(box, "good")).word == "open"
        assert taken == ["0", "1", "2"]
