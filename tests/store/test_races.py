"""Processes that want the same thing at the same time: the database decides, once (contract ST7, LE1, LE4, LE5)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected
from pillarbox.errors import KeyConflict, PillarboxError, QueueFull
from pillarbox.store.base import Cancel, Enqueued, Settled
from tests.store.opened import driver_on
from tests.store.racing import Doomed, race

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.message import Leased
    from pillarbox.testing.store_suite import StoreDriver

COUNT = 120
LANES = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


# --- jobs ----------------------------------------------------------------------------------------------------------


async def claim_all(driver: StoreDriver, capacity: int) -> list[MessageId]:
    claimed: list[MessageId] = []
    while messages := await driver.claim(capacity):
        claimed += [message.id for message in messages]
    return claimed


async def send_all(driver: StoreDriver, total: int) -> list[tuple[str, MessageId, int, int]]:
    """Deliver until all is delivered; gives lane, id, beginning and end of each send."""
    sent: list[tuple[str, MessageId, int, int]] = []
    while True:
        messages = await driver.claim(3)
        began = time.monotonic_ns()
        ended = [(message.lane or "", message.id, began, time.monotonic_ns()) for message in messages]
        await driver.deliver(*messages)
        sent += ended
        done = (await driver.counters()).get(("", "chat", State.DELIVERED), (0, 0))[0]
        if done >= total:
            return sent


async def live_all(driver: StoreDriver, total: int) -> tuple[list[MessageId], list[tuple[str, MessageId, int, int]]]:
    """Store messages one by one, each beside a claim, and deliver until all is; gives its own, and its sends."""
    mine: list[MessageId] = []
    sent: list[tuple[str, MessageId, int, int]] = []
    while True:
        drafts = [driver.draft(lane=f"l{len(mine) % LANES}")] if len(mine) < COUNT else []
        mine += [draft.id for draft in drafts]
        result = await driver.commit(enqueue=[[draft] for draft in drafts], claim=await driver.request(3))
        began = time.monotonic_ns()
        sent += [(message.lane or "", message.id, began, time.monotonic_ns()) for message in result.claimed]
        await driver.deliver(*result.claimed)
        if (await driver.counters()).get(("", "chat", State.DELIVERED), (0, 0))[0] >= total:
            return mine, sent


async def settle_all(driver: StoreDriver, work: tuple[Sequence[Leased], Any]) -> list[Settled]:
    messages, outcome = work
    return [await driver.settle(message, outcome) for message in messages]


async def cancel_all(driver: StoreDriver, messages: Sequence[Leased]) -> list[tuple[bool, bool]]:
    acted = [await driver.act(Cancel(id=message.id, actor="ann")) for message in messages]
    return [(one.applied, one.pending) for one in acted]


async def reap_all(driver: StoreDriver, messages: Sequence[Leased]) -> list[Settled]:
    """Settle what has lapsed, one by one, as often as anything has."""
    settled: list[Settled] = []
    driver.clock.advance(30)
    for _ in messages:
        lapsed = await driver.lapsed()
        if not lapsed:
            break
        settled.append(await driver.settle_lapsed(lapsed[0]))
    return settled


async def recover(driver: StoreDriver, total: int) -> list[MessageId]:
    """Settle what a dead worker left and send it, until all is delivered; gives what was sent."""
    sent: list[MessageId] = []
    while True:
        await driver.reap()
        # Retries become due. Boot time stands still: by it the other process's leases would lapse.
        driver.clock.set_wall(driver.clock.wall_ms() + 600_000)
        messages = await driver.claim(7)
        sent += [message.id for message in messages]
        await driver.deliver(*messages)
        if (await driver.counters()).get(("", "chat", State.DELIVERED), (0, 0))[0] >= total:
            return sent


async def claim_and_stay(driver: StoreDriver, capacity: int) -> list[Leased]:
    return await driver.claim(capacity)


async def enqueue_keys(driver: StoreDriver, count: int) -> list[Enqueued]:
    return [(await driver.enqueue(driver.draft(key=f"k{place}", digest=b"1")))[0] for place in range(count)]


async def enqueue_conflicting(driver: StoreDriver, digest: bytes) -> list[str]:
    told = []
    for place in range(COUNT):
        result = await driver.commit(enqueue=[[driver.draft(key=f"k{place}", digest=digest)]])
        accepted = result.enqueued[0]
        told.append("conflict" if isinstance(accepted, KeyConflict) else "accepted")
    return told


async def enqueue_until_full(driver: StoreDriver, count: int) -> int:
    accepted = 0
    for _ in range(count):
        (group,) = (await driver.commit(enqueue=[[driver.draft()]])).enqueued
        assert not isinstance(group, PillarboxError) or isinstance(group, QueueFull)
        accepted += not isinstance(group, PillarboxError)
    return accepted


async def just_open(driver: StoreDriver, _: None) -> list[str]:
    await driver.send()
    return await driver.store.check()


# --- races ---------------------------------------------------------------------------------------------------------


async def leased(path: Path, count: int = COUNT) -> list[Leased]:
    """Enqueue messages and claim them; the worker stays in nobody's hands, so its leases lapse."""
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft() for _ in range(count)])
        return await driver.claim(count)


async def at_the_end(path: Path) -> list[Any]:
    async with driver_on(path) as driver:
        await driver.healthy()
        return await driver.everything()


@pytest.mark.contract("LE1", "LE2")
async def test_of_three_processes_one_claims_each_message(path: Path) -> None:
    async with driver_on(path) as driver:
        sent = [accepted.id for accepted in await driver.enqueue(*[driver.draft() for _ in range(COUNT)])]
    claimed = await asyncio.to_thread(race, path, *[(claim_all, capacity) for capacity in (3, 5, 7)])
    assert Counter(sent) == Counter(one for each in claimed for one in each)
    assert {view.claims for view in await at_the_end(path)} == {1}


@pytest.mark.contract("LA1", "LE1")
async def test_three_processes_keep_every_lane_in_order_and_one_at_a_time(path: Path) -> None:
    async with driver_on(path) as driver:
        drafts = [driver.draft(lane=f"l{place % LANES}") for place in range(COUNT)]
        await driver.enqueue(*drafts)
    results = await asyncio.to_thread(race, path, *[(send_all, COUNT)] * 3)
    sends = sorted((one for each in results for one in each), key=lambda send: send[2])
    for place in range(LANES):
        mine = [send for send in sends if send[0] == f"l{place}"]
        assert [send[1] for send in mine] == [draft.id for draft in drafts if draft.lane == f"l{place}"]
        assert all(before[3] <= after[2] for before, after in itertools.pairwise(mine))


@pytest.mark.contract("LA1", "LE1", "LE2")
async def test_what_two_processes_store_and_start_in_the_same_lanes_goes_once_and_in_turn(path: Path) -> None:
    results = await asyncio.to_thread(race, path, *[(live_all, 2 * COUNT)] * 2)
    sends = sorted((one for _, each in results for one in each), key=lambda send: send[2])
    assert Counter(send[1] for send in sends) == Counter(one for mine, _ in results for one in mine)
    assert {view.claims for view in await at_the_end(path)} == {1}
    for place in range(LANES):
        lane = [send for send in sends if send[0] == f"l{place}"]
        assert all(before[3] <= after[2] for before, after in itertools.pairwise(lane))
        for mine, _ in results:
            assert [send[1] for send in lane if send[1] in set(mine)] == mine[place::LANES]


@pytest.mark.contract("ST7", "ST2")
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Rejected("no"), (Settled.LATE, State.DEAD, 1)),
        (Deferred("busy"), (Settled.LATE, State.DELIVERED, 1)),
        (Delivered("b"), (Settled.STALE, State.DELIVERED, 0)),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_of_two_ends_of_one_attempt_one_counts(path: Path, outcome: Any, expected: tuple[Any, ...]) -> None:
    messages = await leased(path)
    # From both ends, so that they meet: each is the first somewhere.
    mine, theirs = await asyncio.to_thread(
        race, path, (settle_all, (messages, Delivered("a"))), (settle_all, (messages[::-1], outcome))
    )
    views = {view.id: view for view in await at_the_end(path)}
    for message, a, b in zip(messages, mine, theirs[::-1], strict=True):
        view = views[message.id]
        if a is Settled.APPLIED:
            assert b is Settled.STALE
            assert (view.state, view.receipt, view.charged, view.extra_copies) == (State.DELIVERED, "a", 0, 0)
        else:
            # The other was first; a delivery that comes after it is recorded all the same (ST6).
            assert b is Settled.APPLIED
            assert (a, view.state, view.charged) == expected


@pytest.mark.contract("ST7", "OP3", "ST2")
@pytest.mark.parametrize("outcome", [Delivered("a"), Deferred("busy")], ids=lambda o: type(o).__name__)
async def test_of_an_end_and_a_cancel_the_first_counts_and_the_other_is_told(path: Path, outcome: Any) -> None:
    messages = await leased(path)
    settled, cancelled = await asyncio.to_thread(
        race, path, (settle_all, (messages, outcome)), (cancel_all, messages[::-1])
    )
    views = {view.id: view for view in await at_the_end(path)}
    for message, told, (applied, pending) in zip(messages, settled, cancelled[::-1], strict=True):
        view = views[message.id]
        if outcome == Delivered("a"):
            assert (told, view.state) == (Settled.APPLIED, State.DELIVERED)
            assert applied is pending
        elif pending:
            assert (told, view.state) == (Settled.CANCEL, State.LEASED)
        else:
            assert (told, applied, view.state) == (Settled.APPLIED, True, State.CANCELLED)


@pytest.mark.contract("ST7", "LE3", "LE5")
async def test_of_two_reapers_and_the_holder_one_ends_each_attempt(path: Path) -> None:
    messages = await leased(path)
    held, one, two = await asyncio.to_thread(
        race, path, (settle_all, (messages, Delivered("a"))), (reap_all, messages), (reap_all, messages)
    )
    assert set(held) <= {Settled.APPLIED, Settled.LATE}
    reaped = [told for told in (*one, *two) if told is Settled.APPLIED]
    assert len(reaped) + held.count(Settled.APPLIED) == COUNT
    for view in await at_the_end(path):
        assert (view.state, view.claims, view.extra_copies) == (State.DELIVERED, 1, 0)
        assert view.charged in {0, 1}


@pytest.mark.contract("LE4", "LE5")
async def test_what_a_killed_worker_left_is_sent_once_by_two_that_recover_it(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft() for _ in range(COUNT)])
    doomed = await asyncio.to_thread(Doomed, path, claim_and_stay, COUNT)
    assert len(doomed.result) == COUNT
    async with driver_on(path) as driver:
        assert await driver.lapsed() == []
        assert [worker.alive for worker in await driver.store.workers()] == [True]
        await asyncio.to_thread(doomed.kill)
        # At once: the kernel freed its lock, no lease had to run out.
        assert {item.by for item in await driver.lapsed()} == {"owner"}
        assert [worker.alive for worker in await driver.store.workers()] == [False]
    sent = await asyncio.to_thread(race, path, (recover, COUNT), (recover, COUNT))
    assert sum(len(each) for each in sent) == COUNT
    for view in await at_the_end(path):
        assert (view.state, view.claims, view.charged) == (State.DELIVERED, 2, 1)


@pytest.mark.contract("LE5")
async def test_what_a_living_worker_sends_is_not_recovered(path: Path) -> None:
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft() for _ in range(COUNT)])
        messages = await driver.claim(COUNT)
        settled = await asyncio.to_thread(race, path, *[(reap_nothing, None)] * 2)
        assert settled == [[], []]
        await driver.deliver(*messages)
        await driver.healthy()


async def reap_nothing(driver: StoreDriver, _: None) -> list[Settled]:
    return [settled for _ in range(20) for settled in await driver.reap()]


@pytest.mark.contract("EN7")
async def test_of_two_processes_with_the_same_keys_one_creates_each_message(path: Path) -> None:
    one, two = await asyncio.to_thread(race, path, (enqueue_keys, COUNT), (enqueue_keys, COUNT))
    for mine, theirs in zip(one, two, strict=True):
        assert mine.id == theirs.id
        assert mine.created != theirs.created
    assert len(await at_the_end(path)) == COUNT


@pytest.mark.contract("EN7")
async def test_of_two_processes_with_other_contents_one_gets_each_key(path: Path) -> None:
    one, two = await asyncio.to_thread(race, path, (enqueue_conflicting, b"1"), (enqueue_conflicting, b"2"))
    assert all(sorted(pair) == ["accepted", "conflict"] for pair in zip(one, two, strict=True))
    assert len(await at_the_end(path)) == COUNT


@pytest.mark.contract("EN5")
@pytest.mark.parametrize(
    "limits", [Limits(messages=COUNT), Limits(recipient_messages=COUNT)], ids=["store", "recipient"]
)
async def test_two_processes_together_keep_a_limit_exactly(path: Path, limits: Limits) -> None:
    accepted = await asyncio.to_thread(race, path, *[(enqueue_until_full, COUNT)] * 2, limits=limits)
    assert sum(accepted) == COUNT
    assert len(await at_the_end(path)) == COUNT


@pytest.mark.contract("SG2")
async def test_processes_that_open_a_new_database_together_make_it_once(path: Path) -> None:
    found = await asyncio.to_thread(race, path, *[(just_open, None)] * 4, limits=Limits(recipient_messages=9))
    assert found == [[]] * 4
    assert len(await at_the_end(path)) == 4
