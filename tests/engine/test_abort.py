"""Calling back what is still being said: what the platform has stays delivered, nothing else is sent."""

from __future__ import annotations

import functools
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import AbortSignal, Deferred, Delivered, InvalidMessage, Outbox, State
from pillarbox.domain.retry import Policy
from pillarbox.events import MessageCancelled, MessageEnqueued, RetryScheduled, comis
from pillarbox.outbox.outbox import inside
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Box, Stand, until

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt
    from pillarbox.outbox.abort_watch import AbortWatch

pytestmark = pytest.mark.contract("PA5")


def aborts(box: Outbox) -> AbortWatch:
    return inside(box).sending._aborts


async def opened(stand: Stand, channel: ScriptedChannel) -> Box:
    channel.policy = Policy(jitter=0.0)
    return await stand.open(channel)


async def test_an_abort_between_parts_keeps_those_before_it_and_cancels_the_rest(stand: Stand) -> None:
    abort = AbortSignal()
    channel = ScriptedChannel(text_limit=5)
    box = await opened(stand, channel)
    aborted: list[dict[str, Any]] = []
    comis.listen(box.outbox.events, lambda name, fields: aborted.append(fields) if name == comis.ABORTED else None)

    async def second(attempt: Attempt) -> Delivered:
        abort.abort("the user interrupted")
        # The order to cancel is on disk before this part's end is.
        await until(lambda: _asked(box, attempt.id))
        return Delivered("r2")

    channel.script(Delivered("r1"), second)
    message = await box.send(text="one two three four", abort=abort)
    view = await box.settled(message)
    assert [attempt.text for attempt in channel.attempts] == ["one", "two"]
    assert (view.state, view.terminal_reason) == (State.CANCELLED, "requested")
    assert [(part.state, part.receipt) for part in view.parts] == [
        (State.DELIVERED, "r1"),
        (State.DELIVERED, "r2"),
        (State.CANCELLED, None),
        (State.CANCELLED, None),
    ]
    (event,) = box.heard.of(MessageCancelled)
    assert (event.parts_delivered, event.part_count) == (2, 4)
    assert [(fields["chunksDelivered"], fields["totalChunks"]) for fields in aborted] == [(2, 4)]
    assert (event.reason, event.said, event.duration_ms) == ("requested", "the user interrupted", 0)
    assert aborted[0]["reason"] == "the user interrupted"
    acts = [(event.act, event.actor, event.reason) for event in await box.outbox.history(view.id)]
    assert ("cancel requested", "abort signal", "the user interrupted") in acts


async def _asked(box: Box, identity: str) -> bool:
    return (await box.view(identity)).cancel_requested_ms is not None


async def test_an_abort_before_the_first_part_sends_nothing(stand: Stand) -> None:
    channel = ScriptedChannel(policy=Policy(jitter=0.0), text_limit=5)
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    abort = AbortSignal()
    message = await box.send(text="one two three", abort=abort)
    stand.clock.advance(2)
    abort.abort("never mind")
    (event,) = await box.heard.wait_for(MessageCancelled)
    assert (event.said, event.duration_ms) == ("never mind", 2_000)
    assert (event.id, event.parts_delivered, event.part_count) == (message.id, 0, 3)
    view = await box.view(message)
    assert view.state is State.CANCELLED
    assert {part.state for part in view.parts} == {State.CANCELLED}
    assert channel.attempts == []


async def test_a_signal_that_was_given_already_stores_nothing(stand: Stand) -> None:
    channel = ScriptedChannel(text_limit=5)
    box = await opened(stand, channel)
    abort = AbortSignal()
    abort.abort("too late")
    message = await box.send(text="one two three", abort=abort)
    assert (message.id, message.skipped, message.settled) == (None, "aborted", True)
    (event,) = box.heard.of(MessageCancelled)
    assert (event.reason, event.parts_delivered, event.part_count) == ("aborted", 0, 3)
    assert (event.said, event.duration_ms) == ("too late", 0)
    assert box.heard.of(MessageEnqueued) == []
    assert await box.outbox.list() == []


async def test_a_message_waiting_for_its_next_try_is_aborted_at_once(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("busy", after=3600))
    box = await opened(stand, channel)
    abort = AbortSignal()
    message = await box.send(abort=abort)
    await box.heard.wait_for(RetryScheduled)
    abort.abort()
    await box.heard.wait_for(MessageCancelled)
    assert (await box.view(message)).state is State.CANCELLED


async def test_what_was_delivered_stays_delivered(stand: Stand) -> None:
    box = await opened(stand, ScriptedChannel())
    abort = AbortSignal()
    message = await box.send(abort=abort)
    assert (await box.settled(message)).state is State.DELIVERED
    abort.abort()
    await box.settled(await box.send("bob"))
    assert (await box.view(message)).state is State.DELIVERED
    assert box.heard.of(MessageCancelled) == []


async def test_one_signal_aborts_everything_it_was_given_to_and_nothing_else(stand: Stand) -> None:
    box = await opened(stand, ScriptedChannel())
    await box.outbox.pause("chat")
    abort = AbortSignal()
    one = await box.send("ann", abort=abort)
    other = await box.send("bob")
    many = await box.outbox.send_many([{"channel": "chat", "to": ["cy", "dee"], "text": "hi", "abort": abort}])
    abort.abort()
    events = await box.heard.wait_for(MessageCancelled, 3)
    assert {event.id for event in events} == {one.id, *(message.id for message in many)}
    assert (await box.view(other)).state is State.SCHEDULED


async def test_a_signal_may_be_given_on_any_thread(stand: Stand) -> None:
    box = await opened(stand, ScriptedChannel())
    await box.outbox.pause("chat")
    abort = AbortSignal()
    message = await box.send(abort=abort)
    thread = threading.Thread(target=abort.abort, args=("from elsewhere",))
    thread.start()
    (event,) = await box.heard.wait_for(MessageCancelled)
    thread.join()
    assert event.id == message.id


async def test_a_signal_that_outlives_its_outbox_harms_nobody(stand: Stand) -> None:
    box = await opened(stand, ScriptedChannel())
    await box.outbox.pause("chat")
    abort = AbortSignal()
    await box.send(abort=abort)
    await box.outbox.close()
    abort.abort()
    await until(lambda: not aborts(box.outbox)._tasks)
    assert abort.aborted


async def test_a_settled_message_is_not_remembered_by_its_signal(stand: Stand) -> None:
    box = await opened(stand, ScriptedChannel())
    abort = AbortSignal()
    await box.settled(await box.send(abort=abort))
    await until(lambda: abort._listeners == [])


async def test_only_a_signal_is_one(stand: Stand) -> None:
    box = await opened(stand, ScriptedChannel())
    with pytest.raises(InvalidMessage, match=r"^abort: expected an AbortSignal, not str"):
        await box.send(abort="now")


def test_a_signal_is_given_once() -> None:
    abort = AbortSignal()
    heard: list[str] = []
    end = abort.listen(heard.append)
    abort.listen(heard.append)
    end()
    assert (abort.aborted, abort.reason) == (False, "")
    abort.abort("x" * 600)
    abort.abort("again")
    abort.listen(heard.append)
    assert heard == ["x" * 500] * 2
    assert abort.reason == "x" * 500


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_person_who_cancels_what_is_being_sent_is_quoted_at_its_end(stand: Stand, *, many: bool) -> None:
    channel = ScriptedChannel(Deferred("busy"))
    box = await opened(stand, channel)
    channel.hold()
    message = await box.send()
    await channel.begun(1)
    if many:
        assert (await box.outbox.cancel_many("channel=chat", reason="not wanted any more")).applied == 1
    else:
        assert await box.outbox.cancel(message.id or "", reason="not wanted any more")
    channel.release()
    (event,) = await box.heard.wait_for(MessageCancelled)
    assert (event.reason, event.said) == ("requested", "not wanted any more")


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_signal_of_many_sends_holds_on_to_no_message_that_has_ended(tmp_path: Path, *, deliver: bool) -> None:
    abort = AbortSignal()
    listeners = abort._listeners
    async with Outbox(
        tmp_path / "x.db", channels={"chat": ScriptedChannel()}, deliver=deliver, durability="process"
    ) as box:
        if not deliver:
            await box.pause("chat")
        most = 0
        for _ in range(20):
            said = {"channel": "chat", "to": "ann", "text": "hi", "abort": abort, "lane": None}
            messages = await box.send_many([said] * 100)
            if deliver:
                for message in messages:
                    await message.wait()
            else:
                # As another process would end them: nobody tells this one.
                await box.cancel_many("state=scheduled")
            most = max(most, len(listeners))
        assert most <= 1
        if deliver:
            await until(lambda: len(aborts(box)) == 0)
        else:
            await until(lambda: len(aborts(box)) <= 2 * 100)
            last = await box.send("chat", to="ann", text="still here", abort=abort)
            abort.abort("enough")
            await until(lambda: _ended(box, last.id))
    assert (len(abort._listeners), len(aborts(box))) == (0, 0)


async def test_a_signal_that_its_program_forgot_is_kept_by_nobody(tmp_path: Path) -> None:
    async with Outbox(tmp_path / "x.db", deliver=False) as box:
        abort = AbortSignal()
        gone = weakref.ref(abort)
        await box.send("chat", to="ann", text="hi", abort=abort)
        del abort
        gc.collect()
        assert (gone(), len(aborts(box))) == (None, 0)


async def test_what_another_process_is_to_send_is_withdrawn_too(tmp_path: Path) -> None:
    abort = AbortSignal()
    async with Outbox(tmp_path / "x.db", deliver=False) as box:
        messages = [await box.send("chat", to=f"r{n}", text="hi", abort=abort) for n in range(3)]
        other = await box.send("chat", to="bob", text="hi")
        thread = threading.Thread(target=abort.abort, args=("enough",))
        thread.start()
        for message in messages:
            await until(functools.partial(_ended, box, message.id))
        thread.join()
        kept = await box.get(other.id or "")
        assert kept is not None
        assert kept.state is State.SCHEDULED


async def _ended(box: Outbox, identity: str | None) -> bool:
    found = await box.get(identity or "")
    return found is not None and found.state.terminal
