"""Messages join transactions of an application's own SQLite library, on a shared file (contract EN9)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import aiosqlite
import apsw
import django
import pytest
import sqlalchemy
from django.conf import settings as django_settings
from django.db import connections as django_connections
from django.db import transaction as django_transaction
from sqlalchemy import event, orm
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

from pillarbox import Outbox, sync
from pillarbox.domain.message import State
from pillarbox.errors import (
    InvalidMessage,
    KeyConflict,
    QueueFull,
    Refused,
    StoreBusy,
    StoreNotFound,
    StoreReplaced,
    StoreUnsafe,
)
from pillarbox.store.registry import share
from tests.engine.test_joins import Awaited, Blocking, Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SECONDS: Final = 30.0
pytestmark = pytest.mark.contract("EN9")


def prepared(connection: Any) -> None:
    connection.execute("PRAGMA synchronous = EXTRA")


def recipe(engine: sqlalchemy.Engine) -> None:
    """What docs/how-to/transactions.md shows."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = EXTRA")

    @event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.asynccontextmanager
async def plain(path: Path) -> AsyncIterator[Shop]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        prepared(connection)
        # Rows of the application's own making are no matter.
        connection.row_factory = lambda cursor, row: dict(zip([one[0] for one in cursor.description], row, strict=True))
        yield Blocking(connection)


@contextlib.asynccontextmanager
async def awaited(path: Path) -> AsyncIterator[Shop]:
    async with aiosqlite.connect(path) as connection:
        await connection.execute("PRAGMA synchronous = EXTRA")
        connection.row_factory = aiosqlite.Row
        yield Awaited(connection)


@contextlib.asynccontextmanager
async def sqlalchemy_connection(path: Path) -> AsyncIterator[Shop]:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    recipe(engine)
    with engine.connect() as connection:
        yield Blocking(connection, sqlalchemy.text)
    engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_session(path: Path) -> AsyncIterator[Shop]:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", lambda connection, _record: prepared(connection))
    with orm.Session(engine) as session:
        yield Blocking(session, sqlalchemy.text)
    engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_async(path: Path) -> AsyncIterator[Shop]:
    engine = sqlalchemy_asyncio.create_async_engine(f"sqlite+aiosqlite:///{path}")
    recipe(engine.sync_engine)
    async with sqlalchemy_asyncio.AsyncSession(engine) as session:
        yield Awaited(session, sqlalchemy.text)
    await engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_async_connection(path: Path) -> AsyncIterator[Shop]:
    engine = sqlalchemy_asyncio.create_async_engine(f"sqlite+aiosqlite:///{path}")
    recipe(engine.sync_engine)
    async with engine.connect() as connection:
        yield Awaited(connection, sqlalchemy.text)
    await engine.dispose()


KINDS: Final = (
    plain,
    awaited,
    sqlalchemy_connection,
    sqlalchemy_session,
    sqlalchemy_async,
    sqlalchemy_async_connection,
)
of_every_kind = pytest.mark.parametrize("shop", KINDS, ids=lambda kind: kind.__name__, indirect=True)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE shop_order (number INTEGER)")
    assert share(path)
    return path


@pytest.fixture
async def box(db: Path) -> AsyncIterator[Outbox]:
    async with Outbox(f"sqlite3:///{db}", deliver=False) as box:
        yield box
        assert await box.check() == []


@pytest.fixture
async def shop(request: pytest.FixtureRequest, db: Path) -> AsyncIterator[Shop]:
    async with request.param(db) as shop:
        yield shop


@of_every_kind
async def test_the_commit_leaves_it_and_a_rollback_does_not(box: Outbox, shop: Shop) -> None:
    await shop.execute("INSERT INTO shop_order VALUES (1)")
    lost = await box.enqueue(shop.connection, "pager", to="ann", text="never ordered")
    await shop.rollback()
    # The outbox begins the transaction where the library would.
    made = await box.enqueue(shop.connection, "pager", to="ann", text="x" * 5000, key="k")
    assert (made.created, made.durability) == (True, None)
    await shop.execute("INSERT INTO shop_order VALUES (2)")
    assert await box.list() == []
    await shop.commit()
    (found,) = await box.list()
    assert found.id == made.id
    assert lost.id is not None
    assert await box.get(lost.id) is None
    await shop.execute("DELETE FROM shop_order WHERE number = 2")
    await shop.rollback()


@of_every_kind
async def test_savepoints_refusals_and_keys_leave_what_was_there(box: Outbox, shop: Shop) -> None:
    await shop.execute("INSERT INTO shop_order VALUES (1)")
    first = await box.enqueue(shop.connection, "pager", to="ann", text="1", key="k")
    await shop.execute("SAVEPOINT mine")
    await box.enqueue(shop.connection, "pager", to="ann", text="2")
    await shop.execute("ROLLBACK TO SAVEPOINT mine")
    with pytest.raises(KeyConflict):
        await box.enqueue(shop.connection, "pager", to="ann", text="another", key="k")
    two = [{"channel": "pager", "to": "ann", "text": "3"}, {"channel": "pager", "to": "ann", "text": "4", "key": "k"}]
    with pytest.raises(KeyConflict):
        await box.enqueue_many(shop.connection, two)
    with pytest.raises(InvalidMessage):
        await box.enqueue(shop.connection, "pager", to="", text="5")
    same = await box.enqueue(shop.connection, "pager", to="ann", text="1", key="k")
    assert (same.id, same.created) == (first.id, False)
    many = await box.enqueue_many(
        shop.connection, [{"channel": "pager", "to": f"n{n}", "text": "hi", "key": f"k{n}"} for n in range(40)]
    )
    await shop.commit()
    assert {one.id for one in await box.list(limit=100)} == {first.id, *(one.id for one in many)}


async def test_savepoints_of_sqlalchemys_own(db: Path, box: Outbox) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{db}")
    recipe(engine)
    with orm.Session(engine) as session:
        first = await box.enqueue(session, "pager", to="ann", text="1")
        with contextlib.suppress(ZeroDivisionError), session.begin_nested():
            await box.enqueue(session, "pager", to="ann", text="2")
            raise ZeroDivisionError
        with session.begin_nested():
            third = await box.enqueue(session, "pager", to="ann", text="3")
        assert await box.list() == []
        session.commit()
    engine.dispose()
    assert [message.id for message in await box.list()] == [third.id, first.id]


async def test_a_savepoint_that_would_commit_is_refused(db: Path, box: Outbox) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{db}")
    event.listen(engine, "connect", lambda connection, _record: prepared(connection))
    with orm.Session(engine) as session, session.begin_nested():
        if session.connection().connection.driver_connection.isolation_level is not None:  # type: ignore[union-attr]
            with pytest.raises(Refused, match="the end of the savepoint would commit"):
                await box.enqueue(session, "pager", to="ann", text="1")
    engine.dispose()
    assert await box.list() == []


@pytest.mark.skipif(django.VERSION < (5, 1), reason="older Django begins its transactions by reading")
def test_django_joins_its_atomic_block(db: Path) -> None:
    if not django_settings.configured:
        django_settings.configure(DATABASES={}, USE_TZ=True)
        django.setup()
    django_connections.databases["shared"] = {
        **django_connections.databases.get("default", {}),
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(db),
        "OPTIONS": {"init_command": "PRAGMA synchronous = EXTRA", "transaction_mode": "IMMEDIATE"},
    }
    django_connections.configure_settings(django_connections.databases)
    connection = django_connections["shared"]
    with sync.Outbox(f"sqlite3:///{db}", deliver=False) as box:
        try:
            with pytest.raises(Refused, match=r"transaction\.atomic"):
                box.enqueue(connection, "pager", to="ann", text="0")
            with contextlib.suppress(ZeroDivisionError), django_transaction.atomic("shared"):
                box.enqueue(connection, "pager", to="ann", text="1")
                raise ZeroDivisionError
            with django_transaction.atomic("shared"):
                kept = box.enqueue(connection, "pager", to="ann", text="2")
                with contextlib.suppress(ZeroDivisionError), django_transaction.atomic("shared"):
                    box.enqueue(connection, "pager", to="ann", text="3")
                    raise ZeroDivisionError
        finally:
            connection.close()
        assert [message.id for message in box.list()] == [kept.id]
        assert box.check() == []


async def test_the_commit_wakes_who_sends_it_in_this_process_too(db: Path) -> None:
    pager = {"pager": lambda attempt: f"to {attempt.to}"}
    async with Outbox(f"sqlite3:///{db}", channels=pager) as box, plain(db) as shop:
        message = await box.enqueue(shop.connection, "pager", to="ann", text="hi")
        await shop.commit()
        await message.wait(SECONDS)
        assert (message.state, message.receipt) == (State.DELIVERED, "to ann")


def test_the_blocking_one_joins_on_the_callers_thread(db: Path) -> None:
    with sync.Outbox(f"sqlite3:///{db}", deliver=False) as box, contextlib.closing(sqlite3.connect(db)) as shop:
        prepared(shop)
        with shop:
            message = box.enqueue(shop, "pager", to="ann", text="hi")
        assert [one.id for one in box.list()] == [message.id]
        refused: list[Exception] = []

        def elsewhere() -> None:
            try:
                box.enqueue(shop, "pager", to="ann", text="hi")
            except Refused as exc:
                refused.append(exc)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert "created in a thread" in str(refused)


@pytest.mark.contract("EN5")
async def test_limits_are_exact(db: Path) -> None:
    async with Outbox(f"sqlite3:///{db}", deliver=False, limits={"messages": 2}) as box, plain(db) as shop:
        await box.enqueue(shop.connection, "pager", to="ann", text="1")
        await box.enqueue(shop.connection, "pager", to="ann", text="2")
        with pytest.raises(QueueFull):
            await box.enqueue(shop.connection, "pager", to="ann", text="3")
        await shop.commit()
        assert len(await box.list()) == 2


async def refused(box: Outbox, connection: Any, why: str) -> None:
    with pytest.raises(Refused, match=why):
        await box.enqueue(connection, "pager", to="ann", text="hi")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("PRAGMA synchronous = OFF", "do not wait for the disk .* synchronous = EXTRA"),
        ("PRAGMA synchronous = FULL", "do not wait for the disk .* synchronous = EXTRA"),
        ("PRAGMA journal_mode = MEMORY", "journal mode is memory: .* journal_mode = DELETE"),
        ("PRAGMA journal_mode = PERSIST", "journal mode is persist: .* journal_mode = DELETE"),
        ("PRAGMA locking_mode = EXCLUSIVE", "keeps the file locked between its transactions"),
        ("ATTACH '{other}' AS other", r"another file is attached .*\(other\)"),
        ("CREATE TEMP TABLE message AS SELECT * FROM message", "temporary tables or views named message,"),
    ],
)
async def test_a_connection_whose_commits_are_not_safe_is_refused(
    db: Path, box: Outbox, tmp_path: Path, setting: str, why: str
) -> None:
    async with plain(db) as shop:
        shop.connection.execute(setting.format(other=tmp_path / "other.db"))
        await refused(box, shop.connection, why)
        assert not shop.connection.in_transaction
        shop.connection.execute("INSERT INTO shop_order VALUES (1)")
        await refused(box, shop.connection, why)
        assert shop.connection.in_transaction
        shop.connection.rollback()
    assert await box.list() == []


async def test_what_is_not_safe_is_refused_with_what_to_do(db: Path, box: Outbox, tmp_path: Path) -> None:
    async with plain(db) as shop:
        shop.connection.isolation_level = None
        await refused(box, shop.connection, "no transaction is open .*BEGIN IMMEDIATE")
        shop.connection.execute("BEGIN IMMEDIATE")
        shop.connection.text_factory = bytes
        await refused(box, shop.connection, "text_factory")
        shop.connection.execute("ROLLBACK")
    await refused(box, shop.connection, "closed")
    for other, told in ((":memory:", "in memory"), (str(tmp_path / "other.db"), "other.db")):
        with contextlib.closing(sqlite3.connect(other)) as elsewhere:
            elsewhere.execute("CREATE TABLE shop_order (number INTEGER)")
            await refused(box, elsewhere, f"main database is .*{told}.*, not ")
    await refused(box, object(), "is no connection to this database: expected one of sqlite3")
    # Nothing tells how it was opened; that its lock is missing does.
    unlocked = f"file:{db}?nolock=1"
    with contextlib.closing(sqlite3.connect(unlocked, uri=True)) as connection:
        prepared(connection)
        await refused(box, connection, "does not have the file's write lock")
    with contextlib.closing(apsw.Connection(str(db))) as connection:
        await refused(box, connection, "expected one of sqlite3")
        async with plain(db) as shop:
            await refused(box, shop.connection, "is open with apsw in this process too")
    assert await box.list() == []


async def test_two_libraries_in_one_process_are_refused(db: Path, box: Outbox) -> None:
    with pytest.raises(StoreUnsafe, match="two SQLite libraries in one process"):
        await Outbox(db, deliver=False).start()
    await box.close()
    with contextlib.closing(sqlite3.connect(db)) as shop:
        shop.execute("SELECT * FROM shop_order")
        with pytest.raises(StoreUnsafe, match="sqlite3:///"):
            await Outbox(db, deliver=False).start()
    async with Outbox(db, deliver=False) as other:
        with pytest.raises(StoreUnsafe, match="has the file open with apsw"):
            await Outbox(f"sqlite3:///{db}", deliver=False).start()
        assert await other.check() == []
    await box.start()


async def test_a_file_that_is_not_shared_is_refused_as_it_is(tmp_path: Path) -> None:
    missing, ordinary = tmp_path / "missing.db", tmp_path / "outbox.db"
    with pytest.raises(StoreNotFound, match="db init --shared"):
        await Outbox(f"sqlite3:///{missing}", deliver=False).start()
    assert not missing.exists()
    async with Outbox(ordinary, deliver=False):
        pass
    before = ordinary.read_bytes()
    with pytest.raises(StoreUnsafe, match="is no shared file"):
        await Outbox(f"sqlite3:///{ordinary}", deliver=False).start()
    assert ordinary.read_bytes() == before


async def test_who_switches_to_a_log_is_told(db: Path) -> None:
    async with Outbox(f"sqlite3:///{db}", deliver=False) as box:
        with contextlib.closing(sqlite3.connect(db)) as shop:
            assert shop.execute("PRAGMA journal_mode = WAL").fetchall() == [("wal",)]
            await refused(box, shop, "journal mode is wal")
        with pytest.raises(StoreUnsafe, match="switched this shared file to a write-ahead log"):
            await box.send("pager", to="ann", text="hi")
        assert any("switched this shared file" in problem for problem in await box.check())
    assert not share(db)
    async with Outbox(f"sqlite3:///{db}", deliver=False) as box:
        await box.send("pager", to="ann", text="hi")
        assert await box.check() == []


@pytest.mark.contract("SG9")
@pytest.mark.parametrize("how", ["replaced", "deleted", "emptied", "marked as another's"])
async def test_a_file_that_is_another_one_now_takes_nothing_and_says_so(db: Path, how: str) -> None:
    async with Outbox(f"sqlite3:///{db}", deliver=False) as box, plain(db) as shop:
        if how == "replaced":
            shutil.copy(db, db.with_name("copy"))
            db.with_name("copy").rename(db)
        elif how == "deleted":
            db.unlink()
        elif how == "emptied":
            os.truncate(db, 0)
        else:
            shop.connection.execute("PRAGMA application_id = 5")
        shop.connection.execute("BEGIN")
        with pytest.raises(StoreReplaced if how in {"replaced", "deleted"} else Refused):
            await box.enqueue(shop.connection, "pager", to="ann", text="2")
        with pytest.raises(StoreReplaced):
            await box.send("pager", to="ann", text="hi")
        (problem,) = (await box.health()).problems
        assert "while it was open" in problem


async def test_a_transaction_that_cannot_write_says_so(db: Path, box: Outbox) -> None:
    async with plain(db) as shop, plain(db) as other:
        shop.connection.execute("BEGIN").execute("SELECT * FROM shop_order").fetchall()
        other.connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match=r"roll back, and do the transaction again .* BEGIN IMMEDIATE"):
            await box.enqueue(shop.connection, "pager", to="ann", text="2")
        assert shop.connection.in_transaction
        other.connection.rollback()


async def test_many_that_write_without_a_pause_all_come_to_their_turn_with_a_longer_timeout(db: Path) -> None:
    """SQLite gives them the lock in no order: the page advises to begin by taking it, and to wait for longer."""

    def order(name: str) -> None:
        connection = sqlite3.connect(db, timeout=60)
        prepared(connection)
        with sync.Outbox(f"sqlite3:///{db}", deliver=False) as box, contextlib.closing(connection):
            for number in range(5):
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    connection.execute("INSERT INTO shop_order VALUES (1)")
                    box.enqueue(connection, "pager", to=name, text=f"{number}")

    await asyncio.gather(*(asyncio.to_thread(order, name) for name in "abcdef"))
    async with Outbox(f"sqlite3:///{db}", deliver=False) as box:
        assert len(await box.list(limit=100)) == 30
        assert await box.check() == []


@contextlib.contextmanager
def adapted(kind: type) -> Iterator[None]:
    sqlite3.register_adapter(kind, lambda value: f"<{value}>")
    try:
        yield
    finally:
        del sqlite3.adapters[kind, sqlite3.PrepareProtocol]


each_library = pytest.mark.parametrize("shop", [plain, awaited], ids=lambda kind: kind.__name__, indirect=True)


@each_library
async def test_what_a_program_makes_of_truth_values_is_no_matter(db: Path, box: Outbox, shop: Shop) -> None:
    with adapted(bool):
        await shop.execute("INSERT INTO shop_order VALUES (1)")
        joined = await box.enqueue(shop.connection, "pager", to="ann", text="joined", key="k")
        await shop.commit()
        async with Outbox(f"sqlite3:///{db}", channels={"pager": lambda _: None}) as other:
            own = await other.send("pager", to="ann", text="own")
            assert (await own.wait(SECONDS)).state is State.DELIVERED
            assert (await (await other.find(joined.id or "")).wait(SECONDS)).state is State.DELIVERED


@each_library
@pytest.mark.parametrize("kind", [int, str, bytes])
async def test_a_program_that_changes_all_that_is_stored_is_told(db: Path, box: Outbox, shop: Shop, kind: type) -> None:
    await shop.execute("INSERT INTO shop_order VALUES (1)")
    with adapted(kind), pytest.raises(Refused, match=rf"sqlite3.register_adapter\({kind.__name__}, …\)"):
        await box.enqueue(shop.connection, "pager", to="ann", text="joined")
    await shop.rollback()
    assert await box.list() == []


@pytest.mark.contract("SG9")
def test_what_the_outbox_opens_and_closes_leaves_the_callers_locks(db: Path) -> None:
    with contextlib.closing(sqlite3.connect(db)) as shop:
        prepared(shop)
        with sync.Outbox(f"sqlite3:///{db}", deliver=False) as box:
            box.enqueue(shop, "pager", to="ann", text="hi")
            assert box.list() == []
        with sync.Outbox(f"sqlite3:///{db}", deliver=False):
            pass
        # Another process: it does not get the lock.
        tried = "import apsw, sys; apsw.Connection(sys.argv[1]).execute('BEGIN IMMEDIATE')"
        done = subprocess.run([sys.executable, "-c", tried, str(db)], capture_output=True, text=True, check=False)
        assert "BusyError" in done.stderr
        shop.commit()
    with sync.Outbox(f"sqlite3:///{db}", deliver=False) as box:
        assert len(box.list()) == 1
        assert box.check() == []
