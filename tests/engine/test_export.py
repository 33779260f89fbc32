"""All messages that a filter picks, whole, each once, in bounded memory, whatever is written meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pillarbox.sync
from pillarbox import Message, Outbox
from pillarbox.domain.message import State
from pillarbox.domain.shards import home_of
from pillarbox.errors import InvalidMessage, NotStarted, ShardsUnavailable, StoreReplaced
from pillarbox.outbox import message_pages
from pillarbox.outbox.outbox import inside

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.stand import Stand

MANY = message_pages.PAGE + 10
LARGE = [{"channel": "chat", "to": "ann", "text": "x" * 200_000}] * (message_pages.PAGE_BYTES // 200_000 + 5)
TENANTS = [next(f"t{number}" for number in range(40) if home_of(f"t{number}", 2) == home) for home in (1, 2)]


async def exported(box: Outbox, where: str | tuple[str, ...] = ()) -> list[Message]:
    return [message async for message in box.export(where)]


async def sent(box: Outbox, count: int, **options: Any) -> list[str]:
    drafts = [{"channel": "chat", "to": f"r{number}", "text": f"text {number}", **options} for number in range(count)]
    return [message.id or "" for message in await box.send_many(drafts)]


@pytest.mark.contract("OP1")
async def test_each_message_is_exported_whole_the_oldest_first(stand: Stand) -> None:
    box = (await stand.open()).outbox
    ids = await sent(box, MANY)
    found = await exported(box)
    assert [message.id for message in found] == ids
    assert [message.to_dict() for message in found[:3]] == [(await box.find(one)).to_dict() for one in ids[:3]]
    assert all(message.content is not None for message in found)
    assert [message.id for message in await exported(box, ("to=r3", "state=scheduled"))] == [ids[3]]
    assert await exported(box, "state=dead") == []
    with pytest.raises(InvalidMessage, match=r"^where: "):
        box.export("stat=dead")


@pytest.mark.contract("OP1")
async def test_what_is_written_meanwhile_makes_none_twice(stand: Stand) -> None:
    box = (await stand.open()).outbox
    ids = await sent(box, MANY)
    found = []
    async for message in box.export():
        found.append(message)
        if len(found) == 1:
            await sent(box, 5)
            await box.cancel(ids[0])
            await box.cancel(ids[-1])
            await box.cancel(ids[-2])
            await box.purge(ids[-2])
    assert [message.id for message in found] == [*ids[:-2], ids[-1]]
    assert (found[0].state, found[-1].state) == (State.SCHEDULED, State.CANCELLED)


@pytest.mark.contract("OP1")
async def test_no_page_holds_more_than_a_few_large_contents(stand: Stand) -> None:
    box = (await stand.open()).outbox
    ids = [message.id for message in await box.send_many(LARGE)]
    pages = inside(box).reads.pages()
    found = [[message.id for message in await pages.following()] for _ in range(3)]
    assert found == [ids[:-5], ids[-5:], []]


@pytest.mark.contract("OP1")
async def test_the_messages_of_all_shards_are_exported_and_a_silent_one_is_named_at_the_end(tmp_path: Path) -> None:
    dbs = [str(tmp_path / name) for name in ("a.db", "b.db")]
    async with Outbox(shards=dbs, deliver=False) as box:
        ids = [await sent(box, 3, tenant=tenant) for tenant in TENANTS]
        assert [message.id for message in await exported(box)] == [*ids[0], *ids[1]]
        assert [message.id for message in await exported(box, f"tenant={TENANTS[1]}")] == ids[1]
        with pytest.raises(InvalidMessage, match=r"^where: "):
            box.export("stat=dead")
        (tmp_path / "a.db").rename(tmp_path / "c.db")
        found: list[str | None] = []

        async def noted() -> None:
            async for message in box.export():
                found.append(message.id)  # noqa: PERF401 — it stays where an error ends the loop

        with pytest.raises(ShardsUnavailable, match="shard 1 of 2"):
            await noted()
        assert found == ids[1]
        with pytest.raises((StoreReplaced, ShardsUnavailable)):
            await exported(box, f"tenant={TENANTS[0]}")


@pytest.mark.contract("OP1")
def test_a_blocking_program_exports_too(tmp_path: Path) -> None:
    box = pillarbox.sync.Outbox(tmp_path / "outbox.db", deliver=False)
    with pytest.raises(NotStarted):
        box.export()
    with box:
        ids = [box.send("chat", to=f"r{number}", text="hi").id for number in range(3)]
        found = list(box.export("to=r1"))
        assert [message.id for message in found] == [ids[1]]
        assert isinstance(found[0].wait("0s"), pillarbox.sync.Message)
        left = box.export()
        assert next(left).id == ids[0]
        with pytest.raises(InvalidMessage, match=r"^where: "):
            box.export("stat=dead")
    with pytest.raises(NotStarted):
        list(left)


async def test_a_disabled_queue_has_nothing_to_export(stand: Stand) -> None:
    assert await exported((await stand.open(enabled=False)).outbox) == []
