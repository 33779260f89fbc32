"""Tenants divided among several databases: every call asks the right one, or all of them."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import apsw
import psycopg
import pytest

from pillarbox import Attempt, Message, Outbox, sync
from pillarbox.domain.message import State
from pillarbox.domain.shards import home_of
from pillarbox.errors import (
    ConfigError,
    InvalidMessage,
    KeyConflict,
    NotFound,
    Refused,
    ShardsUnavailable,
    StoreReplaced,
)
from pillarbox.imports.into_outbox import import_queue
from pillarbox.outbox.composition import Inside
from pillarbox.outbox.outbox import inside
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock
from tests.store.postgres_server import connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pillarbox.domain.outgoing import Outgoing

SECONDS = 30.0
# The first two tenants of each home, of two shards; "" is at home on one of them too.
ONE, TWO = ([f"t{number}" for number in range(40) if home_of(f"t{number}", 2) == home][:2] for home in (1, 2))


class Ways:
    """A function as the channel ``ops``, which notes what it sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def __call__(self, attempt: Attempt) -> str:
        self.sent.append((attempt.tenant, attempt.to))
        return "ok"


@pytest.fixture(params=["files", "server"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    if request.param == "files":
        yield [str(tmp_path / "a.db"), str(tmp_path / "b.db")]
        return
    with fresh_database() as one, fresh_database() as two:
        yield [one, two]


@pytest.fixture
async def box(files: list[str]) -> AsyncIterator[Outbox]:
    """One that only accepts, with a message of each of four tenants."""
    async with Outbox(shards=files, deliver=False) as box:
        for tenant in (*ONE, *TWO):
            await box.send("ops", to="ann", text=f"to {tenant}", tenant=tenant)
        yield box


async def tenants_in(db: str) -> set[str]:
    async with Outbox(db, deliver=False) as box:
        return {tally.tenant for tally in await box.stats()}


def parts(composed: Inside) -> dict[str, object]:
    return {name: getattr(composed, name) for name in composed.__slots__ if name != "shards"}


def test_no_part_asks_as_if_there_were_one_database(files: list[str]) -> None:
    """All that an outbox on one database offers, one on several does in its own way."""
    one, several = parts(inside(Outbox(files[0]))), parts(inside(Outbox(shards=files)))
    whole = {"routes", "joins"}  # these inherit what only combines other methods
    for name in one.keys() - whole:
        base, own = type(one[name]), type(several[name])
        assert issubclass(own, base)
        offered = {method for method in vars(base) if not method.startswith("_")}
        left = offered - vars(own).keys()
        assert left <= {
            "lifetime": {"live", "at_hand", "opened", "turn", "must_not_wait_for_itself"},
            "sending": {"draft", "drafts", "change", "skipped"},
        }.get(name, set())


async def test_a_start_opens_each_database_once(box: Outbox, files: list[str]) -> None:
    await box.close()
    opened: list[str] = []
    hook = lambda connection: opened.append(connection.filename)  # noqa: E731 — to be taken away again
    apsw.connection_hooks.append(hook)
    try:
        await box.start()
        found = list(opened)
        await box.close()
        Path(files[1]).unlink()
        opened.clear()
        await box.start()
    finally:
        apsw.connection_hooks.remove(hook)
    assert sorted(found) == files
    # What has to be made is looked for without a connection.
    assert opened == files


async def test_messages_are_kept_and_sent_where_their_tenant_is_at_home(shards: list[str]) -> None:
    ways = Ways()
    async with Outbox(shards=shards, channels={"ops": ways}) as box:
        messages = [await box.send("ops", to="ann", text="hi", tenant=tenant) for tenant in (*ONE, *TWO)]
        for message in messages:
            assert (await message.wait(SECONDS)).state is State.DELIVERED
        assert sorted(ways.sent) == sorted((tenant, "ann") for tenant in (*ONE, *TWO))
        assert (await box.drain(SECONDS)).deferred_budget == 0
        assert {tally.tenant for tally in await box.stats()} == {*ONE, *TWO}
        assert box.counts["delivered"] == 4
        assert (await box.health()).ok
        assert len(await box.workers()) == 2
        for message in messages:
            assert message.id is not None
            assert (await box.find(message.id[:14])).id == message.id
            assert (await box.history(message.id))[-1].to_state is State.DELIVERED
            assert (await box.explain(message.id)).state is State.DELIVERED
    assert await tenants_in(shards[0]) == set(ONE)
    assert await tenants_in(shards[1]) == set(TWO)


async def test_a_key_is_a_tenants_and_so_a_shards(box: Outbox) -> None:
    first = await box.send("ops", to="ann", text="hi", tenant=ONE[0], key="k")
    again = await box.send("ops", to="ann", text="hi", tenant=ONE[0], key="k")
    assert (again.id, again.created) == (first.id, False)
    with pytest.raises(KeyConflict):
        await box.send("ops", to="ann", text="other", tenant=ONE[0], key="k")
    assert (await box.send("ops", to="ann", text="other", tenant=TWO[0], key="k")).created


async def test_all_or_none_needs_one_database(box: Outbox) -> None:
    before = len(await box.list())
    made = await box.send_many([{"channel": "ops", "to": "ann", "text": "hi", "tenant": tenant} for tenant in ONE])
    assert len(made) == 2
    mixed = [{"channel": "ops", "to": "ann", "text": "hi", "tenant": tenant} for tenant in (ONE[0], TWO[0])]
    with pytest.raises(InvalidMessage, match=r"messages\[1\]\.tenant: .* is at home on shard 2 of 2"):
        await box.send_many(mixed)
    assert len(await box.list()) == before + 2


async def test_a_list_is_one_list_in_pages(box: Outbox) -> None:
    for tenant in (*TWO, *ONE, *TWO):
        await box.send("ops", to="bob", text="hi", tenant=tenant)
    whole = [message.id for message in await box.list()]
    assert len(whole) == 10
    seen: list[str | None] = []
    page = await box.list(limit=3)
    while page:
        seen += [message.id for message in page]
        page = await box.list(limit=3, before=page[-1])
    assert sorted(map(str, seen)) == sorted(map(str, whole))
    assert seen == whole
    assert next(message.id for message in await box.list(oldest_first=True)) in whole[-2:]
    with pytest.raises(InvalidMessage, match="before_seq: counts within one shard"):
        await box.list(before_seq=2)
    with pytest.raises(InvalidMessage, match="after_seq: counts within one shard"):
        await box.list(after_seq=2)


async def test_no_tenant_is_said_in_the_same_ways_as_on_one_database(box: Outbox) -> None:
    said: Any
    for said in ("", None):
        assert (await box.send("ops", to="ann", text="hi", tenant=said)).created
        assert not await box.forget_redirect("ops", "ann", tenant=said)
        assert not await box.clear_recipient("ops", "ann", tenant=said)
    with pytest.raises(InvalidMessage, match="tenant: expected text, not int"):
        await box.send("ops", to="ann", text="hi", tenant=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_pages_go_by_one_order_where_messages_are_stored_in_another_than_accepted(
    files: list[str], size: int
) -> None:
    """A hook that takes its time, or another machine's clock, has a message stored behind one accepted later."""
    clock = FakeClock()
    slow: dict[str, asyncio.Event] = {}

    async def hook(said: Outgoing) -> None:
        if said.to in slow:
            await slow[said.to].wait()

    async with Outbox(shards=files, deliver=False, clock=clock) as box:
        box.hooks.before_delivery(hook, timeout_seconds=3600)
        late: dict[str, asyncio.Task[Message]] = {}
        for round_ in "abc":
            for tenant in (*ONE[:1], *TWO[:1]):
                name = f"{round_}{tenant}"
                slow[name] = asyncio.Event()
                late[name] = asyncio.create_task(box.send("ops", to=name, text="hi", tenant=tenant))
                await asyncio.sleep(0)
                clock.advance(1)
            for tenant in (*TWO[:1], *ONE[:1]):
                await box.send("ops", to="ann", text="hi", tenant=tenant)
                clock.advance(1)
        for name in reversed(late):
            slow[name].set()
            await late[name]
        whole = [message.id for message in await box.list()]
        assert await pages(box, size, most=len(whole)) == whole
        assert len(whole) == 12


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_pages_leave_out_nothing_that_was_accepted_in_the_same_or_the_next_millisecond(
    files: list[str], size: int
) -> None:
    clock = FakeClock()
    async with Outbox(shards=files, deliver=False, clock=clock) as box:
        for tenants in ((ONE[0],), (TWO[0], ONE[0]), (ONE[0], TWO[0]), (TWO[0],), (ONE[0],), (TWO[0],)):
            for tenant in tenants:
                await box.send("ops", to="ann", text="hi", tenant=tenant)
            clock.advance(0.001)
        whole = [message.id for message in await box.list()]
        assert await pages(box, size, most=len(whole)) == whole
        assert len(whole) == 8


async def pages(box: Outbox, size: int, *, most: int) -> list[str | None]:
    """Return the ids of all messages, page by page, each of *size* but the last; stops beyond *most*."""
    seen: list[str | None] = []
    page = await box.list(limit=size)
    while page and len(seen) <= most:
        seen += [message.id for message in page]
        assert len(page) == size or len(seen) == most
        page = await box.list(limit=size, before=page[-1])
    return seen


async def test_orders_find_their_message_and_bulk_orders_reach_all(box: Outbox) -> None:
    for message in await box.list(where=f"tenant={ONE[0]},{TWO[0]}"):
        assert await box.cancel(message.id or "", reason="no")
    report = await box.cancel_many("channel=ops", dry_run=True)
    assert (report.matched, report.applied, report.states[State.SCHEDULED]) == (2, 0, 2)
    report = await box.cancel_many("channel=ops")
    assert (report.matched, report.applied, len(report.ids)) == (2, 2, 2)
    assert (await box.replay_many("state=cancelled")).applied == 4
    assert (await box.purge_many("state=cancelled")).applied == 4
    assert (await box.prune(timedelta(hours=1))) == {}
    nobody = "A" * 22
    with pytest.raises(NotFound):
        await box.cancel(nobody)
    assert await box.get(nobody) is None
    with pytest.raises(InvalidMessage, match="expected a filter"):
        await box.cancel_many()


async def test_a_channel_rests_on_all_shards_or_for_one_tenant(box: Outbox) -> None:
    await box.pause("ops", reason="broken")
    assert {queue.tenant for queue in await box.queues() if queue.paused} >= {*ONE, *TWO}
    assert await box.resume("ops")
    assert not [queue for queue in await box.queues() if queue.paused]
    await box.pause("ops", tenant=TWO[0])
    assert [queue.tenant for queue in await box.queues() if queue.paused] == [TWO[0]]
    assert len({(flow.tenant, flow.channel) for flow in await box.flow()}) == len(await box.flow())


async def test_an_edit_goes_where_its_message_is(box: Outbox) -> None:
    for tenant in (ONE[0], TWO[0]):
        (message,) = await box.list(tenant=tenant)
        assert (await box.edit(message, text="better")).id == message.id
        seen = await box.get(message.id or "")
        assert seen is not None
        assert seen.content is not None
        assert seen.content.text == "better"


async def test_what_is_of_one_database_is_refused(box: Outbox, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="name a shard"):
        await box.backup(tmp_path / "copy.db")
    with pytest.raises(Refused, match="not imported into shards"):
        await import_queue(box, "openclaw-files", tmp_path)
    with pytest.raises(ConfigError, match="each has its own channel"):
        inside(box).routes.add("own", inside(Outbox(channels={"x": lambda _: None})).routes.channels()["x"], {})


# The caller's transaction


def test_a_transaction_is_on_the_tenants_home(files: list[str]) -> None:
    with sync.Outbox(shards=files, deliver=False) as box:
        other = apsw.Connection(files[1])
        other.execute("PRAGMA synchronous = FULL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Refused, match="main database"):
            box.enqueue(other, "ops", to="ann", text="hi", tenant=ONE[0])
        made = box.enqueue(other, "ops", to="ann", text="hi", tenant=TWO[0])
        with pytest.raises(InvalidMessage, match="at home on"):
            box.enqueue_many(
                other, [{"channel": "ops", "to": "ann", "text": "hi", "tenant": tenant} for tenant in (TWO[0], ONE[0])]
            )
        other.execute("COMMIT")
        assert made.id is not None
        assert box.get(made.id) is not None
        other.close()


async def test_a_transaction_on_a_server_is_on_the_tenants_home() -> None:
    with fresh_database() as one:
        server = one.partition("&schema=")[0]
        name = f"shard_{os.getpid()}"
        with psycopg.connect(server, autocommit=True) as owner:
            owner.execute(f"CREATE DATABASE {name}")
            try:
                await _in_transactions(one, server, urlunsplit(urlsplit(server)._replace(path=f"/{name}")))
            finally:
                owner.execute(f"DROP DATABASE {name}")


async def _in_transactions(one: str, server: str, two: str) -> None:
    async with Outbox(shards=[one, two], deliver=False) as box:
        with psycopg.connect(server) as connection, connection.transaction(), pytest.raises(Refused):
            await box.enqueue(connection, "ops", to="ann", text="hi", tenant=TWO[0])
        with psycopg.connect(two) as connection, connection.transaction():
            made = await box.enqueue(connection, "ops", to="ann", text="hi", tenant=TWO[0])
        assert await box.get(made.id or "") is not None


# Which database is which


async def test_another_list_of_shards_is_refused(files: list[str], tmp_path: Path) -> None:
    async with Outbox(shards=files, deliver=False) as box:
        await box.send("ops", to="ann", text="hi", tenant=ONE[0])
    more = [*files, str(tmp_path / "c.db")]
    for wrong in (files[::-1], more, files[:1]):
        with pytest.raises(ConfigError, match="in the same order, as at the first start") as refused:
            await Outbox(shards=wrong, deliver=False).start()
        assert refused.value.field == "shards"
    assert not Path(more[-1]).exists()
    async with Outbox(shards=files, deliver=False) as box:
        assert len(await box.list()) == 1


async def test_another_list_of_shards_on_servers_makes_no_schema() -> None:
    with fresh_database() as one, fresh_database() as two:
        async with Outbox(shards=[one, two], deliver=False):
            pass
        base, _, schema = one.rpartition("schema=")
        with pytest.raises(ConfigError, match="in the same order, as at the first start"):
            await Outbox(shards=[one, two, f"{base}schema=no_{schema}"], deliver=False).start()
        with connected(base) as connection:
            assert connection.execute("SELECT to_regnamespace(%s)", (f"no_{schema}",)).fetchall() == [(None,)]


async def test_a_database_that_was_used_without_shards_is_refused(files: list[str]) -> None:
    async with Outbox(files[1], deliver=False) as box:
        await box.send("ops", to="ann", text="hi")
    with pytest.raises(ConfigError, match="used before by an outbox without shards"):
        await Outbox(shards=files, deliver=False).start()


async def test_a_shard_alone_takes_no_strangers(files: list[str]) -> None:
    async with Outbox(shards=files, deliver=False):
        pass
    for alone in (Outbox(files[0], deliver=False), Outbox(shards=files, shard=1, deliver=False)):
        async with alone as box:
            assert (await box.send("ops", to="ann", text="hi", tenant=ONE[0])).created
            with pytest.raises(InvalidMessage, match="is at home on shard 2 of 2, and this is shard 1 of 2"):
                await box.send("ops", to="ann", text="hi", tenant=TWO[0])
            with pytest.raises(Refused, match="not imported into shards"):
                await _import_into(box, Path(files[0]).parent)


async def _import_into(box: Outbox, folder: Path) -> None:
    async with inside(box).lifetime.opened_store():
        raise AssertionError(folder)


async def test_a_copied_shard_is_that_shard(files: list[str], tmp_path: Path) -> None:
    async with Outbox(shards=files, deliver=False) as box:
        await box.send("ops", to="ann", text="hi", tenant=TWO[0])
    moved = str(tmp_path / "moved.db")
    async with Outbox(files[1], deliver=False) as box:
        await inside(box).upkeep.copy_to(moved)
    async with Outbox(shards=[files[0], moved], deliver=False) as box:
        assert [message.view.tenant for message in await box.list() if message.view] == [TWO[0]]
    async with Outbox(str(tmp_path / "plain.db"), deliver=False) as box:
        with pytest.raises(Refused, match="says of itself that it is shard 1 of 2"):
            await inside(box).upkeep.copy_to(files[0])


async def test_an_error_of_a_home_names_the_shard(box: Outbox, files: list[str]) -> None:
    Path(files[1]).unlink()
    for ask in (
        box.send("ops", to="ann", text="hi", tenant=TWO[0]),
        box.send_many([{"channel": "ops", "to": "ann", "text": "hi", "tenant": TWO[0]}]),
        box.pause("ops", tenant=TWO[0]),
    ):
        with pytest.raises(StoreReplaced, match=r"^shard 2 of 2 \(.*b\.db\): (?!shard)"):
            await ask
    assert (await box.send("ops", to="ann", text="hi", tenant=ONE[0])).created


async def test_new_settings_reach_every_shard(files: list[str]) -> None:
    ways = Ways()
    async with Outbox(shards=files, channels={"ops": ways}) as box:
        changes = await box.reload(Outbox(shards=files[:1], content_bytes_max=64).settings)
        assert "content_bytes_max" in changes.reload
        assert changes.restart == ("shards",)
        for tenant in (ONE[0], TWO[0]):
            with pytest.raises(InvalidMessage, match="64"):
                await box.send("ops", to="ann", text="x" * 100, tenant=tenant)


async def test_new_settings_reach_those_shards_that_answer(files: list[str]) -> None:
    async with Outbox(shards=files, channels={"ops": Ways()}) as box:
        Path(files[1]).unlink()
        with pytest.raises(ShardsUnavailable, match="shard 2 of 2") as missing:
            await box.reload(Outbox(shards=files, content_bytes_max=64).settings)
        assert "content_bytes_max" in missing.value.partial.reload  # type: ignore[attr-defined]
        assert box.settings.content_bytes_max == 64
        with pytest.raises(InvalidMessage, match="64"):
            await box.send("ops", to="ann", text="x" * 100, tenant=ONE[0])


async def test_a_label_is_given_once_and_never_to_a_database_in_use(tmp_path: Path) -> None:
    store = open_store(tmp_path / "x.db")
    await store.open()
    assert await store.label() is None
    assert await store.set_label("one") == "one"
    assert await store.set_label("other") == "one"
    assert await store.label() == "one"
    await store.close()
