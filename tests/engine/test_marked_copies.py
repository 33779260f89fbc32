"""What goes again with a mark because its platform may have it, and what stands of that in its history (CH6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.retry import MARK, OnDead, Policy, UncertainAction
from pillarbox.events import MessageDelivered, RetryScheduled
from pillarbox.testing.scripted import ScriptedChannel

if TYPE_CHECKING:
    from tests.engine.stand import Stand

pytestmark = pytest.mark.contract("CH6", "UN1")

MARKED = Policy(jitter=0.0, uncertain=UncertainAction.RESEND_MARKED)
OWN = "(maybe a second copy)"


async def test_only_what_may_be_a_copy_says_so(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("busy"), Uncertain("no answer"), Deferred("busy"), policy=MARKED)
    box = await stand.open(channel)
    message = await box.send()
    for count in range(1, 4):
        await box.heard.wait_for(RetryScheduled, count)
        stand.advance(600_000)
        box.look()
    view = await box.settled(message)
    assert view.state is State.DELIVERED
    assert [attempt.text for attempt in channel.attempts] == ["hi", "hi", f"{MARK}\nhi", f"{MARK}\nhi"]
    assert [attempt.content.mark for attempt in channel.attempts] == [None, None, MARK, MARK]
    assert len({attempt.token for attempt in channel.attempts}) == 1
    (told,) = box.heard.of(MessageDelivered)
    assert told.degraded == f"sent with its mark: {MARK}"
    end = (await box.outbox.history(str(message.id)))[-1]
    assert (end.outcome, end.reason) == ("delivered", f"sent with its mark: {MARK}")
    (cause,) = (await box.outbox.explain(str(message.id))).causes
    assert "said that it may be a second one" in cause.text


async def test_each_part_is_marked_for_itself(stand: Stand) -> None:
    channel = ScriptedChannel(
        Delivered("1"),
        Uncertain("no answer"),
        Delivered("2", degraded="without its thread"),
        policy=msgspec.structs.replace(MARKED, uncertain_mark=OWN),
        text_limit=60,
    )
    box = await stand.open(channel)
    message = await box.send(text="one " * 9 + "\n\n" + "two " * 9 + "\n\n" + "end " * 9)
    await box.heard.wait_for(RetryScheduled, 1)
    stand.advance(5_000)
    box.look()
    await box.settled(message)
    texts = [attempt.text for attempt in channel.attempts]
    assert [text.startswith(OWN) for text in texts] == [False, False, True, False]
    assert texts[2] == f"{OWN}\n{texts[1]}"
    (kept,) = [event for event in await box.outbox.history(str(message.id)) if "mark" in (event.reason or "")]
    assert kept.reason == f"sent with its mark: {OWN}; without its thread"


async def test_what_a_person_knows_to_be_lost_is_no_copy(stand: Stand) -> None:
    blocking = Policy(jitter=0.0, uncertain=UncertainAction.RESEND_MARKED, max_attempts=1, on_dead=OnDead.BLOCK)
    channel = ScriptedChannel(Uncertain("no answer"), Uncertain("no answer"), policy=blocking)
    box = await stand.open(channel)
    message = await box.send()
    await box.store.until(lambda batch: bool(batch.settle), 1)
    await box.idle()
    stand.advance(1)
    # Or the second attempt might end in the very millisecond of what is known of the first.
    await box.outbox.pause("chat")
    await box.outbox.resolve(str(message.id), "not_delivered", reason="looked")
    stand.advance(1)
    await box.outbox.resume("chat")
    await channel.begun(2)
    await box.store.until(lambda batch: bool(batch.settle), 2)
    await box.idle()
    await box.outbox.resolve(str(message.id), "resend", reason="nobody knows")
    await box.settled(message)
    assert [attempt.text for attempt in channel.attempts] == ["hi", "hi", f"{MARK}\nhi"]


async def test_an_edit_that_is_made_twice_is_no_copy(stand: Stand) -> None:
    channel = ScriptedChannel(Delivered("1"), Uncertain("no answer"), policy=MARKED)
    channel.capabilities = type(channel.capabilities)(edits=True)
    box = await stand.open(channel)
    message = await box.send()
    await box.settled(message)
    edit = await box.outbox.edit(message, text="better")
    await box.heard.wait_for(RetryScheduled, 1)
    stand.advance(5_000)
    box.look()
    await box.settled(edit)
    assert [attempt.text for attempt in channel.attempts] == ["hi", "better", "better"]


async def test_a_channel_that_cannot_mark_sends_its_copy_all_the_same(stand: Stand) -> None:
    class Clumsy(ScriptedChannel):
        def marked(self, content: object, mark: str) -> object:  # type: ignore[override]
            raise RuntimeError(mark)

    channel = Clumsy(Uncertain("no answer"), Rejected("no"), policy=MARKED)
    box = await stand.open(channel)
    message = await box.send()
    await box.heard.wait_for(RetryScheduled, 1)
    stand.advance(5_000)
    box.look()
    await box.settled(message)
    assert [attempt.text for attempt in channel.attempts] == ["hi", "hi"]
