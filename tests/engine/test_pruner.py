"""What is deleted, when, and what never is."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Rejected, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.engine.pruner import LIMIT
from pillarbox.errors import InvalidMessage
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, until

if TYPE_CHECKING:
    from tests.engine.stand import Box, Stand

HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD, ttl_seconds=None)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


async def one_of_each(stand: Stand) -> tuple[Box, dict[State, str]]:
    """A message in each state."""
    channel = ScriptedChannel(policy=HOLD)
    channel.script(Rejected("no"), to="dead")
    channel.script(Deferred("no"), to="scheduled")
    channel.script(Uncertain("no answer"), to="held")
    gate = asyncio.get_running_loop().create_future()
    channel.script(lambda attempt: gate, to="leased")
    box = await stand.open(channel)
    made = {
        State.DELIVERED: await box.send("delivered"),
        State.DEAD: await box.send("dead"),
        State.HELD: await box.send("held"),
        State.CANCELLED: await box.send("cancelled", at=timedelta(days=400)),
        State.EXPIRED: await box.send("expired", at=timedelta(milliseconds=1), ttl=0.001),
        State.SCHEDULED: await box.send("scheduled", schedule="3650d"),
        State.LEASED: await box.send("leased"),
    }
    for state in (State.DELIVERED, State.DEAD, State.HELD):
        await box.settled(made[state])
    await box.outbox.cancel(made[State.CANCELLED].id or "")
    await channel.begun(5)
    stand.advance(3)
    await box.reap()
    await box.settled(made[State.EXPIRED])
    ids = {state: message.id or "" for state, message in made.items()}

    async def as_made() -> bool:
        views = {state: await box.view(identity) for state, identity in ids.items()}
        return views[State.SCHEDULED].claims == 1 and all(view.state is state for state, view in views.items())

    await until(as_made)
    return box, ids


async def left(box: Box, ids: dict[State, str]) -> set[State]:
    return {state for state, identity in ids.items() if await box.outbox.get(identity) is not None}


@pytest.mark.contract("PR1")
@pytest.mark.parametrize(
    "age",
    [0, -1, -0.0, math.nan, math.inf, -math.inf, timedelta(0), timedelta(seconds=-1), True, "1 hour", None, Decimal(5),
     0.0009, 5e-324, timedelta(microseconds=999), 253_402_300_800, 1e300],
    ids=str,
)  # fmt: skip
async def test_an_age_that_means_nothing_deletes_nothing(stand: Stand, age: float) -> None:
    box, ids = await one_of_each(stand)
    stand.advance(365 * DAY_MS)
    with pytest.raises(InvalidMessage) as caught:
        await box.outbox.prune(age)
    assert caught.value.field == "age"
    assert await left(box, ids) == set(ids)


@pytest.mark.only_sqlite("counts what was pruned, which a lost answer takes along")
@pytest.mark.contract("PR2", "ST2")
async def test_only_what_has_ended_is_ever_deleted(stand: Stand) -> None:
    box, ids = await one_of_each(stand)
    stand.advance(365 * DAY_MS)
    counts = await box.outbox.prune(0.001)
    assert counts == {state: 1 for state in ids if state.terminal}
    assert await left(box, ids) == {State.SCHEDULED, State.LEASED, State.HELD}
    assert await box.outbox.check() == []


@pytest.mark.contract("PR2")
async def test_age_counts_from_the_end_not_from_the_beginning(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    message = await box.send()
    stand.advance(10 * DAY_MS)
    await box.outbox.resume("chat")
    await box.settled(message)
    stand.advance(HOUR_MS)
    assert await box.outbox.prune(timedelta(hours=1)) == {}
    stand.advance(1)
    assert await box.outbox.prune(timedelta(hours=1)) == {State.DELIVERED: 1}


@pytest.mark.contract("PR2", "PR3")
async def test_by_itself_a_worker_keeps_the_dead_longer_than_the_delivered(stand: Stand) -> None:
    box, ids = await one_of_each(stand)
    stand.advance(48 * HOUR_MS - 3)  # what one_of_each let pass
    await box.worker.pruner.tick()
    assert await left(box, ids) == set(ids)
    stand.advance(10_000)
    await box.worker.pruner.tick()
    assert await left(box, ids) == {State.DEAD, State.HELD, State.SCHEDULED, State.LEASED}
    stand.advance(28 * DAY_MS)
    await box.worker.pruner.tick()
    assert State.DEAD not in await left(box, ids)


@pytest.mark.contract("PR2")
async def test_pruning_goes_on_in_small_batches_until_nothing_is_left(stand: Stand) -> None:
    acceptor = await stand.open()
    await acceptor.outbox.send_many({"channel": "chat", "to": f"r{n}", "text": "hi"} for n in range(2 * LIMIT + 10))
    box = await stand.open(ScriptedChannel(policy=HOLD, ordered=False))
    async with asyncio.timeout(SECONDS):
        await box.outbox.drain(SECONDS)
    stand.advance(49 * HOUR_MS)
    asked = [await box.worker.pruner.tick() for _ in range(4)]
    assert asked == [0, 0, 300, 300]
    assert await box.outbox.list() == []
    assert {batch.prune.limit for batch in box.store.batches if batch.prune is not None} == {LIMIT}


@pytest.mark.contract("PR2")
async def test_the_interval_can_be_set(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(), prune_interval_ms=1_000)
    assert await box.worker.pruner.tick() == 1


@pytest.mark.contract("LE6", "PR2")
@pytest.mark.parametrize("hours", [-49, 49])
async def test_a_clock_that_was_set_prunes_nothing(stand: Stand, hours: int) -> None:
    box, ids = await one_of_each(stand)
    stand.clock.set_wall(stand.clock.wall_ms() + hours * HOUR_MS)
    await box.worker.pruner.tick()
    assert await left(box, ids) == set(ids)
    assert box.counts["alarm:clock_stepped"] == 1


@pytest.mark.contract("EN7", "PR2")
async def test_a_key_outlives_its_pruned_message(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=HOLD))
    first = await box.send(key="k")
    await box.settled(first)
    stand.advance(49 * HOUR_MS)
    await box.worker.pruner.tick()
    assert await box.outbox.get(first.id or "") is None
    again = await box.send(key="k")
    assert (again.id, again.created) == (first.id, False)
    stand.advance(8 * DAY_MS)
    await box.worker.pruner.tick()
    anew = await box.send(key="k")
    assert (anew.created, anew.id != first.id) == (True, True)


@pytest.mark.contract("PR3")
async def test_file_and_log_stay_bounded_under_steady_traffic(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=HOLD, ordered=False), durability="process")
    sizes = []
    for _ in range(6):
        await box.outbox.send_many(
            {"channel": "chat", "to": f"r{n}", "text": "x" * 1500, "lane": None} for n in range(1000)
        )
        async with asyncio.timeout(SECONDS):
            await box.outbox.drain(SECONDS)
        stand.advance(49 * HOUR_MS)
        while await box.worker.pruner.tick() == 0:
            pass
        sizes.append(sum(file.stat().st_size for file in stand.path.parent.iterdir() if file.is_file()))
    # Nothing of one round is left in the next, so the files have found their size after a few rounds.
    assert max(sizes[3:]) <= 1.2 * max(sizes[:3])
    assert await box.outbox.list() == []


async def test_a_process_that_only_accepts_can_prune_as_well(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=HOLD))
    await box.settled(await box.send())
    stand.advance(HOUR_MS)
    acceptor = await stand.open()
    assert await acceptor.outbox.prune(60) == {State.DELIVERED: 1}
