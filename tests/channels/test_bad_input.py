"""What no platform could take, given to each chat platform: refused at once by the name of its field (contract CL1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox import Outbox
from pillarbox.channels.registry import build
from pillarbox.domain.message import Content
from pillarbox.errors import ConfigError, InvalidMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET: Final = "c4n4ry" * 8
URLS: Final = {
    "telegram": (f"tgram://123456:{SECRET}", "42"),
    "slack": (f"slack://xoxb-{SECRET}", "C024BE91L"),
    "slack_hook": (f"slack://T00000/B00000/{SECRET}", "ann"),
    "discord": (f"discord://{SECRET}.{SECRET[:6]}.{SECRET}", "42"),
    "discord_hook": (f"discord://123/{SECRET}", "ann"),
    "matrix": (f"matrix://{SECRET}@127.0.0.1:9", "!room"),
}
HALF: Final = "half a \ud800 pair"
INNER: Final = ("http://127.0.0.1/x", "http://10.0.0.7/x", "http://169.254.169.254/latest", "http://localhost/x")
NAMES: Final = ("", " ", "#general", "general", "@", "4 2", "C024BE91L\n", "https://chat.example/c/1", "x" * 300)
HOOKS: Final = ("slack_hook", "discord_hook")


@pytest.fixture(params=URLS)
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Outbox, str, str]]:
    """Open an outbox with every platform's channel; give the name of one, and a recipient there."""
    box = Outbox(tmp_path / "outbox.db", files_bytes_max=100)
    for name, (url, _) in URLS.items():
        box.channel(name, url)
    async with box:
        yield box, request.param, URLS[request.param][1]


def unfit(tmp_path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return what is wrong with each message, the field that is to be named, and the message."""
    (tmp_path / "large").write_bytes(b"x" * 101)
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "half a pair as text": ("text", {"text": HALF}),
        "half a pair as Markdown": ("text", {"text": HALF, "format": "markdown"}),
        "half a pair as recipient": ("to", {"to": HALF}),
        "half a pair as thread": ("thread", {"thread": HALF}),
        "half a pair in extra": ("extra", {"extra": {"a": HALF}}),
        "NUL in a recipient": ("to", {"to": "a\0b"}),
        "NUL in what it answers": ("reply_to", {"reply_to": "\0"}),
        "markup around nothing": ("text", {"text": "<b></b>", "format": "html"}),
        "a file that is gone": ("files", {"files": [str(tmp_path / "gone")]}),
        "a folder": ("files", {"files": [str(tmp_path)]}),
        "a file that is too large": ("files", {"files": [str(tmp_path / "large")]}),
    }
    return cases | {url: ("files", {"files": [url]}) for url in INNER}


@pytest.mark.contract("CL1", "CO4")
async def test_what_cannot_be_sent_is_refused_by_its_field_and_costs_no_channel_anything(
    box: tuple[Outbox, str, str], tmp_path: Path
) -> None:
    outbox, channel, to = box
    for name, (field, message) in unfit(tmp_path).items():
        with pytest.raises(InvalidMessage) as refused:
            await outbox.send(channel, **({"to": to, "text": "Hello"} | message))
        assert refused.value.field == field, (name, refused.value)
        assert SECRET not in str(refused.value)
    # Nobody waits for anything, and no channel rests.
    assert not await outbox.list()
    empty = await outbox.send(channel, to=to, text="")
    assert (empty.state, empty.reason) == ("cancelled", "empty")


@pytest.mark.parametrize("name", [name for name in URLS if name not in HOOKS])
def test_a_name_in_the_place_of_a_recipients_id_is_refused(name: str) -> None:
    channel = build(URLS[name][0])
    for to in NAMES:
        with pytest.raises(InvalidMessage) as refused:
            channel.admit(to=to, content=Content(text="Hello"))
        assert refused.value.field == "to", to


@pytest.mark.parametrize("name", URLS)
def test_a_url_or_token_that_cannot_be_is_refused_by_its_option_without_the_token(name: str) -> None:
    url = URLS[name][0]
    scheme = url.partition("://")[0]
    cases = {
        f"{url}\n": "url",
        f"{url} ": "url",
        f"{url}\ud800": "url",
        f"{scheme}://": "url",
        f"{scheme}://%00": "url",
        f"{url}?base_url=ftp://chat.example": "base_url",
        f"{url}?base_url=http://[": "base_url",
        f"{url}?nope=1": "nope",
        f"{url}?timeout=-1": "timeout",
    }
    for wrong, field in cases.items():
        with pytest.raises(ConfigError) as refused:
            build(wrong)
        assert str(refused.value).startswith(f"{field}:"), (wrong.replace(SECRET, "…"), refused.value)
        assert SECRET not in str(refused.value)
