"""The bus: every subscriber hears what it asked for, and none can hurt another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.clock import SystemClock
from pillarbox.events import Alarm, Bus, BusEvent, MessageDelivered, MessageEnqueued, MessageEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENQUEUED = MessageEnqueued(at_ms=1, id="a", channel="chat", to="ann")
DELIVERED = MessageDelivered(at_ms=2, id="a", channel="chat", to="ann", receipt="r", duration_ms=1, send_ms=1)
ALARM = Alarm(at_ms=3, what="clock_stepped", detail="by two hours")
SECONDS = 60.0


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus()
    yield bus
    await bus.settle(SECONDS, clock=SystemClock())


async def test_a_subscriber_hears_all_events_or_those_of_its_types(bus: Bus) -> None:
    everything: list[BusEvent] = []
    delivered: list[BusEvent] = []
    messages: list[BusEvent] = []
    bus.subscribe(everything.append)
    bus.subscribe(delivered.append, MessageDelivered)
    bus.subscribe(messages.append, MessageEvent)
    for event in (ENQUEUED, DELIVERED, ALARM):
        bus.publish(event)
    assert everything == [ENQUEUED, DELIVERED, ALARM]
    assert delivered == [DELIVERED]
    assert messages == [ENQUEUED, DELIVERED]


async def test_who_ended_its_subscription_hears_no_more(bus: Bus) -> None:
    heard: list[BusEvent] = []
    end = bus.subscribe(heard.append, MessageEnqueued)
    assert bus.wants(MessageEnqueued)
    end()
    end()
    bus.publish(ENQUEUED)
    assert heard == []
    assert not bus.wants(MessageEnqueued)


async def test_one_function_may_subscribe_twice_and_each_subscription_ends_for_itself(bus: Bus) -> None:
    heard: list[BusEvent] = []
    first = bus.subscribe(heard.append)
    second = bus.subscribe(heard.append)
    first()
    first()
    bus.publish(ENQUEUED)
    assert heard == [ENQUEUED]
    second()
    bus.publish(ENQUEUED)
    assert heard == [ENQUEUED]


async def test_nobody_is_built_an_event_for_that_nobody_wants(bus: Bus) -> None:
    assert not bus.wants(MessageEnqueued)
    bus.subscribe(lambda _: None, Alarm)
    assert not bus.wants(MessageEnqueued)
    assert bus.wants(Alarm)
    bus.subscribe(lambda _: None, MessageEvent)
    assert bus.wants(MessageEnqueued)


@pytest.mark.contract("EN11")
async def test_a_subscriber_that_raises_harms_nobody_and_is_counted(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[BusEvent] = []

    def broken(event: BusEvent) -> None:
        raise RuntimeError("I am broken")

    bus.subscribe(broken)
    bus.subscribe(heard.append)
    bus.publish(ENQUEUED)
    assert heard == [ENQUEUED]
    assert bus.errors == 1
    assert "broken" in caplog.text


@pytest.mark.contract("EN11")
async def test_a_coroutine_that_raises_harms_nobody_and_is_counted(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(event: BusEvent) -> None:
        raise RuntimeError("I am broken")

    bus.subscribe(broken)
    bus.publish(ENQUEUED)
    await bus.settle(SECONDS, clock=SystemClock())
    assert bus.errors == 1
    assert "broken" in caplog.text


@pytest.mark.contract("EN11")
async def test_a_slow_subscriber_delays_nobody(bus: Bus) -> None:
    go = asyncio.Event()
    heard: list[BusEvent] = []
    done: list[BusEvent] = []

    async def slow(event: BusEvent) -> None:
        await go.wait()
        done.append(event)

    bus.subscribe(slow)
    bus.subscribe(heard.append)
    for event in (ENQUEUED, DELIVERED):
        bus.publish(event)
    assert heard == [ENQUEUED, DELIVERED]
    assert done == []
    go.set()
    await bus.settle(SECONDS, clock=SystemClock())
    assert done == [ENQUEUED, DELIVERED]


@pytest.mark.contract("EN11", "DR3")
async def test_a_subscriber_that_never_ends_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()

    async def hangs(event: BusEvent) -> None:
        await asyncio.Event().wait()

    bus.subscribe(hangs)
    bus.publish(ENQUEUED)
    async with asyncio.timeout(SECONDS):
        await bus.settle(0.01, clock=SystemClock())
    assert bus.errors == 1
    assert "1 subscribers were not done" in caplog.text


@pytest.mark.contract("EN11")
async def test_a_subscriber_may_publish_and_subscribe(bus: Bus) -> None:
    heard: list[BusEvent] = []

    def chain(event: BusEvent) -> None:
        if event is ENQUEUED:
            bus.subscribe(heard.append)
            bus.publish(ALARM)

    bus.subscribe(chain)
    bus.publish(ENQUEUED)
    assert heard == [ALARM]


@pytest.mark.contract("EV3")
def test_no_event_has_a_place_for_a_messages_text() -> None:
    kinds = [BusEvent]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    names = {name for kind in kinds for name in kind.__struct_fields__}
    assert len(kinds) > 10
    assert names.isdisjoint({"text", "content", "payload", "subject", "recipient", "metadata", "key"})
