"""What the seeds' configuration and their texts promise, seen from outside: their own sections, and what is sent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred
from pillarbox.domain.transition import Reason
from pillarbox.errors import QueueFull, Refused
from pillarbox.events import Drained, MessageExpired
from pillarbox.settings.load import load
from pillarbox.testing.fakes import SeededEntropy
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS, SECONDS, Box, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.engine.stand import Stand

COMIS = "deliveryQueue: {maxQueueDepth: 3, defaultMaxAttempts: 2, defaultExpireMs: 60000, drainOnStartup: false}\n"
OPENCLAW = "messages: {delivery: {maxAgeMs: 60000, expireAction: %s}}\n"
PERMANENT = "No conversation reference found for user:1"


@contextlib.asynccontextmanager
async def configured(stand: Stand, text: str, channel: ScriptedChannel) -> AsyncIterator[Box]:
    """An outbox as the file of a seed configures it, on the stand's clock."""
    file = stand.path.with_name("seed.yaml")
    file.write_text(text, "utf-8")
    settings = load(path=file, environ={"XDG_STATE_HOME": str(file.parent)}).settings
    outbox = Outbox(
        stand.path,
        {"chat": channel},
        settings=settings,
        clock=stand.clock,
        entropy=SeededEntropy(1),
        defaults={"jitter": 0.0},
    )
    async with outbox:
        yield Box(outbox)
        async with asyncio.timeout(SECONDS):
            await outbox.stop(0)


@pytest.mark.contract("CF1", "EN5")
async def test_comis_depth_is_enforced(stand: Stand) -> None:
    async with configured(stand, COMIS, ScriptedChannel()) as box:
        await box.outbox.pause("chat")
        for n in range(3):
            await box.send(f"r{n}")
        with pytest.raises(QueueFull, match="3") as caught:
            await box.send("one too many")
        assert caught.value.scope == "store"
        assert len(await box.outbox.list()) == 3


@pytest.mark.contract("CF1", "EN6", "RE2")
async def test_comis_attempts_are_counted(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("busy"), Deferred("busy"))
    async with configured(stand, COMIS, channel) as box:
        message = await box.send()
        await channel.answered(1)
        await box.idle()
        stand.advance(5_000)
        box.look()
        view = await box.settled(message)
        assert (view.state, view.terminal_reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED)
        assert len(channel.attempts) == 2


@pytest.mark.contract("CF1", "EX1")
async def test_comis_expiry_ends_a_message_with_an_event_and_keeps_it(stand: Stand) -> None:
    channel = ScriptedChannel()
    async with configured(stand, COMIS, channel) as box:
        await box.outbox.pause("chat")
        message = await box.send()
        stand.advance(60_001)
        await box.reap()
        assert (await box.view(message)).state is State.EXPIRED
        assert [event.id for event in box.heard.of(MessageExpired)] == [message.id]
        assert channel.attempts == []


@pytest.mark.on_files("opens the file by its settings")
@pytest.mark.contract("CF1", "DR1", "DR2")
async def test_without_a_drain_at_the_start_what_waits_goes_all_the_same(stand: Stand) -> None:
    waiting = await (await stand.open()).send()
    async with configured(stand, COMIS, ScriptedChannel()) as box:
        assert (await box.settled(waiting)).state is State.DELIVERED
        with pytest.raises(Refused, match="drain_on_startup"):
            await box.outbox.drained()
        assert box.heard.of(Drained) == []


@pytest.mark.contract("CF1", "EX2", "EX1")
@pytest.mark.parametrize(("action", "ends"), [("fail", State.EXPIRED), ("deliver", State.DELIVERED)])
async def test_openclaws_age_and_action_are_obeyed(stand: Stand, action: str, ends: State) -> None:
    async with configured(stand, OPENCLAW % action, ScriptedChannel()) as box:
        await box.outbox.pause("chat")
        message = await box.send()
        stand.advance(60_001)
        await box.outbox.resume("chat")
        assert (await box.settled(message)).state is ends


@pytest.mark.contract("EX1", "LE4")
async def test_what_may_have_arrived_is_not_sent_again_after_its_ttl(stand: Stand) -> None:
    """A time to live bounds how late a duplicate can come (Comis's "duplicate delivery window")."""
    first = ScriptedChannel()
    first.hold()
    box = await stand.open(first)
    message = await box.send(ttl=60)
    await first.begun(1)
    channel = ScriptedChannel()
    other = await stand.open(channel)
    stand.advance(LEASE_MS + 60_001)
    await other.reap()
    await other.reap()
    view = await other.settled(message)
    assert (view.state, view.lost) == (State.EXPIRED, 1)
    await other.looked()
    assert channel.attempts == []


@pytest.mark.contract("CL3", "DR1", "ST2")
async def test_what_failed_for_good_is_tried_again_by_no_restart(stand: Stand) -> None:
    """OpenClaw's #23777: entries that can never be delivered came back at every restart."""
    calls: list[str] = []

    async def teams(attempt: Any) -> str:
        calls.append(attempt.id)
        raise RuntimeError(PERMANENT)

    async def once(drained: int) -> None:
        outbox = Outbox(stand.path, {"chat": teams}, clock=stand.clock, entropy=SeededEntropy(drained + 1))
        async with outbox, asyncio.timeout(SECONDS):
            message = None if drained else await outbox.send("chat", to="user:1", text="hi")
            report = await outbox.drained()
            if message is not None:
                await message.wait()
                assert (message.state, message.view and message.view.charged) == (State.DEAD, 1)
            else:
                assert (report.failed, report.deferred_backoff, report.deferred_budget) == (0, 0, 0)

    for restart in range(3):
        await once(restart)
        stand.advance(3_600_000)
    assert len(calls) == 1


@pytest.mark.contract("PR2")
async def test_a_running_worker_prunes_by_itself(stand: Stand) -> None:
    """The first finding about rows that are kept: there was a function that prunes, and nobody called it."""
    box = await stand.open(ScriptedChannel(), prune_interval_ms=20)
    message = await box.send()
    assert (await box.settled(message)).state is State.DELIVERED
    stand.advance(49 * 3_600_000)

    async def gone() -> bool:
        return await box.outbox.get(message.id or "") is None

    await until(gone)


@pytest.mark.contract("EX1")
async def test_a_running_worker_expires_by_itself(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel())
    await box.outbox.pause("chat")
    message = await box.send(ttl=60)
    stand.advance(60_001)
    (event,) = await box.heard.wait_for(MessageExpired)
    assert event.id == message.id
    assert (await box.view(message)).state is State.EXPIRED
