"""How a worker hears of what it did not write itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred
from pillarbox.domain.retry import Policy
from pillarbox.engine.capacity import Feed
from pillarbox.engine.watcher import UNTOLD_SECONDS, Watcher
from pillarbox.errors import StoreUnavailable
from pillarbox.events import RetryScheduled
from pillarbox.store.base import BatchResult, QueueInfo
from pillarbox.store.sqlite.foreign_commits import Versions
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, StillClock, until

if TYPE_CHECKING:
    from pillarbox.store.base import Store
    from tests.engine.stand import Box, Stand


async def asleep(stand: Stand, channel: ScriptedChannel) -> Box:
    """A worker that found nothing to do and has no timer of its own any more."""
    box = await stand.open(channel)
    await box.settled(await box.send("warm-up"))
    await stop_looking(box)
    await until(lambda: box.worker.feed.next_due_ms() is None)
    return box


async def stop_looking(box: Box) -> None:
    """From here on only what wakes the worker wakes it."""
    for loop in box.worker._loops:
        await loop.stop()


def hear_nothing_of_the_file(box: Box) -> None:
    """From here on only datagrams tell of what others wrote."""
    if hasattr(box.store.real, "_handles"):  # a server has none
        box.store.real._handles.foreign = Versions(lambda: None)


@pytest.mark.contract("DR2")
async def test_what_this_process_accepts_is_sent_without_a_poll(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await asleep(stand, channel)
    message = await box.send()
    await channel.begun(2)
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("DR2")
async def test_a_datagram_tells_what_another_handle_accepted(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await asleep(stand, channel)
    other = await stand.open()
    hear_nothing_of_the_file(box)
    told = asyncio.Event()
    box.store.on_change(told.set, seconds=60)
    await other.send()
    async with asyncio.timeout(SECONDS):
        await told.wait()


@pytest.mark.contract("DR2")
async def test_a_worker_that_is_told_sends_what_another_handle_accepted(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    await box.settled(await box.send("warm-up"))
    hear_nothing_of_the_file(box)
    other = await stand.open()
    message = await other.send()
    await channel.begun(2)
    assert (await other.settled(message)).state is State.DELIVERED


@pytest.mark.contract("DR2")
async def test_the_files_version_tells_what_nobody_said(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    await box.settled(await box.send("warm-up"))
    other = await stand.open()
    other.store.real._sidecar = None  # a writer that knows nothing of workers
    message = await other.send()
    await channel.begun(2)
    assert (await other.settled(message)).state is State.DELIVERED


@pytest.mark.contract("DR2")
async def test_what_no_notice_told_of_is_found_all_the_same(stand: Stand) -> None:
    stand.clock = StillClock()
    channel = ScriptedChannel()
    box = await stand.open(channel)
    await box.settled(await box.send("warm-up"))
    box.worker._end_notices()
    other = await stand.open()
    message = await other.send()
    for _ in range(5):
        await box.worker._watcher.tick()
    assert (await other.view(message)).state is State.SCHEDULED
    stand.advance(5_000)
    await box.worker._watcher.tick()
    assert (await other.settled(message)).state is State.DELIVERED


@pytest.mark.on_files("is about the file")
@pytest.mark.contract("DR2")
async def test_looking_at_the_files_version_is_no_query_where_nothing_was_written(stand: Stand) -> None:
    stand.clock = StillClock()
    box = await asleep(stand, ScriptedChannel())
    await box.worker._watcher.tick()
    before = len(box.store.batches)
    for _ in range(100):
        box.store.real._notices.look()
        await box.worker._watcher.tick()
    assert len(box.store.batches) == before


@pytest.mark.contract("DR2")
async def test_a_queue_that_another_process_made_is_found(stand: Stand) -> None:
    channel = ScriptedChannel()
    await stand.open(channel)
    other = await stand.open()
    message = await other.send(tenant="new")
    (attempt,) = await channel.begun(1)
    assert (attempt.id, attempt.tenant) == (message.id, "new")


@pytest.mark.contract("DR2")
async def test_a_tenant_that_is_new_to_this_process_is_served_at_once(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    message = await box.send(tenant="new")
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("DR2", "RE1")
async def test_a_retry_comes_by_itself_when_it_is_due(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("no"), policy=Policy(schedule=(0.05,), jitter=0.0))
    box = await stand.open(channel)
    message = await box.send()
    await box.heard.wait_for(RetryScheduled)
    await stop_looking(box)
    # The clock stands still, so the timer that rings finds nothing due, and is set again.
    stand.advance(50)
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("DR2", "LE6")
async def test_a_clock_that_is_set_forward_makes_nothing_due_and_nothing_wait_for_an_old_timer(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("no"), policy=Policy(schedule=(3600.0,), jitter=0.0, ttl_seconds=None))
    box = await stand.open(channel)
    message = await box.send()
    await box.heard.wait_for(RetryScheduled)
    await stop_looking(box)
    stand.clock.set_wall(stand.clock.wall_ms() + 3_600_000)
    await box.looked()
    assert (await box.view(message)).claims == 1
    # The hour passes, and no timer was set for so long.
    stand.advance(3_600_000)
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("RE6", "LA1")
async def test_what_is_not_due_yet_blocks_nothing_that_is(stand: Stand) -> None:
    channel = ScriptedChannel(policy=Policy(jitter=0.0))
    channel.script(*[Deferred("no")] * 5, to="slow")
    box = await stand.open(channel, concurrency=2)
    late = [await box.send(f"later{n}", at=timedelta(hours=1), ttl=None) for n in range(5)]
    retrying = await box.send("slow")
    await box.heard.wait_for(RetryScheduled)
    behind = await box.send("slow", text="behind")
    for n in range(20):
        assert (await box.settled(await box.send(f"r{n}"))).state is State.DELIVERED
    assert {(await box.view(message)).claims for message in late} == {0}
    assert (await box.view(retrying)).claims == 1
    # In its own lane it does hold the next one up.
    assert (await box.view(behind)).claims == 0


class Queues:
    """A database of which a queue is made while somebody reads which queues there are; or the read fails."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.reads = 0

    async def queues(self) -> list[QueueInfo]:
        self.reads += 1
        if self.reads == 1:
            raise StoreUnavailable("for once")
        if self.reads == 2:
            self.feed.note(BatchResult(touched={1}), None)
            return []
        about = {"paused": False, "paused_until_ms": None, "pause_reason": None, "strikes": 0}
        return [msgspec.convert({"id": 1, "tenant": "", "channel": "chat"} | about, QueueInfo)]


class Exactly(FakeClock):
    """A clock that says what it is told to, to the last bit."""

    now = 511.52662481623025  # five more, and these taken off again, are less than five

    def mono(self) -> float:
        return self.now


async def test_a_look_at_the_very_time_that_the_last_one_named_is_not_too_early() -> None:
    clock, feed = Exactly(), Feed(1, {"chat": 1})
    store = Queues(feed)
    store.reads = 2
    watcher = Watcher(cast("Store", store), feed, lambda: None, clock)
    await watcher.tick()
    clock.now += UNTOLD_SECONDS
    await watcher.tick()
    assert store.reads == 4


@pytest.mark.contract("DR2")
async def test_a_queue_that_is_made_during_a_look_or_before_one_that_fails_is_found_by_the_next() -> None:
    feed = Feed(1, {"chat": 1})
    store = Queues(feed)
    watcher = Watcher(cast("Store", store), feed, lambda: None, FakeClock())
    with pytest.raises(StoreUnavailable):
        await watcher.tick()
    await watcher.tick()
    assert feed.capacity(now_ms=0, ending={}) == {}
    await watcher.tick()
    assert feed.capacity(now_ms=0, ending={}) == {1: 1}
    await watcher.tick()
    assert store.reads == 3


class NeverSaid:
    """A database that does not say which queues there are."""

    async def queues(self) -> list[QueueInfo]:
        never: asyncio.Future[list[QueueInfo]] = asyncio.get_running_loop().create_future()
        return await never


@pytest.mark.contract("DR2")
async def test_what_another_process_wrote_is_looked_for_before_the_list_of_queues_is_there() -> None:
    looked: list[str] = []
    watcher = Watcher(cast("Store", NeverSaid()), Feed(1, {"chat": 1}), lambda: looked.append("at once"), FakeClock())
    watcher.on_change()
    tick = asyncio.ensure_future(watcher.tick())
    await asyncio.sleep(0)
    watcher.on_change()
    assert looked == ["at once", "at once"]
    assert not tick.done()
    tick.cancel()


@pytest.mark.contract("DR2")
async def test_a_notice_looks_once_more_only_where_a_queue_is_new() -> None:
    """What a notice looked for at once would otherwise be looked for twice, in a transaction of its own."""
    feed, store = Feed(1, {"chat": 1}), Queues(Feed(1, {}))
    store.reads = 2
    looked: list[int] = []
    watcher = Watcher(cast("Store", store), feed, lambda: looked.append(store.reads), FakeClock())
    watcher.on_change()
    await watcher.tick()
    watcher.on_change()
    await watcher.tick()
    assert looked == [2, 3, 3]
