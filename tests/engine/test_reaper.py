"""What time ends: leases, lives, and holds that nobody resolved."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Delivered, Uncertain
from pillarbox.domain.retry import ExpireAction, Policy, UncertainAction
from pillarbox.domain.transition import ErrorClass, Reason
from pillarbox.engine.reaper import INTERVAL_SECONDS, REST_SECONDS
from pillarbox.events import Alarm, MessageCancelled, MessageDied, MessageExpired, RetryScheduled
from pillarbox.store.base import Bury
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS, SECONDS, until

if TYPE_CHECKING:
    from pillarbox.outbox.message import Message
    from tests.engine.stand import Box, Stand

STEADY = Policy(jitter=0.0)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)
HOUR_MS = 3_600_000


async def hung(stand: Stand, *, policy: Policy = STEADY, count: int = 1, **said: Any) -> tuple[Box, list[Message]]:
    """A worker that sends *count* messages, is never answered, renews nothing, and claims nothing more."""
    channel = ScriptedChannel(policy=policy)
    channel.hold()
    box = await stand.open(channel)
    messages = [await box.send(f"r{n}", **said) for n in range(count)]
    await channel.begun(count)
    # What it lost would otherwise be its own to claim again, to hang once more.
    box.worker._accepting = False
    return box, messages


async def reaper(stand: Stand, channel: ScriptedChannel | None = None, **settings: Any) -> Box:
    """Another worker, which claims nothing but reaps."""
    box = await stand.open(channel or ScriptedChannel(policy=STEADY), **settings)
    box.worker._accepting = False
    return box


# Leases


@pytest.mark.contract("LE4", "UN1")
async def test_a_lease_that_ran_out_is_an_uncertain_attempt(stand: Stand) -> None:
    _, (message,) = await hung(stand)
    other = await reaper(stand)
    stand.advance(LEASE_MS)
    await other.reap()
    view = await other.view(message)
    assert (view.state, view.claims, view.charged, view.lost) == (State.SCHEDULED, 1, 1, 1)
    assert (view.error_class, view.due_ms) == (ErrorClass.WORKER_LOST, stand.clock.wall_ms())
    (event,) = other.heard.of(RetryScheduled)
    assert (event.id, event.charged, event.error_class) == (message.id, True, "worker_lost")
    assert other.counts["uncertain"] == 1


@pytest.mark.contract("LE4", "LE3")
async def test_a_lease_that_still_runs_is_left_alone(stand: Stand) -> None:
    _, (message,) = await hung(stand)
    other = await reaper(stand)
    stand.advance(LEASE_MS - 1)
    await other.reap()
    assert (await other.view(message)).state is State.LEASED


@pytest.mark.contract("LE4")
async def test_what_a_worker_that_is_gone_had_leased_is_free_within_a_tick(stand: Stand) -> None:
    box, (message,) = await hung(stand)
    other = await reaper(stand)
    # Its process is gone: its row and its lock are not there, and no clock has moved.
    await box.store.deregister(box.worker._slot)
    await other.reap()
    view = await other.view(message)
    assert (view.state, view.lost) == (State.SCHEDULED, 1)


@pytest.mark.contract("UN1", "LE4")
async def test_what_is_held_when_uncertain_is_held_after_a_crash_and_not_resent(stand: Stand) -> None:
    _, (message,) = await hung(stand, policy=HOLD)
    channel = ScriptedChannel(policy=HOLD)
    other = await stand.open(channel)
    stand.advance(LEASE_MS)
    await other.reap()
    view = await other.settled(message)
    assert (view.state, view.terminal_reason, view.error_class) == (
        State.HELD,
        Reason.UNCERTAIN,
        ErrorClass.WORKER_LOST,
    )
    assert channel.attempts == []


@pytest.mark.contract("LE4", "DR4")
async def test_what_was_lost_is_sent_again_by_another_worker_as_the_same_message(stand: Stand) -> None:
    _, (message,) = await hung(stand)
    channel = ScriptedChannel(policy=STEADY)
    other = await stand.open(channel)
    stand.advance(LEASE_MS)
    await other.reap()
    view = await other.settled(message)
    assert (view.state, view.claims, view.charged, view.lost) == (State.DELIVERED, 2, 1, 0)
    (attempt,) = channel.attempts
    assert (attempt.id, attempt.number, attempt.token) == (message.id, 2, f"{message.id}AAA")
    assert len(await other.outbox.list()) == 1


@pytest.mark.contract("LE5", "LE1")
async def test_two_recoveries_at_once_send_each_message_once(stand: Stand) -> None:
    _, messages = await hung(stand, count=40)
    channels = [ScriptedChannel(policy=STEADY) for _ in range(2)]
    boxes = [await stand.open(channel) for channel in channels]
    stand.advance(LEASE_MS)
    await asyncio.gather(*(box.reap() for box in boxes))
    for box in boxes:
        box.look()
    views = [await boxes[0].settled(message) for message in messages]
    sent = [attempt.id for channel in channels for attempt in channel.attempts]
    assert sorted(sent) == sorted(message.id or "" for message in messages)
    assert {(view.state, view.claims, view.lost) for view in views} == {(State.DELIVERED, 2, 0)}


@pytest.mark.contract("LE5")
async def test_the_live_path_and_a_recovery_never_both_send(stand: Stand) -> None:
    box, (message,) = await hung(stand)
    channel = ScriptedChannel(policy=STEADY)
    other = await stand.open(channel)
    for _ in range(5):
        stand.advance(LEASE_MS // 2)
        await box.renew()
        await asyncio.gather(box.reap(), other.reap())
        other.look()
    assert channel.attempts == []
    assert (await other.view(message)).state is State.LEASED


@pytest.mark.contract("LE4")
async def test_a_worker_does_not_reap_what_it_is_still_sending_itself(stand: Stand) -> None:
    # After a suspend every lease is over, and the reaper may look before the renewer does.
    box, (message,) = await hung(stand)
    stand.advance(10 * LEASE_MS)
    await box.reap()
    assert (await box.view(message)).state is State.LEASED
    await box.renew()
    other = await reaper(stand)
    await other.reap()
    assert (await box.view(message)).state is State.LEASED


@pytest.mark.contract("ST1", "OP3")
async def test_a_message_that_was_to_be_cancelled_ends_so_when_its_worker_is_lost(stand: Stand) -> None:
    box, (message,) = await hung(stand)
    await box.outbox.cancel(message.id or "")
    other = await reaper(stand)
    stand.advance(LEASE_MS)
    await other.reap()
    view = await other.view(message)
    assert (view.state, view.terminal_reason, view.charged) == (State.CANCELLED, Reason.REQUESTED, 1)
    assert [event.id for event in other.heard.of(MessageCancelled)] == [message.id]


@pytest.mark.contract("LE4")
async def test_more_lost_leases_than_one_tick_takes_are_all_taken(stand: Stand) -> None:
    _, messages = await hung(stand, count=64)
    other = await reaper(stand)
    # A tick of its own beside ours would offer the same leases once more.
    await other.worker._reaping.stop()
    stand.advance(LEASE_MS)
    await other.reap()
    states = {(await other.view(message)).state for message in messages}
    assert states == {State.SCHEDULED}
    # One transaction for all of them, not one each.
    assert other.store.offered(lambda batch: bool(batch.settle)) == 1


# Lives


@pytest.mark.contract("EX1", "EX2")
async def test_a_message_expires_within_one_tick_of_its_end(stand: Stand) -> None:
    acceptor = await stand.open()
    message = await acceptor.send(ttl=60)
    box = await reaper(stand)
    stand.advance(60_000)
    await box.reap()
    assert (await box.view(message)).state is State.SCHEDULED
    stand.advance(1)
    await box.reap()
    view = await box.view(message)
    assert (view.state, view.terminal_reason, view.completed_ms) == (
        State.EXPIRED,
        Reason.EXPIRED,
        stand.clock.wall_ms(),
    )
    (event,) = box.heard.of(MessageExpired)
    assert (event.id, event.channel) == (message.id, "chat")
    assert box.counts["expired"] == 1


@pytest.mark.contract("EX1", "LA1")
async def test_what_waits_behind_another_expires_as_well_and_frees_its_place(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    head = await box.send(text="head")
    waiting = await box.send(text="waiting", ttl=10)
    last = await box.send(text="last", ttl=None)
    await channel.begun(1)
    box.look()
    stand.advance(10_001)
    await box.reap()
    assert (await box.view(waiting)).state is State.EXPIRED
    channel.release()
    assert (await box.settled(head)).state is State.DELIVERED
    assert (await box.settled(last)).state is State.DELIVERED
    assert [attempt.text for attempt in channel.attempts] == ["head", "last"]


@pytest.mark.contract("EX1")
async def test_what_waits_for_a_paused_channel_expires_as_well(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    message = await box.send(ttl=10)
    stand.advance(10_001)
    await box.reap()
    assert (await box.settled(message)).state is State.EXPIRED
    assert channel.attempts == []


@pytest.mark.contract("EX1")
async def test_what_waits_for_its_next_attempt_expires_as_well(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), policy=STEADY)
    box = await stand.open(channel)
    message = await box.send(ttl=3)
    await box.heard.wait_for(RetryScheduled)
    stand.advance(3_001)
    await box.reap()
    view = await box.settled(message)
    assert (view.state, view.claims, view.charged) == (State.EXPIRED, 1, 1)


@pytest.mark.contract("EX2")
async def test_where_expiry_delivers_a_message_is_sent_however_late(stand: Stand) -> None:
    policy = Policy(jitter=0.0, expire_action=ExpireAction.DELIVER)
    channel = ScriptedChannel(policy=policy)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    message = await box.send(ttl=10)
    stand.advance(HOUR_MS)
    await box.reap()
    await box.outbox.resume("chat")
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("EX3")
async def test_a_message_is_not_expired_beneath_its_sender(stand: Stand) -> None:
    box, (message,) = await hung(stand, ttl=10)
    other = await reaper(stand)
    stand.advance(20_000)
    await asyncio.gather(box.reap(), other.reap())
    assert (await box.view(message)).state is State.LEASED
    channel = box.worker._channels["chat"]
    assert isinstance(channel, ScriptedChannel)
    channel.release()
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("EX1")
async def test_a_thousand_messages_expire_in_bounded_steps(stand: Stand) -> None:
    acceptor = await stand.open()
    await acceptor.outbox.send_many({"channel": "chat", "to": f"r{n}", "text": "hi", "ttl": 1} for n in range(1100))
    box = await reaper(stand)
    stand.advance(2_000)
    async with asyncio.timeout(SECONDS):
        while len(box.heard.of(MessageExpired)) < 1100:
            await box.reap()
    sizes = [batch.expire for batch in box.store.batches if batch.expire]
    assert max(sizes) == 500


# Rest


async def rested(box: Box) -> float | None:
    """What the reaper says after two looks between which nothing was written."""
    for loop in box.worker._loops:
        await loop.stop()
    await box.worker._reaper.tick()
    return await box.worker._reaper.tick()


async def test_where_nothing_can_come_to_an_end_it_rests_and_writes_nothing(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    await box.settled(await box.send())
    assert await rested(box) == REST_SECONDS
    before = len(box.store.batches)
    assert await box.worker._reaper.tick() == REST_SECONDS
    assert len(box.store.batches) == before


@pytest.mark.contract("EX1")
async def test_it_looks_every_second_while_a_message_waits(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    message = await box.send(at=timedelta(hours=1), ttl=60)
    assert await rested(box) == INTERVAL_SECONDS
    stand.advance(HOUR_MS + 61_000)
    await box.worker._reaper.tick()
    assert (await box.view(message)).state is State.EXPIRED


@pytest.mark.contract("LE4")
async def test_it_looks_every_second_while_another_process_sends(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    assert await rested(box) == REST_SECONDS
    ended = asyncio.Event()
    channel = ScriptedChannel(lambda _: ended.wait(), policy=STEADY)
    other = await stand.open(channel)
    # One that merely is there has nothing that could be lost.
    assert await rested(box) == REST_SECONDS
    await other.send()
    await channel.begun(1)
    # Its next look finds it out, also where no notice came.
    assert await box.worker._reaper.tick() == INTERVAL_SECONDS
    ended.set()


@pytest.mark.contract("EX1")
@pytest.mark.parametrize("by", ["this process", "another"])
async def test_a_write_ends_its_rest_within_the_second(stand: Stand, by: str) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    assert await rested(box) == REST_SECONDS
    box.worker._reaping.start()
    await until(lambda: box.worker._reaping._due > box.worker._clock.mono() + INTERVAL_SECONDS)
    writer = box if by == "this process" else await stand.open()
    message = await writer.send(at=timedelta(hours=1), ttl=60)
    await until(lambda: box.worker._reaping._due <= box.worker._clock.mono() + INTERVAL_SECONDS)
    stand.advance(HOUR_MS + 61_000)

    async def is_expired() -> bool:
        return (await box.view(message)).state is State.EXPIRED

    await until(is_expired)


# Holds


@pytest.mark.contract("EX1", "UN3")
async def test_a_held_message_does_not_expire_but_dies_when_nobody_resolves_it(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(Uncertain("no answer"), policy=HOLD), held_retention=timedelta(days=30))
    message = await box.send(ttl=60)
    assert (await box.settled(message)).state is State.HELD
    stand.advance(30 * 24 * HOUR_MS)
    await box.reap()
    assert (await box.view(message)).state is State.HELD
    stand.advance(60_000)  # the reaper looks for them once a minute
    await box.reap()
    view = await box.view(message)
    assert (view.state, view.terminal_reason) == (State.DEAD, Reason.UNRESOLVED)
    (event,) = box.heard.of(MessageDied)
    assert (event.id, event.channel, event.reason) == (message.id, "chat", "unresolved")


@pytest.mark.contract("EX1", "UN3")
async def test_a_message_that_is_held_anew_is_not_ended_by_the_age_of_an_earlier_hold(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), Uncertain("no answer"), policy=HOLD)
    box = await stand.open(channel, held_retention=timedelta(days=30))
    message = await box.send()
    await box.settled(message)
    stand.advance(30 * 24 * HOUR_MS + 60_000)
    store: Any = box.store
    look, looked = store.overdue_holds, 0

    async def and_then_hold_it_anew(**said: Any) -> list[MessageId]:
        nonlocal looked
        found: list[MessageId] = await look(**said)
        if found:
            looked += 1
            await box.outbox.resolve(message.id or "", "resend", ttl="1h")
            assert (await box.settled(message)).state is State.HELD
        return found

    store.overdue_holds = and_then_hold_it_anew
    await box.reap()
    view = await box.view(message)
    assert (looked, view.state, view.claims) == (1, State.HELD, 2)
    assert box.heard.of(MessageDied) == []


@pytest.mark.contract("ST4", "ST3", "ST1")
async def test_a_burial_changes_nothing_about_a_message_that_is_not_held_any_more(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), policy=HOLD)
    box = await stand.open(channel)
    message = await box.send()
    assert (await box.settled(message)).state is State.HELD
    # Somebody resolved it between the reaper's look and its burial.
    await box.outbox.retry(message.id or "")
    delivered = await box.settled(message)
    assert delivered.state is State.DELIVERED
    acted = await box.runtime.committer.act(
        Bury(id=delivered.id, actor="reaper", reason=Reason.UNRESOLVED, held_before_ms=stand.clock.wall_ms() + 1)
    )
    assert (acted.applied, acted.state) == (False, State.DELIVERED)
    assert await box.view(message) == delivered
    assert box.heard.of(MessageDied) == []


# Clocks that are set


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_clock_that_was_set_expires_and_resends_nothing_and_raises_an_alarm(stand: Stand, hours: int) -> None:
    box, (sending,) = await hung(stand, ttl=60)
    await box.outbox.pause("chat")
    waiting = await box.send("later", ttl=60)
    other_channel = ScriptedChannel(policy=STEADY)
    other = await stand.open(other_channel)
    stand.clock.set_wall(stand.clock.wall_ms() + hours * HOUR_MS)
    for each in (box, other):
        await each.reap()
        await each.renew()
    assert (await box.view(sending)).state is State.LEASED
    assert (await box.view(waiting)).state is State.SCHEDULED
    assert [event.what for event in box.heard.of(Alarm)] == ["clock_stepped"]
    assert f"{hours * 3600:+d} s" in box.heard.of(Alarm)[0].detail
    assert other_channel.attempts == []
    channel = box.worker._channels["chat"]
    assert isinstance(channel, ScriptedChannel)
    channel.release()
    assert (await box.settled(sending)).state is State.DELIVERED
    assert len(channel.attempts) == 1


@pytest.mark.contract("LE6")
async def test_leases_run_out_by_boot_time_whatever_the_wall_clock_says(stand: Stand) -> None:
    _, (message,) = await hung(stand)
    other = await reaper(stand)
    stand.clock.set_wall(stand.clock.wall_ms() - 2 * HOUR_MS)
    stand.advance(LEASE_MS)
    await other.reap()
    assert (await other.view(message)).state is State.SCHEDULED


@pytest.mark.contract("LE6")
async def test_a_clock_that_is_right_again_is_trusted_again(stand: Stand) -> None:
    acceptor = await stand.open()
    message = await acceptor.send(ttl=60)
    box = await reaper(stand)
    stand.clock.set_wall(stand.clock.wall_ms() + 2 * HOUR_MS)
    await box.reap()
    await box.reap()
    assert len(box.heard.of(Alarm)) == 1
    assert (await box.view(message)).state is State.SCHEDULED
    stand.clock.set_wall(stand.clock.wall_ms() - 2 * HOUR_MS)
    stand.advance(60_001)
    await box.reap()
    assert (await box.view(message)).state is State.EXPIRED


@pytest.mark.contract("LE6")
async def test_a_clock_that_drifts_by_less_than_a_minute_is_trusted(stand: Stand) -> None:
    acceptor = await stand.open()
    message = await acceptor.send(ttl=60)
    box = await reaper(stand)
    stand.clock.set_wall(stand.clock.wall_ms() + 60_000)
    stand.advance(1)
    await box.reap()
    assert (await box.view(message)).state is State.EXPIRED
    assert box.heard.of(Alarm) == []


# Renewal


@pytest.mark.contract("LE3")
async def test_a_lease_is_renewed_before_two_thirds_of_it_are_over(stand: Stand) -> None:
    box, (message,) = await hung(stand)
    other = await reaper(stand)
    for _ in range(10):
        stand.advance(LEASE_MS // 3)
        await box.renew()
        facts = await other.store.facts(MessageId(message.id or ""), now_ms=stand.clock.wall_ms())
        assert facts is not None
        assert facts.subject.lease_left_ms is not None
        assert facts.subject.lease_left_ms > LEASE_MS // 3
    assert (await box.view(message)).claims == 1
    assert box.worker._renewer._lease_ms == LEASE_MS


@pytest.mark.contract("LE3")
async def test_a_renewal_holds_from_before_its_commit_on(stand: Stand) -> None:
    box, _ = await hung(stand)
    (flight,) = box.worker.executor.flights.values()
    stand.advance(LEASE_MS // 2)
    asked_ms = stand.clock.boot_ms()
    box.store.stall(lambda batch: bool(batch.renew))
    renewing = asyncio.create_task(box.renew())
    await box.store.until(lambda batch: bool(batch.renew))
    stand.advance(LEASE_MS // 4)
    box.store.gate.set()
    await renewing
    # The store's lease runs a quarter longer: nobody else can have it before it is given up here.
    assert flight.until_ms == asked_ms + LEASE_MS


@pytest.mark.contract("LE3")
async def test_a_fresh_lease_is_not_renewed(stand: Stand) -> None:
    box, _ = await hung(stand)
    await box.renew()
    assert box.store.offered(lambda batch: bool(batch.renew)) == 0


@pytest.mark.contract("LE3")
async def test_the_renewer_asks_to_be_called_every_third_of_a_lease(stand: Stand) -> None:
    box, _ = await hung(stand)
    assert await box.worker._renewer.tick() == LEASE_MS / 3000


@pytest.mark.contract("LE3")
async def test_every_claim_has_a_lease_of_its_own(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no"), Uncertain("no"), Delivered("r"), policy=STEADY)
    box = await stand.open(channel)
    message = await box.send()
    for count in (1, 2):
        await box.heard.wait_for(RetryScheduled, count)
        stand.advance(30_000)
        box.look()
    await box.settled(message)
    leases = [batch.claim.lease for batch in box.store.batches if batch.claim is not None]
    assert len(set(leases)) == len(leases)
    assert all(len(lease) == 16 for lease in leases)
