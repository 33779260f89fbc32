"""Only what became claimable wakes anybody: what a message costs in transactions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Unavailable
from pillarbox.domain.retry import Policy
from pillarbox.events import ChannelPaused
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, StillClock, until
from tests.store.second_driver import SecondStore

if TYPE_CHECKING:
    from pillarbox.store.base import Batch
    from tests.engine.stand import Box, Stand

STEADY = Policy(jitter=0.0)


def of_messages(batch: Batch) -> bool:
    """Whether a batch was made for a message, or to look for one. What a loop writes meanwhile may go along."""
    by_itself = not (batch.expire or batch.presence)
    return bool(batch.enqueue or batch.settle) or (batch.claim is not None and by_itself)


@pytest.fixture
async def stand(stand: Stand) -> Stand:
    stand.clock = StillClock()
    return stand


async def opened(stand: Stand, channel: ScriptedChannel) -> Box:
    """Open an outbox that has found out that nothing is due."""
    box = await stand.open(channel)
    if isinstance(box.store.real, SecondStore):
        # After a lost answer one looks once more; which one is lost is a matter of how many commits came before.
        box.store.real._server.unreliable = 0.0
    await box.settled(await box.send("warm-up"))
    await quiet(box)
    await box.worker._watcher.tick()
    await quiet(box)
    return box


async def quiet(box: Box) -> None:
    """Let everything that was started come to its end."""
    loops = (box.worker.committer._loop, *box.worker._loops)
    await until(lambda: all(loop._task is None for loop in loops))


@pytest.mark.on_files("counts looks at the file")
@pytest.mark.parametrize("lane", [None, "l"])
async def test_an_idle_message_costs_two_transactions(stand: Stand, lane: str | None) -> None:
    box = await opened(stand, ScriptedChannel(policy=STEADY))
    before = box.store.offered(of_messages)
    for n in range(5):
        await box.settled(await box.send(f"r{n}", lane=lane))
        await quiet(box)
    box.store.real._notices.look()  # what this process wrote itself is no news
    await box.worker._watcher.tick()
    await quiet(box)
    assert box.store.offered(of_messages) - before == 10


@pytest.mark.contract("LA1")
async def test_the_next_of_a_lane_starts_with_the_commit_that_ends_the_one_before(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await opened(stand, channel)
    channel.hold()
    messages = [await box.send(text=str(n)) for n in range(10)]
    await channel.begun(2)
    await quiet(box)
    before = box.store.offered(of_messages)
    channel.release()
    for message in messages:
        assert (await box.settled(message)).state is State.DELIVERED
    await quiet(box)
    assert box.store.offered(of_messages) - before == 10
    assert [attempt.text for attempt in channel.attempts[1:]] == [str(n) for n in range(10)]


@pytest.mark.contract("FL2")
async def test_while_a_channel_is_probed_nobody_looks_for_more(stand: Stand) -> None:
    channel = ScriptedChannel(Unavailable("401"), policy=Policy(jitter=0.0, ttl_seconds=None))
    box = await stand.open(channel)
    await box.send("first")
    await box.heard.wait_for(ChannelPaused)
    others = [await box.send(f"r{n}") for n in range(3)]
    channel.hold()
    async with asyncio.timeout(SECONDS):
        while len(channel.attempts) < 2:
            stand.advance(3_600_000)
            await box.looked()
    await quiet(box)
    # So much time has passed that it looks in any case.
    await box.worker._watcher.tick()
    await quiet(box)
    before = box.store.offered(of_messages)
    for _ in range(4):
        await box._told()
    assert box.store.offered(of_messages) == before
    channel.release()
    for message in others:
        assert (await box.settled(message)).state is State.DELIVERED
    assert channel.most <= 3
