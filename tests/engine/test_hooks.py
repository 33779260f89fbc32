"""What an application may say about its messages on their way, and that it can stop none by mistake."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Delivered, InvalidMessage, Rejected, State
from pillarbox.domain.retry import Policy
from pillarbox.engine.hooks import REASON_MAX, TEXT_MAX, Cancelled, Defer, Withdraw
from pillarbox.events import (
    Alarm,
    HookCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    MessageEvent,
    MessageExpired,
    RetryScheduled,
)
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, Box, Stand, crash, until

if TYPE_CHECKING:
    from pillarbox.domain.outgoing import Outgoing

STEADY = Policy(jitter=0.0)


@pytest.fixture
async def channel() -> ScriptedChannel:
    return ScriptedChannel(policy=STEADY)


@pytest.fixture
async def box(stand: Stand, channel: ScriptedChannel) -> Box:
    return await stand.open(channel)


def alarms(box: Box) -> list[str]:
    """Name what somebody should look at."""
    return [event.what for event in box.heard.of(Alarm)]


# Before the delivery


@pytest.mark.contract("HO1")
async def test_a_hook_may_rewrite_the_text(box: Box, channel: ScriptedChannel) -> None:
    box.outbox.hooks.before_delivery(lambda said: said.text.upper())
    await box.settled(await box.send(text="quiet"))
    assert channel.attempts[0].text == "QUIET"


@pytest.mark.contract("HO1")
async def test_hooks_run_by_priority_then_in_order_and_each_sees_what_the_one_before_made(
    box: Box, channel: ScriptedChannel
) -> None:
    hooks = box.outbox.hooks
    hooks.before_delivery(lambda said: said.text + "c")
    hooks.before_delivery(lambda said: said.text + "a", priority=10)
    hooks.before_delivery(lambda said: said.text + "d")

    async def later(said: Outgoing) -> str:
        await asyncio.sleep(0)
        return f"{said.text}b"

    hooks.before_delivery(later, priority=5)
    await box.settled(await box.send(text="-"))
    assert channel.attempts[0].text == "-abcd"


@pytest.mark.contract("HO1", "EN14")
async def test_a_hook_may_cancel_and_nothing_is_stored(box: Box, channel: ScriptedChannel) -> None:
    asked: list[str] = []
    box.outbox.hooks.before_delivery(lambda _: Cancelled("quiet hours"))
    box.outbox.hooks.before_delivery(lambda said: asked.append(said.text))
    message = await box.send(text="wake up", origin="agent", correlation_id="turn")
    assert (message.id, message.skipped, message.settled, message.parts) == (None, "hook", True, ())
    (event,) = box.heard.of(HookCancelled)
    assert (event.channel, event.to, event.origin, event.reason) == ("chat", "ann", "agent", "quiet hours")
    assert asked == []
    assert await box.outbox.list() == []
    assert box.heard.of(MessageEnqueued) == []
    assert channel.attempts == []


@pytest.mark.contract("HO1")
async def test_a_long_reason_is_cut(box: Box) -> None:
    box.outbox.hooks.before_delivery(lambda _: Cancelled("x" * (REASON_MAX + 1)))
    await box.send()
    assert box.heard.of(HookCancelled)[0].reason == "x" * 500


@pytest.mark.contract("HO1")
@pytest.mark.parametrize(
    ("answer", "what"),
    [("x" * (TEXT_MAX + 1), "hook_invalid"), (5, "hook_invalid"), (RuntimeError("a bug"), "hook_failed")],
    ids=["too long", "no answer at all", "raises"],
)
async def test_a_hook_that_gives_nonsense_or_raises_is_skipped_and_reported(
    box: Box, channel: ScriptedChannel, answer: Any, what: str
) -> None:
    def hook(_: Outgoing) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    box.outbox.hooks.before_delivery(hook)
    box.outbox.hooks.before_delivery(lambda said: said.text + "!")
    await box.settled(await box.send(text="hi"))
    assert channel.attempts[0].text == "hi!"
    assert alarms(box) == [what]


@pytest.mark.contract("HO1")
async def test_the_longest_text_that_a_hook_may_give_is_taken(box: Box, channel: ScriptedChannel) -> None:
    box.outbox.hooks.before_delivery(lambda _: "x" * 50_000)
    await box.settled(await box.send())
    assert len(channel.attempts[0].text) == 50_000
    assert alarms(box) == []


@pytest.mark.contract("HO1")
async def test_a_hook_that_takes_too_long_is_cut_off_and_reported(box: Box, channel: ScriptedChannel) -> None:
    cut = asyncio.Event()

    async def slow(_: Outgoing) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        return "never"

    box.outbox.hooks.before_delivery(slow, timeout_seconds=0.01)
    await box.settled(await box.send(text="hi"))
    assert channel.attempts[0].text == "hi"
    assert alarms(box) == ["hook_slow"]
    assert cut.is_set()


@pytest.mark.contract("HO1", "EN13")
async def test_what_a_hook_makes_of_a_message_is_checked_like_anything_else(box: Box) -> None:
    box.outbox.hooks.before_delivery(lambda _: "half a surrogate \ud800")
    with pytest.raises(InvalidMessage, match=r"^text: "):
        await box.send()


@pytest.mark.contract("HO1", "EN14")
async def test_text_that_a_hook_empties_is_empty(box: Box) -> None:
    box.outbox.hooks.before_delivery(lambda _: " ")
    assert (await box.send()).skipped == "empty"


@pytest.mark.contract("HO1", "EN7")
async def test_a_key_stands_for_what_was_stored(box: Box) -> None:
    box.outbox.hooks.before_delivery(lambda said: said.text + "!")
    first = await box.send(key="k")
    again = await box.send(key="k")
    assert (again.id, again.created) == (first.id, False)


@pytest.mark.contract("HO1")
async def test_hooks_before_delivery_do_not_run_again_for_a_recovered_message(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    runs: list[str] = []
    box.outbox.hooks.before_delivery(lambda said: runs.append(said.text))
    message = await box.send(text="hi")
    await channel.begun(1)
    await crash(box)
    successor = ScriptedChannel(policy=STEADY)
    other = await stand.open(successor)
    other.outbox.hooks.before_delivery(lambda said: runs.append(f"again {said.text}"))
    await other.reap()
    stand.advance(5_000)
    other.look()
    await other.settled(message)
    assert runs == ["hi"]
    assert successor.attempts[0].text == "hi"


# After the delivery


@pytest.mark.contract("HO2")
async def test_after_delivery_is_told_of_success_and_failure(box: Box, channel: ScriptedChannel) -> None:
    told: list[Any] = []
    box.outbox.hooks.after_delivery(told.append)
    channel.script(Rejected("no"), to="bob")
    channel.script(Delivered("m1"), to="ann")
    first, second = await box.send("ann"), await box.send("bob")
    await box.settled(first)
    await box.settled(second)
    await until(lambda: len(told) == 2)
    delivered, died = sorted(told, key=lambda event: str(event.to))
    assert isinstance(delivered, MessageDelivered)
    assert isinstance(died, MessageDied)
    assert (delivered.id, delivered.receipt, died.id, died.reason) == (first.id, "m1", second.id, "rejected")


@pytest.mark.contract("HO2")
async def test_nobody_waits_for_after_delivery(box: Box) -> None:
    go = asyncio.Event()
    done: list[str] = []

    async def slow(event: MessageEvent) -> None:
        await go.wait()
        done.append(event.id)

    box.outbox.hooks.after_delivery(slow, timeout_seconds=SECONDS)
    messages = [await box.send() for _ in range(3)]
    for message in messages:
        assert (await box.settled(message)).state is State.DELIVERED
    assert done == []
    go.set()
    await until(lambda: len(done) == 3)


@pytest.mark.contract("HO2")
async def test_after_delivery_is_not_told_of_a_retry_or_what_was_cancelled(box: Box, channel: ScriptedChannel) -> None:
    told: list[object] = []
    box.outbox.hooks.after_delivery(told.append)
    from pillarbox import Deferred

    channel.script(Deferred("busy", after=3600))
    message = await box.send()
    await box.heard.wait_for(RetryScheduled)
    await box.outbox.cancel(message.id or "")
    assert (await box.settled(message)).state is State.CANCELLED
    # A delivery behind it proves that the hook would have been told by now.
    await box.settled(await box.send("bob"))
    await until(lambda: len(told) == 1)
    (event,) = told
    assert isinstance(event, MessageDelivered)
    assert event.to == "bob"


@pytest.mark.contract("HO2", "EX1")
async def test_after_delivery_is_told_of_what_expired(stand: Stand, box: Box, channel: ScriptedChannel) -> None:
    told: list[object] = []
    box.outbox.hooks.after_delivery(told.append)
    await box.outbox.pause("chat")
    await box.send(ttl=5)
    stand.advance(6_000)
    await box.reap()
    await until(lambda: len(told) == 1)
    assert isinstance(told[0], MessageExpired)
    assert channel.attempts == []


@pytest.mark.contract("HO2")
async def test_after_delivery_is_told_of_a_recovered_message(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    await crash(box)
    other = await stand.open(ScriptedChannel(policy=STEADY))
    told: list[MessageEvent] = []
    other.outbox.hooks.after_delivery(told.append)
    await other.reap()
    stand.advance(5_000)
    other.look()
    await other.settled(message)
    await until(lambda: len(told) == 1)
    assert told[0].id == message.id


@pytest.mark.contract("HO2")
async def test_an_after_delivery_hook_that_fails_or_hangs_is_reported_and_harms_nobody(box: Box) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    async def hangs(_: object) -> None:
        await asyncio.Event().wait()

    told: list[object] = []
    for hook, seconds in ((broken, 5.0), (hangs, 0.01), (told.append, 5.0)):
        box.outbox.hooks.after_delivery(hook, timeout_seconds=seconds)
    assert (await box.settled(await box.send())).state is State.DELIVERED
    await until(lambda: len(alarms(box)) == 2 and len(told) == 1)
    assert sorted(alarms(box)) == ["hook_failed", "hook_slow"]


# Just before the send


@pytest.mark.contract("HO3")
async def test_a_message_that_is_still_wanted_goes(box: Box, channel: ScriptedChannel) -> None:
    asked: list[str] = []
    box.outbox.hooks.revalidate(lambda attempt: asked.append(attempt.to))
    assert (await box.settled(await box.send())).state is State.DELIVERED
    assert asked == ["ann"]


@pytest.mark.contract("HO3", "RE5")
async def test_a_withdrawn_message_ends_at_no_attempt(box: Box, channel: ScriptedChannel) -> None:
    box.outbox.hooks.revalidate(lambda _: Withdraw("the build is green again"))
    view = await box.settled(await box.send())
    assert (view.state, view.terminal_reason) == (State.CANCELLED, "withdrawn")
    assert (view.charged, view.last_error) == (0, "the build is green again")
    assert channel.attempts == []


@pytest.mark.contract("HO3", "RE5")
async def test_a_deferred_message_comes_again_at_no_attempt(stand: Stand, box: Box, channel: ScriptedChannel) -> None:
    answers = [Defer(30, "not now"), None]
    box.outbox.hooks.revalidate(lambda _: answers.pop(0))
    message = await box.send()
    (retry,) = await box.heard.wait_for(RetryScheduled)
    assert (retry.charged, retry.error, retry.due_ms) == (False, "not now", stand.clock.wall_ms() + 30_000)
    assert channel.attempts == []
    stand.advance(30_000)
    box.look()
    view = await box.settled(message)
    assert (view.state, view.charged, view.claims) == (State.DELIVERED, 0, 2)


@pytest.mark.contract("HO3")
async def test_the_first_hook_that_objects_decides(box: Box) -> None:
    asked: list[str] = []
    box.outbox.hooks.revalidate(lambda _: None)
    box.outbox.hooks.revalidate(lambda _: Withdraw("first"))
    box.outbox.hooks.revalidate(lambda _: asked.append("third"))
    assert (await box.settled(await box.send())).last_error == "first"
    assert asked == []


@pytest.mark.contract("HO3")
async def test_a_revalidate_hook_that_fails_lets_the_message_go(box: Box, channel: ScriptedChannel) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    box.outbox.hooks.revalidate(broken)
    box.outbox.hooks.revalidate(lambda _: "yes")
    assert (await box.settled(await box.send())).state is State.DELIVERED
    assert alarms(box) == ["hook_failed", "hook_invalid"]
