"""A database copied into another one, of whichever kind: nothing is lost, and nothing is sent by both (SG7, LE1)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.domain.message import File
from pillarbox.domain.outcome import Redirected, Rejected
from pillarbox.domain.pace import Pace, Rate
from pillarbox.errors import Refused, StoreOutcomeUnknown, StoreUnavailable
from pillarbox.store import database_copy
from pillarbox.store.base import Cancel, Durability, Pause, Purge, Resume
from pillarbox.store.registry import open_store
from pillarbox.store.steps.copy_progress import rows
from pillarbox.store.steps.tables import TABLES
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from pillarbox.testing.store_suite.driver import CHANNEL
from tests.store.opened import raw
from tests.store.postgres_server import connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pillarbox.store.base import Store
    from tests.warm import WarmPython

LIMIT = 3
PROGRAM = Path(__file__).with_name("copying_process.py")
LONG = "x" * 3000
NOT_COPIED = {"meta", "tally", "recipient_tally", "worker", "era", "sqlite_sequence"}
LEFT_BEHIND = {("message", name) for name in ("lease", "lease_until", "worker", "lane_pos")} | {
    ("attempt", "worker"),
    ("pace", "log"),
    ("pace", "full_until"),
}
"""Who sends; what is made of others; and times of a clock that the other database does not have."""
OF_SERVERS = {("message", "era")}
"""What a file has not."""
OWN_NAMES: Final = {"version", "usable_from"}
"""What a database says of itself, which is not true of another one."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Make names of databases with nothing in them."""
    with contextlib.ExitStack() as stack:
        made: list[str] = []

        def make(kind: str) -> str:
            made.append(kind)
            if kind == "sqlite":
                return str(tmp_path / f"{len(made)}.db")
            return stack.enter_context(fresh_database())

        yield make


@contextlib.asynccontextmanager
async def handle(place: str, clock: FakeClock, seed: int) -> AsyncIterator[StoreDriver]:
    options: dict[str, Any] = {"lease_clock": clock.boot_ms} if "://" in place else {}
    store = open_store(place, clock=clock, durability=Durability.PROCESS, **options)
    await store.open()
    try:
        yield StoreDriver(store, clock, SeededEntropy(seed))
    finally:
        await store.close()


async def fill(driver: StoreDriver) -> list[str]:
    """Store messages of every kind; return in which order those of a lane wait."""
    await driver.send(key="once", digest=b"1")
    await driver.send(text=LONG)
    for message in await driver.claim(2, paces={CHANNEL: Pace(whole=(Rate(50),))}):
        await driver.deliver(message)
    gone = await driver.send()
    await driver.commit(acts=[Cancel(id=gone, actor="ann", reason="why not")])
    await driver.commit(acts=[Pause(tenant=None, channel="other", actor="bob", reason="his")])
    await driver.send(channel="other")
    waiting = await driver.send_in_turn("l", 5)
    # What is behind the head waits, and what is for later has no place yet.
    await driver.deliver(await driver.claim_one())
    await driver.store.deregister(driver.worker)
    driver.worker = 0
    return [str(one) for one in waiting[1:]]


class Cut:
    """A store whose way to the database breaks at one of the transactions of a copy: before it, or behind it."""

    in_memory = False

    def __init__(self, store: Store, left: int, *, before: bool) -> None:
        self._store = store
        self.left = left
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def moving(self, work: Any) -> Any:
        self.left -= 1
        if self.left == 0 and self._before:
            raise StoreUnavailable("cut")
        result = await self._store.moving(work)
        if self.left == 0:
            raise StoreOutcomeUnknown("cut")
        return result


async def copied(source: StoreDriver, target: Any) -> database_copy.Copied:
    return await database_copy.copy(source.store, target, now_ms=source.clock.wall_ms(), limit=LIMIT)


@pytest.mark.contract("SG7", "LA1", "EN5")
@pytest.mark.parametrize(("of", "to"), [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")])
async def test_the_copy_goes_on_where_the_copied_database_was(place: Callable[[str], str], of: str, to: str) -> None:
    clock = FakeClock()
    async with handle(place(of), clock, 1) as source, handle(place(to), clock, 2) as target:
        waiting = await fill(source)
        seen = await source.everything()
        done = await copied(source, target.store)
        assert not done.before
        assert sum(done.messages.values()) == len(seen)
        assert [(one.id, one.state, one.content) for one in await target.everything()] == [
            (one.id, one.state, one.content) for one in seen
        ]
        # The one stands still for good; the other goes on, but where somebody had paused it.
        assert await source.claim(10) == []
        sent = []
        while claimed := await target.claim(10):
            sent += [message.id for message in claimed]
            await target.deliver(*claimed)
        assert sent == waiting
        await target.commit(acts=[Resume(tenant=None, channel="other", actor="bob")])
        assert [message.channel for message in await target.claim(channels=("other",))] == ["other"]
        # What comes later takes no number that was taken.
        await target.send(lane="l")
        assert not (await target.enqueue(target.draft(key="once", digest=b"1")))[0].created
        await target.healthy()
        assert (await copied(source, target.store)).before


@pytest.mark.contract("SG7", "LE1")
@pytest.mark.parametrize("before", [True, False])
async def test_a_copy_that_is_ended_anywhere_goes_on_and_has_everything_once(
    place: Callable[[str], str], before: bool
) -> None:
    clock = FakeClock()
    async with handle(place("sqlite"), clock, 1) as source, handle(place("sqlite"), clock, 2) as target:
        await fill(source)
        whole = Cut(target.store, 0, before=before)
        await copied(source, whole)
    # Each transaction at the beginning, some of the others, and the last one.
    for seed, at in enumerate([1, 2, 3, *range(4, -whole.left, 5), -whole.left], start=3):
        async with handle(place("sqlite"), clock, 1) as source, handle(place("sqlite"), clock, seed) as target:
            waiting = await fill(source)
            ids = [view.id for view in await source.everything()]
            with pytest.raises((StoreUnavailable, StoreOutcomeUnknown)) as cut:
                await copied(source, Cut(target.store, at, before=before))
            assert cut.value.database == target.store.place
            begun = await target.store.queues()
            sent = [message.id for message in await target.claim(1)] if begun else []
            await target.store.deregister(target.worker)
            if (await copied(source, target.store)).before:
                # Its last transaction was written, and only the answer was lost.
                assert sent == waiting[:1]
            else:
                assert sent == []
                assert [message.id for message in await target.claim(1)] == waiting[:1]
            assert [view.id for view in await target.everything()] == ids
            await target.healthy()


@pytest.mark.timeout(300)
@pytest.mark.contract("SG7", "LE1")
@pytest.mark.parametrize(("of", "to"), [("sqlite", "postgres"), ("postgres", "sqlite")])
async def test_a_copy_whose_process_is_killed_again_and_again_has_everything_once(
    place: Callable[[str], str], warm_python: WarmPython, tmp_path: Path, of: str, to: str
) -> None:
    clock, source_at, target_at = FakeClock(), place(of), place(to)
    async with handle(source_at, clock, 1) as source:
        waiting = await fill(source)
        ids = [view.id for view in await source.everything()]

    async def run(at: int, when: str) -> int:
        arguments = (source_at, target_at, str(at), when, str(clock.wall_ms()))
        process = await warm_python.start(str(PROGRAM), *arguments, env=os.environ, cwd=tmp_path)
        _, said = await process.communicate()
        assert process.returncode is not None
        assert process.returncode in {0, -signal.SIGKILL}, said.decode()
        return process.returncode

    # Each process comes a little further than the one before.
    ways = [(at, when) for at in (1, 6) for when in ("before", "inside", "behind")]
    assert [await run(*way) for way in ways] == [-signal.SIGKILL] * len(ways)
    async with handle(target_at, clock, 2) as target:
        assert await target.claim(10) == []
    assert await run(0, "never") == 0
    async with handle(source_at, clock, 3) as source, handle(target_at, clock, 4) as target:
        assert (await copied(source, target.store)).before
        assert await source.claim(10) == []
        assert [view.id for view in await target.everything()] == ids
        sent = []
        while claimed := await target.claim(10):
            sent += [message.id for message in claimed]
            await target.deliver(*claimed)
        assert sent == waiting
        await target.healthy()


@pytest.mark.contract("SG7", "LE1")
async def test_what_cannot_be_copied_whole_is_refused(place: Callable[[str], str]) -> None:
    clock = FakeClock()
    async with handle(place("sqlite"), clock, 1) as source, handle(place("sqlite"), clock, 2) as target:
        await source.send()
        (message,) = await source.claim()
        with pytest.raises(Refused, match="stop all of them first"):
            await copied(source, target.store)
        await source.store.deregister(source.worker)
        with pytest.raises(Refused, match="something is being sent"):
            await copied(source, target.store)
        assert await target.everything() == []
        await source.deliver(message)
        await target.send()
        with pytest.raises(Refused, match=r"both differ \(queue\)"):
            await copied(source, target.store)
    async with handle(place("sqlite"), clock, 3) as other:
        await other.send()
        async with handle(place("sqlite"), clock, 4) as third:
            await third.send()
            with pytest.raises(Refused, match="there is something in it already"):
                await copied(other, third.store)


@pytest.mark.contract("SG7", "LE1")
async def test_of_two_copies_only_one_goes_on(place: Callable[[str], str]) -> None:
    clock = FakeClock()
    async with handle(place("sqlite"), clock, 1) as source, handle(place("sqlite"), clock, 2) as target:
        with pytest.raises(Refused, match="one and the same database"):
            await copied(source, source.store)
        await source.send()
        with pytest.raises(StoreUnavailable):
            await copied(source, Cut(target.store, 5, before=True))
        # The beginning of a copy is no copy: another one may be made instead.
        async with handle(place("sqlite"), clock, 3) as second, handle(place("sqlite"), clock, 4) as third:
            await copied(source, second.store)
            await source.send(channel="new")
            for late in (target, third):
                with pytest.raises(Refused, match="it was copied to another database, which goes on with it"):
                    await copied(source, late.store)
                assert await late.everything() == []
            assert len(await second.claim(10)) == 1
            await source.commit(acts=[Resume(tenant=None, channel=CHANNEL, actor="bob")])
            await copied(source, third.store)
            assert len(await third.claim(10, channels=(CHANNEL, "new"))) == 2


async def test_every_column_is_copied_or_left_behind_on_purpose(place: Callable[[str], str]) -> None:
    clock, file, url = FakeClock(), place("sqlite"), place("postgres")
    async with handle(file, clock, 1), handle(url, clock, 2):
        pass
    with raw(Path(file)) as connection:
        names = "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_xinfo(m.name) p WHERE m.type = 'table'"
        of_file = {(table, "kept" if name == "full" else name) for table, name in connection.execute(names)}
    with connected(url) as opened:
        names = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        of_server = set(opened.execute(names).fetchall())
    listed = {(table, name) for table, (_, columns) in TABLES.items() for name in columns}
    for there in (of_file, of_server):
        left = {(table, name) for table, name in there - listed if table not in NOT_COPIED}
        assert left - OF_SERVERS == LEFT_BEHIND
        assert listed <= there


@pytest.mark.contract("SG7", "CH8", "FL1")
@pytest.mark.parametrize(("of", "to"), [("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "sqlite")])
async def test_what_channels_keep_and_what_is_known_of_recipients_is_in_the_copy(
    place: Callable[[str], str], of: str, to: str
) -> None:
    clock = FakeClock()
    async with handle(place(of), clock, 1) as source, handle(place(to), clock, 2) as target:
        # A Matrix channel's tokens with their device, as the channel writes them down.
        assert await source.store.keep("matrix", old=None, new='{"device_id": "D", "refresh_token": "r"}')
        assert await source.store.keep("zwölf", old=None, new="…")
        await source.send(recipient="ann", lane="a")
        await source.settle(await source.claim_one(), Redirected("ann2"))
        clock.advance(2)
        await source.deliver(await source.claim_one())
        await source.send(recipient="bob", lane="b")
        await source.settle(await source.claim_one(), Rejected("gone", about="recipient"))
        await source.commit(acts=[Pause(tenant=None, channel="other", actor="cid", reason="his")])
        await source.store.deregister(source.worker)
        source.worker = 0
        seen = await known(source.store)
        assert all(seen[table] for table in ("recipient_alias", "suppression", "channel_pause"))
        await copied(source, target.store)
        assert await known(target.store) == seen
        assert await target.store.kept("matrix") == '{"device_id": "D", "refresh_token": "r"}'
        assert await target.store.kept("zwölf") == "…"
        assert await target.store.kept("mail") is None


async def known(store: Store) -> dict[str, list[Any]]:
    """Return what stands in the tables that no message is in."""
    before: dict[str, tuple[Any, ...]] = {"channel_pause": ("",), "recipient_alias": (0, ""), "suppression": (0, "")}
    return await store.moving(lambda tx: {table: rows(tx, table, key, limit=100) for table, key in before.items()})


async def test_everything_about_itself_that_a_database_stores_is_copied_or_its_own(place: Callable[[str], str]) -> None:
    """The table of names and values is not copied row by row: whoever adds a name says here whether it goes along."""
    for kind in ("sqlite", "postgres"):
        async with handle(place(kind), FakeClock(), 1) as source:
            await fill(source)
            assert await source.store.keep("matrix", old=None, new="…")
            names = {key for key, _ in await source.store.moving(lambda tx: tx.many("meta"))}
        assert names - OWN_NAMES == {"kept:matrix", "log_key"}


@pytest.mark.contract("CO4")
@pytest.mark.parametrize(("of", "to"), [("sqlite", "postgres"), ("postgres", "sqlite")])
async def test_files_are_copied_one_at_a_time(place: Callable[[str], str], of: str, to: str) -> None:
    clock = FakeClock()
    async with handle(place(of), clock, 1) as source, handle(place(to), clock, 2) as target:
        data = {hashlib.sha256(data).hexdigest(): data for data in (b"", bytes(range(256)), b"two")}
        files = [File(name="a", data=data[digest], size=len(data[digest]), digest=digest) for digest in data]
        first = await source.send(files=tuple(files))
        await source.send(files=tuple(files[:2]))
        first_rows = await source.store.moving(lambda tx: rows(tx, "blob", (b"",), limit=1000))
        assert len(first_rows) == 1
        await copied(source, target.store)
        assert await target.store.files(list(data)) == data
        await target.commit(acts=[Cancel(id=first, actor="ann")])
        await target.commit(acts=[Purge(id=first, actor="ann", keys_until_ms=0)])
        assert len(await target.store.files(list(data))) == 2
        await target.healthy()
