"""What dead workers were sending: taken back before the first claim of a start, sent in that drain, and counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.retry import WEBHOOK, Policy, UncertainAction
from pillarbox.domain.transition import ErrorClass, Reason
from pillarbox.errors import StoreUnavailable
from pillarbox.events import Alarm, Drained, MessageHeld, RetryScheduled
from pillarbox.outbox.outbox import inside
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS, SECONDS, crash, until

if TYPE_CHECKING:
    from pillarbox.engine.drain import DrainReport
    from pillarbox.outbox.message import Message
    from pillarbox.store.base import Batch
    from tests.engine.stand import Box, Stand

STEADY = Policy(jitter=0.0)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)
DROP = Policy(jitter=0.0, uncertain=UncertainAction.DROP)
PATIENT = Policy(jitter=0.0, max_attempts=12, ttl_seconds=None, schedule=WEBHOOK.schedule)


async def killed(stand: Stand, count: int = 1, *, policy: Policy = STEADY, lane: bool = True) -> list[Message]:
    """Messages that a worker was sending when it was killed."""
    channel = ScriptedChannel(policy=policy, ordered=lane, concurrency=5000)
    channel.hold()
    box = await stand.open(channel, concurrency=5000)
    sent = await box.outbox.send_many({"channel": "chat", "to": f"r{n}", "text": "hi"} for n in range(count))
    await channel.begun(count)
    await crash(box)
    return sent


async def drained(box: Box) -> DrainReport:
    async with asyncio.timeout(SECONDS):
        return await box.outbox.drained()


def claims(batch: Batch) -> bool:
    return batch.claim is not None


def settles(batch: Batch) -> bool:
    return bool(batch.settle)


@pytest.mark.contract("LE4", "DR1")
async def test_what_was_being_sent_at_a_crash_is_sent_by_the_drain_of_the_next_start_and_counted(stand: Stand) -> None:
    messages = await killed(stand, 3)
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel, drain_on_startup=True)
    report = await drained(box)
    assert (report.attempted, report.delivered, report.uncertain, report.reaped) == (3, 3, 3, 3)
    assert (report.deferred_backoff, report.deferred_budget, report.deferred_leased, report.deferred_lost) == (0,) * 4
    assert len(channel.attempts) == 3
    for message in messages:
        view = await box.view(message)
        assert (view.state, view.claims, view.charged, view.lost) == (State.DELIVERED, 2, 1, 0)
    (event,) = box.heard.of(Drained)
    assert (event.at_start, event.attempted, event.delivered, event.uncertain, event.reaped) == (True, 3, 3, 3, 3)
    assert [event.error_class for event in box.heard.of(RetryScheduled)] == ["worker_lost"] * 3


@pytest.mark.contract("EN1", "DR1")
async def test_what_nobody_had_begun_to_send_at_a_crash_goes_at_once(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel, concurrency=1)
    begun, *others = [await box.send(f"r{n}") for n in range(5)]
    await channel.begun(1)
    await crash(box)
    # The clock stands still: whatever had to wait for anything would not be sent.
    box = await stand.open(ScriptedChannel(policy=STEADY), drain_on_startup=True)
    report = await drained(box)
    assert (report.attempted, report.delivered, report.reaped, report.deferred_backoff) == (5, 5, 1, 0)
    assert [(await box.view(message)).claims for message in (begun, *others)] == [2, 1, 1, 1, 1]


@pytest.mark.contract("LE4", "DR1")
async def test_a_start_claims_nothing_before_every_lost_lease_is_taken_back(stand: Stand) -> None:
    await killed(stand, 1200)
    box = await stand.open(ScriptedChannel(policy=STEADY))
    async with asyncio.timeout(SECONDS):
        await box.store.until(claims)
    first = next(place for place, batch in enumerate(box.store.batches) if claims(batch))
    taken = [len(batch.settle) for batch in box.store.batches[:first]]
    assert [size for size in taken if size] == [500, 500, 200]
    assert box.counts["reaped"] == 1200


@pytest.mark.only_sqlite("a boot of the machine of the database")
@pytest.mark.contract("LE4")
async def test_the_leases_of_several_dead_workers_and_of_another_boot_are_taken_back_together(stand: Stand) -> None:
    names = ("a", "b", "c")
    channels = {name: ScriptedChannel(policy=STEADY) for name in names}
    boxes = {name: await stand.open({name: channel}) for name, channel in channels.items()}
    for name, channel in channels.items():
        channel.hold()
        await boxes[name].send("r1", channel=name)
        await boxes[name].send("r2", channel=name)
        await channel.begun(2)
    for name in names[:2]:
        await crash(boxes[name])
    boxes["c"].worker._accepting = False
    # Its process is there, but by the boot that it names it is none of this one.
    stand.clock.reboot("boot-2")
    box = await stand.open({name: ScriptedChannel(policy=STEADY) for name in names}, drain_on_startup=True)
    report = await drained(box)
    assert (report.reaped, report.delivered, report.deferred_leased) == (6, 6, 0)


@pytest.mark.contract("DR1", "UN1", "LE2")
@pytest.mark.parametrize(
    ("policy", "field", "state", "reason"),
    [
        (HOLD, "held", State.HELD, Reason.UNCERTAIN),
        (DROP, "failed", State.DEAD, Reason.UNCERTAIN),
        (Policy(jitter=0.0, max_attempts=1), "exhausted", State.DEAD, Reason.KILLS_WORKERS),
    ],
    ids=["hold", "drop", "resend, at its last attempt"],
)
async def test_what_a_start_does_not_send_again_is_counted_as_what_it_came_to(
    stand: Stand, policy: Policy, field: str, state: State, reason: Reason
) -> None:
    (message,) = await killed(stand, policy=policy)
    channel = ScriptedChannel(policy=policy)
    box = await stand.open(channel, drain_on_startup=True)
    report = await drained(box)
    assert (getattr(report, field), report.uncertain, report.reaped, report.attempted) == (1, 1, 1, 0)
    view = await box.view(message)
    assert (view.state, view.terminal_reason, view.error_class) == (state, reason, ErrorClass.WORKER_LOST)
    assert channel.attempts == []
    assert len(box.heard.of(MessageHeld)) == (field == "held")


@pytest.mark.contract("DR1")
async def test_only_the_first_drain_after_a_start_counts_what_the_start_took_back(stand: Stand) -> None:
    await killed(stand, 2)
    box = await stand.open(ScriptedChannel(policy=STEADY))
    async with asyncio.timeout(SECONDS):
        assert (await box.outbox.drain(SECONDS)).reaped == 2
        assert (await box.outbox.drain(SECONDS)).reaped == 0


@pytest.mark.contract("DR1", "LE4")
async def test_a_budget_of_nothing_takes_back_and_counts_but_waits_for_no_send(stand: Stand) -> None:
    await killed(stand, 2)
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drain(0)
    assert (report.reaped, report.deferred_budget, report.delivered) == (2, 2, 0)


@pytest.mark.contract("DR1", "LE5")
async def test_what_another_live_worker_sends_is_left_alone_and_reported(stand: Stand) -> None:
    hanging = ScriptedChannel(policy=STEADY)
    hanging.hold()
    other = await stand.open(hanging)
    message = await other.send()
    await hanging.begun(1)
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel, drain_on_startup=True)
    report = await drained(box)
    assert (report.deferred_leased, report.deferred_budget, report.reaped) == (1, 0, 0)
    assert channel.attempts == []
    hanging.release()
    assert (await other.settled(message)).claims == 1


@pytest.mark.on_files("is about the lock file")
@pytest.mark.contract("DR1", "LE4")
async def test_an_owner_whose_lock_cannot_be_asked_is_not_judged_before_its_lease_runs_out(stand: Stand) -> None:
    hanging = ScriptedChannel(policy=STEADY)
    hanging.hold()
    other = await stand.open(hanging)
    message = await other.send()
    await hanging.begun(1)
    other.worker._accepting = False
    stand.path.with_name(f"{stand.path.name}-workers").unlink()
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel, drain_on_startup=True)
    assert (await drained(box)).deferred_leased == 1
    stand.advance(LEASE_MS)
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drain(SECONDS)
    assert (report.deferred_leased, report.reaped, report.delivered) == (0, 1, 1)
    assert (await box.view(message)).claims == 2


@pytest.mark.contract("DR1")
async def test_a_worker_that_dies_during_a_drain_has_what_it_was_sending_sent_by_that_drain(stand: Stand) -> None:
    hanging = ScriptedChannel(policy=STEADY)
    hanging.hold()
    other = await stand.open(hanging)
    await other.send("theirs")
    await hanging.begun(1)
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    await box.send("ours")
    await channel.begun(1)
    draining = asyncio.create_task(box.outbox.drain(SECONDS))
    await crash(other)
    channel.release()
    async with asyncio.timeout(SECONDS):
        report = await draining
    assert (report.reaped, report.deferred_leased) == (1, 0)
    assert sorted(attempt.to for attempt in channel.attempts) == ["ours", "theirs"]


@pytest.mark.contract("LE4", "EN1")
async def test_a_start_that_dies_in_the_middle_of_taking_back_leaves_the_rest_to_the_next(stand: Stand) -> None:
    messages = await killed(stand, 700)
    box = stand.make(ScriptedChannel(policy=STEADY))
    make = inside(box.outbox).lifetime.make_store

    def dying() -> object:
        store = make()
        store.refuse = lambda batch: StoreUnavailable("gone") if store.offered(settles) > 1 else None  # type: ignore[attr-defined]
        return store

    inside(box.outbox).lifetime.make_store = dying  # type: ignore[assignment]
    async with asyncio.timeout(SECONDS):
        with pytest.raises(StoreUnavailable):
            await box.outbox.start()
    looker = await stand.open()
    assert [(await looker.view(message)).lost for message in messages].count(1) == 500
    channel = ScriptedChannel(policy=STEADY, concurrency=1000)
    box = await stand.open(channel, drain_on_startup=True, concurrency=1000)
    report = await drained(box)
    assert (report.reaped, report.delivered) == (200, 700)
    assert {(await box.view(message)).charged for message in messages} == {1}


@pytest.mark.contract("LE7", "LE4")
async def test_one_message_that_cannot_be_taken_back_keeps_neither_the_others_nor_the_start(stand: Stand) -> None:
    bad, *good = await killed(stand, 5)
    box = stand.make(ScriptedChannel(policy=STEADY), drain_on_startup=True)
    make = inside(box.outbox).lifetime.make_store

    def picky() -> object:
        store = make()
        store.refuse = lambda batch: (  # type: ignore[attr-defined]
            ValueError("a bad value") if any(item.message.id == bad.id for item in batch.settle) else None
        )
        return store

    inside(box.outbox).lifetime.make_store = picky  # type: ignore[assignment]
    async with box.outbox:
        for message in good:
            assert (await box.settled(message)).state is State.DELIVERED
        assert (await box.view(bad)).state is State.LEASED
        assert {event.what for event in box.heard.of(Alarm)} == {"recording_failed"}


@pytest.mark.contract("LE4", "CL7")
async def test_a_message_that_is_delivered_alone_does_not_wait_for_the_lease_of_a_dead_worker(stand: Stand) -> None:
    message, other = await killed(stand, 2)
    channel = ScriptedChannel(policy=STEADY)
    box = stand.make(channel)
    inside(box.outbox).routes.deliver = False
    async with box.outbox:
        waiting = await box.outbox.find(message.id or "")
        async with asyncio.timeout(SECONDS), inside(box.outbox).lifetime.delivering(waiting):
            await waiting.wait()
        assert [attempt.id for attempt in channel.attempts] == [message.id]
        assert (await box.view(other)).state is State.SCHEDULED


@pytest.mark.contract("LE4", "LA2")
async def test_workers_that_are_killed_again_and_again_do_not_let_a_lane_stand_still(stand: Stand) -> None:
    """Twenty kills, a second apart, over 60 messages of 6 lanes: all goes on after the longest wait so far."""
    first = ScriptedChannel(policy=PATIENT)
    first.hold()
    box = await stand.open(first, concurrency=6)
    sent = await box.outbox.send_many({"channel": "chat", "to": f"r{n % 6}", "text": str(n)} for n in range(60))
    await first.begun(6)
    await crash(box)
    for _ in range(20):
        channel = ScriptedChannel(policy=PATIENT)
        channel.hold()
        box = await stand.open(channel, concurrency=6)
        await box.looked()
        await crash(box)
        stand.advance(1_000)
    channel = ScriptedChannel(policy=PATIENT)
    box = await stand.open(channel, concurrency=6)
    waited = 0
    while any(view.state is not State.DELIVERED for view in [await box.view(message) for message in sent]):
        await box.looked()
        assert waited <= 31
        stand.advance(1_000)
        waited += 1
    order = [attempt.text for attempt in channel.attempts if attempt.to == "r0"]
    assert order == [str(n) for n in range(0, 60, 6)]


@pytest.mark.contract("LE2", "LE4")
async def test_a_suspect_is_sent_alone_by_the_worker_that_starts_after_the_crash(stand: Stand) -> None:
    await killed(stand, 3, policy=PATIENT)
    channel = ScriptedChannel(policy=PATIENT)
    channel.hold()
    box = await stand.open(channel)
    await channel.begun(3)
    await crash(box)
    last = ScriptedChannel(policy=PATIENT)
    box = await stand.open(last, drain_on_startup=True)
    report = await drained(box)
    assert (report.reaped, report.attempted, report.deferred_lost) == (3, 0, 3)
    stand.advance(1_000)
    box.look()
    await last.answered(3)
    assert last.most == 1


@pytest.mark.contract("LE4")
async def test_a_start_is_given_up_where_the_store_cannot_take_back(stand: Stand) -> None:
    await killed(stand)
    box = stand.make(ScriptedChannel(policy=STEADY))
    make = inside(box.outbox).lifetime.make_store

    def failing() -> object:
        store = make()
        store.refuse = lambda batch: StoreUnavailable("full") if batch.settle else None  # type: ignore[attr-defined]
        return store

    inside(box.outbox).lifetime.make_store = failing  # type: ignore[assignment]
    async with asyncio.timeout(SECONDS):
        with pytest.raises(StoreUnavailable, match="full"):
            await box.outbox.start()
    assert await (await stand.open()).outbox.workers() == []
    await until(lambda: not box.outbox.started)
