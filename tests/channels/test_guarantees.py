"""What channels say of second copies is what becomes of them (contract CH4, UN5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.channels.webhook import WebhookChannel
from pillarbox.domain.outcome import Delivered
from pillarbox.errors import ConfigError
from pillarbox.testing.platforms import FakeDiscord, FakeMatrix, FakeSlack, FakeTelegram
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import chat_attempt, started

if TYPE_CHECKING:
    from pillarbox.testing.platforms.server import FakePlatform

PLACES: list[tuple[type[FakePlatform], str, str, float]] = [
    (FakeTelegram, "url", "42", 0.0),
    (FakeSlack, "url", "C024BE91L", 0.0),
    (FakeSlack, "hook_url", "ann", 0.0),
    (FakeDiscord, "url", "42", 120.0),
    (FakeDiscord, "hook_url", "ann", 0.0),
    (FakeMatrix, "url", "!room", 86_400.0),
]


@pytest.mark.contract("CH4", "UN5")
@pytest.mark.parametrize(("fake", "url", "to", "seconds"), PLACES)
async def test_a_second_copy_is_dropped_where_the_channel_says_so_and_nowhere_else(
    fake: type[FakePlatform], url: str, to: str, seconds: float
) -> None:
    async with fake() as platform, started(getattr(platform, url)) as channel:
        guarantee = await channel.guarantee()
        assert guarantee.seconds == seconds
        assert guarantee.why
        assert ("cannot be asked" in guarantee.asking) is not channel.capabilities.looks_up
        for number in (1, 2):
            assert isinstance(await channel.send(chat_attempt("Hello", to=to, number=number)), Delivered)
        assert len(platform.messages) == (1 if seconds else 2)


@pytest.mark.contract("CH4")
async def test_a_token_without_a_device_promises_nothing_and_nor_does_a_server_that_does_not_answer() -> None:
    async with FakeMatrix() as matrix:
        async with started(
            f"matrix://{matrix.token_without_device()}@test.local?base_url={matrix.base_url}"
        ) as channel:
            found = await channel.guarantee()
            assert (found.seconds, "no device" in found.why) == (0.0, True)
        matrix.script(Answer(status=502))
        async with started(matrix.url) as channel:
            found = await channel.guarantee()
            assert (found.seconds, "does not say" in found.why) == (0.0, True)


@pytest.mark.contract("CH4", "UN5")
@pytest.mark.parametrize(
    ("dedupe", "seconds", "word"),
    [
        (False, 0.0, "its receiver says"),
        ("no", 0.0, "its receiver says"),
        (True, None, "not configured"),
        ("true", None, "not configured"),
        ("24h", 86_400.0, "for so long"),
        (90, 90.0, "for so long"),
    ],
)
async def test_a_webhook_promises_what_is_configured_of_its_receiver_or_says_that_it_is_not_known(
    dedupe: bool | float | str, seconds: float | None, word: str
) -> None:
    channel = WebhookChannel.from_url("https://example.org/hook", dedupe=dedupe)
    found = await channel.guarantee()
    assert (found.seconds, word in found.why) == (seconds, True)
    assert channel.covered is (seconds != 0)


@pytest.mark.parametrize("dedupe", ["soon", "-5s", 0, -1.0, float("nan"), float("inf"), "0s", ""])
def test_a_window_that_is_none_is_refused(dedupe: float | str) -> None:
    with pytest.raises(ConfigError, match="dedupe"):
        WebhookChannel.from_url("https://example.org/hook", dedupe=dedupe)
