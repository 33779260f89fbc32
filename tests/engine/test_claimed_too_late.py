"""
What a claim comes upon when its time is over: it ends there, told like any other end, unless the clock lies.

And a claim that is itself too late: one whose commit took as long as a lease.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.retry import Policy
from pillarbox.events import MessageExpired
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS

if TYPE_CHECKING:
    from tests.engine.stand import Stand

STEADY = Policy(jitter=0.0)


@pytest.mark.contract("EX1", "EV1")
async def test_what_a_claim_finds_expired_is_told_once_and_never_sent(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    message = await box.send(ttl=60)
    stand.advance(60_001)
    await box.outbox.resume("chat")
    assert (await box.settled(message)).state is State.EXPIRED
    assert [event.id for event in await box.heard.wait_for(MessageExpired)] == [message.id]
    assert (box.counts["expired"], channel.attempts) == (1, [])


@pytest.mark.contract("LE6", "EX1")
async def test_a_claim_expires_nothing_while_the_clock_is_not_trusted(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    message = await box.send(ttl=60)
    await box.reap()  # its first look is over: what it wanted to expire, it judged by the clock of then
    stand.clock.set_wall(stand.clock.wall_ms() + 7_200_000)
    await box.outbox.resume("chat")
    assert (await box.settled(message)).state is State.DELIVERED
    assert len(channel.attempts) == 1


@pytest.mark.contract("LE3")
@pytest.mark.parametrize("late_ms", [0, 1])
async def test_a_lease_is_given_up_before_the_store_can_give_it_to_somebody_else(stand: Stand, late_ms: int) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    box.store.stall(lambda batch: bool(batch.enqueue))
    sending = asyncio.create_task(box.send())
    await box.store.until(lambda batch: bool(batch.enqueue) and batch.claim is not None)
    # The store's lease runs from its commit on; ours from before it was asked for.
    stand.advance(LEASE_MS - 1 + late_ms)
    box.store.gate.set()
    message = await sending
    await box.idle()
    assert len(channel.attempts) == 1 - late_ms
    stand.advance(1000)
    box.look()
    view = await box.settled(message)
    assert (view.state, view.claims, view.charged) == (State.DELIVERED, 1 + late_ms, 0)
    assert len(channel.attempts) == 1
