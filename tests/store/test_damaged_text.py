"""Text that is not UTF-8, written into the file from outside: one message's harm, and nobody else's (ST9, LE7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from pillarbox import Delivered, Outbox, Redirected, Rejected
from pillarbox.errors import StoreCorrupt
from pillarbox.store.base import WorkerStart
from pillarbox.store.sqlite.statements import SCHEMA
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.store.steps.columns import LEASED
from pillarbox.testing.scripted import ScriptedChannel

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox import Message

SECONDS = 60.0


def texts_of(table: str) -> list[str]:
    """The columns of a table that can hold text."""
    connection = apsw.Connection(":memory:")
    connection.execute(SCHEMA["tables"])
    rows = connection.execute("SELECT name FROM pragma_table_info(?) WHERE type IN ('TEXT', 'ANY')", (table,))
    return [name for (name,) in rows]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


async def found(box: Outbox, identity: str) -> Message:
    message = await box.get(identity)
    assert message is not None
    return message


async def accept(db: Path, *recipients: str) -> list[str]:
    async with Outbox(db, deliver=False) as box:
        return [(await box.send("desk", to=to, text="hi")).id or "" for to in recipients]


def damage(db: Path, table: str, column: str, where: str) -> None:
    connection = apsw.Connection(str(db))
    connection.execute(f"UPDATE {table} SET {column} = CAST(x'ff41' AS TEXT) WHERE {where}")  # noqa: S608 — names of ours
    assert connection.changes() == 1
    connection.close()


@pytest.mark.contract("ST9", "LE7")
@pytest.mark.parametrize("column", texts_of("message"))
async def test_a_message_with_such_text_keeps_no_other_back(db: Path, column: str) -> None:
    """It is dead, unless a claim has no use for that column; then it goes out as it should."""
    await accept(db, "ann", "ben", "cid")
    damage(db, "message", column, "recipient = 'ben'")
    channel = ScriptedChannel()
    async with Outbox(db, channels={"desk": channel}) as box:
        await box.drain(SECONDS)
        last, damaged, first = await box.list()
    assert (last.state, first.state) == ("delivered", "delivered")
    sent = [attempt.to for attempt in channel.attempts]
    if column in LEASED or column in ("id", "content", "lane"):
        assert (damaged.state, damaged.reason) == ("dead", "unreadable")
        assert sorted(sent) == ["ann", "cid"]
    else:
        assert damaged.state == "delivered"
        assert sent == ["ann", "ben", "cid"]


@pytest.mark.contract("ST9")
async def test_who_only_looks_sees_it_too_and_is_told_why(db: Path) -> None:
    ids = await accept(db, "ann", "ben")
    damage(db, "message", "origin", "recipient = 'ben'")
    async with Outbox(db, deliver=False) as box:
        message = await found(box, ids[1])
        assert (message.state, message.reason) == ("dead", "unreadable")
        assert "cannot be read: its text is not UTF-8" in str(await box.explain(ids[1]))
        assert (await found(box, ids[0])).state == "scheduled"
        assert await box.check() == []


@pytest.mark.contract("ST9", "LA1")
async def test_its_lane_goes_on(db: Path) -> None:
    async with Outbox(db, deliver=False) as box:
        for to in ("first", "second"):
            await box.send("desk", to=to, text="hi", lane="a lane")
    damage(db, "message", "origin", "recipient = 'first'")
    channel = ScriptedChannel()
    async with Outbox(db, channels={"desk": channel}) as box:
        await box.drain(SECONDS)
        assert await box.check() == []
    assert [attempt.to for attempt in channel.attempts] == ["second"]


@pytest.mark.contract("ST9")
@pytest.mark.parametrize("state", ["delivered", "cancelled"])
async def test_what_has_ended_stays_as_it_ended(db: Path, state: str) -> None:
    (identity,) = await accept(db, "ann")
    async with Outbox(db, channels={"desk": ScriptedChannel()}, drain_on_startup=False) as box:
        if state == "cancelled":
            await box.cancel(identity)
        await (await found(box, identity)).wait()
        ended = (await found(box, identity)).state
    damage(db, "message", "metadata", "recipient = 'ann'")
    async with Outbox(db, deliver=False) as box:
        assert (await found(box, identity)).state == ended


@pytest.mark.contract("ST9")
@pytest.mark.parametrize("column", ["reason", "answer", "receipt"])
async def test_a_history_with_such_text_can_be_read(db: Path, column: str) -> None:
    (identity,) = await accept(db, "ann")
    async with Outbox(db, channels={"desk": ScriptedChannel(Rejected("no such desk"))}) as box:
        await box.drain(SECONDS)
    damage(db, "attempt", column, "number = 1")
    async with Outbox(db, deliver=False) as box:
        assert "\ufffdA" in str(await box.history(identity))


RICH = {
    "queue": "channel = 'other'",
    "channel_pause": "channel = 'closed'",
    "policy": "id = 1",
    "payload": "id = 1",
    "part": "number = 1",
    "message_key": "key = 'a key'",
    "audit": "id = 1",
    "worker": "slot > 0",
    "recipient_alias": "recipient = 'moved'",
    "suppression": "recipient = 'gone'",
    "mirror": "id = 1",
}
"""By which one row of each of these tables is known."""


def channels(*steps: object) -> dict[str, ScriptedChannel]:
    desk = ScriptedChannel(*steps, text_limit=4000)
    return {"desk": desk, "other": ScriptedChannel(), "closed": ScriptedChannel()}


async def rich(db: Path) -> str:
    """Leave a row in each of these tables, and a plain message that waits; return that one's id."""
    async with Outbox(
        db, channels=channels(Redirected("there"), Delivered(), Rejected("gone", about="recipient"))
    ) as box:
        await (await box.send("desk", to="moved", text="hi")).wait(SECONDS)
        await (await box.send("desk", to="gone", text="hi", key="a key")).wait(SECONDS)
        await box.pause("closed", reason="a reason")
        await box.pause("desk")
        await box.send(
            "desk", to="ann", text="x" * 3000, mirror={"sessionKey": "s", "mediaUrls": ["https://a.example"]}
        )
        await box.send("desk", to="ben", text="y " * 4000)
        await box.send("other", to="dan", text="hi", at="1h")
        return (await box.send("desk", to="cid", text="hi", max_attempts=3)).id or ""


@pytest.mark.contract("ST9", "LE7")
@pytest.mark.parametrize(("table", "column"), [(table, column) for table in RICH for column in texts_of(table)])
async def test_such_text_beside_the_messages_keeps_none_back_and_hides_none(db: Path, table: str, column: str) -> None:
    plain = await rich(db)
    # Who was killed leaves one.
    store = SQLiteStore(db)
    await store.open()
    await store.register(WorkerStart(id=b"killed", host="h", pid=1, version="v", channels=("desk",), now_ms=0))
    await store.close()
    damage(db, table, column, RICH[table])
    async with Outbox(db, channels=channels()) as box:
        await box.resume("desk")
        assert (await (await found(box, plain)).wait(SECONDS)).state == "delivered"
        await box.drain(SECONDS)
        listed = {message.id: message for message in await box.list()}
        assert len(listed) == 6
        assert {message.id async for message in box.export()} == listed.keys()
        for message in listed.values():
            await box.explain(message.id or "")
            await box.history(message.id or "")
        assert sum(one.messages for one in await box.stats()) == 6
        assert len(await box.suppressed()) == 1
        await box.workers()


@pytest.mark.contract("ST9", "SG1")
@pytest.mark.parametrize("column", ["key", "value"])
async def test_a_database_that_cannot_be_known_by_such_text_is_told_to_be_damaged(db: Path, column: str) -> None:
    await accept(db, "ann")
    damage(db, "meta", column, "key = 'log_key'")
    with pytest.raises(StoreCorrupt, match="a value in it is no text that can be read"):
        async with Outbox(db, deliver=False) as box:
            await box.list()


@pytest.mark.contract("ST9", "SG1")
async def test_such_text_that_comes_while_the_database_is_open_is_told_and_not_made_up(db: Path) -> None:
    store = SQLiteStore(db)
    await store.open()
    await store.keep("desk", old=None, new="a token")
    damage(db, "meta", "value", "value = 'a token'")
    # On the thread that writes, on the one that reads, and what a start asks.
    for asked in (store.kept("desk"), store.schema(), store.label()):
        with pytest.raises(StoreCorrupt, match=r"setting aside .* a value in it is no text that can be read"):
            await asked
    await store.close()
