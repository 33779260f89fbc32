"""What a worker claims, and when: as much as it can send, fairly, and nothing that would hurt the rest."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

import pillarbox
from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Unavailable
from pillarbox.domain.retry import Policy
from pillarbox.domain.transition import Reason
from pillarbox.engine.presence import PresenceKeeper
from pillarbox.events import Alarm, ChannelPaused, MessageDied, RetryScheduled
from pillarbox.outbox.outbox import inside
from pillarbox.store.base import Query
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, crash, until

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from pillarbox.store.base import Store
    from tests.engine.stand import Box, Stand

STEADY = Policy(jitter=0.0)
FOR_EVER = Policy(jitter=0.0, ttl_seconds=None)


async def in_state(box: Box, state: State) -> int:
    return sum(tally.messages for tally in await box.outbox.stats() if tally.state is state)


# Capacity


@pytest.mark.contract("LE2")
async def test_a_worker_leases_only_what_it_can_start_now(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel, concurrency=3)
    for n in range(10):
        await box.send(f"r{n}")
    await channel.begun(3)
    assert (await in_state(box, State.LEASED), await in_state(box, State.SCHEDULED)) == (3, 7)
    channel.release()
    await channel.answered(10)
    assert channel.most == 3


@pytest.mark.contract("LE2")
async def test_a_channel_that_takes_two_is_given_two(stand: Stand) -> None:
    slow = ScriptedChannel(policy=STEADY, concurrency=2)
    slow.hold()
    quick = ScriptedChannel(policy=STEADY)
    box = await stand.open({"slow": slow, "quick": quick})
    for n in range(10):
        await box.send(f"r{n}", channel="slow")
    await slow.begun(2)
    for n in range(30):
        await box.settled(await box.send(f"r{n}", channel="quick"))
    assert await in_state(box, State.LEASED) == 2
    slow.release()
    await slow.answered(10)
    assert slow.most == 2


@pytest.mark.contract("LE2", "LE1")
async def test_two_workers_share_a_backlog_and_send_nothing_twice(stand: Stand) -> None:
    acceptor = await stand.open()
    await acceptor.outbox.send_many({"channel": "chat", "to": f"r{n}", "text": "hi"} for n in range(300))
    channels = [ScriptedChannel(policy=STEADY) for _ in range(3)]
    boxes = [await stand.open(channel, concurrency=7) for channel in channels]
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(box.outbox.drain(SECONDS) for box in boxes))

    async def all_there() -> bool:
        return await in_state(acceptor, State.DELIVERED) == 300

    await until(all_there)
    sent = [attempt.to for channel in channels for attempt in channel.attempts]
    assert sorted(sent) == sorted(f"r{n}" for n in range(300))


@pytest.mark.contract("LE8")
async def test_each_worker_keeps_a_row_while_it_lives(stand: Stand) -> None:
    box = await stand.open({"chat": ScriptedChannel(), "mail": ScriptedChannel()})
    other = await stand.open(ScriptedChannel())
    await stand.open()  # accepts only
    rows = await other.outbox.workers()
    assert [row.channels for row in rows] == [("chat", "mail"), ("chat",)]
    assert {(row.pid, row.version, row.alive) for row in rows} == {(os.getpid(), pillarbox.__version__, True)}
    assert len({row.id for row in rows}) == 2
    stand.advance(15_000)
    async with asyncio.timeout(SECONDS):
        await presence(other).tick()
    seen = {row.channels: row.seen_ms - row.started_ms for row in await other.outbox.workers()}
    assert seen == {("chat", "mail"): 0, ("chat",): 15_000}
    await box.outbox.stop()
    assert [row.channels for row in await other.outbox.workers()] == [("chat",)]


def presence(box: Box) -> PresenceKeeper:
    """The part of a worker that gives its sign of life."""
    return PresenceKeeper(
        cast("Store", box.store),
        box.runtime.committer,
        box.runtime.reporter,
        inside(box.outbox).lifetime.clock,
        slot=box.worker._slot,
        channels=tuple(box.worker._channels),
    )


# Order


@pytest.mark.contract("LA1")
async def test_a_lane_goes_one_at_a_time_and_in_order(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("no"), policy=Policy(schedule=(0.001,), jitter=0.0))
    box = await stand.open(channel)
    messages = [await box.send(text=str(n)) for n in range(30)]
    await box.heard.wait_for(RetryScheduled)
    stand.advance(10)
    box.look()
    for message in messages:
        await box.settled(message)
    assert channel.most == 1
    assert [attempt.text for attempt in channel.attempts] == ["0", *(str(n) for n in range(30))]


@pytest.mark.contract("LA1")
async def test_a_retrying_head_holds_up_only_its_own_lane(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.script(Deferred("no"), to="ann")
    box = await stand.open(channel)
    await box.send(text="head")
    await box.heard.wait_for(RetryScheduled)
    await box.send(text="behind")
    for n in range(20):
        await box.settled(await box.send(f"r{n}"))
    assert [attempt.text for attempt in channel.attempts if attempt.to == "ann"] == ["head"]
    stand.advance(5_000)
    box.look()
    await channel.begun(23)
    assert [attempt.text for attempt in channel.attempts if attempt.to == "ann"] == ["head", "head", "behind"]


@pytest.mark.contract("LA1")
async def test_without_a_lane_there_is_no_order(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    for n in range(5):
        await box.send(text=str(n), lane=None)
    await channel.begun(5)
    channel.release()


async def test_one_claim_in_eight_takes_the_oldest_whatever_its_priority(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    acceptor = await stand.open()
    await acceptor.send("bulk", priority=0)
    stand.advance(1)
    for n in range(40):
        await acceptor.send(f"urgent{n}", priority=3)
    box = await stand.open(channel, concurrency=1)
    async with asyncio.timeout(SECONDS):
        await box.outbox.drain(0)
    attempts = await channel.begun(41)
    assert [attempt.to for attempt in attempts].index("bulk") <= 8


# Fairness


@pytest.mark.contract("LA4")
@pytest.mark.parametrize("other", [{"tenant": "small"}, {"channel": "mail"}], ids=["tenant", "channel"])
async def test_a_newcomer_starts_within_twice_the_free_capacity(stand: Stand, other: dict[str, str]) -> None:
    started: list[str] = []

    class Counting(ScriptedChannel):
        async def send(self, attempt: Attempt) -> AnyOutcome:
            started.append(attempt.to)
            return await super().send(attempt)

    acceptor = await stand.open()
    # Its queue is known: what nobody here has ever heard of is asked for first.
    route = {"channel": "chat", "tenant": "big"} | other
    await acceptor.send("nobody", at=timedelta(hours=1), **route)
    for _ in range(5):
        await acceptor.outbox.send_many(
            {"channel": "chat", "to": f"r{n}", "text": "hi", "tenant": "big"} for n in range(1000)
        )
    chat, mail = Counting(policy=STEADY), Counting(policy=STEADY)
    box = await stand.open({"chat": chat, "mail": mail}, concurrency=10)
    await chat.begun(100)
    message = await box.send("newcomer", **route)
    before = len(started)
    await box.settled(message)
    assert started.index("newcomer") - before <= 20


@pytest.mark.contract("LA2")
async def test_a_channel_that_answers_nobody_delays_no_other(stand: Stand) -> None:
    dead = ScriptedChannel(policy=STEADY, concurrency=8)
    dead.hold()
    healthy = ScriptedChannel(policy=STEADY)
    box = await stand.open({"dead": dead, "healthy": healthy}, concurrency=16)
    await box.outbox.send_many({"channel": "dead", "to": f"r{n}", "text": "hi"} for n in range(1000))
    await dead.begun(8)
    for n in range(50):
        assert (await box.settled(await box.send(f"r{n}", channel="healthy"))).state is State.DELIVERED
    assert len(dead.attempts) == 8


@pytest.mark.only_sqlite("writes rows by hand")
@pytest.mark.contract("LA2")
async def test_a_paused_channel_with_a_hundred_thousand_waiting_costs_another_nothing(stand: Stand) -> None:
    healthy, dead = ScriptedChannel(policy=STEADY), ScriptedChannel(policy=STEADY)
    box = await stand.open({"dead": dead, "healthy": healthy})
    await box.outbox.pause("dead", reason="down")
    alone = await work_of_one_life(box)
    for _ in range(20):
        await box.outbox.send_many({"channel": "dead", "to": f"r{n}", "text": "hi", "lane": None} for n in range(5_000))
    assert await in_state(box, State.SCHEDULED) == 100_000
    beside = await work_of_one_life(box)
    assert dead.attempts == []
    assert beside[0] == alone[0]  # as many transactions
    assert beside[1] <= 1.2 * alone[1]  # and as much work in each


async def work_of_one_life(box: Box) -> tuple[int, int]:
    """How many transactions, and steps of the database's machine, one healthy message costs; the least of a few."""
    for n in range(3):
        await box.settled(await box.send(f"warm{n}", channel="healthy"))
    for loop in box.worker._loops:
        await loop.stop()
    writer, session = box.store.real._writer, box.store.real._session
    assert writer is not None
    assert session is not None
    steps = [0]

    def count() -> bool:
        steps[0] += 1
        return False

    await writer.run(lambda: session.connection.set_progress_handler(count, 10))
    costs = []
    for n in range(10):
        before = len(box.store.batches), steps[0]
        await box.settled(await box.send(f"r{n}", channel="healthy"))
        await box.idle()
        # What the writer still does for this one is done when it takes the next thing.
        await writer.run(lambda: None)
        costs.append((len(box.store.batches) - before[0], steps[0] - before[1]))
    await writer.run(lambda: session.connection.set_progress_handler(None))
    for loop in box.worker._loops:
        loop.start()
    return min(costs)


# Poison


async def recover(stand: Stand) -> None:
    """Let somebody settle what the last crash left, and let the waits for it pass."""
    box = await stand.open(ScriptedChannel(policy=FOR_EVER))
    box.worker._accepting = False
    await box.reap()
    await box.outbox.stop(0)
    stand.advance(700_000)


@pytest.mark.contract("LE2", "LE4")
async def test_a_message_that_kills_workers_runs_out_alone(stand: Stand) -> None:
    acceptor = await stand.open()
    beside = [await acceptor.send(f"beside{n}", ttl=None) for n in range(9)]
    poison = await acceptor.send("poison", ttl=None)
    behind = await acceptor.send("poison", text="behind", ttl=None)
    company: list[int] = []
    for crashes in range(1, 6):
        channel = ScriptedChannel(policy=FOR_EVER)
        killed = asyncio.Event()

        async def kill(attempt: Attempt, channel: ScriptedChannel = channel, killed: asyncio.Event = killed) -> None:
            company.append(channel.in_flight)
            killed.set()
            await asyncio.Event().wait()

        channel.script(kill, to="poison")
        # Nobody ends before the crash as long as all fly together.
        for n in range(9 if crashes <= 2 else 0):
            channel.script(asyncio.get_running_loop().create_future(), to=f"beside{n}")
        box = await stand.open(channel, concurrency=20)
        async with asyncio.timeout(SECONDS):
            await killed.wait()
            if crashes <= 2:
                await channel.begun(10)
        await crash(box)
        await recover(stand)
    view = await acceptor.view(poison)
    assert (view.state, view.terminal_reason) == (State.DEAD, Reason.KILLS_WORKERS)
    assert (view.lost, view.charged, view.claims) == (5, 5, 5)
    # From the third crash on it flew alone: nobody else was hurt any more.
    assert company[2:] == [1, 1, 1]
    assert {(good.lost, good.charged) for good in [await acceptor.view(message) for message in beside]} <= {
        (2, 2), (0, 2),
    }  # fmt: skip
    last = await acceptor.view(behind)
    assert (last.state, last.claims, last.charged) == (State.SCHEDULED, 0, 0)
    # Those that merely flew beside it are cleared by their first success, and the lane is open again.
    box = await stand.open(ScriptedChannel(policy=FOR_EVER), concurrency=20)
    for message in [*beside, behind]:
        good = await box.settled(message)
        assert (good.state, good.lost) == (State.DELIVERED, 0)


@pytest.mark.contract("LE2")
async def test_while_a_suspect_is_sent_nothing_else_is_started(stand: Stand) -> None:
    acceptor = await stand.open()
    suspect = await acceptor.send("suspect", ttl=None)
    for _ in range(2):
        channel = ScriptedChannel(policy=FOR_EVER)
        channel.hold()
        box = await stand.open(channel)
        await channel.begun(1)
        await crash(box)
        await recover(stand)
    channel = ScriptedChannel(policy=FOR_EVER)
    seen = asyncio.Event()
    gate = asyncio.get_running_loop().create_future()

    def alone(attempt: Attempt) -> asyncio.Future[object]:
        seen.set()
        return gate

    channel.script(alone, to="suspect")
    box = await stand.open(channel, concurrency=4)
    async with asyncio.timeout(SECONDS):
        await seen.wait()
    others = [await box.send(f"r{n}", ttl=None) for n in range(10)]
    await box.looked()
    assert len(channel.attempts) == 1
    gate.set_result(Delivered("r"))
    for message in [suspect, *others]:
        assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("LE2")
async def test_a_suspect_waits_until_what_is_under_way_has_ended(stand: Stand) -> None:
    acceptor = await stand.open()
    await acceptor.send("suspect", ttl=None)
    for _ in range(2):
        channel = ScriptedChannel(policy=FOR_EVER)
        channel.hold()
        box = await stand.open(channel)
        await channel.begun(1)
        await crash(box)
        # The suspect's next attempt is not due yet, so that others are under way when it is.
        other = await stand.open(ScriptedChannel(policy=FOR_EVER))
        other.worker._accepting = False
        await other.reap()
        await other.outbox.stop(0)
    channel = ScriptedChannel(policy=FOR_EVER)
    channel.hold()
    company: list[int] = []

    def count(attempt: Attempt) -> Delivered:
        company.append(channel.in_flight)
        return Delivered("r")

    channel.script(count, to="suspect")
    box = await stand.open(channel, concurrency=4, lease_seconds=3600)
    for n in range(2):
        await box.send(f"r{n}", ttl=None)
    await channel.begun(2)
    stand.advance(30_000)  # 25 s and theirs
    await box.looked()
    assert [attempt.to for attempt in channel.attempts] == ["r0", "r1"]
    channel.release()
    await channel.answered(3)
    assert company == [1]


# Channels that are not there


@pytest.mark.contract("RE5", "FL2")
async def test_an_unavailable_channel_rests_longer_each_time_and_is_probed_with_one_message(stand: Stand) -> None:
    channel = ScriptedChannel(*[Unavailable("bad password")] * 3, policy=FOR_EVER)
    box = await stand.open(channel, concurrency=10)
    first = await box.send("r0")
    (paused,) = await box.heard.wait_for(ChannelPaused)
    assert (paused.channel, paused.until_ms) == ("chat", stand.clock.wall_ms() + 60_000)
    assert paused.reason == "bad password"
    messages = [first, *[await box.send(f"r{n}") for n in range(1, 6)]]
    stand.advance(59_999)
    box.look()
    await box.store.until(lambda batch: batch.claim is not None, box.store.offered(lambda b: b.claim is not None) + 1)
    assert len(channel.attempts) == 1
    stand.advance(1)
    box.look()
    again = (await box.heard.wait_for(ChannelPaused, 2))[1]
    assert again.until_ms == stand.clock.wall_ms() + 120_000
    assert len(channel.attempts) == 2
    stand.advance(120_000)
    box.look()
    last = (await box.heard.wait_for(ChannelPaused, 3))[2]
    assert last.until_ms == stand.clock.wall_ms() + 240_000
    assert (len(channel.attempts), channel.most) == (3, 1)
    stand.advance(240_000)
    box.look()
    for message in messages:
        view = await box.settled(message)
        assert (view.state, view.charged) == (State.DELIVERED, 0)


@pytest.mark.contract("RE5", "FL1")
async def test_a_rate_limit_of_the_channel_keeps_everybody_waiting(stand: Stand) -> None:
    channel = ScriptedChannel(RateLimited("slow", scope="channel", after=30), policy=FOR_EVER)
    box = await stand.open(channel)
    first = await box.send("r0")
    await box.heard.wait_for(ChannelPaused)
    second = await box.send("r1")
    stand.advance(29_999)
    await box.looked()
    assert len(channel.attempts) == 1
    stand.advance(1)
    box.look()
    for message in (first, second):
        assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("CL5", "CL1")
async def test_an_endpoint_that_is_gone_is_closed_until_a_person_opens_it(stand: Stand) -> None:
    channel = ScriptedChannel(Rejected("410 Gone", about="endpoint"), policy=FOR_EVER)
    box = await stand.open(channel)
    first = await box.send("r0")
    assert (await box.settled(first)).state is State.DEAD
    (paused,) = await box.heard.wait_for(ChannelPaused)
    assert paused.until_ms is None
    second = await box.send("r1")
    stand.advance(10 * 24 * 3_600_000)
    await box.looked()
    assert len(channel.attempts) == 1
    (queue,) = await box.outbox.queues()
    assert (queue.paused, queue.paused_until_ms, queue.pause_reason) == (True, None, "410 Gone")
    assert await box.outbox.resume("chat")
    assert (await box.settled(second)).state is State.DELIVERED


@pytest.mark.on_files("is about the lock file")
@pytest.mark.contract("SG9", "LE4")
async def test_a_lock_file_that_was_taken_away_raises_an_alarm_once_and_work_goes_on(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    keeper = presence(box)
    await keeper.tick()
    assert box.heard.of(Alarm) == []
    stand.path.with_name(f"{stand.path.name}-workers").unlink()
    for _ in range(2):
        await keeper.tick()
    (alarm,) = box.heard.of(Alarm)
    assert alarm.what == "store_problem"
    (problem,) = (await box.outbox.health()).problems
    assert alarm.detail == problem
    assert (await box.settled(await box.send())).state is State.DELIVERED


@pytest.mark.contract("CL7")
async def test_a_message_without_a_worker_for_its_channel_waits_and_raises_an_alarm_after_a_minute(
    stand: Stand,
) -> None:
    acceptor = await stand.open()
    message = await acceptor.send(channel="mail", ttl=None)
    box = await stand.open(ScriptedChannel(policy=STEADY))
    keeper = presence(box)
    for _ in range(4):
        await keeper.tick()
        stand.advance(15_000)
    assert box.heard.of(Alarm) == []
    await keeper.tick()
    (alarm,) = box.heard.of(Alarm)
    assert alarm.what == "channel_unserved"
    assert "mail" in alarm.detail
    stand.advance(24 * 3_600_000)
    await keeper.tick()
    assert len(box.heard.of(Alarm)) == 1
    assert (await box.view(message)).state is State.SCHEDULED
    mail = await stand.open({"mail": ScriptedChannel(policy=STEADY)})
    assert (await mail.settled(message)).state is State.DELIVERED
    await keeper.tick()
    await mail.outbox.stop()
    await acceptor.send(channel="mail", ttl=None)
    await keeper.tick()
    stand.advance(60_000)
    await keeper.tick()
    assert len(box.heard.of(Alarm)) == 2


@pytest.mark.contract("CL7", "LE8")
async def test_one_message_may_be_delivered_by_a_process_that_serves_nothing_else(stand: Stand) -> None:
    acceptor = await stand.open()
    wanted, other = await acceptor.send("ann"), await acceptor.send("bob")
    channel = ScriptedChannel(policy=STEADY)
    box = stand.make(channel)
    inside(box.outbox).routes.deliver = False
    await box.outbox.start()
    found = await box.outbox.find(wanted.id or "")
    async with inside(box.outbox).lifetime.delivering(found):
        assert (await box.settled(found)).state is State.DELIVERED
        assert not await inside(box.outbox).reads.served("chat")
    assert [attempt.to for attempt in channel.attempts] == ["ann"]
    assert (await acceptor.view(other)).state is State.SCHEDULED
    await box.outbox.stop()


@pytest.mark.on_files("writes into the file")
@pytest.mark.contract("ST9", "LE7")
async def test_a_row_that_cannot_be_read_does_not_stop_those_claimed_with_it(stand: Stand) -> None:
    acceptor = await stand.open()
    messages = [await acceptor.send(f"r{n}") for n in range(5)]
    spoil = messages[2].id or ""
    session = acceptor.store.real._session
    assert session is not None
    session.connection.execute("UPDATE message SET content = NULL, payload = NULL WHERE id = ?", (spoil,))
    box = await stand.open(ScriptedChannel(policy=STEADY))
    states = [(await box.settled(message)).state for message in messages]
    assert states == [State.DELIVERED, State.DELIVERED, State.DEAD, State.DELIVERED, State.DELIVERED]
    events = await box.heard.wait_for(MessageDied)
    # While the clock stands still a lost answer is told with those of before: better twice than never.
    assert {(event.id, event.reason) for event in events} == {(spoil, "unreadable")}


@pytest.mark.contract("DR4")
async def test_recovery_enqueues_nothing_anew(stand: Stand) -> None:
    acceptor = await stand.open()
    made = [await acceptor.send(f"r{n}", ttl=None) for n in range(10)]
    before = {view.id: view.seq for view in await acceptor.store.list_messages(Query(limit=100))}
    for _ in range(3):
        channel = ScriptedChannel(policy=FOR_EVER)
        channel.hold()
        box = await stand.open(channel)
        await channel.begun(1)
        await crash(box)
        await recover(stand)
    box = await stand.open(ScriptedChannel(policy=FOR_EVER))
    for message in made:
        await box.settled(message)
    after = {view.id: view.seq for view in await acceptor.store.list_messages(Query(limit=100))}
    assert after == before
