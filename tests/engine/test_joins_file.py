"""Messages join a transaction of the application on the outbox's own file (contract EN9)."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiosqlite
import apsw
import pytest
import sqlalchemy

from pillarbox import Outbox, sync
from pillarbox.domain.message import State
from pillarbox.errors import InvalidMessage, KeyConflict, QueueFull, Refused, StoreBusy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SECONDS = 30.0
pytestmark = pytest.mark.contract("EN9")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
async def box(db: Path) -> AsyncIterator[Outbox]:
    async with Outbox(db, deliver=False) as box:
        yield box
        assert await box.check() == []


@pytest.fixture
def shop(db: Path, box: Outbox) -> Iterator[apsw.Connection]:
    """The application's own connection, with a table and a transaction of its own."""
    with contextlib.closing(apsw.Connection(str(db))) as shop:
        shop.execute("PRAGMA synchronous = FULL; CREATE TABLE shop_order (number INTEGER); BEGIN IMMEDIATE")
        yield shop


async def test_the_commit_leaves_it_and_a_rollback_does_not(box: Outbox, shop: apsw.Connection) -> None:
    shop.execute("INSERT INTO shop_order VALUES (1)")
    await box.enqueue(shop, "pager", to="ann", text="never ordered")
    shop.execute("ROLLBACK; BEGIN IMMEDIATE; INSERT INTO shop_order VALUES (2)")
    made = await box.enqueue(shop, "pager", to="ann", text="x" * 5000, key="k")
    assert await box.list() == []
    shop.execute("COMMIT")
    (found,) = await box.list()
    assert (found.id, made.created) == (made.id, True)
    assert shop.execute("SELECT * FROM shop_order").fetchall() == [(2,)]


async def test_a_savepoint_and_a_refusal_leave_what_was_there(box: Outbox, shop: apsw.Connection) -> None:
    # Rows of the application's own making are no matter.
    shop.row_trace = lambda _cursor, row: {"row": row}
    first = await box.enqueue(shop, "pager", to="ann", text="1", key="k")
    with contextlib.suppress(ZeroDivisionError), shop:
        await box.enqueue(shop, "pager", to="ann", text="2")
        raise ZeroDivisionError
    with pytest.raises(KeyConflict):
        await box.enqueue(shop, "pager", to="ann", text="another", key="k")
    two = [{"channel": "pager", "to": "ann", "text": "3"}, {"channel": "pager", "to": "ann", "text": "4", "key": "k"}]
    with pytest.raises(KeyConflict):
        await box.enqueue_many(shop, two)
    with pytest.raises(InvalidMessage):
        await box.enqueue(shop, "pager", to="", text="5")
    same = await box.enqueue(shop, "pager", to="ann", text="1", key="k")
    assert (same.id, same.created) == (first.id, False)
    assert shop.row_trace is not None
    shop.execute("COMMIT")
    assert [message.id for message in await box.list()] == [first.id]


async def test_the_commit_wakes_who_sends_it(db: Path) -> None:
    async with Outbox(db, channels={"pager": lambda attempt: f"to {attempt.to}"}) as box:
        with contextlib.closing(apsw.Connection(str(db))) as shop:
            shop.execute("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
            message = await box.enqueue(shop, "pager", to="ann", text="hi")
            shop.execute("COMMIT")
            await message.wait(SECONDS)
            assert (message.state, message.receipt) == (State.DELIVERED, "to ann")


@pytest.mark.contract("EN5")
async def test_limits_are_exact(db: Path) -> None:
    async with Outbox(db, deliver=False, limits={"messages": 2}) as box:
        with contextlib.closing(apsw.Connection(str(db))) as shop:
            shop.execute("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
            await box.enqueue(shop, "pager", to="ann", text="1")
            await box.enqueue(shop, "pager", to="ann", text="2")
            with pytest.raises(QueueFull):
                await box.enqueue(shop, "pager", to="ann", text="3")
            shop.execute("COMMIT")
        assert len(await box.list()) == 2


def test_the_blocking_one_joins_on_the_callers_thread(db: Path) -> None:
    with sync.Outbox(db, deliver=False) as box, contextlib.closing(apsw.Connection(str(db))) as shop:
        shop.execute("PRAGMA synchronous = FULL")
        with shop:
            message = box.enqueue(shop, "pager", to="ann", text="hi")
        assert [one.id for one in box.list()] == [message.id]


async def test_what_is_not_safe_is_refused_with_what_to_do(db: Path, box: Outbox, shop: apsw.Connection) -> None:
    async def refused(connection: Any, why: str) -> None:
        with pytest.raises(Refused, match=why):
            await box.enqueue(connection, "pager", to="ann", text="hi")

    shop.execute("COMMIT")
    await refused(shop, r"no transaction is open .*BEGIN IMMEDIATE")
    shop.execute("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE")
    await refused(shop, "set PRAGMA synchronous = FULL before the transaction")
    shop.execute("ROLLBACK")
    with contextlib.closing(apsw.Connection("")) as memory:
        memory.execute("BEGIN")
        await refused(memory, r"main database is in memory, not .*outbox\.db")
    # To open the file itself with that library would do the harm: a connection to another one is refused as well.
    two = "two of them in one process break each other's locks .* open the outbox as sqlite3:"
    with contextlib.closing(sqlite3.connect(":memory:")) as other:
        await refused(other, two)
    async with aiosqlite.connect(":memory:") as awaited:
        await refused(awaited, two)
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        await refused(connection, two)
    engine.dispose()
    await refused(object(), "is no connection to this database: expected an apsw.Connection")


async def test_what_is_temporary_does_not_take_what_is_ours(box: Outbox, shop: apsw.Connection) -> None:
    # SQLite would write there, and nobody would send it.
    shop.execute("CREATE TEMP TABLE Message AS SELECT * FROM message; CREATE TEMP TABLE mine (number INTEGER)")
    with pytest.raises(Refused, match="temporary tables or views named Message,"):
        await box.enqueue(shop, "pager", to="ann", text="hi")
    shop.execute("DROP TABLE temp.message")
    await box.enqueue(shop, "pager", to="ann", text="hi")
    shop.execute("COMMIT")
    assert len(await box.list()) == 1


async def test_a_queue_in_memory_takes_part_in_no_transaction() -> None:
    async with Outbox(":memory:", deliver=False) as box:
        with pytest.raises(Refused, match="in memory"):
            await box.enqueue(None, "pager", to="ann", text="hi")


async def test_a_transaction_that_cannot_write_says_so(db: Path, box: Outbox, shop: apsw.Connection) -> None:
    shop.execute("COMMIT; BEGIN; SELECT * FROM shop_order")
    await box.send("pager", to="ann", text="1")
    # What it has read is not the newest any more.
    with pytest.raises(StoreBusy):
        await box.enqueue(shop, "pager", to="ann", text="2")
    shop.execute("ROLLBACK")


@pytest.mark.contract("SG9")
def test_a_close_of_the_outbox_leaves_an_open_transaction_its_locks(db: Path) -> None:
    with contextlib.closing(apsw.Connection(str(db))) as shop:
        with sync.Outbox(db, deliver=False) as box:
            shop.execute("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
            box.enqueue(shop, "pager", to="ann", text="hi")
        tried = "import apsw, sys; apsw.Connection(sys.argv[1]).execute('BEGIN IMMEDIATE')"
        done = subprocess.run([sys.executable, "-c", tried, str(db)], capture_output=True, text=True, check=False)
        assert "BusyError" in done.stderr
        shop.execute("COMMIT")
    with sync.Outbox(db, deliver=False) as box:
        assert len(box.list()) == 1
        assert box.check() == []
