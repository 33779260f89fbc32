"""One attempt to send something, and what it is sent with, for tests of adapters."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pillarbox.channels.base import Attempt, Seams
from pillarbox.channels.registry import build
from pillarbox.domain.message import Content, Format

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pillarbox.channels.base import Channel
    from pillarbox.testing.platforms.server import FakePlatform

TOKEN = "AZq0fV9xcRKaW3bQ0pYl2A000"


def an_attempt(
    to: str = "ann@example.net", *, content: Content | None = None, text: str = "Hello", **fields: Any
) -> Attempt:
    usual: dict[str, Any] = {"id": TOKEN[:22], "channel": "ops", "number": 1, "token": TOKEN}
    usual["created_ms"] = 1_767_323_045_678
    return Attempt(to=to, content=content or Content(text=text), **(usual | fields))


def chat_attempt(text: str, *, to: str, written: str = "plain", **fields: Any) -> Attempt:
    """Make an attempt of a chat message; what its content has too may stand among the fields."""
    names = ("reply_to", "extra", "subject", "silent")
    inside = {name: fields.pop(name) for name in names if name in fields}
    return an_attempt(to, content=Content(text=text, format=Format(written), **inside), **fields)


def sent(platform: FakePlatform) -> list[dict[str, Any]]:
    """Return what a platform was sent."""
    return [request.json for request in platform.receiver.requests]


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Channel]:
    """Make the channel of a URL; it is open meanwhile."""
    channel = build(url)
    await channel.start(Seams())
    try:
        yield channel
    finally:
        await channel.close()
