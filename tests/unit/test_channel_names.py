"""A URL in the place of a channel's name is refused, and not repeated: it may hold a token (contract EV3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox import ConfigError, InvalidMessage, Outbox
from pillarbox.domain.channel_names import is_url
from pillarbox.errors import PillarboxError
from pillarbox.settings import load as config

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt

pytestmark = pytest.mark.contract("EV3")

TOKEN = "s3cr3tT0ken"
URLS = [
    f"https://ann:{TOKEN}@example.org/hook", f"HTTP://example.org/{TOKEN}", f"smtp://me:{TOKEN}@mail.example.org",
    f"tgram://{TOKEN}", f"file:/tmp/{TOKEN}", f"mailto:{TOKEN}@example.org", f" https://example.org/{TOKEN}",
]  # fmt: skip


def _function(attempt: Attempt) -> None:
    """Take everything."""


@pytest.mark.parametrize("url", URLS)
def test_no_channel_is_called_by_a_url(url: str, tmp_path: Path) -> None:
    file = tmp_path / "pillarbox.toml"
    file.write_text(f'[channels."{url}"]\nurl = "console:"\n')
    for make in (
        lambda: Outbox(channels={url: _function}),
        lambda: Outbox().channel(url, _function),
        lambda: Outbox().channel(url)(_function),
        lambda: config.load(path=str(file)),
    ):
        with pytest.raises(ConfigError, match="not a URL") as refused:
            make()
        assert refused.value.field == "channels"
        assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("deliver", [True, False])
async def test_no_message_is_for_a_channel_called_by_a_url(url: str, tmp_path: Path, *, deliver: bool) -> None:
    async with Outbox(tmp_path / "x.db", channels={"ops": _function}, deliver=deliver) as box:
        for call in (
            box.send(url, to="ann", text="hi"),
            box.send_many([{"channel": url, "to": "ann", "text": "hi"}]),
            box.pause(url),
            box.resume(url),
        ):
            with pytest.raises(InvalidMessage, match="not a URL") as refused:
                await call
            assert TOKEN not in str(refused.value)
        assert await box.stats() == []
        assert {queue.channel for queue in await box.queues()} <= {"ops"}


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("name", ["", " ", "a,b", "a\nb", "\ud800"])
async def test_what_can_be_no_name_is_refused_and_nothing_is_said_to_be_paused(name: str, tmp_path: Path) -> None:
    async with Outbox(tmp_path / "x.db", channels={"ops": _function}, deliver=False) as box:
        for call in (box.send(name, to="ann", text="hi"), box.pause(name), box.resume(name)):
            with pytest.raises(InvalidMessage, match=r"^channel: expected the name of a channel$"):
                await call


@pytest.mark.parametrize("name", ["ops", "team:ops", "a/b", "www.example.org", "-x", "ann@example.org", "a b"])
def test_other_names_are_none(name: str) -> None:
    assert not is_url(name)


def test_both_errors_can_be_caught_as_ours() -> None:
    assert issubclass(InvalidMessage, PillarboxError)
    assert issubclass(ConfigError, PillarboxError)
