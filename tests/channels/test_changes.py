"""Edits, deletions and answers on the chat platforms, through an outbox: what people read in the end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox import Outbox, State
from pillarbox.testing.platforms import FakeDiscord, FakeMatrix, FakeSlack, FakeTelegram
from pillarbox.testing.receiver import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PLATFORMS: Final = [
    (FakeTelegram, "url", "42"), (FakeSlack, "url", "C024BE91L"), (FakeDiscord, "url", "123"),
    (FakeDiscord, "hook_url", "ops"), (FakeMatrix, "url", "!room:test.local"),
]  # fmt: skip
NOT_THERE: Final = [
    (FakeTelegram, "42", "77"), (FakeSlack, "C024BE91L", "1.5"), (FakeDiscord, "123", "77"),
]  # fmt: skip
Opened = tuple[Outbox, Any]


@contextlib.asynccontextmanager
async def opened(tmp_path: Path, kind: Any, url: str = "url") -> AsyncIterator[Opened]:
    async with kind() as fake, Outbox(tmp_path / "outbox.db", channels={"chat": getattr(fake, url)}) as box:
        yield box, fake


def texts(fake: Any, url: str, to: str) -> list[str]:
    found: list[str] = fake.texts() if url == "hook_url" else fake.texts(to)
    return found


@pytest.mark.contract("CO5", "CH7")
@pytest.mark.parametrize(("kind", "url", "to"), PLATFORMS)
async def test_people_read_the_newest_text_and_then_nothing(tmp_path: Path, kind: Any, url: str, to: str) -> None:
    async with opened(tmp_path, kind, url) as (box, fake):
        first = await box.send("chat", to=to, text="one")
        await first.wait(timeout=30)
        for text in ("two", "two", "*three*"):
            edit = await box.edit(first, text=text, format="markdown")
            # To say the same again is no failure, whatever a platform calls it.
            assert (await edit.wait(timeout=30)).state is State.DELIVERED, edit.error
        (shown,) = texts(fake, url, to)
        assert "three" in shown
        for _ in range(2):
            gone = await box.delete(first)
            assert (await gone.wait(timeout=30)).state is State.DELIVERED, gone.error
        assert texts(fake, url, to) == []


@pytest.mark.contract("CO5")
@pytest.mark.parametrize(("kind", "to", "receipt"), NOT_THERE)
async def test_what_is_not_there_cannot_be_edited_and_need_not_be_deleted(
    tmp_path: Path, kind: Any, to: str, receipt: str
) -> None:
    async with opened(tmp_path, kind) as (box, _):
        edit = await box.edit(receipt=receipt, channel="chat", to=to, text="new")
        assert (await edit.wait(timeout=30)).state is State.DEAD, edit.error
        gone = await box.delete(receipt=receipt, channel="chat", to=to)
        assert (await gone.wait(timeout=30)).state is State.DELIVERED, gone.error


@pytest.mark.contract("CO5", "CO3")
@pytest.mark.parametrize(("kind", "to", "_"), NOT_THERE)
async def test_what_is_no_receipt_of_a_platform_never_gets_there(tmp_path: Path, kind: Any, to: str, _: str) -> None:
    async with opened(tmp_path, kind) as (box, fake):
        for change in (box.edit, box.delete):
            options: dict[str, Any] = {"text": "new"} if change == box.edit else {}
            changed = await change(receipt="../../users/@me", channel="chat", to=to, **options)
            assert (await changed.wait(timeout=30)).state is State.DEAD
            assert "target: expected" in (changed.error or "")
        assert all("@me" not in request.path for request in fake.receiver.requests)


@pytest.mark.contract("CO5")
@pytest.mark.parametrize(("kind", "to"), [(kind, to) for kind, url, to in PLATFORMS if url == "url"])
async def test_an_edit_whose_answer_was_lost_is_made_again(tmp_path: Path, kind: Any, to: str) -> None:
    async with opened(tmp_path, kind) as (box, fake):
        first = await box.send("chat", to=to, text="one")
        await first.wait(timeout=30)
        fake.script(Answer(status=502))
        edit = await box.edit(first, text="two", schedule="1s")
        assert (await edit.wait(timeout=30)).state is State.DELIVERED, edit.error
        assert fake.texts(to) == ["two"]


@pytest.mark.contract("CO3", "CH3")
@pytest.mark.parametrize(("kind", "url", "to"), PLATFORMS)
async def test_an_answer_to_one_of_ours(tmp_path: Path, kind: Any, url: str, to: str) -> None:
    async with opened(tmp_path, kind, url) as (box, fake):
        first = await box.send("chat", to=to, text="one")
        await first.wait(timeout=30)
        answer = await box.send("chat", to=to, text="two", reply_to=first.id)
        assert (await answer.wait(timeout=30)).state is State.DELIVERED, answer.error
        if url == "url":
            assert (first.receipt or "?") in fake.receiver.requests[-1].body.decode()
        orphan = await box.send("chat", to=to, text="three", reply_to="AAAAAAAAAAAAAAAAAAAAAA")
        assert (await orphan.wait(timeout=30)).state is State.DELIVERED, orphan.error
        assert "without its reply" in str([event.reason for event in await box.history(orphan.id or "")])
