"""A disabled queue: sends pass straight to the channel, and nothing is kept."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import AbortSignal, Deferred, Delivered, InvalidMessage, NotFound, Outbox, Refused, Rejected, State, sync
from pillarbox.domain.outcome import AnyOutcome, Uncertain
from pillarbox.domain.retry import CHAT
from pillarbox.engine.drain import DrainReport
from pillarbox.events import (
    Drained,
    MessageCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    PartDelivered,
)
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Heard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.channels.base import Attempt

pytestmark = pytest.mark.contract("EN12")


@pytest.fixture
async def channel() -> ScriptedChannel:
    return ScriptedChannel(policy=CHAT)


@pytest.fixture
async def box(tmp_path: Path, channel: ScriptedChannel) -> AsyncIterator[Outbox]:
    async with Outbox(tmp_path / "outbox.db", channels={"chat": channel}, enabled=False) as box:
        yield box


async def test_a_send_returns_when_the_channel_has_answered(box: Outbox, channel: ScriptedChannel) -> None:
    channel.script(Delivered("m1"))
    channel.hold()
    sending = asyncio.create_task(box.send("chat", to="ann", text="hi"))
    await channel.begun(1)
    assert not sending.done()
    channel.release()
    message = await sending
    assert (message.state, message.receipt, message.settled) == (State.DELIVERED, "m1", True)
    assert message.id is not None
    assert len(message.id) == 22
    assert channel.attempts[0].id == message.id
    assert (await message.wait(timeout=0)).state is State.DELIVERED


async def test_no_file_is_made(box: Outbox, tmp_path: Path) -> None:
    await box.send("chat", to="ann", text="hi")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 — nothing at all, hidden files too
    assert box.in_memory


async def test_all_counts_are_zero_and_nothing_can_be_found(box: Outbox) -> None:
    message = await box.send("chat", to="ann", text="hi")
    assert (await box.stats(), await box.list(), await box.queues(), await box.workers()) == ([], [], [], [])
    assert not box.counts
    assert await box.get(message.id or "") is None
    assert await box.history(message.id or "") == []
    assert await box.check() == []
    with pytest.raises(NotFound):
        await box.cancel(message.id or "")
    assert (await box.prune(1), (await box.summary("t")).delivered) == ({}, 0)


async def test_nothing_is_paused_that_would_not_wait(box: Outbox) -> None:
    with pytest.raises(Refused, match="enabled = false"):
        await box.pause("chat")
    assert not await box.resume("chat")


async def test_events_tell_of_it_all_the_same(box: Outbox, channel: ScriptedChannel) -> None:
    heard = Heard(box)
    channel.script(Delivered("m1"), Rejected("no such chat"))
    first = await box.send("chat", to="ann", text="hi", correlation_id="turn")
    second = await box.send("chat", to="bob", text="hi")
    assert [type(event) for event in heard.events] == [MessageEnqueued, MessageDelivered, MessageEnqueued, MessageDied]
    (delivered,), (died,) = heard.of(MessageDelivered), heard.of(MessageDied)
    assert (delivered.id, delivered.receipt, delivered.correlation_id) == (first.id, "m1", "turn")
    assert (died.id, died.to, died.reason, died.error) == (second.id, "bob", "rejected", "no such chat")


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Deferred("busy"), "retries_exhausted"),
        (Uncertain("no answer"), "retries_exhausted"),
        (Rejected("blocked"), "rejected"),
        (RuntimeError("a bug"), "retries_exhausted"),
    ],
    ids=["deferred", "uncertain", "rejected", "raised"],
)
async def test_what_fails_is_not_tried_again(
    box: Outbox, channel: ScriptedChannel, outcome: AnyOutcome | Exception, reason: str
) -> None:
    channel.script(outcome)
    message = await box.send("chat", to="ann", text="hi")
    assert (message.state, message.reason) == (State.DEAD, reason)
    assert message.error
    assert len(channel.attempts) == 1


async def test_what_would_be_held_or_given_back_ends_too(tmp_path: Path, channel: ScriptedChannel) -> None:
    outbox = Outbox(tmp_path / "outbox.db", enabled=False)
    outbox.channel("chat", channel, uncertain="hold")
    channel.script(Uncertain("no answer"))
    async with outbox as box:
        message = await box.send("chat", to="ann", text="hi")
        assert (message.state, message.reason, message.error) == (State.DEAD, "uncertain", "no answer")
        channel.script(lambda _: _rate_limited())
        message = await box.send("chat", to="ann", text="hi")
        assert (message.state, message.reason) == (State.DEAD, "retries_exhausted")


def _rate_limited() -> AnyOutcome:
    from pillarbox import RateLimited

    return RateLimited("slow", after=30)


async def test_a_send_that_takes_too_long_is_cut_off(tmp_path: Path) -> None:
    channel = ScriptedChannel(send_timeout_seconds=0.05)
    channel.hold()
    async with Outbox(tmp_path / "outbox.db", channels={"chat": channel}, enabled=False) as box:
        message = await box.send("chat", to="ann", text="hi")
    assert (message.state, message.error) == (State.DEAD, "no answer in time")
    assert channel.cut == 1


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("key", {"key": "k"}),
        ("at", {"at": timedelta(hours=1)}),
        ("at", {"at": datetime(2020, 1, 1, tzinfo=UTC)}),
        ("lane", {"lane": "l"}),
        ("collapse", {"collapse": "c"}),
        ("mirror", {"mirror": {"sessionKey": "s"}}),
        ("uncertain", {"uncertain": "hold"}),
        ("uncertain", {"uncertain": "reconcile"}),
    ],
)
async def test_what_only_a_queue_keeps_is_refused_by_name(
    box: Outbox, channel: ScriptedChannel, field: str, said: dict[str, Any]
) -> None:
    with pytest.raises(InvalidMessage, match=f"^{field}: .*enabled = false"):
        await box.send("chat", to="ann", text="hi", **said)
    with pytest.raises(InvalidMessage, match=rf"^messages\[0\].{field}: "):
        await box.send_many([{"channel": "chat", "to": "ann", "text": "hi"} | said])
    assert channel.attempts == []


@pytest.mark.parametrize(
    "said",
    [
        {"lane": None},
        {"ttl": 5},
        {"uncertain": "resend"},
        {"uncertain": "drop"},
        {"max_attempts": 3, "schedule": "5s", "priority": 3},
        {"kind": "block", "correlation_id": "turn"},
    ],
    ids=str,
)
async def test_what_costs_nothing_without_a_queue_is_no_reason_to_refuse(box: Outbox, said: dict[str, Any]) -> None:
    assert (await box.send("chat", to="ann", text="hi", **said)).state is State.DELIVERED


@pytest.mark.parametrize("deliver", [True, False])
async def test_there_is_nothing_to_drain(tmp_path: Path, channel: ScriptedChannel, *, deliver: bool) -> None:
    outbox = Outbox(tmp_path / "outbox.db", channels={"chat": channel}, enabled=False, deliver=deliver)
    async with outbox as box:
        heard = Heard(box)
        assert await box.drain(1) == await box.drained() == DrainReport()
        assert heard.of(Drained) == []


def test_the_blocking_outbox_refuses_and_drains_alike(tmp_path: Path) -> None:
    with sync.Outbox(tmp_path / "outbox.db", channels={"chat": ScriptedChannel()}, enabled=False) as box:
        assert box.send("chat", to="ann", text="hi").state is State.DELIVERED
        with pytest.raises(InvalidMessage, match=r"^mirror: "):
            box.send("chat", to="ann", text="hi", mirror={"sessionKey": "s"})
        assert box.drain(1) == box.drained() == DrainReport()


async def test_several_are_sent_and_each_has_its_own_end(box: Outbox, channel: ScriptedChannel) -> None:
    channel.script(Rejected("no"), to="bob")
    messages = await box.send_many(
        [{"channel": "chat", "to": ["ann", "bob"], "text": "hi"}, {"channel": "chat", "to": "cy", "text": " "}]
    )
    assert [message.state for message in messages[:2]] == [State.DELIVERED, State.DEAD]
    assert (messages[2].skipped, messages[2].id) == ("empty", None)


async def test_long_text_goes_out_in_parts_and_each_has_its_truth(tmp_path: Path) -> None:
    channel = ScriptedChannel(Delivered("a"), Rejected("bad word"), text_limit=5)
    async with Outbox(tmp_path / "outbox.db", channels={"chat": channel}, enabled=False) as box:
        heard = Heard(box)
        message = await box.send("chat", to="ann", text="one two three")
    assert [attempt.text for attempt in channel.attempts] == ["one", "two"]
    assert message.state is State.DEAD
    assert [(part.state, part.receipt) for part in message.parts] == [
        (State.DELIVERED, "a"),
        (State.DEAD, None),
        (State.CANCELLED, None),
    ]
    assert [event.part for event in heard.of(PartDelivered)] == [0]
    assert heard.of(MessageDied)[0].parts_delivered == 1


@pytest.mark.contract("PA5")
async def test_an_abort_comes_between_two_parts(tmp_path: Path) -> None:
    abort = AbortSignal()

    def answer(attempt: Attempt) -> Delivered:
        abort.abort("interrupted")
        return Delivered("a")

    channel = ScriptedChannel(answer, text_limit=5)
    async with Outbox(tmp_path / "outbox.db", channels={"chat": channel}, enabled=False) as box:
        heard = Heard(box)
        message = await box.send("chat", to="ann", text="one two three", abort=abort)
    assert len(channel.attempts) == 1
    assert message.state is State.CANCELLED
    assert [part.state for part in message.parts] == [State.DELIVERED, State.CANCELLED, State.CANCELLED]
    (cancelled,) = heard.of(MessageCancelled)
    assert (cancelled.parts_delivered, cancelled.part_count, cancelled.said) == (1, 3, "interrupted")


async def test_no_more_are_sent_at_once_than_the_channel_takes(tmp_path: Path) -> None:
    channel = ScriptedChannel(concurrency=2)
    channel.hold()
    async with Outbox(tmp_path / "outbox.db", channels={"chat": channel}, enabled=False) as box:
        sending = [asyncio.create_task(box.send("chat", to=f"r{n}", text="hi")) for n in range(5)]
        await channel.begun(2)
        channel.release()
        messages = await asyncio.gather(*sending)
    assert {message.state for message in messages} == {State.DELIVERED}
    assert channel.most == 2
    assert not channel.is_open


async def test_who_does_not_deliver_is_told_that_nobody_would(tmp_path: Path) -> None:
    async with Outbox(tmp_path / "outbox.db", enabled=False, deliver=False) as box:
        with pytest.raises(Refused, match="nobody would send it"):
            await box.send("chat", to="ann", text="hi")


async def test_a_revalidate_hook_is_asked_here_too(box: Outbox, channel: ScriptedChannel) -> None:
    from pillarbox.engine.hooks import Defer, Withdraw

    box.hooks.revalidate(lambda attempt: Withdraw("gone") if attempt.to == "ann" else Defer(5, "later"))
    withdrawn = await box.send("chat", to="ann", text="hi")
    deferred = await box.send("chat", to="bob", text="hi")
    assert (withdrawn.state, withdrawn.reason, withdrawn.error) == (State.CANCELLED, "withdrawn", "gone")
    assert (deferred.state, deferred.error) == (State.DEAD, "later")
    assert channel.attempts == []


async def test_a_queue_is_enabled_by_default(tmp_path: Path) -> None:
    async with Outbox(tmp_path / "outbox.db", channels={"chat": ScriptedChannel()}) as box:
        await (await box.send("chat", to="ann", text="hi")).wait(timeout=10)
        assert (await box.stats())[0].messages == 1
    assert (tmp_path / "outbox.db").exists()
