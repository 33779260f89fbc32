"""A text that grows: what the recipient sees of it, and what of it outlives its writer (CO5, CH7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Delivered, RateLimited, Rejected, State
from pillarbox.channels.base import Capabilities
from pillarbox.domain.retry import Policy
from pillarbox.engine.hooks import Cancelled
from pillarbox.errors import InvalidMessage, NotStarted, Refused, StoreUnavailable
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Stand, crash, until

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt

pytestmark = pytest.mark.contract("CO5", "CH7")


def able(*steps: Any, text_limit: int | None = None, edits: bool = True) -> ScriptedChannel:
    channel = ScriptedChannel(*steps, policy=Policy(jitter=0.0))
    channel.capabilities = Capabilities(edits=edits, deletes=edits, text_limit=text_limit)
    return channel


def numbered() -> Any:
    numbers = iter(range(100))

    def give(attempt: Attempt) -> Delivered:
        return Delivered(f"r{next(numbers)}")

    return give


def said(channel: ScriptedChannel) -> list[tuple[str, str | None, str]]:
    return [(str(attempt.op), attempt.target, attempt.text) for attempt in channel.attempts]


async def test_the_text_grows_in_one_message(stand: Stand) -> None:
    channel = able(Delivered("r1"))
    box = await stand.open(channel)
    async with box.outbox.stream("chat", to="ann", every=0.001, origin="agent") as stream:
        await stream.write("Hello")
        await channel.answered(1)
        await stream.write(", ")
        await stream.write("you")
        await channel.answered(2)
        await stream.write("!")
    assert stream.last is not None
    await box.settled(stream.last)
    shown = said(channel)
    assert (shown[0], shown[-1]) == (("send", None, "Hello"), ("edit", "r1", "Hello, you!"))
    assert {op for op, *_ in shown[1:]} == {"edit"}
    assert {attempt.origin for attempt in channel.attempts} == {"agent"}
    assert (stream.text, len(stream.messages)) == ("Hello, you!", 1)


async def test_what_nobody_has_begun_goes_out_once_with_the_whole_text(stand: Stand) -> None:
    channel = able()
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write("a")
        await until(lambda: len(stream.messages) == 1)
        await stream.write("b")
    await box.outbox.resume("chat")
    await box.settled(stream.messages[0])
    assert said(channel) == [("send", None, "ab")]


async def test_edits_collapse_while_the_platform_asks_to_wait(stand: Stand) -> None:
    channel = able(Delivered("r1"), RateLimited(after=30))
    box = await stand.open(channel)
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write("0")
        await channel.answered(1)
        for digit in "123456789":
            before = stream.last
            await stream.write(digit)
            await until(lambda before=before: stream.last is not before)  # type: ignore[misc]
    await box.looked()
    # One was refused; the newest alone is left, and waits as long as was asked.
    assert len(channel.attempts) <= 3
    stand.advance(31_000)
    box.look()
    assert stream.last is not None
    await box.settled(stream.last)
    assert said(channel)[-1] == ("edit", "r1", "0123456789")


async def test_a_send_to_somebody_else_goes_before_edits(stand: Stand) -> None:
    channel = able(Delivered("r1"))
    channel.concurrency = 1
    box = await stand.open(channel)
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write("0")
        await channel.answered(1)
        channel.hold()
        busy = await box.send(to="eve")
        await channel.begun(2)
        first = stream.last
        await stream.write("1")
        await until(lambda: stream.last is not first)
        other = await box.send(to="bob")
        channel.release()
        await box.settled(other)
        await box.settled(busy)
    assert [attempt.to for attempt in channel.attempts[:3]] == ["ann", "eve", "bob"]


async def test_a_text_that_outgrows_the_limit_goes_on_in_another_message(stand: Stand) -> None:
    channel = able(text_limit=10)
    channel.script(*[numbered()] * 2)
    give = numbered()
    channel.script(*[give] * 20)
    box = await stand.open(channel)
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write("aaaa bbbb")
        await channel.answered(1)
        await stream.write(" cccc dddd eeee")
    for message in stream.messages:
        await box.settled(message)
    assert stream.last is not None
    await box.settled(stream.last)
    assert len(stream.messages) == 3
    assert [text for op, _, text in said(channel) if op == "send"] == ["aaaa bbbb", "cccc dddd", "eeee"]


@pytest.mark.parametrize("write", ["text", "  "])
async def test_without_edits_it_is_said_once_at_the_end(stand: Stand, write: str) -> None:
    channel = able(edits=False)
    box = await stand.open(channel)
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write(write)
        await box.looked()
        assert not channel.attempts
        await stream.write(write)
    if not write.strip():
        assert (stream.messages, stream.last) == ((), None)
        return
    await box.settled(stream.messages[0])
    assert said(channel) == [("send", None, "texttext")]


async def test_what_was_written_arrives_after_an_error_of_the_writer(stand: Stand) -> None:
    channel = able(Delivered("r1"))
    box = await stand.open(channel)
    stream = box.outbox.stream("chat", to="ann", every=3600)

    async def fail() -> None:
        async with stream:
            await stream.write("as far as ")
            await stream.write("it came")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert stream.last is not None
    await box.settled(stream.last)
    assert channel.attempts[-1].text == "as far as it came"


async def test_the_last_text_known_arrives_after_a_crash(stand: Stand) -> None:
    channel = able(Delivered("r1"))
    box = await stand.open(channel)
    stream = box.outbox.stream("chat", to="ann", every=0.001)
    await stream.__aenter__()
    await stream.write("one")
    await channel.answered(1)
    await box.idle()
    await box.outbox.pause("chat")
    first = stream.last
    await stream.write(" two")
    await until(lambda: stream.last is not first)
    await crash(box)
    again = able()
    other = await stand.open(again)
    await other.outbox.resume("chat")
    await again.answered(1)
    assert said(again) == [("edit", "r1", "one two")]


async def test_a_text_that_nobody_takes_ends_quietly(stand: Stand) -> None:
    channel = able(Rejected("blocked"))
    box = await stand.open(channel)
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write("one")
        await channel.answered(1)
        await box.settled(stream.messages[0])
        await stream.write(" two")
        await box.looked()
    assert stream.last is stream.messages[0]
    assert (await box.view(stream.messages[0])).state is State.DEAD
    assert len(channel.attempts) == 1


async def test_what_a_hook_cancels_is_not_begun(stand: Stand) -> None:
    channel = able()
    box = await stand.open(channel)
    box.outbox.hooks.before_delivery(lambda message: Cancelled("no"))
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write("one")
        await until(lambda: len(stream.messages) == 1)
        await stream.write(" two")
    assert stream.messages[0].skipped == "hook"
    assert not channel.attempts


async def test_a_store_that_fails_for_a_while_loses_nothing_of_it(stand: Stand) -> None:
    channel = able()
    box = await stand.open(channel)
    failed: list[object] = []

    def refuse(batch: Any) -> Exception | None:
        if not batch.enqueue or failed:
            return None
        failed.append(batch)
        return StoreUnavailable("busy")

    box.store.refuse = refuse
    async with box.outbox.stream("chat", to="ann", every=0.001) as stream:
        await stream.write("one")
        await until(lambda: bool(failed))
    assert stream.last is not None
    await box.settled(stream.last)
    assert channel.attempts[-1].text == "one"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"every": 0}, "every"), ({"every": True}, "every"), ({"every": float("nan")}, "every"), ({"key": "k"}, "key"),
        ({"text": "t"}, "text"), ({"format": "rtf"}, "format"), ({"to": 7}, "to"), ({"mirror": {}}, "mirror"),
    ],
)  # fmt: skip
async def test_what_is_said_wrongly_is_refused_at_once(stand: Stand, options: dict[str, Any], field: str) -> None:
    box = await stand.open(able())
    with pytest.raises(InvalidMessage) as refused:
        box.outbox.stream("chat", **{"to": "ann"} | options)
    assert refused.value.field == field


async def test_it_is_used_once_and_inside_of_its_block(stand: Stand) -> None:
    box = await stand.open(able())
    stream = box.outbox.stream("chat", to="ann")
    with pytest.raises(NotStarted):
        await stream.write("early")
    async with stream:
        with pytest.raises(InvalidMessage):
            await stream.write(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(NotStarted):
        await stream.write("late")
    with pytest.raises(Refused):
        await stream.__aenter__()
