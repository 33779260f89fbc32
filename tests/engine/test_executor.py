"""One send, from the last checks to what is recorded of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox.domain.ids import LeaseId
from pillarbox.domain.message import State
from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Delivered,
    Outcome,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.engine.clock_guard import ClockGuard
from pillarbox.engine.executor import Executor
from pillarbox.events import LeaseLost, MessageCancelled, MessageDelivered, MessageDied, RetryScheduled
from pillarbox.outbox.outbox import inside
from pillarbox.store.base import Batch, Claim
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS, SECONDS

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from pillarbox.domain.message import Leased
    from tests.engine.stand import Box, Stand

STEADY = Policy(jitter=0.0)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)
ONCE = Policy(jitter=0.0, max_attempts=1)
CANARY = "opensesame"


async def test_an_attempt_holds_what_was_accepted(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    message = await box.send(
        text="hi",
        subject="s",
        thread="7",
        account="bot",
        tenant="acme",
        correlation_id="turn",
        origin="agent",
        metadata={"a": [1, None]},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    (attempt,) = await channel.begun(1)
    assert (attempt.id, attempt.channel, attempt.to, attempt.number) == (message.id, "chat", "ann", 1)
    assert (attempt.text, attempt.content.subject, attempt.thread) == ("hi", "s", "7")
    assert (attempt.account, attempt.tenant, attempt.correlation_id, attempt.origin) == ("bot", "acme", "turn", "agent")
    assert attempt.metadata == {"a": [1, None]}
    assert attempt.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert attempt.created_ms == stand.clock.wall_ms()
    assert attempt.deadline_seconds == channel.send_timeout_seconds


@pytest.mark.contract("UN2", "RE2")
async def test_every_attempt_carries_the_same_token_and_its_own_number(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("no"), RateLimited("slow"), Uncertain("no answer"), policy=STEADY)
    box = await stand.open(channel)
    message = await box.send()
    for count in range(1, 4):
        await box.heard.wait_for(RetryScheduled, count)
        stand.advance(30_000)
        box.look()
    await box.settled(message)
    assert [attempt.number for attempt in channel.attempts] == [1, 2, 3, 4]
    (token,) = {attempt.token for attempt in channel.attempts}
    assert token == f"{message.id}AAA"


@pytest.mark.contract("RE2", "RE1")
@pytest.mark.parametrize("limit", [1, 3, 5])
async def test_a_channel_is_called_exactly_as_often_as_the_message_allows(stand: Stand, limit: int) -> None:
    channel = ScriptedChannel(*[Deferred("no")] * 20, policy=STEADY)
    box = await stand.open(channel)
    message = await box.send(max_attempts=limit)
    for retry, delay in enumerate((5_000, 25_000, 120_000, 600_000)[: limit - 1], start=1):
        event = (await box.heard.wait_for(RetryScheduled, retry))[-1]
        assert event.due_ms == stand.clock.wall_ms() + delay
        stand.advance(delay)
        box.look()
        await channel.begun(retry + 1)
    view = await box.settled(message)
    assert (view.state, view.terminal_reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED)
    assert len(channel.attempts) == view.claims == view.charged == limit


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Delivered("1"), State.DELIVERED),
        (Deferred("no"), State.SCHEDULED),
        (RateLimited("slow"), State.SCHEDULED),
        (Rejected("no"), State.DEAD),
        (Redirected("bob"), State.SCHEDULED),
        (Unavailable("off"), State.SCHEDULED),
        (Uncertain("no answer"), State.HELD),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("raised", [False, True])
async def test_an_outcome_means_the_same_returned_or_raised(
    stand: Stand, outcome: AnyOutcome, state: State, *, raised: bool
) -> None:
    def play(attempt: Attempt) -> AnyOutcome:
        if raised:
            raise outcome
        return outcome

    channel = ScriptedChannel(play, policy=HOLD)
    box = await stand.open(channel)
    message = await box.send()
    await box.store.until(lambda batch: bool(batch.settle))
    await box.idle()
    assert (await box.view(message)).state is state


@pytest.mark.contract("CL1", "CL6")
@pytest.mark.parametrize(
    "step",
    [
        RuntimeError(CANARY),
        KeyError(CANARY),
        ExceptionGroup(CANARY, [ValueError(CANARY)]),
        Outcome(CANARY),
        None,
        "ok",
        1,
    ],
    ids=lambda step: type(step).__name__,
)
async def test_whatever_else_leaves_an_adapter_is_uncertain(
    stand: Stand, step: object, caplog: pytest.LogCaptureFixture
) -> None:
    box = await stand.open(ScriptedChannel(step, policy=HOLD))
    view = await box.settled(await box.send())
    assert (view.state, view.terminal_reason) == (State.HELD, Reason.UNCERTAIN)
    assert "the adapter" in (view.last_error or "")
    assert CANARY not in caplog.text
    assert CANARY not in str(view)


@pytest.mark.contract("EV3")
async def test_an_adapters_failure_is_logged_with_its_place_but_not_with_its_words(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(attempt: Attempt) -> AnyOutcome:
        raise RuntimeError(f"cannot send {attempt.text} to {attempt.to}")

    box = await stand.open(ScriptedChannel(fail, policy=HOLD))
    view = await box.settled(await box.send(CANARY, text=CANARY))
    assert "RuntimeError" in caplog.text
    assert __file__ in caplog.text
    assert view.id in caplog.text
    assert CANARY not in caplog.text
    assert CANARY not in (view.last_error or "")


@pytest.mark.contract("UN1", "CL6", "LE3")
async def test_a_send_that_takes_too_long_is_cut_off_and_uncertain(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD, send_timeout_seconds=0.02)
    channel.hold()
    box = await stand.open(channel)
    view = await box.settled(await box.send())
    assert (view.state, view.last_error) == (State.HELD, "no answer in time")
    assert channel.cut == 1


async def test_each_channels_sends_are_cut_off_at_its_own_deadline(stand: Stand) -> None:
    quick = ScriptedChannel(policy=HOLD, send_timeout_seconds=0.02)
    slow = ScriptedChannel(policy=HOLD, send_timeout_seconds=30)
    quick.hold()
    slow.hold()
    box = await stand.open({"quick": quick, "slow": slow})
    first = [await box.send(f"r{n}", channel="quick") for n in range(3)]
    other = await box.send(channel="slow")
    for message in first:
        assert (await box.settled(message)).state is State.HELD
    assert (await box.view(other)).state is State.LEASED
    # Those that end in time leave nothing behind that could cut off a later one.
    quick.release()
    for n in range(5):
        assert (await box.settled(await box.send(f"q{n}", channel="quick"))).state is State.DELIVERED
    assert not any(box.worker.executor._deadlines._queues.values()) or len(box.worker.executor.flights) == 1


async def test_a_send_that_has_ended_is_watched_no_more(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    for n in range(20):
        await box.settled(await box.send(f"r{n}"))
    assert not any(box.worker.executor._deadlines._queues.values())
    assert box.worker.executor.flights == {}


# Before the send


class Alone:
    """An executor without a worker: nothing claims, reaps or renews but the test."""

    def __init__(self, box: Box, channel: ScriptedChannel) -> None:
        self.box = box
        self.freed: list[Leased] = []
        clock = inside(box.outbox).lifetime.clock
        self.guard = ClockGuard(clock, box.runtime.reporter.alarm)
        self.executor = Executor(
            {"chat": channel},
            box.runtime.committer,
            box.runtime.reporter,
            clock=clock,
            entropy=inside(box.outbox).lifetime.entropy,
            guard=self.guard,
            crew=self,
            find=box.runtime.store.get,
            read_files=box.runtime.store.files,
        )

    def on_slot_freed(self, message: Leased) -> None:
        self.freed.append(message)

    def on_occupied(self, channel: str, change: int) -> None:
        raise AssertionError("nothing is written off here")

    async def is_gone(self, acceptor: bytes) -> bool:
        return False

    async def lease(self) -> Leased:
        """Claim the one message there is."""
        clock = inside(self.box.outbox).lifetime.clock
        (queue,) = await self.box.store.queues()
        claim = Claim(
            worker=1,
            lease=LeaseId(inside(self.box.outbox).lifetime.entropy.token(16)),
            lease_ms=LEASE_MS,
            capacity={queue.id: 10},
        )
        result = await self.box.store.commit(Batch(now_ms=clock.wall_ms(), claim=claim))
        (message,) = result.claimed
        return message

    async def run(self, message: Leased, *, until_ms: int | None = None) -> None:
        """Send one message to its end."""
        clock = inside(self.box.outbox).lifetime.clock
        self.executor.start(message, until_ms=clock.boot_ms() + LEASE_MS if until_ms is None else until_ms)
        async with asyncio.timeout(SECONDS):
            await self.executor.idle()


async def alone(stand: Stand, channel: ScriptedChannel, **said: Any) -> tuple[Alone, Leased]:
    box = await stand.open()
    await box.send(**said)
    without_worker = Alone(box, channel)
    return without_worker, await without_worker.lease()


@pytest.mark.contract("EX1", "EX2")
async def test_a_message_is_not_sent_a_millisecond_after_its_end(stand: Stand) -> None:
    channel = ScriptedChannel()
    engine, message = await alone(stand, channel, ttl=60)
    stand.advance(60_001)
    await engine.run(message, until_ms=stand.clock.boot_ms() + 1)
    view = await engine.box.view(message.id)
    assert (view.state, view.terminal_reason, view.charged) == (State.EXPIRED, Reason.EXPIRED, 0)
    assert channel.attempts == []


@pytest.mark.contract("EX2")
async def test_a_message_is_sent_in_its_last_millisecond(stand: Stand) -> None:
    channel = ScriptedChannel()
    engine, message = await alone(stand, channel, ttl=60)
    stand.advance(60_000)
    await engine.run(message, until_ms=stand.clock.boot_ms() + 1)
    assert (await engine.box.view(message.id)).state is State.DELIVERED


@pytest.mark.contract("EX1", "EN16")
async def test_a_message_whose_time_ends_while_it_is_admitted_is_not_sent(stand: Stand) -> None:
    channel = ScriptedChannel()
    engine, message = await alone(stand, channel, ttl=60)
    assert not message.prepared
    engine.box.store.gate.clear()
    running = asyncio.create_task(engine.run(message, until_ms=stand.clock.boot_ms() + 120_000))
    await engine.box.store.until(lambda batch: bool(batch.admit))
    stand.advance(60_001)
    engine.box.store.gate.set()
    await running
    assert (await engine.box.view(message.id)).state is State.EXPIRED
    assert channel.attempts == []


@pytest.mark.contract("LE6", "EX1")
@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_clock_that_was_set_expires_nothing_that_is_about_to_be_sent(stand: Stand, hours: int) -> None:
    channel = ScriptedChannel()
    engine, message = await alone(stand, channel, ttl=60)
    stand.clock.set_wall(stand.clock.wall_ms() + hours * 3_600_000)
    await engine.run(message)
    assert (await engine.box.view(message.id)).state is State.DELIVERED
    # Nobody asks about the end of a message that has not come yet.
    assert engine.box.outbox.counts["alarm:clock_stepped"] == (hours > 0)


@pytest.mark.contract("LE3", "LE2")
async def test_a_message_whose_lease_is_over_before_its_send_is_not_sent_and_not_charged(stand: Stand) -> None:
    channel = ScriptedChannel()
    engine, message = await alone(stand, channel)
    await engine.run(message, until_ms=stand.clock.boot_ms())
    view = await engine.box.view(message.id)
    assert (view.state, view.charged, view.claims) == (State.SCHEDULED, 0, 1)
    assert channel.attempts == []


@pytest.mark.contract("ST9", "LE7")
@pytest.mark.parametrize(
    "spoilt",
    [
        {"content": b"{"},
        {"content": b'{"version": 1, "text": 5}'},
        {"content": b"\xff"},
        {"metadata": b"{"},
        {"part_next": 10_000},
    ],
    ids=str,
)
async def test_what_cannot_be_read_is_dead_with_a_reason_and_not_sent(stand: Stand, spoilt: dict[str, Any]) -> None:
    channel = ScriptedChannel()
    engine, message = await alone(stand, channel)
    await engine.run(msgspec.structs.replace(message, **spoilt))
    view = await engine.box.view(message.id)
    assert (view.state, view.terminal_reason) == (State.DEAD, Reason.UNREADABLE)
    assert channel.attempts == []


# Admission


@pytest.mark.contract("EN16")
async def test_admission_is_committed_before_the_first_send(stand: Stand) -> None:
    acceptor = await stand.open()
    message = await acceptor.send()
    assert not (await acceptor.view(message)).prepared
    seen: list[bool] = []

    async def look(attempt: Attempt) -> Delivered:
        seen.append((await acceptor.view(message)).prepared)
        return Delivered()

    box = await stand.open(ScriptedChannel(look))
    await box.settled(message)
    assert seen == [True]


@pytest.mark.contract("EN16")
async def test_what_its_channel_does_not_admit_is_dead_with_the_field_named(stand: Stand) -> None:
    message = await (await stand.open()).send("nobody")
    channel = ScriptedChannel(refuses=("nobody",))
    box = await stand.open(channel)
    view = await box.settled(message)
    assert (view.state, view.terminal_reason) == (State.DEAD, Reason.INVALID)
    assert (view.last_error or "").startswith("to: ")
    assert channel.attempts == []
    (event,) = box.heard.of(MessageDied)
    assert event.reason == "invalid"


@pytest.mark.contract("EN16", "CL5")
async def test_an_adapter_that_fails_to_admit_costs_an_attempt_and_not_the_worker(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ScriptedChannel):
        def admit(self, **said: Any) -> Any:
            raise RuntimeError(str(said))

    message = await (await stand.open()).send(CANARY, text=CANARY)
    box = await stand.open(Broken(policy=STEADY))
    (event,) = await box.heard.wait_for(RetryScheduled)
    assert event.error == "the adapter failed to admit it: RuntimeError"
    assert (await box.view(message)).charged == 1
    assert CANARY not in caplog.text


# While it is being sent


@pytest.mark.contract("OP3", "ST1")
async def test_a_cancel_while_it_is_sent_ends_a_message_whose_send_fails(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("no route"))
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    assert await box.outbox.cancel(message.id or "")
    assert (await box.view(message)).state is State.LEASED
    channel.release()
    view = await box.settled(message)
    assert (view.state, view.terminal_reason) == (State.CANCELLED, Reason.REQUESTED)
    assert (view.charged, view.last_error) == (1, "no route")
    assert len(channel.attempts) == 1
    assert [event.id for event in box.heard.of(MessageCancelled)] == [message.id]


@pytest.mark.contract("OP3", "ST2")
async def test_a_cancel_while_it_is_sent_undoes_no_delivery(stand: Stand) -> None:
    channel = ScriptedChannel(Delivered("r"))
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    assert await box.outbox.cancel(message.id or "")
    channel.release()
    view = await box.settled(message)
    assert (view.state, view.receipt) == (State.DELIVERED, "r")
    assert not await box.outbox.cancel(message.id or "")


@pytest.mark.contract("LE3", "ST7")
async def test_a_send_whose_lease_is_lost_is_cut_off_and_changes_nothing(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    await lose_lease(stand, box)
    before = await box.view(message)
    await box.renew()
    (event,) = await box.heard.wait_for(LeaseLost)
    assert event.id == message.id
    assert channel.cut == 1
    assert await box.view(message) == before
    assert (before.state, before.charged, before.lost) == (State.SCHEDULED, 1, 1)
    assert box.counts["stale"] == 1


@pytest.mark.contract("ST6", "LE3")
async def test_an_answer_that_comes_after_the_lease_is_lost_still_counts(stand: Stand) -> None:
    channel = ScriptedChannel(Delivered("r-late"), policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    await lose_lease(stand, box)
    channel.release()
    view = await box.settled(message)
    assert (view.state, view.receipt) == (State.DELIVERED, "r-late")
    (event,) = box.heard.of(MessageDelivered)
    assert event.late
    assert box.counts["late"] == 1


async def lose_lease(stand: Stand, box: Box) -> None:
    """Let another process find the lease run out; nobody claims the message anew meanwhile."""
    box.worker._accepting = False
    other = await stand.open(ScriptedChannel(), lease_seconds=LEASE_MS / 1000)
    other.worker._accepting = False
    stand.advance(LEASE_MS + 1)
    await other.reap()
    async with asyncio.timeout(SECONDS):
        while other.store.offered(lambda batch: any(s.lapsed is not None for s in batch.settle)) < 1:
            await other.reap()


# Channels that are not there


@pytest.mark.contract("RE5", "FL2")
async def test_sends_that_were_under_way_when_a_channel_went_away_count_as_one_outage(stand: Stand) -> None:
    channel = ScriptedChannel(*[Unavailable("bad password")] * 20, policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    for n in range(20):
        await box.send(f"r{n}")
    await channel.begun(20)
    channel.release()
    events = await box.heard.wait_for(RetryScheduled, 20)
    assert {event.due_ms - stand.clock.wall_ms() for event in events} == {60_000}
