"""Beginning and ending: the drain at the start, and a stop that keeps its word."""

from __future__ import annotations

import asyncio
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.errors import InvalidMessage, NotStarted, Refused
from pillarbox.events import Drained
from pillarbox.outbox.outbox import inside
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, until

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt
    from pillarbox.domain.outcome import AnyOutcome
    from pillarbox.outbox.message import Message
    from tests.engine.stand import Stand

STEADY = Policy(jitter=0.0)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


async def waiting(stand: Stand, count: int = 5, **said: Any) -> list[Message]:
    """Messages that were accepted by a process that does not deliver."""
    box = await stand.open()
    messages = []
    for n in range(count):
        messages.append(await box.send(f"r{n}", **said))
        stand.advance(1)
    return messages


# The drain


@pytest.mark.contract("DR1")
async def test_start_returns_at_once_and_drained_tells_what_the_drain_did(stand: Stand) -> None:
    messages = await waiting(stand, 6)
    channel = ScriptedChannel(policy=HOLD)
    channel.script(Rejected("no"), to="r1")
    channel.script(Deferred("no"), to="r2")
    channel.script(Uncertain("no answer"), to="r3")
    channel.hold()
    async with asyncio.timeout(SECONDS):
        box = await stand.open(channel, drain_on_startup=True)
    await channel.begun(6)
    assert box.heard.of(Drained) == []
    channel.release()
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drained()
    assert (report.delivered, report.failed, report.exhausted, report.expired) == (3, 1, 0, 0)
    assert (report.deferred_backoff, report.deferred_budget, report.uncertain) == (2, 0, 1)
    assert [(await box.view(message)).state for message in messages].count(State.DELIVERED) == 3
    assert (await box.outbox.drained()) == report


@pytest.mark.contract("DR1")
async def test_a_drain_counts_each_message_by_how_it_ended(stand: Stand) -> None:
    stand.clock = FakeClock()  # so that the drain takes no time at all
    acceptor = await stand.open()
    for _ in range(2):
        await acceptor.send("late", ttl=1)
    stand.advance(1001)
    channel = ScriptedChannel(policy=STEADY)
    ends: list[tuple[str, AnyOutcome, int, dict[str, Any]]] = [
        ("arrives", Delivered("r"), 3, {}),
        ("refused", Rejected("no"), 4, {}),
        ("worn out", Deferred("busy"), 5, {"max_attempts": 1}),
        ("held", Uncertain("no answer"), 6, {"uncertain": "hold"}),
        ("later", Deferred("busy"), 7, {}),
    ]
    for to, outcome, count, said in ends:
        for n in range(count):
            await acceptor.send(f"{to} {n}", **said)
            channel.script(outcome, to=f"{to} {n}")
    box = await stand.open(channel, drain_on_startup=True)
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drained()
    ended = {"delivered": 3, "failed": 4, "exhausted": 5, "held": 6, "expired": 2}
    left = {"deferred_backoff": 7, "deferred_budget": 0, "deferred_leased": 0, "deferred_lost": 0}
    told = ended | left | {"attempted": 25, "uncertain": 6, "reaped": 0, "duration_ms": 0}
    assert asdict(report) == told
    (event,) = box.heard.of(Drained)
    assert {name: getattr(event, name) for name in told} == told


@pytest.mark.contract("DR1")
async def test_a_subscriber_added_before_the_start_hears_of_the_drain(stand: Stand) -> None:
    await waiting(stand, 2)
    box = await stand.open(ScriptedChannel(policy=STEADY), drain_on_startup=True)
    (event,) = await box.heard.wait_for(Drained)
    assert (event.delivered, event.deferred_budget) == (2, 0)


@pytest.mark.contract("DR1")
async def test_a_drain_takes_the_oldest_first_whatever_their_priority(stand: Stand) -> None:
    acceptor = await stand.open()
    for n, priority in enumerate((0, 3, 1, 2, 0, 3)):
        await acceptor.send(f"r{n}", priority=priority)
        stand.advance(1)
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel, concurrency=1, drain_on_startup=True)
    async with asyncio.timeout(SECONDS):
        await box.outbox.drained()
    assert [attempt.to for attempt in channel.attempts] == [f"r{n}" for n in range(6)]


@pytest.mark.contract("DR1")
async def test_a_hung_send_does_not_hold_a_drain_beyond_its_budget(stand: Stand) -> None:
    stand.clock = FakeClock()  # so that the budget is over when the test says so, however slow the database is
    messages = await waiting(stand, 5)
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel, concurrency=2, drain_on_startup=True, drain_budget_ms=50)
    await channel.begun(2)
    stand.advance(50)
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drained()
    assert (report.delivered, report.deferred_budget) == (0, 5)
    # What was not begun is untouched, and what was is not cut off: both go to the continuous worker.
    assert [(await box.view(message)).claims for message in messages] == [1, 1, 0, 0, 0]
    assert channel.cut == 0
    channel.release()
    for message in messages:
        assert (await box.settled(message)).state is State.DELIVERED
    assert len(channel.attempts) == 5


@pytest.mark.contract("DR1")
@pytest.mark.parametrize("budget", [-1, math.nan, math.inf, "5", 10**400], ids=lambda value: type(value).__name__)
async def test_a_budget_that_means_nothing_is_refused(stand: Stand, budget: Any) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    with pytest.raises(InvalidMessage, match=r"^budget: "):
        await box.outbox.drain(budget)


@pytest.mark.contract("DR1")
async def test_a_budget_of_nothing_drains_nothing(stand: Stand) -> None:
    await waiting(stand, 3)
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drain(0)
    assert report.delivered == 0
    assert report.deferred_budget == 3


@pytest.mark.contract("DR1")
async def test_a_drain_waits_for_nothing_that_is_for_later_or_behind_a_pause(stand: Stand) -> None:
    acceptor = await stand.open()
    await acceptor.outbox.pause("chat")
    await acceptor.send("paused")
    box = await stand.open({"chat": ScriptedChannel(policy=STEADY), "mail": ScriptedChannel(policy=STEADY)})
    await box.send("now", channel="mail")
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drain(SECONDS)
    assert (report.delivered, report.deferred_budget, report.deferred_backoff) == (1, 1, 0)


@pytest.mark.contract("DR1")
async def test_a_drain_goes_on_with_what_becomes_due_while_it_counts_what_is_left(stand: Stand) -> None:
    stand.clock = FakeClock()
    channel = ScriptedChannel(policy=Policy(jitter=0.0, schedule=(0.001,)))
    channel.script(Deferred("busy"))
    box = await stand.open(channel)
    await box.send("r")
    store: Any = box.runtime.store
    count = store.backlog

    async def slowly(**named: Any) -> Any:
        left = await count(**named)
        stand.advance(2)
        return left

    store.backlog = slowly
    async with asyncio.timeout(SECONDS):
        report = await box.outbox.drain(SECONDS)
    assert (report.delivered, report.deferred_budget, report.deferred_backoff) == (1, 0, 0)


@pytest.mark.contract("DR1")
async def test_who_does_not_deliver_cannot_drain(stand: Stand) -> None:
    box = await stand.open()
    with pytest.raises(Refused):
        await box.outbox.drain()
    with pytest.raises(Refused):
        await box.outbox.drained()
    deliverer = await stand.open(ScriptedChannel())
    with pytest.raises(Refused, match="drain_on_startup"):
        await deliverer.outbox.drained()


# Start


@pytest.mark.contract("DR3")
async def test_start_may_be_repeated_also_at_the_same_time(stand: Stand) -> None:
    box = stand.make(ScriptedChannel())
    await asyncio.gather(*(box.outbox.start() for _ in range(5)))
    runtime = box.runtime
    await box.outbox.start()
    assert box.runtime is runtime
    assert len(await box.outbox.workers()) == 1
    await box.outbox.stop()


@pytest.mark.contract("DR3")
async def test_an_outbox_may_be_started_again_after_a_stop(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    await box.settled(await box.send())
    await box.outbox.stop()
    with pytest.raises(NotStarted):
        await box.send()
    await box.outbox.start()
    await until(lambda: channel.is_open)
    assert (await box.settled(await box.send())).state is State.DELIVERED


@pytest.mark.contract("DR3", "SG5")
async def test_a_start_that_fails_leaves_nothing_open(stand: Stand) -> None:
    class Broken(ScriptedChannel):
        async def start(self, seams: object) -> None:
            raise RuntimeError("no network")

    good = ScriptedChannel()
    box = stand.make({"good": good, "broken": Broken()})
    with pytest.raises(RuntimeError, match="no network"):
        await box.outbox.start()
    assert not good.is_open
    with pytest.raises(NotStarted):
        await box.send(channel="good")
    assert await (await stand.open()).outbox.workers() == []


# Stop


@pytest.mark.contract("DR3")
async def test_a_stop_waits_for_what_is_under_way_and_begins_nothing_new(stand: Stand) -> None:
    messages = await waiting(stand, 5)
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel, concurrency=2)
    await channel.begun(2)
    stopping = asyncio.create_task(box.outbox.stop(SECONDS))
    await asyncio.sleep(0)
    assert not stopping.done()
    channel.release()
    async with asyncio.timeout(SECONDS):
        assert await stopping == 0
    after = await stand.open()
    states = [(await after.view(message)).state for message in messages]
    assert states == [State.DELIVERED] * 2 + [State.SCHEDULED] * 3
    assert len(channel.attempts) == 2
    assert not channel.is_open
    assert await after.outbox.workers() == []


@pytest.mark.contract("DR3", "UN1")
async def test_what_does_not_end_in_time_is_cut_off_and_recorded_as_uncertain(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel)
    messages = [await box.send(f"r{n}") for n in range(3)]
    await channel.begun(3)
    async with asyncio.timeout(SECONDS):
        assert await box.outbox.stop(0.02) == 3
    assert channel.cut == 3
    after = await stand.open()
    for message in messages:
        view = await after.view(message)
        assert (view.state, view.terminal_reason, view.last_error) == (
            State.HELD, Reason.UNCERTAIN, "stopped while sending",
        )  # fmt: skip


@pytest.mark.contract("DR3", "RE5")
async def test_what_was_claimed_but_not_begun_is_given_back_uncharged(stand: Stand) -> None:
    (message,) = await waiting(stand, 1)
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    # It is being admitted, which is the last thing before its send.
    store, executor = box.store, box.worker.executor
    store.stall(lambda batch: bool(batch.admit))
    await store.until(lambda batch: bool(batch.admit))
    stopping = asyncio.create_task(box.outbox.stop(0))
    await until(lambda: all(flight.stopped for flight in executor.flights.values()))
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        assert await stopping == 0
    assert channel.attempts == []
    view = await (await stand.open()).view(message)
    assert (view.state, view.charged, view.claims) == (State.SCHEDULED, 0, 1)


@pytest.mark.contract("DR3")
async def test_a_second_stop_waits_for_the_first(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel)
    await box.send()
    await channel.begun(1)
    first = asyncio.create_task(box.outbox.stop(SECONDS))
    await asyncio.sleep(0)
    second = asyncio.create_task(box.outbox.stop(SECONDS))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    channel.release()
    async with asyncio.timeout(SECONDS):
        assert await first == 0
        await second
    assert await box.outbox.stop() == 0


@pytest.mark.contract("DR3")
async def test_a_second_signal_stops_now(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    stopping = asyncio.create_task(box.outbox.stop(SECONDS))
    await asyncio.sleep(0)
    assert inside(box.outbox).lifetime.stop_now() == 1
    async with asyncio.timeout(SECONDS):
        await stopping
    assert (await (await stand.open()).view(message)).state is State.HELD
    assert inside(box.outbox).lifetime.stop_now() == 0


@pytest.mark.contract("DR3")
async def test_a_stop_that_is_cancelled_stops_all_the_same(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel)
    await box.send()
    await channel.begun(1)
    stopping = asyncio.create_task(box.outbox.stop(SECONDS))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    channel.release()
    await until(lambda: not channel.is_open)


@pytest.mark.contract("DR3")
async def test_a_channel_that_fails_to_close_keeps_nothing_else_open(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(ScriptedChannel):
        async def close(self) -> None:
            raise RuntimeError("I stay")

    good = ScriptedChannel()
    box = await stand.open({"a": Stubborn(), "b": good})
    await box.outbox.stop()
    assert not good.is_open
    assert "channel a failed to close: RuntimeError" in caplog.text
    assert await (await stand.open()).outbox.workers() == []


@pytest.mark.contract("DR3")
async def test_a_stop_during_the_drain_at_the_start_ends_it(stand: Stand) -> None:
    await waiting(stand, 2)
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel, drain_on_startup=True)
    await channel.begun(2)
    async with asyncio.timeout(SECONDS):
        assert await box.outbox.stop(0) == 2


@pytest.mark.contract("DR3", "EN11")
async def test_a_stop_lets_subscribers_end(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    done: list[object] = []
    go = asyncio.Event()

    async def slow(event: object) -> None:
        await go.wait()
        done.append(event)

    box.outbox.subscribe(slow)
    await box.settled(await box.send())
    stopping = asyncio.create_task(box.outbox.stop())
    for _ in range(10):
        await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(SECONDS):
        await stopping
    assert len(done) == 2


@pytest.mark.contract("DR3")
async def test_a_send_that_closes_its_own_outbox_is_told_that_it_would_wait_for_itself(stand: Stand) -> None:
    closing: list[asyncio.Task[None]] = []

    async def speak(attempt: Attempt) -> str:
        with pytest.raises(Refused, match="waits for the very send that calls it"):
            await outbox.close()
        closing.append(asyncio.create_task(outbox.close()))
        return f"r-{attempt.to}"

    box = await stand.open(FunctionChannel(speak, policy=STEADY))
    outbox = box.outbox
    message = await box.send()
    await until(lambda: bool(closing))
    await closing[0]
    again = await stand.open()
    assert (await again.view(message)).state is State.DELIVERED


async def test_a_send_of_a_shard_that_closes_the_outbox_is_told_the_same(tmp_path: Path) -> None:
    refused: asyncio.Future[Refused] = asyncio.get_running_loop().create_future()

    async def speak(_: Attempt) -> None:
        try:
            await box.close()
        except Refused as exc:
            refused.set_result(exc)

    shards = [str(tmp_path / f"{name}.db") for name in ("a", "b")]
    async with Outbox(shards=shards, channels={"ops": speak}) as box:
        message = await box.send("ops", to="ann", text="hi")
        assert "inside a channel" in str(await refused)
        await message.wait(timeout=10)
        assert message.state == "delivered"
