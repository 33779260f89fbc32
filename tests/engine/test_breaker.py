"""A channel through which nothing gets: its breaker, and the attempts of what waits for it (contract FL2, RE5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, Unavailable
from pillarbox.events import Alarm, ChannelPaused, RetryScheduled
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import until
from tests.unit.leased_messages import STEADY

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from tests.engine.stand import Box, Stand

REFUSED = Deferred("not connected", outage=True)
NO_WAY = Deferred("not connected", outage=True, after=600)


async def pass_time(stand: Stand, box: Box, milliseconds: int) -> None:
    """Let time pass until all that is due by then has been sent, and what came of it is written."""
    stand.advance(milliseconds)
    await box.looked()
    await box.idle()


@pytest.mark.contract("FL2", "RE5")
async def test_a_channel_that_is_back_within_the_ttl_loses_nothing_however_long_it_refused(stand: Stand) -> None:
    up = False

    async def speak(attempt: Attempt) -> str:
        if not up:
            raise ConnectionRefusedError(111, "Connection refused")
        return f"r-{attempt.to}"

    box = await stand.open(FunctionChannel(speak, policy=STEADY))
    messages = [await box.send(f"r{n}") for n in range(5)]
    for _ in range(40):
        await pass_time(stand, box, 60_000)
    views = [await box.view(message) for message in messages]
    assert {view.state for view in views} == {State.SCHEDULED}
    assert max(view.charged for view in views) <= 2
    assert box.heard.of(ChannelPaused), "a person can see that the channel is out of order"
    assert sum(view.claims for view in views) <= 5 + 41, "it is probed with one message, not with all of them"
    up = True
    for _ in range(15):
        await pass_time(stand, box, 60_000)
    assert [(await box.view(message)).state for message in messages] == [State.DELIVERED] * 5


@pytest.mark.contract("FL2")
async def test_sends_that_failed_together_are_charged_only_until_the_breaker_opened(stand: Stand) -> None:
    channel = ScriptedChannel(*[REFUSED] * 20, policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    messages = [await box.send(f"r{n}") for n in range(20)]
    await channel.begun(20)
    channel.release()
    await box.idle()
    assert sum([(await box.view(message)).charged for message in messages]) == 2
    (queue,) = await box.runtime.store.queues()
    assert (queue.paused, queue.strikes) == (True, 1)


@pytest.mark.contract("FL2", "LA2")
async def test_one_recipient_that_refuses_among_others_opens_no_breaker(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(*[REFUSED, Delivered("r")] * 6, policy=STEADY))
    for n in range(12):
        await box.send(f"r{n}")
        await until(lambda: not box.worker.executor.flights)
    (queue,) = await box.runtime.store.queues()
    assert (queue.paused, queue.strikes) == (False, 0)


@pytest.mark.contract("FL2")
async def test_another_worker_goes_on_where_the_first_one_left_a_breaker_open(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(*[REFUSED] * 3, policy=STEADY))
    messages = [await box.send(f"r{n}") for n in range(3)]
    await until(lambda: not box.worker.executor.flights)
    await box.outbox.stop(0)
    other = await stand.open(ScriptedChannel(*[REFUSED] * 2, policy=STEADY))
    for _ in range(2):
        await pass_time(stand, other, 5_000)
        stand.advance(20_000)
    (queue,) = await other.runtime.store.queues()
    assert queue.strikes == 3
    assert sum([(await other.view(message)).charged for message in messages]) == 2


@pytest.mark.contract("FL3", "RE5")
async def test_a_channel_that_is_not_ready_rests_at_no_attempt_until_it_is(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open({"chat": channel, "mail": ScriptedChannel(policy=STEADY)})
    why: str | None = "the phone is off"
    box.outbox.hooks.readiness("chat", lambda _: why)
    message, other = await box.send(), await box.send(channel="mail")
    assert (await box.settled(other)).state is State.DELIVERED
    (paused,) = await box.heard.wait_for(ChannelPaused)
    assert (paused.channel, paused.reason, paused.until_ms) == ("chat", why, stand.clock.wall_ms() + 5_000)
    explanation = await box.outbox.explain(message.id or "")
    assert any("not ready, says its hook: the phone is off" in cause.text for cause in explanation.causes)
    for _ in range(3):
        await pass_time(stand, box, 5_000)
    why = None
    await pass_time(stand, box, 5_000)
    view = await box.settled(message)
    assert (view.state, view.charged, len(channel.attempts)) == (State.DELIVERED, 0, 1)


@pytest.mark.contract("FL3")
async def test_a_readiness_hook_that_fails_keeps_nobody_waiting(stand: Stand) -> None:
    def broken(channel: str) -> None:
        raise RuntimeError(channel)

    box = await stand.open(ScriptedChannel(policy=STEADY))
    box.outbox.hooks.readiness("chat", broken)
    assert (await box.settled(await box.send())).state is State.DELIVERED
    box.outbox.hooks.readiness("chat", lambda _: 1)
    assert (await box.settled(await box.send())).state is State.DELIVERED
    assert [alarm.what for alarm in box.heard.of(Alarm)] == ["hook_failed", "hook_invalid"]


@pytest.mark.contract("FL2", "CL1")
async def test_a_start_tries_refused_credentials_with_one_message(stand: Stand) -> None:
    channel = ScriptedChannel(*[Unavailable("bad password", auth=True)] * 2, policy=STEADY)
    box = await stand.open(channel)
    messages = [await box.send(f"r{n}") for n in range(3)]
    await box.idle()
    made = len(channel.attempts)
    await pass_time(stand, box, 600_000)
    assert len(channel.attempts) == made, "nothing is tried with them"
    await box.outbox.close()
    again = ScriptedChannel(policy=STEADY)
    box = await stand.open(again)
    await until(lambda: len(again.attempts) >= 1)
    for _ in range(5):
        await pass_time(stand, box, 2_000)
    assert [(await box.view(message)).state for message in messages] == [State.DELIVERED] * 3


@pytest.mark.contract("FL3", "FL2", "RE5")
@pytest.mark.parametrize("refusals", [[Unavailable("off", after=600)], [REFUSED, REFUSED, NO_WAY]])
async def test_whoever_resumes_a_channel_that_was_out_of_order_sends_what_found_that_out_too(
    stand: Stand, refusals: list[Unavailable | Deferred]
) -> None:
    box = await stand.open(ScriptedChannel(*refusals, policy=STEADY))
    messages = [await box.send(f"r{n}") for n in range(3)]
    await box.idle()
    (told,) = {event.due_ms - event.at_ms for event in box.heard.of(RetryScheduled) if not event.charged}
    assert told >= 600_000, "it is said when it is tried again if nobody does anything"
    await pass_time(stand, box, 60_000)
    assert {(await box.view(message)).state for message in messages} == {State.SCHEDULED}
    await box.outbox.resume("chat")
    await pass_time(stand, box, 1)
    assert [(await box.view(message)).state for message in messages] == [State.DELIVERED] * 3


@pytest.mark.contract("FL3")
async def test_whoever_resumes_a_channel_that_was_not_ready_has_its_hook_asked_at_once(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    why: str | None = "the phone is off"
    box.outbox.hooks.readiness("chat", lambda _: why)
    message = await box.send()
    await box.heard.wait_for(ChannelPaused)
    await pass_time(stand, box, 1_000)
    why = None
    await box.outbox.resume("chat")
    await pass_time(stand, box, 1)
    assert (await box.view(message)).state is State.DELIVERED
