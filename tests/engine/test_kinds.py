"""What is not final is sent by nobody else once its process is gone; and what became of a turn."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pillarbox import Deferred, Delivered, RateLimited, Rejected, State
from pillarbox.domain.retry import Policy
from pillarbox.domain.turn_summary import TurnSummary
from pillarbox.events import MessageDied, RetryScheduled
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Box, Stand, crash

STEADY = Policy(jitter=0.0)
ABANDON_MS = 5_000


def chat(*steps: object) -> ScriptedChannel:
    return ScriptedChannel(*steps, policy=STEADY)


async def reaped(stand: Stand, box: Box) -> None:
    """Let the reaper look for messages whose process is gone; it does so every five seconds."""
    stand.advance(ABANDON_MS)
    await box.reap()


# DK1


@pytest.mark.contract("DK1")
@pytest.mark.parametrize("kind", ["block", "tool"])
async def test_what_waited_unstarted_when_its_process_died_is_dead_and_never_sent(stand: Stand, kind: str) -> None:
    first = await stand.open(chat())
    await first.outbox.pause("chat")
    waiting = await first.send(kind=kind)
    final = await first.send("bob")
    await crash(first)
    channel = chat()
    second = await stand.open(channel)
    await second.outbox.resume("chat")
    assert (await second.settled(final)).state is State.DELIVERED
    view = await second.view(waiting)
    assert (view.state, view.terminal_reason, view.claims, view.charged) == (State.DEAD, "non_final", 0, 0)
    assert [attempt.to for attempt in channel.attempts] == ["bob"]


@pytest.mark.contract("DK1")
async def test_a_process_that_starts_ends_nothing_of_its_neighbour_that_lives(stand: Stand) -> None:
    channel = chat()
    first = await stand.open(channel)
    await first.outbox.pause("chat")
    message = await first.send(kind="block")
    second = await stand.open(chat())
    await reaped(stand, second)
    assert (await second.view(message)).state is State.SCHEDULED
    await first.outbox.resume("chat")
    assert (await first.settled(message)).state is State.DELIVERED


@pytest.mark.contract("DK1")
async def test_a_process_that_only_accepts_is_known_to_live_or_not(stand: Stand) -> None:
    acceptor = await stand.open()
    worker = await stand.open(chat())
    await worker.outbox.pause("chat")
    message = await acceptor.send(kind="block")
    await reaped(stand, worker)
    assert (await worker.view(message)).state is State.SCHEDULED
    await acceptor.outbox.close()
    await reaped(stand, worker)
    assert (await worker.view(message)).terminal_reason == "non_final"


@pytest.mark.contract("DK1", "LE8")
async def test_a_process_that_sends_final_messages_alone_is_registered_nowhere(stand: Stand) -> None:
    acceptor = await stand.open()
    await acceptor.send()
    assert await acceptor.outbox.workers() == []
    await acceptor.send(kind="tool")
    await acceptor.send(kind="tool")
    (row,) = await acceptor.outbox.workers()
    assert row.channels == ()
    await acceptor.outbox.close()
    other = await stand.open()
    assert await other.outbox.workers() == []


@pytest.mark.contract("DK1")
async def test_a_running_worker_ends_what_a_dead_neighbour_left_and_tells_of_it(stand: Stand) -> None:
    first, second = await stand.open(chat()), await stand.open(chat())
    await first.outbox.pause("chat")
    messages = [await first.send(f"r{n}", kind="block", correlation_id="turn") for n in range(3)]
    later = await first.send("later", kind="block", at=timedelta(hours=1))
    await crash(first)
    await reaped(stand, second)
    events = second.heard.of(MessageDied)
    assert {event.id for event in events} == {message.id for message in [*messages, later]}
    assert {event.reason for event in events} == {"non_final"}
    assert {event.to for event in events} == {"r0", "r1", "r2", "later"}
    assert await second.outbox.check() == []


@pytest.mark.contract("DK1")
async def test_what_comes_due_before_the_reaper_looked_is_not_sent_either(stand: Stand) -> None:
    acceptor = await stand.open()
    channel = chat()
    worker = await stand.open(channel)
    message = await acceptor.send(kind="block", at=timedelta(seconds=1))
    final = await acceptor.send("bob", at=timedelta(seconds=1))
    await acceptor.outbox.close()
    stand.advance(1_000)
    worker.look()
    view = await worker.settled(message)
    assert (view.state, view.terminal_reason, view.charged) == (State.DEAD, "non_final", 0)
    assert (await worker.settled(final)).state is State.DELIVERED
    assert [attempt.to for attempt in channel.attempts] == ["bob"]
    assert await worker.outbox.check() == []


@pytest.mark.contract("DK1")
async def test_another_process_may_send_it_while_its_own_lives(stand: Stand) -> None:
    acceptor = await stand.open()
    channel = chat()
    worker = await stand.open(channel)
    assert (await worker.settled(await acceptor.send(kind="block"))).state is State.DELIVERED
    assert len(channel.attempts) == 1


@pytest.mark.contract("DK1")
async def test_the_lane_behind_an_abandoned_message_goes_on(stand: Stand) -> None:
    first = await stand.open(chat())
    await first.outbox.pause("chat")
    await first.send(text="a block", kind="block")
    final = await first.send(text="the answer")
    await crash(first)
    channel = chat()
    second = await stand.open(channel)
    await second.outbox.resume("chat")
    assert (await second.settled(final)).state is State.DELIVERED
    assert [attempt.text for attempt in channel.attempts] == ["the answer"]


@pytest.mark.contract("DK1")
async def test_one_that_was_being_sent_when_its_worker_died_is_dead(stand: Stand) -> None:
    channel = chat()
    channel.hold()
    first = await stand.open(channel)
    message = await first.send(kind="block")
    await channel.begun(1)
    await crash(first)
    successor = chat()
    second = await stand.open(successor)
    await second.reap()
    view = await second.view(message)
    assert (view.state, view.terminal_reason, view.error_class) == (State.DEAD, "non_final", "worker_lost")
    assert successor.attempts == []


@pytest.mark.contract("DK1", "ST8")
async def test_one_that_failed_is_dead_at_once(stand: Stand) -> None:
    box = await stand.open(chat(Deferred("busy")))
    view = await box.settled(await box.send(kind="tool"))
    assert (view.state, view.terminal_reason, view.charged, view.last_error) == (State.DEAD, "non_final", 1, "busy")


@pytest.mark.contract("DK1", "RE5")
async def test_a_free_outcome_does_not_kill_it(stand: Stand) -> None:
    box = await stand.open(chat(RateLimited("slow", after=2), Delivered("r")))
    message = await box.send(ephemeral=True)
    await box.heard.wait_for(RetryScheduled)
    stand.advance(2_000)
    box.look()
    view = await box.settled(message)
    assert (view.state, view.charged, view.claims) == (State.DELIVERED, 0, 2)


@pytest.mark.contract("DK1")
async def test_a_final_message_of_a_dead_process_is_sent_by_the_next(stand: Stand) -> None:
    first = await stand.open(chat())
    await first.outbox.pause("chat")
    message = await first.send(kind="final")
    await crash(first)
    second = await stand.open(chat())
    await second.outbox.resume("chat")
    assert (await second.settled(message)).state is State.DELIVERED


# DK2


@pytest.mark.contract("DK2")
async def test_a_turn_is_summed_up(stand: Stand) -> None:
    channel = chat()
    channel.script(Rejected("no"), to="bob")
    box = await stand.open(channel)
    said = {"correlation_id": "turn"}
    await box.settled(await box.send("ann", **said))
    await box.settled(await box.send("bob", kind="block", **said))
    await box.settled(await box.send("cy", correlation_id="another turn"))
    await box.outbox.pause("chat")
    await box.send("dee", **said)
    gone = await box.send("eve", **said)
    await box.outbox.cancel(gone.id or "")
    await box.send("fay", ttl=1, **said)
    stand.advance(2_000)
    await box.reap()
    summary = await box.outbox.summary("turn")
    assert summary == TurnSummary(queued=1, delivered=1, failed=2, cancelled=1)
    assert not summary.complete
    assert await box.outbox.summary("turn", final_only=True) == TurnSummary(
        queued=1, delivered=1, failed=1, cancelled=1
    )
    assert await box.outbox.summary("nobody's turn") == TurnSummary()


@pytest.mark.contract("DK2")
@pytest.mark.parametrize(
    ("summary", "complete"),
    [
        (TurnSummary(delivered=1), True),
        (TurnSummary(delivered=2, cancelled=1), True),
        (TurnSummary(), False),
        (TurnSummary(cancelled=1), False),
        (TurnSummary(delivered=1, queued=1), False),
        (TurnSummary(delivered=1, failed=1), False),
    ],
)
def test_a_turn_is_delivered_when_nothing_is_left_and_something_arrived_and_nothing_failed(
    summary: TurnSummary, complete: bool
) -> None:
    assert summary.complete is complete


@pytest.mark.contract("DK2")
async def test_a_held_message_is_still_queued(stand: Stand) -> None:
    from pillarbox import Uncertain

    box = await stand.open(chat(Uncertain("no answer")))
    await box.settled(await box.send(uncertain="hold", correlation_id="turn"))
    assert await box.outbox.summary("turn") == TurnSummary(queued=1)
