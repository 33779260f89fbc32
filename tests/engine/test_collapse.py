"""Collapse keys through the whole engine: the recipient sees the newest state, and everybody is told (FL4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox import Deferred, Delivered, State
from pillarbox.domain.retry import Policy
from pillarbox.events import MessageCancelled, RetryScheduled
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Stand, until

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt

pytestmark = pytest.mark.contract("FL4")


async def test_what_a_paused_channel_kept_back_arrives_as_its_newest_state(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    old = [await box.send(text=f"{percent} %", collapse="progress") for percent in (50, 60)]
    waits = [asyncio.ensure_future(message.wait(timeout=10)) for message in old]
    newest = await box.send(text="70 %", collapse="progress")
    # Those who wait for what was superseded are told at once, while nothing is delivered.
    assert [state.state for state in await asyncio.gather(*waits)] == [State.CANCELLED] * 2
    assert [event.reason for event in await box.heard.wait_for(MessageCancelled, 2)] == ["superseded"] * 2
    await box.outbox.resume("chat")
    assert (await box.settled(newest)).state is State.DELIVERED
    assert [attempt.text for attempt in channel.attempts] == ["70 %"]
    (cause,) = (await box.outbox.explain(old[0].id or "")).causes
    assert f"message {old[1].id}" in cause.text


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_one_in_flight_is_not_overtaken_and_not_tried_again(stand: Stand, *, ordered: bool) -> None:
    """Also where the channel has no order: the recipient must see the newest state last."""
    go = asyncio.Event()

    async def slow(attempt: Attempt) -> Delivered:
        await go.wait()
        raise Deferred("down")

    channel = ScriptedChannel(policy=Policy(jitter=0.0))
    channel.ordered = ordered
    channel.script(slow)
    box = await stand.open(channel)
    first = await box.send(text="50 %", collapse="progress")
    await until(lambda: len(channel.attempts) == 1)
    second = await box.send(text="60 %", collapse="progress")
    await box.looked()
    assert len(channel.attempts) == 1
    explanation = await box.outbox.explain(first.id or "")
    assert any(f"message {second.id}" in cause.text for cause in explanation.causes)
    go.set()
    assert (await box.settled(second)).state is State.DELIVERED
    view = await box.view(first)
    assert (view.state, view.terminal_reason, view.claims) == (State.CANCELLED, "superseded", 1)
    assert [attempt.text for attempt in channel.attempts] == ["50 %", "60 %"]
    assert box.heard.of(RetryScheduled) == []


async def test_a_program_that_only_enqueues_is_told_too(stand: Stand) -> None:
    box = await stand.open()
    first = await box.send(text="50 %", collapse="progress")
    await box.send(text="60 %", collapse="progress")
    (event,) = await box.heard.wait_for(MessageCancelled)
    assert (event.id, event.reason) == (first.id, "superseded")
    assert box.counts["cancelled"] == 1
