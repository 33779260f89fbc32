"""What was answered while the loop stood still, or after a lease was lost, is recorded and not thrown away."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.engine.hooks import Cancelled, Withdraw
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS, SECONDS, until

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt
    from tests.engine.stand import Stand

HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)
FOR_EVER = Policy(jitter=0.0, ttl_seconds=None)
TIMEOUT = 0.1
STILL = 0.3


class Elsewhere:
    """Something answers in another thread while the loop stands still."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.still = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._threads: list[threading.Thread] = []

    def ask(self, answer: object) -> asyncio.Future[object]:
        future: asyncio.Future[object] = self._loop.create_future()
        thread = threading.Thread(target=self._answer, args=(future, answer))
        self._threads.append(thread)
        thread.start()
        self.asked.set()
        return future

    def _answer(self, future: asyncio.Future[object], answer: object) -> None:
        assert self.still.wait(SECONDS)
        self._loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(answer))

    async def stand_still(self) -> None:
        """Block the loop from the question on, until long after the answer and the deadline."""
        async with asyncio.timeout(SECONDS):
            await self.asked.wait()
        self.still.set()
        for thread in self._threads:
            thread.join(SECONDS)
        threading.Event().wait(STILL)


@pytest.mark.contract("UN1", "ST6")
async def test_a_send_that_was_answered_while_the_loop_stood_still_is_delivered(stand: Stand) -> None:
    elsewhere = Elsewhere()
    channel = ScriptedChannel(lambda attempt: elsewhere.ask(Delivered("r")), policy=HOLD, send_timeout_seconds=TIMEOUT)
    box = await stand.open(channel)
    message = await box.send()
    await elsewhere.stand_still()
    view = await box.settled(message)
    assert (view.state, view.receipt, view.claims, channel.cut) == (State.DELIVERED, "r", 1, 0)


@pytest.mark.contract("EN12", "UN1")
async def test_without_a_queue_too(tmp_path: Path) -> None:
    elsewhere = Elsewhere()

    async def answer(attempt: Attempt) -> object:
        return await elsewhere.ask("r")

    box = Outbox(tmp_path / "no.db", enabled=False)
    box.channel("chat", answer, timeout=f"{TIMEOUT}s")
    async with box:
        sending = asyncio.create_task(box.send("chat", to="ann", text="hi"))
        await elsewhere.stand_still()
        message = await sending
    assert message.state is State.DELIVERED


@pytest.mark.contract("HO1", "HO3")
@pytest.mark.parametrize("hook", ["before_delivery", "revalidate"])
async def test_a_hook_that_answered_while_the_loop_stood_still_is_heard(stand: Stand, hook: str) -> None:
    elsewhere = Elsewhere()
    said = Cancelled("no") if hook == "before_delivery" else Withdraw("no")

    async def ask(subject: Any) -> object:
        return await elsewhere.ask(said)

    box = stand.make(ScriptedChannel(policy=FOR_EVER))
    getattr(box.outbox.hooks, hook)(ask, timeout_seconds=TIMEOUT)
    async with box.outbox:
        sending = asyncio.create_task(box.send())
        await elsewhere.stand_still()
        message = await sending
        if hook == "revalidate":
            assert (await box.settled(message)).state is State.CANCELLED
        else:
            assert message.skipped == "hook"
        assert not box.counts.get("alarm:hook_slow")


@pytest.mark.contract("ST6", "LE3")
async def test_a_resumed_workers_answer_is_recorded_as_late(stand: Stand) -> None:
    old_channel, new_channel = ScriptedChannel(policy=FOR_EVER), ScriptedChannel(policy=FOR_EVER)
    old_channel.hold()
    old = await stand.open(old_channel)
    message = await old.send(ttl=None)
    await old_channel.begun(1)
    old.worker._accepting = False
    stand.advance(LEASE_MS + 1)
    new = await stand.open(new_channel)
    await new.reap()
    stand.advance(60_000)
    new.look()
    assert (await new.settled(message)).state is State.DELIVERED
    await old.renew()  # finds the lease lost, before the answer is read
    old_channel.release()
    await until(lambda: old.counts.get("late") == 1)
    view = await new.view(message)
    assert (view.state, view.extra_copies, view.also_arrived_ms) == (State.DELIVERED, 1, stand.clock.wall_ms())
    assert (old_channel.cut, len(new_channel.attempts)) == (0, 1)


@pytest.mark.contract("LE3")
async def test_a_send_whose_lease_is_lost_is_cut_off_at_once_where_nothing_was_written(stand: Stand) -> None:
    cut = asyncio.Event()

    async def connect(attempt: Attempt) -> AnyOutcome:
        attempt.progress.written = False
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        raise AssertionError

    channel = ScriptedChannel(connect, policy=FOR_EVER)
    old = await stand.open(channel)
    await old.send(ttl=None)
    await channel.begun(1)
    old.worker._accepting = False
    stand.advance(LEASE_MS + 1)
    new = await stand.open(ScriptedChannel(policy=FOR_EVER))
    await new.reap()
    await old.renew()
    await asyncio.sleep(0)
    assert cut.is_set()


@pytest.mark.contract("LE3")
async def test_one_that_is_not_answered_after_its_lease_was_lost_is_cut_off_after_a_grace(stand: Stand) -> None:
    channel = ScriptedChannel(policy=FOR_EVER)
    channel.hold()
    old = await stand.open(channel)
    await old.send(ttl=None)
    await channel.begun(1)
    old.worker._accepting = False
    stand.advance(LEASE_MS + 1)
    new = await stand.open(ScriptedChannel(policy=FOR_EVER))
    await new.reap()
    await old.renew()
    assert channel.cut == 0
    await old.idle()
    assert channel.cut == 1
