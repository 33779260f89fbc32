"""What is told of what happened, and how often."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from pillarbox import RateLimited, State, Unavailable
from pillarbox.domain.retry import Policy
from pillarbox.errors import StoreUnavailable
from pillarbox.events import ChannelPaused, Drained, RetryScheduled, comis
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Stand, crash

if TYPE_CHECKING:
    from pillarbox.domain.outcome import Outcome

STEADY = Policy(jitter=0.0)


@pytest.mark.contract("FL1")
@pytest.mark.parametrize(
    "outcome", [RateLimited("slow", scope="channel", after=30), Unavailable("401")], ids=["429", "401"]
)
async def test_one_outage_is_told_once_however_many_sends_it_met(
    stand: Stand, caplog: pytest.LogCaptureFixture, outcome: Outcome
) -> None:
    channel = ScriptedChannel(*[outcome] * 5, policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    for number in range(5):
        await box.send(f"r{number}")
    await channel.begun(5)
    channel.release()
    await box.heard.wait_for(RetryScheduled, 5)
    assert len(box.heard.of(ChannelPaused)) == 1
    assert sum("paused" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.contract("EV1", "EV2")
async def test_a_recovered_message_is_told_of_as_a_live_one_is(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pillarbox.delivery")
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    first = await stand.open(channel)
    message = await first.send(origin="agent")
    await channel.begun(1)
    await crash(first)
    second = stand.make(ScriptedChannel(policy=STEADY))
    told: list[tuple[str, str]] = []
    comis.listen(second.outbox.events, lambda name, fields: told.append((name, fields["entryId"])))
    async with second.outbox:
        await second.settled(message)
    names = ["delivery:nacked", "delivery:chunk_sent", "delivery:acked", "delivery:complete"]
    assert told == [(name, message.id) for name in names]
    lines = [(record.getMessage(), record.entryId) for record in caplog.records if hasattr(record, "entryId")]
    assert lines == [
        ("Message enqueued for delivery", message.id),
        ("Message delivery failed, scheduled for retry", message.id),
        ("Message delivered and acked", message.id),
    ]


@pytest.mark.contract("EV2", "DR1")
async def test_the_drain_at_start_has_its_line_and_event(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pillarbox.delivery")
    acceptor = await stand.open()
    for number in range(3):
        await acceptor.send(f"r{number}")
    box = await stand.open(ScriptedChannel(policy=STEADY), drain_on_startup=True)
    (event,) = await box.heard.wait_for(Drained)
    assert (event.delivered, event.at_start) == (3, True)
    (line,) = [record for record in caplog.records if record.getMessage() == "Delivery queue startup drain complete"]
    assert (line.levelname, vars(line)["entriesAttempted"], vars(line)["entriesDelivered"]) == ("INFO", 3, 3)
    await box.outbox.drain()
    assert [record.getMessage() for record in caplog.records][-1] == "Delivery queue drain complete"


@pytest.mark.contract("EV3")
async def test_every_process_of_a_database_writes_a_recipient_by_the_same_name(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pillarbox.delivery")
    acceptor = await stand.open()
    await acceptor.send("-100123")
    box = await stand.open(ScriptedChannel(policy=STEADY))
    assert (await box.settled((await acceptor.outbox.list())[0])).state is State.DELIVERED
    shown = {vars(record)["channelId"] for record in caplog.records}
    assert len(shown) == 1
    assert "100123" not in caplog.text
    assert "-100123" not in shown


@pytest.mark.contract("EV3")
async def test_recipients_are_written_as_they_are_where_that_is_wanted(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pillarbox.delivery")
    box = await stand.open(ScriptedChannel(policy=STEADY), log_recipients=True)
    await box.settled(await box.send("-100123"))
    assert {vars(record)["channelId"] for record in caplog.records} == {"-100123"}


@pytest.mark.contract("EV1")
async def test_duration_counts_from_acceptance_and_send_counts_the_call(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    acceptor = await stand.open()
    message = await acceptor.send()
    stand.advance(60_000)
    channel.hold()
    box = await stand.open(channel)
    fields: list[dict[str, object]] = []
    comis.listen(box.outbox.events, lambda name, said: fields.append(said) if name == comis.ACKED else None)
    await channel.begun(1)
    stand.advance(250)
    channel.release()
    await box.settled(message)
    await asyncio.sleep(0)
    assert [(said["durationMs"], said["sendMs"], said["channelId"]) for said in fields] == [(60_250, 250, "ann")]


@pytest.mark.contract("EV4", "FL2")
async def test_health_names_what_is_wrong_and_nothing_else(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(Unavailable("401 Unauthorized"), policy=STEADY))
    health = await box.outbox.health()
    assert (health.ok, health.delivers, health.durability) == (True, True, "power")
    await box.send()
    await box.heard.wait_for(ChannelPaused)
    assert (await box.outbox.health()).problems == ("channel chat was unavailable once: 401 Unauthorized",)
    await box.outbox.resume("chat")
    assert (await box.outbox.health()).ok
    assert not (await (await stand.open()).outbox.health()).delivers


@pytest.mark.contract("EV4")
async def test_health_tells_of_a_database_that_does_not_answer(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    box.runtime.reporter.alarm("recording_failed", "message x: gone")

    async def gone() -> list[object]:
        raise StoreUnavailable("disk I/O error")

    monkeypatch.setattr(box.store.real, "queues", gone)
    problems = (await box.outbox.health()).problems
    monkeypatch.undo()
    assert problems == (
        "the database does not answer: disk I/O error",
        "outcomes that could not be recorded since the start: 1",
    )
