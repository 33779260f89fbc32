"""Messages join the caller's own transaction: they are there when it commits, and only then (contract EN9)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg
import django
import psycopg
import pytest
import sqlalchemy
from django.conf import settings as django_settings
from django.db import connection as django_connection
from django.db import connections as django_connections
from django.db import transaction as django_transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

from pillarbox import Outbox, sync
from pillarbox.abort import AbortSignal
from pillarbox.domain.message import State
from pillarbox.errors import InvalidMessage, KeyConflict, QueueFull, Refused, StoreBusy, UnknownChannel
from pillarbox.store.registry import open_store
from tests.store.postgres_server import connected, fresh_database, kept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SECONDS: Final = 30.0
pytestmark = pytest.mark.contract("EN9")


class Shop(Protocol):
    """An application's connection, with a transaction open."""

    connection: Any

    async def execute(self, sql: str) -> None: ...

    async def value(self, sql: str) -> Any: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class Blocking:
    """Of what blocks: psycopg and SQLAlchemy speak alike."""

    def __init__(self, connection: Any, wrap: Callable[[str], Any] = str) -> None:
        self.connection, self._wrap = connection, wrap

    async def execute(self, sql: str) -> None:
        self.connection.execute(self._wrap(sql))

    async def value(self, sql: str) -> Any:
        return self.connection.execute(self._wrap(sql)).fetchone()[0]

    async def commit(self) -> None:
        self.connection.commit()

    async def rollback(self) -> None:
        self.connection.rollback()


class Awaited:
    def __init__(self, connection: Any, wrap: Callable[[str], Any] = str) -> None:
        self.connection, self._wrap = connection, wrap

    async def execute(self, sql: str) -> None:
        await self.connection.execute(self._wrap(sql))

    async def value(self, sql: str) -> Any:
        found = (await self.connection.execute(self._wrap(sql))).fetchone()
        return (await found if asyncio.iscoroutine(found) else found)[0]

    async def commit(self) -> None:
        await self.connection.commit()

    async def rollback(self) -> None:
        await self.connection.rollback()


class Asyncpg:
    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._transaction: Any = None

    async def begin(self) -> None:
        self._transaction = self.connection.transaction()
        await self._transaction.start()

    async def execute(self, sql: str) -> None:
        await self.connection.execute(sql)

    async def value(self, sql: str) -> Any:
        return await self.connection.fetchval(sql)

    async def commit(self) -> None:
        await self._transaction.commit()
        await self.begin()

    async def rollback(self) -> None:
        await self._transaction.rollback()
        await self.begin()


def plain(url: str) -> str:
    """The URL without what only we know."""
    return url.partition("schema=")[0].rstrip("?&")


def of_sqlalchemy(url: str, driver: str = "psycopg") -> sqlalchemy.URL:
    told = {name: str(value) for name, value in conninfo_to_dict(plain(url)).items()}
    return sqlalchemy.URL.create(
        f"postgresql+{driver}",
        told.get("user"),
        told.get("password"),
        database=told.get("dbname"),
        query={"host": told["host"], "port": told.get("port", "5432")},
    )


@contextlib.asynccontextmanager
async def psycopg_sync(url: str) -> AsyncIterator[Shop]:
    with contextlib.closing(psycopg.connect(plain(url))) as connection:
        yield Blocking(connection)


@contextlib.asynccontextmanager
async def psycopg_async(url: str) -> AsyncIterator[Shop]:
    connection = await psycopg.AsyncConnection.connect(plain(url))
    try:
        yield Awaited(connection)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def sqlalchemy_connection(url: str) -> AsyncIterator[Shop]:
    engine = sqlalchemy.create_engine(of_sqlalchemy(url))
    with engine.connect() as connection:
        yield Blocking(connection, sqlalchemy.text)
    engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_session(url: str) -> AsyncIterator[Shop]:
    engine = sqlalchemy.create_engine(of_sqlalchemy(url))
    with orm.Session(engine) as session:
        yield Blocking(session, sqlalchemy.text)
    engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_async(url: str, driver: str = "psycopg") -> AsyncIterator[Shop]:
    engine = sqlalchemy_asyncio.create_async_engine(of_sqlalchemy(url, driver))
    try:
        async with sqlalchemy_asyncio.AsyncSession(engine) as session:
            yield Awaited(session, sqlalchemy.text)
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def sqlalchemy_asyncpg(url: str) -> AsyncIterator[Shop]:
    async with sqlalchemy_async(url, "asyncpg") as shop:
        yield shop


@contextlib.asynccontextmanager
async def asyncpg_plain(url: str) -> AsyncIterator[Shop]:
    connection = await asyncpg.connect(plain(url))
    shop = Asyncpg(connection)
    await shop.begin()
    try:
        yield shop
    finally:
        await connection.close()


KINDS: Final = (
    psycopg_sync,
    psycopg_async,
    sqlalchemy_connection,
    sqlalchemy_session,
    sqlalchemy_async,
    sqlalchemy_asyncpg,
    asyncpg_plain,
)
DRIVERS: Final = (psycopg_sync, psycopg_async, asyncpg_plain)
BLOCKING: Final = (psycopg_sync, sqlalchemy_connection, sqlalchemy_session)


@pytest.fixture
async def box(url: str) -> AsyncIterator[Outbox]:
    box = Outbox(url, deliver=False, store=lambda: open_store(url, connect=kept))
    async with box:
        yield box
        assert await box.check() == []


@pytest.fixture
async def shop(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Shop]:
    async with request.param(url) as shop:
        yield shop


of_every_kind = pytest.mark.parametrize("shop", KINDS, ids=lambda kind: kind.__name__, indirect=True)
of_every_driver = pytest.mark.parametrize("shop", DRIVERS, ids=lambda kind: kind.__name__, indirect=True)


async def states(box: Outbox) -> list[State]:
    return [message.state for message in await box.list()]


@of_every_kind
async def test_the_commit_leaves_it_and_a_rollback_does_not(box: Outbox, shop: Shop) -> None:
    path = await shop.value("SHOW search_path")
    lost = await box.enqueue(shop.connection, "pager", to="ann", text="never ordered")
    await shop.rollback()
    made = await box.enqueue(shop.connection, "pager", to="ann", text="x" * 5000)
    assert (made.created, made.durability) == (True, None)
    assert await box.list() == []
    assert await shop.value("SHOW search_path") == path
    await shop.commit()
    (found,) = await box.list()
    assert found.id == made.id
    assert made.id is not None
    whole = await box.get(made.id)
    assert whole is not None
    assert whole.view is not None
    assert whole.view.content_size > 5000
    assert lost.id is not None
    assert await box.get(lost.id) is None


@of_every_driver
async def test_a_savepoint_that_is_undone_takes_it_along(box: Outbox, shop: Shop) -> None:
    first = await box.enqueue(shop.connection, "pager", to="ann", text="1", lane="a")
    await shop.execute("SAVEPOINT mine")
    await box.enqueue(shop.connection, "pager", to="ann", text="2", lane="a")
    await shop.execute("ROLLBACK TO SAVEPOINT mine")
    third = await box.enqueue(shop.connection, "pager", to="ann", text="3", lane="a")
    await shop.commit()
    assert [message.id for message in await box.list()] == [third.id, first.id]


@of_every_driver
async def test_a_key_finds_its_message_and_refuses_another(box: Outbox, shop: Shop) -> None:
    kept_before = await box.send("pager", to="ann", text="paid", key="invoice-1")
    again = await box.enqueue(shop.connection, "pager", to="ann", text="paid", key="invoice-1")
    assert (again.id, again.created) == (kept_before.id, False)
    with pytest.raises(KeyConflict) as conflict:
        await box.enqueue(shop.connection, "pager", to="ann", text="not paid", key="invoice-1")
    assert conflict.value.message_id == kept_before.id
    # One of this very transaction, of which nobody else knows.
    first = await box.enqueue(shop.connection, "pager", to="bob", text="paid", key="invoice-2")
    same = await box.enqueue(shop.connection, "pager", to="bob", text="paid", key="invoice-2")
    assert (same.id, same.created) == (first.id, False)
    with pytest.raises(KeyConflict):
        await box.enqueue(shop.connection, "pager", to="bob", text="other", key="invoice-2")
    await shop.commit()
    assert len(await box.list()) == 2


@of_every_driver
async def test_several_are_stored_all_or_none(box: Outbox, shop: Shop) -> None:
    await box.send("pager", to="ann", text="paid", key="taken")
    with pytest.raises(InvalidMessage, match=r"messages\[1\]\.to"):
        await box.enqueue_many(
            shop.connection,
            [{"channel": "pager", "to": "ann", "text": "1"}, {"channel": "pager", "to": "", "text": "2"}],
        )
    with pytest.raises(KeyConflict):
        await box.enqueue_many(
            shop.connection,
            [
                {"channel": "pager", "to": "ann", "text": "1"},
                {"channel": "pager", "to": "ann", "text": "2", "key": "taken"},
            ],
        )
    made = await box.enqueue_many(
        shop.connection,
        [{"channel": "pager", "to": ["ann", "bob"], "text": "all"}, {"channel": "mail", "to": "eve", "text": " "}],
    )
    assert [message.skipped for message in made] == [None, None, "empty"]
    assert await box.enqueue_many(shop.connection, []) == []
    await shop.commit()
    assert {message.id for message in await box.list() if message.view and not message.view.key} == {
        message.id for message in made[:2]
    }


@pytest.mark.contract("CO2")
async def test_many_are_stored_in_order_and_a_fan_out_s_content_once(url: str, box: Outbox) -> None:
    several = [{"channel": "pager", "to": "ann", "text": f"{number:03} {'x' * 3000}"} for number in range(40)]
    everybody = {"channel": "pager", "to": [f"user {number}" for number in range(70)], "text": "y" * 3000}
    async with psycopg_async(url) as shop:
        made = await box.enqueue_many(shop.connection, [*several, everybody, *several[:1]])
        await shop.commit()
    assert len(made) == 111
    found = await box.list(limit=200)
    assert [message.id for message in reversed(found)] == [message.id for message in made]
    with connected(url) as connection:
        assert connection.execute("SELECT count(*) FROM payload").fetchone() == (42,)


@of_every_driver
async def test_the_commit_wakes_who_sends_it(url: str, shop: Shop) -> None:
    async with Outbox(url, channels={"pager": lambda attempt: f"to {attempt.to}"}) as box:
        message = await box.enqueue(shop.connection, "pager", to="ann", text="hi")
        await shop.commit()
        await message.wait(SECONDS)
        assert (message.state, message.receipt) == (State.DELIVERED, "to ann")
        # What it counted apart is counted with the rest by then, or apart.
        assert await box.check() == []


async def test_what_is_temporary_does_not_take_what_is_ours(url: str, box: Outbox) -> None:
    """PostgreSQL looks there first, unless it is told otherwise."""
    with connected(url) as connection:
        connection.execute("CREATE TEMP TABLE message AS SELECT * FROM message")
        connection.execute("CREATE TEMP TABLE queue (number integer)")
        with connection.transaction():
            await box.enqueue(connection, "pager", to="ann", text="hi")
            connection.execute("""SELECT enqueue('pager', 'ann', '{"text": "hi"}')""")
        assert connection.execute("SELECT count(*) FROM pg_temp.message").fetchone() == (0,)
    assert len(await box.list()) == 2


@of_every_driver
async def test_a_value_that_the_database_refuses_harms_nothing(url: str, box: Outbox, shop: Shop) -> None:
    with connected(url) as owner:
        owner.execute("ALTER TABLE message ADD CONSTRAINT nobody CHECK (recipient <> 'nobody')")
        first = await box.enqueue(shop.connection, "pager", to="ann", text="1")
        with pytest.raises(InvalidMessage, match=r"the database refused a value \(CheckViolation\)"):
            await box.enqueue(shop.connection, "pager", to="nobody", text="2")
        await shop.commit()
        owner.execute("ALTER TABLE message DROP CONSTRAINT nobody")
    assert [message.id for message in await box.list()] == [first.id]


@pytest.mark.parametrize("kind", BLOCKING, ids=lambda kind: kind.__name__)
async def test_the_blocking_one_joins_on_the_callers_thread(url: str, kind: Any) -> None:
    async with kind(url) as shop:
        with sync.Outbox(url, deliver=False) as box:
            message = box.enqueue(shop.connection, "pager", to="ann", text="hi")
            pair = box.enqueue_many(shop.connection, [{"channel": "pager", "to": ["bob", "eve"], "text": "hi"}])
            assert box.list() == []
            await shop.commit()
            assert {one.id for one in box.list()} == {message.id, *(one.id for one in pair)}
            assert isinstance(message, sync.Message)
            box.enqueue(shop.connection, "pager", to="ann", text="never")
            await shop.rollback()
            assert len(box.list()) == 3


async def test_the_blocking_one_takes_no_connection_that_is_awaited(url: str) -> None:
    with sync.Outbox(url, deliver=False) as box:
        for kind in (psycopg_async, asyncpg_plain):
            async with kind(url) as shop:
                with pytest.raises(Refused, match=r"that is awaited is for pillarbox\.Outbox"):
                    box.enqueue(shop.connection, "pager", to="ann", text="hi")


async def test_without_a_transaction_it_is_refused(url: str, box: Outbox) -> None:
    alone = psycopg.connect(plain(url), autocommit=True)
    pooled = sqlalchemy.create_engine(of_sqlalchemy(url), isolation_level="AUTOCOMMIT")
    apart = await asyncpg.connect(plain(url))
    with contextlib.closing(alone), pooled.connect() as connection:
        for outside in (alone, connection, apart):
            with pytest.raises(Refused, match="no transaction is open on this connection"):
                await box.enqueue(outside, "pager", to="ann", text="hi")
        with alone.transaction():
            await box.enqueue(alone, "pager", to="ann", text="hi")
    async with apart.transaction():
        await box.enqueue(apart, "pager", to="ann", text="hi")
    await apart.close()
    pooled.dispose()
    assert len(await box.list()) == 2


async def test_what_is_no_connection_of_this_database_is_refused(url: str, box: Outbox) -> None:
    for other in (object(), None, "postgresql://", sqlalchemy.create_engine(of_sqlalchemy(url))):
        with pytest.raises(Refused, match="is no connection to this database: expected one of psycopg, asyncpg"):
            await box.enqueue(other, "pager", to="ann", text="hi")
    with fresh_database() as elsewhere, psycopg.connect(plain(url)) as connection:
        async with Outbox(elsewhere, deliver=False):
            # The other one's tables, under the name of ours.
            schema, other = url.partition("schema=")[2], elsewhere.partition("schema=")[2]
            connection.execute(f"ALTER SCHEMA {schema} RENAME TO {schema}_away")
            with pytest.raises(Refused, match="the outbox's tables are not to be found on this connection"):
                await box.enqueue(connection, "pager", to="ann", text="hi")
            connection.execute(f"ALTER SCHEMA {other} RENAME TO {schema}")
            with pytest.raises(Refused, match="the outbox's tables are not to be found on this connection"):
                await box.enqueue(connection, "pager", to="ann", text="hi")
            connection.rollback()


@of_every_kind
async def test_a_transaction_that_has_failed_is_refused(box: Outbox, shop: Shop) -> None:
    with pytest.raises(Exception, match="division by zero"):
        await shop.value("SELECT 1 / 0")
    with pytest.raises(Exception, match=r"failed|aborted|rolled back"):
        await box.enqueue(shop.connection, "pager", to="ann", text="hi")
    await shop.rollback()
    await box.enqueue(shop.connection, "pager", to="ann", text="hi")
    await shop.commit()
    assert len(await box.list()) == 1


async def test_what_would_have_others_wait_is_refused(box: Outbox) -> None:
    with pytest.raises(InvalidMessage, match="collapse: is for send"):
        await box.enqueue(None, "pager", to="ann", text="hi", collapse="typing")
    with pytest.raises(InvalidMessage, match=r"messages\[0\]\.abort: is for send"):
        await box.enqueue_many(None, [{"channel": "pager", "to": "ann", "text": "hi", "abort": AbortSignal()}])


@pytest.mark.contract("EN5")
async def test_a_full_queue_is_judged_outside_the_transaction(url: str) -> None:
    async with Outbox(url, deliver=False, limits={"messages": 2}) as box, psycopg_sync(url) as shop:
        await box.send("pager", to="ann", text="1")
        await box.enqueue(shop.connection, "pager", to="ann", text="2")
        await shop.commit()
        with pytest.raises(QueueFull):
            await box.enqueue(shop.connection, "pager", to="ann", text="3")
        assert shop.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


async def test_an_open_transaction_keeps_nobody_waiting(url: str, box: Outbox) -> None:
    """Neither those that send, where they count what there is in the place that its process has, nor another one."""
    ours = box._inside.lifetime.live().store._session.backend  # type: ignore[attr-defined]
    while True:
        shop = psycopg.connect(plain(url))
        if shop.info.backend_pid % 64 == ours % 64:
            break
        shop.close()
    with contextlib.closing(shop), psycopg.connect(plain(url)) as other:
        await box.enqueue(shop, "pager", to="ann", text="1", lane="a")
        await box.enqueue(other, "pager", to="ann", text="2", lane="a")
        await box.send("pager", to="ann", text="3", lane="a")
        shop.commit()
    assert len(await box.list()) == 3


@pytest.mark.contract("CO4", "EN9")
async def test_a_file_that_many_have_keeps_nobody_waiting(url: str, box: Outbox) -> None:
    """Neither who sends it, nor whoever deletes it."""
    said: dict[str, Any] = {"to": "ann", "text": "see", "files": [b"logo"]}
    first = await box.send("pager", **said)
    bound = "-c lock_timeout=30s"
    with psycopg.connect(plain(url), options=bound) as one, psycopg.connect(plain(url), options=bound) as other:
        await box.enqueue(one, "pager", **said)
        await box.enqueue(other, "pager", **said)
        async with asyncio.timeout(30):
            for message in (first, await box.send("pager", **said)):
                await box.cancel(message.id or "")
                await box.purge(message.id or "")
        one.commit()
        other.rollback()
    (left,) = await box.list()
    assert await box.check() == []
    await box.cancel(left.id or "")
    await box.purge(left.id or "")
    assert await box._inside.lifetime.live().store.files([hashlib.sha256(b"logo").hexdigest()]) == {}


async def test_two_transactions_with_one_key_end_as_one_message(url: str, box: Outbox) -> None:
    async with psycopg_async(url) as one, psycopg_async(url) as other:
        first = await box.enqueue(one.connection, "pager", to="ann", text="paid", key="k")
        second = asyncio.ensure_future(box.enqueue(other.connection, "pager", to="ann", text="paid", key="k"))
        await until_it_waits_for_a_lock(url, other.connection)
        await one.commit()
        again = await second
        assert (again.id, again.created) == (first.id, False)
        await other.commit()
    assert len(await box.list()) == 1


async def test_one_that_is_called_off_leaves_nothing_behind(url: str, box: Outbox) -> None:
    async with psycopg_async(url) as one, psycopg_async(url) as other:
        first = await box.enqueue(one.connection, "pager", to="ann", text="paid", key="k")
        waiting = asyncio.ensure_future(box.enqueue(other.connection, "pager", to="ann", text="paid", key="k"))
        await until_it_waits_for_a_lock(url, other.connection)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await one.commit()
        path = await other.value("SHOW search_path")
        assert "pg_catalog" not in path
        await other.commit()
    assert [message.id for message in await box.list()] == [first.id]


async def test_a_key_beyond_what_a_transaction_sees_is_refused(url: str, box: Outbox) -> None:
    async with psycopg_sync(url) as shop:
        await shop.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await shop.value("SELECT count(*) FROM pg_class")
        await box.send("pager", to="ann", text="paid", key="k")
        with pytest.raises(StoreBusy, match="another transaction has taken a key which this one does not see"):
            await box.enqueue(shop.connection, "pager", to="ann", text="paid", key="k")
        await box.enqueue(shop.connection, "pager", to="ann", text="paid", key="l")
        await shop.commit()
    assert len(await box.list()) == 2


async def test_an_unknown_channel_is_refused_where_this_process_delivers(url: str) -> None:
    async with Outbox(url, channels={"pager": lambda _: None}) as box, psycopg_sync(url) as shop:
        with pytest.raises(UnknownChannel):
            await box.enqueue(shop.connection, "mail", to="ann", text="hi")


async def until_it_waits_for_a_lock(url: str, connection: Any) -> None:
    """Wait for that connection: others of this server wait for the locks of other tests."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = %s"
    pid = connection.info.backend_pid
    with psycopg.connect(plain(url), autocommit=True) as watcher:
        while watcher.execute(asked, (pid,)).fetchone() == (0,):  # noqa: ASYNC110 — the server tells nobody
            await asyncio.sleep(0)


@pytest.fixture
def django_shop(url: str) -> Iterator[Any]:
    """Django's connection to that server. Its settings hold for the whole process, as the server does."""
    if not django_settings.configured:
        told = conninfo_to_dict(plain(url))
        names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        named = {ours: str(told[theirs]) for ours, theirs in names.items() if theirs in told}
        django_settings.configure(
            USE_TZ=True, DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"} | named}
        )
        django.setup()
    yield django_connection
    django_connection.close()


def test_an_atomic_block_of_django_takes_it_along(url: str, django_shop: Any) -> None:
    atomic = django_transaction.atomic
    with sync.Outbox(url, deliver=False) as box:
        with pytest.raises(Refused, match=r"call it inside `with transaction\.atomic\(\):`"):
            box.enqueue(django_shop, "pager", to="ann", text="hi")
        with atomic():
            first = box.enqueue(django_shop, "pager", to="ann", text="1", key="k")
            with pytest.raises(KeyConflict):
                box.enqueue(django_shop, "pager", to="ann", text="another", key="k")
            with contextlib.suppress(ZeroDivisionError), atomic():
                box.enqueue(django_shop, "pager", to="ann", text="2")
                raise ZeroDivisionError
            assert box.list() == []
        with contextlib.suppress(ZeroDivisionError), atomic():
            box.enqueue(django_shop, "pager", to="ann", text="3")
            raise ZeroDivisionError
        with atomic():
            # As `connections["default"]` has it, and several.
            (second,) = box.enqueue_many(
                django_connections["default"], [{"channel": "pager", "to": "ann", "text": "4"}]
            )
        with atomic():
            django_transaction.set_rollback(True)
            with pytest.raises(django_transaction.TransactionManagementError):
                box.enqueue(django_shop, "pager", to="ann", text="5")
        assert [message.id for message in box.list()] == [second.id, first.id]
        assert box.check() == []


def test_nothing_of_ours_loads_a_library_of_an_application() -> None:
    program = (
        "import sys, pillarbox, pillarbox.sync, pillarbox.store.postgres.store\n"
        "print(sorted({'sqlalchemy', 'asyncpg', 'django', 'aiosqlite', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
