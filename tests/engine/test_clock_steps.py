"""
The wall clock is set, by two hours or by little, at every point of a message's life, under every kind of worker.

Nothing is lost, sent again, late by more than a second, or expired while it has time left. The true time is the boot
clock's here: the wall clock alone is set.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, RateLimited, Unavailable, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.events import Alarm, MessageHeld, RetryScheduled
from pillarbox.outbox.message import Message
from pillarbox.outbox.outbox import inside
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Box, crash

if TYPE_CHECKING:
    from tests.engine.stand import Stand

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
STEADY: Final = Policy(jitter=0.0, schedule=(600.0,), ttl_seconds=3600.0)
HOLD: Final = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)
STEPS: Final = [-2 * HOUR_MS, 2 * HOUR_MS, -30 * SECOND_MS]


async def _due(box: Box, channel: ScriptedChannel) -> Message:
    """Due, and waiting for a slot behind another."""
    channel.hold()
    await box.send("first", lane=None)
    await channel.begun(1)
    return await box.send("second", lane=None)


async def _later(box: Box, channel: ScriptedChannel) -> Message:
    return await box.send(at=timedelta(minutes=10))


async def _later_by_the_clock(box: Box, channel: ScriptedChannel) -> Message:
    at = datetime.fromtimestamp(inside(box.outbox).lifetime.clock.machine.wall_ms() / 1000, UTC) + timedelta(minutes=10)
    return await box.send(at=at)


async def _retrying(box: Box, channel: ScriptedChannel) -> Message:
    channel.script(Deferred("no"))
    message = await box.send()
    await box.heard.wait_for(RetryScheduled)
    return message


async def _rate_limited(box: Box, channel: ScriptedChannel) -> Message:
    channel.script(RateLimited("slow down", after=600.0))
    message = await box.send()
    await box.heard.wait_for(RetryScheduled)
    return message


async def _channel_rate_limited(box: Box, channel: ScriptedChannel) -> Message:
    """Another message met the limit; this one waits for the whole channel."""
    channel.script(RateLimited("slow down", scope="channel", after=600.0), to="first")
    await box.send("first")
    await box.heard.wait_for(RetryScheduled)
    return await box.send("second")


async def _unavailable(box: Box, channel: ScriptedChannel) -> Message:
    channel.script(Unavailable("no credentials", after=600.0), to="first")
    await box.send("first")
    await box.heard.wait_for(RetryScheduled)
    return await box.send("second")


async def _paused(box: Box, channel: ScriptedChannel) -> Message:
    await box.outbox.pause("chat", span=timedelta(minutes=10))
    return await box.send()


@dataclass(frozen=True, kw_only=True)
class Point:
    """
    A point of a message's life.

    Attributes:
        reach: Sends a message, and gives it when it has come there.
        wait_ms: How long it waits by itself from there on.
        concurrency: Slots of the channel.
    """

    reach: Callable[[Box, ScriptedChannel], Awaitable[Message]]
    wait_ms: int = 10 * MINUTE_MS
    concurrency: int = 4


POINTS: Final = {
    "due": Point(reach=_due, wait_ms=0, concurrency=1),
    "later": Point(reach=_later),
    "later by the clock": Point(reach=_later_by_the_clock),
    "retrying": Point(reach=_retrying),
    "rate limited": Point(reach=_rate_limited),
    "channel rate limited": Point(reach=_channel_rate_limited),
    "channel unavailable": Point(reach=_unavailable),
    "channel paused": Point(reach=_paused),
}
RUNNING, BESIDE, RESTARTED, KILLED = "running", "beside", "restarted", "killed"


async def after_the_step(stand: Stand, box: Box, channel: ScriptedChannel, kind: str, step_ms: int) -> Box:
    """Set the clock, and give the worker that has to go on from there."""
    if kind == KILLED:
        await crash(box)
    elif kind == RESTARTED:
        channel.release()
        await box.outbox.stop()
    stand.clock.set_wall(stand.clock.wall_ms() + step_ms)
    box = box if kind == RUNNING else await stand.open(channel)
    await box.reap()
    return box


async def looked(*boxes: Box) -> None:
    for box in boxes:
        await box.reap()
        await box.looked()


@pytest.mark.contract("LE6", "FL1", "EX1", "DR2")
@pytest.mark.parametrize("step_ms", STEPS)
@pytest.mark.parametrize("kind", [RUNNING, BESIDE, RESTARTED, KILLED])
@pytest.mark.parametrize("name", POINTS)
async def test_a_message_goes_at_its_time_whoever_sets_the_clock(
    stand: Stand, name: str, kind: str, step_ms: int
) -> None:
    point = POINTS[name]
    channel = ScriptedChannel(policy=STEADY, concurrency=point.concurrency)
    box = await stand.open(channel)
    message = await point.reach(box, channel)
    tried = [attempt.id for attempt in channel.attempts].count(message.id or "")
    box = await after_the_step(stand, box, channel, kind, step_ms)
    if point.wait_ms:
        stand.advance(point.wait_ms - SECOND_MS)
        await looked(box)
        assert [attempt.id for attempt in channel.attempts].count(message.id or "") == tried
        stand.advance(SECOND_MS)
        await looked(box)
    channel.release()
    view = await box.settled(message)
    assert view.state is State.DELIVERED
    assert [attempt.id for attempt in channel.attempts].count(message.id or "") == tried + 1
    assert view.claims == tried + 1


@pytest.mark.contract("LE6", "LE3")
@pytest.mark.parametrize("step_ms", STEPS)
async def test_what_is_being_sent_is_sent_once_whoever_sets_the_clock(stand: Stand, step_ms: int) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    message = await box.send(ttl=60)
    await channel.begun(1)
    stand.clock.set_wall(stand.clock.wall_ms() + step_ms)
    other = await stand.open(channel)
    await looked(box, other)
    channel.release()
    view = await box.settled(message)
    assert (view.state, view.claims, len(channel.attempts)) == (State.DELIVERED, 1, 1)


@pytest.mark.contract("LE6", "EX1")
@pytest.mark.parametrize("step_ms", STEPS)
@pytest.mark.parametrize("kind", [RUNNING, BESIDE, RESTARTED, KILLED])
async def test_a_message_expires_at_its_time_whoever_sets_the_clock(stand: Stand, kind: str, step_ms: int) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    message = await box.send(ttl=3600)
    box = await after_the_step(stand, box, channel, kind, step_ms)
    stand.advance(HOUR_MS)
    await looked(box)
    assert (await box.view(message)).state is State.SCHEDULED
    stand.advance(1)
    await looked(box)
    assert (await box.view(message)).state is State.EXPIRED
    assert channel.attempts == []


@pytest.mark.contract("LE6", "EX1", "PR2")
@pytest.mark.parametrize("step_ms", STEPS)
@pytest.mark.parametrize("kind", [RUNNING, RESTARTED])
async def test_what_is_held_or_ended_is_kept_for_as_long_as_it_should_be(stand: Stand, kind: str, step_ms: int) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), policy=HOLD)
    kept = {"held_retention": timedelta(hours=1), "retention": {"delivered": timedelta(hours=1)}}
    box = await stand.open(channel, **kept)
    held = await box.send("held")
    await box.heard.wait_for(MessageHeld)
    delivered = await box.send("delivered")
    await box.settled(delivered)
    if kind == RESTARTED:
        await box.outbox.stop()
    stand.clock.set_wall(stand.clock.wall_ms() + step_ms)
    if kind == RESTARTED:
        box = await stand.open(channel, **kept)
    await box.reap()
    stand.advance(HOUR_MS)
    await looked(box)
    await box.worker.pruner.tick()
    assert [(await box.view(one)).state for one in (held, delivered)] == [State.HELD, State.DELIVERED]
    stand.advance(2 * MINUTE_MS)
    await looked(box)
    await box.worker.pruner.tick()
    assert (await box.view(held)).state is State.DEAD
    assert await box.outbox.get(delivered.id or "") is None


@pytest.mark.contract("LE6", "EN10")
@pytest.mark.parametrize("step_ms", STEPS)
async def test_who_sends_after_the_step_writes_the_same_time_as_who_sent_before(stand: Stand, step_ms: int) -> None:
    before = await stand.open()
    first = await before.send("first", ttl=3600)
    stand.clock.set_wall(stand.clock.wall_ms() + step_ms)
    after = await stand.open()
    at = datetime.fromtimestamp(stand.clock.wall_ms() / 1000, UTC) + timedelta(minutes=10)
    second = await after.send("second", ttl=3600)
    later = await after.send("later", at=at)
    again = await before.send("again", ttl=3600)
    rows = [await after.store.get(one.id) for one in (first, second, again)]
    assert len({(row.due_ms, row.expires_ms) for row in rows if row is not None}) == 1
    shown = await after.view(later)
    # People see their own clock's times, and what they said as they said it.
    assert (shown.not_before_ms, shown.created_ms) == (stand.clock.wall_ms() + 10 * MINUTE_MS, stand.clock.wall_ms())
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    for one in (first, second, again):
        assert (await box.settled(one)).state is State.DELIVERED
    stand.advance(10 * MINUTE_MS - SECOND_MS)
    await looked(box)
    assert len(channel.attempts) == 3
    stand.advance(SECOND_MS)
    await looked(box)
    assert (await box.settled(later)).state is State.DELIVERED


@pytest.mark.contract("LE6", "OP2")
@pytest.mark.parametrize("step_ms", [-2 * HOUR_MS, 2 * HOUR_MS])
async def test_a_clock_that_was_set_is_told_until_it_agrees_again(stand: Stand, step_ms: int) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    message = await box.send(at=timedelta(minutes=10))
    assert (await box.outbox.health()).ok
    stand.clock.set_wall(stand.clock.wall_ms() + step_ms)
    await box.reap()
    (alarm,) = box.heard.of(Alarm)
    assert alarm.at_ms == stand.clock.wall_ms()
    for piece in (f"{step_ms // 1000:+d} s", "expiry and pruning pause", "due times", "boot time"):
        assert piece in alarm.detail
    assert (await box.outbox.health()).problems == (alarm.detail,)
    explanation = await box.outbox.explain(message.id or "")
    assert [cause.word for cause in explanation.causes if cause.word == "clock_set"] == ["clock_set"]
    assert explanation.earliest_ms == stand.clock.wall_ms() + 10 * MINUTE_MS
    stand.clock.set_wall(stand.clock.wall_ms() - step_ms)
    await box.reap()
    assert (await box.outbox.health()).ok
    assert "clock_set" not in [cause.word for cause in (await box.outbox.explain(message.id or "")).causes]


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("step_ms", [-2 * HOUR_MS, 2 * HOUR_MS])
async def test_a_clock_that_runs_on_steadily_is_taken_for_the_machines_time(stand: Stand, step_ms: int) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    before = await box.send("before", at=timedelta(minutes=20))
    stand.clock.set_wall(stand.clock.wall_ms() + step_ms)
    await box.reap()
    stand.advance(10 * MINUTE_MS - 1)
    assert not (await box.outbox.health()).ok
    stand.advance(1)
    assert (await box.outbox.health()).ok
    after = await box.send("after", at=timedelta(minutes=10))
    stand.advance(10 * MINUTE_MS - SECOND_MS)
    await looked(box)
    assert channel.attempts == []
    stand.advance(SECOND_MS)
    await looked(box)
    for one in (before, after):
        assert (await box.settled(one)).state is State.DELIVERED
    assert len(box.heard.of(Alarm)) == 1


@pytest.mark.contract("LE6")
async def test_slow_drift_and_a_slewing_clock_are_followed_and_raise_no_alarm(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    wanted = stand.clock.wall_ms() + 10 * MINUTE_MS
    message = await box.send(at=datetime.fromtimestamp(wanted / 1000, UTC), ttl=None)
    # 100 s are gained in all, at 80 ms a second: more than NTP ever does.
    while stand.clock.wall_ms() < wanted - SECOND_MS:
        stand.advance(SECOND_MS)
        stand.clock.set_wall(stand.clock.wall_ms() + 80)
        await box.reap()
    assert channel.attempts == []
    stand.clock.advance((wanted - stand.clock.wall_ms()) / 1000)
    await looked(box)
    assert (await box.settled(message)).state is State.DELIVERED
    assert box.heard.of(Alarm) == []
    assert (await box.view(message)).created_ms < wanted


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("sign", [-1, 1])
async def test_many_small_steps_are_one_large_one(stand: Stand, sign: int) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    waiting = await box.send("waiting", ttl=1800)
    later = await box.send("later", at=timedelta(minutes=20), ttl=None)
    for _ in range(40):
        stand.advance(SECOND_MS)
        stand.clock.set_wall(stand.clock.wall_ms() + sign * 50 * SECOND_MS)
        await box.reap()
    assert [alarm.what for alarm in box.heard.of(Alarm)] == ["clock_stepped"]
    # By the wall clock 34 minutes have passed, or have still to come.
    stand.advance(18 * MINUTE_MS)
    await looked(box)
    assert (await box.view(waiting)).state is State.SCHEDULED
    stand.advance(2 * MINUTE_MS - 40 * SECOND_MS)
    await box.outbox.resume("chat")
    await looked(box)
    assert [(await box.settled(one)).state for one in (waiting, later)] == [State.DELIVERED] * 2


@pytest.mark.contract("LE6", "LE4")
async def test_a_suspended_machine_is_no_step(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    message = await box.send(at=timedelta(hours=9), ttl=60)
    stand.advance(8 * HOUR_MS)
    await looked(box)
    stand.advance(HOUR_MS)
    await looked(box)
    assert (await box.settled(message)).state is State.DELIVERED
    assert box.heard.of(Alarm) == []


# After a boot


@pytest.mark.contract("LE6", "RE1")
async def test_after_a_boot_the_wall_clock_is_the_truth(stand: Stand) -> None:
    acceptor = await stand.open()
    message = await acceptor.send(at=timedelta(hours=2), ttl=60)
    await acceptor.outbox.stop()
    stand.advance(2 * HOUR_MS)
    stand.clock.reboot("boot-2")
    box = await stand.open(ScriptedChannel(policy=STEADY))
    assert (await box.settled(message)).state is State.DELIVERED
    assert box.heard.of(Alarm) == []


@pytest.mark.contract("LE6", "EX1")
async def test_a_clock_that_a_boot_set_back_makes_nothing_late_and_is_told(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    acceptor = await stand.open()
    due = await acceptor.send("due")
    later = await acceptor.send("later", at=timedelta(minutes=10))
    await acceptor.outbox.stop()
    stand.clock.reboot("boot-2")
    stand.clock.set_wall(stand.clock.wall_ms() - 50 * 365 * 24 * HOUR_MS)  # as of a machine without a battery
    box = await stand.open(channel)
    assert (await box.settled(due)).state is State.DELIVERED
    await box.reap()
    assert [alarm.what for alarm in box.heard.of(Alarm)] == ["clock_stepped"]
    stand.advance(9 * MINUTE_MS)
    # It is put right: the machine was off for an hour, so what was for later is overdue.
    stand.clock.set_wall(stand.clock.wall_ms() + 50 * 365 * 24 * HOUR_MS + HOUR_MS)
    await looked(box)
    assert (await box.settled(later)).state is State.DELIVERED
    assert (await box.outbox.health()).ok


@pytest.mark.contract("LE6")
async def test_where_nothing_waits_a_boot_begins_with_the_clock_as_it_is(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    await box.settled(await box.send())
    await box.outbox.stop()
    stand.clock.reboot("boot-2")
    stand.clock.set_wall(stand.clock.wall_ms() - 2 * HOUR_MS)
    box = await stand.open(ScriptedChannel(policy=STEADY))
    message = await box.send()
    assert (await box.settled(message)).state is State.DELIVERED
    row = await box.store.get(message.id)
    assert row is not None
    assert row.created_ms == stand.clock.wall_ms()
    assert box.heard.of(Alarm) == []


@pytest.mark.contract("LE6")
async def test_where_the_clock_is_never_set_it_is_written_once_and_costs_nothing(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    for n in range(20):
        await box.settled(await box.send(f"r{n}"))
        stand.advance(SECOND_MS)
    marked = [batch for batch in box.store.batches if batch.mark is not None]
    assert len(marked) == 1
    again = await stand.open()
    await again.send("one more")
    assert not any(batch.mark is not None for batch in again.store.batches)
