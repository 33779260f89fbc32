"""Discord as we test against it is driven by a client library of its users first: it answers as that expects."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.platforms import FakeDiscord

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it loads audioop, for calls
    import discord
    import discord.http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord(channel_seconds=0.2, clock=FakeClock()) as server:
        monkeypatch.setattr(discord.http.Route, "BASE", f"{server.base_url}/api/v10")
        yield server


@pytest.fixture
async def client(server: FakeDiscord) -> AsyncIterator[discord.http.HTTPClient]:
    client = discord.http.HTTPClient(asyncio.get_running_loop())
    assert (await client.static_login(server.token))["username"] == "bot"
    yield client
    await client.close()


def said(content: str, **fields: object) -> discord.http.MultipartParameters:
    return discord.http.handle_message_parameters(content, **fields)  # type: ignore[arg-type]


async def test_discords_own_client_sends_edits_and_deletes(
    server: FakeDiscord, client: discord.http.HTTPClient
) -> None:
    sent = await client.send_message(42, params=said("Hello \\*you\\*", nonce="n1"))
    assert server.texts(42) == ["Hello *you*"]
    assert sent["content"] == "Hello \\*you\\*"
    await client.edit_message(42, sent["id"], params=said("Bye"))
    assert server.texts(42) == ["Bye"]
    await client.delete_message(42, sent["id"])
    assert server.texts(42) == []
    with pytest.raises(discord.NotFound, match="10008"):
        await client.delete_message(42, sent["id"])
    hook = discord.Webhook.partial(int(server.hook[0]), server.hook[1], session=client._HTTPClient__session)  # type: ignore[attr-defined]
    message = await hook.send("Hello", wait=True)
    assert (message.content, server.texts()) == ("Hello", ["Hello"])


async def test_discords_own_client_reads_what_was_said(server: FakeDiscord, client: discord.http.HTTPClient) -> None:
    first = await client.send_message(42, params=said("one", nonce="n1"))
    second = await client.send_message(42, params=said("two"))
    assert first["nonce"] == "n1"
    found = await client.logs_from(42, limit=1)
    assert [(one["id"], one["content"]) for one in found] == [(second["id"], "two")]
    (earlier,) = await client.logs_from(42, limit=9, before=int(second["id"]))
    assert (earlier["id"], earlier["author"]["id"]) == (first["id"], "1")
    assert "nonce" not in earlier  # which is lost
    assert discord.utils.snowflake_time(int(first["id"])).timestamp() * 1000 == server.clock.wall_ms()
    server.shows_history = False
    assert await client.logs_from(42, limit=9) == []


async def test_discords_own_client_understands_what_is_refused(
    server: FakeDiscord, client: discord.http.HTTPClient
) -> None:
    with pytest.raises(discord.HTTPException, match="50035"):
        await client.send_message(42, params=said("x" * 2001))
    with pytest.raises(discord.HTTPException, match="50006"):
        await client.send_message(42, params=said(" "))
    server.refuse(7)
    with pytest.raises(discord.Forbidden, match="50013"):
        await client.send_message(7, params=said("x"))
    server.refuse(8, 10003)
    with pytest.raises(discord.NotFound, match="10003"):
        await client.send_message(8, params=said("x"))
    other = discord.http.HTTPClient(asyncio.get_running_loop())
    with pytest.raises(discord.LoginFailure):
        await other.static_login("other")
    await other.close()


async def test_discords_own_client_waits_as_long_as_it_is_told(
    server: FakeDiscord, client: discord.http.HTTPClient
) -> None:
    clock = server.clock
    assert isinstance(clock, FakeClock)
    for _ in range(3):
        await client.send_message(42, params=said("x"))
    waiting = asyncio.create_task(client.send_message(42, params=said("late")))
    await server.receiver.wait_for(5)
    clock.advance(1)
    assert (await waiting)["content"] == "late"
    assert server.ignored_limits == 0
