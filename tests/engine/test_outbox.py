"""What an application sees of it all: accepting, looking, withdrawing, waiting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.domain.envelope import Kind
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.outgoing import Outgoing
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.errors import ConfigError, InvalidMessage, NotFound, QueueFull, Refused, UnknownChannel
from pillarbox.events import MessageCancelled, MessageEnqueued, RetryScheduled
from pillarbox.outbox.outbox import Outbox, inside
from pillarbox.store.base import Durability
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, until

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from tests.engine.stand import Stand

STEADY = Policy(jitter=0.0)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


# Accepting


@pytest.mark.contract("EN2", "EN10")
async def test_every_option_comes_back_as_it_was_said(stand: Stand) -> None:
    box = await stand.open()
    said: dict[str, Any] = {
        "text": "Grüße \x00👋",
        "subject": "s",
        "thread": "7",
        "silent": True,
        "extra": {"a": [1, 2.5, None, "x"]},
        "reply_to": "r",
        "metadata": {"b": {"c": True}},
        "tenant": "acme",
        "account": "bot",
        "key": "k",
        "collapse": "c",
        "correlation_id": "turn",
        "origin": "agent",
        "lane": "x",
        "priority": 3,
        "max_attempts": 9,
        "ttl": 90,
        "at": datetime.fromtimestamp((stand.clock.wall_ms() + 60_000) / 1000, UTC),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ephemeral": True,
    }
    message = await box.outbox.send("chat", to="ann", **said)
    found = await box.outbox.get(message.id or "")
    assert found is not None
    view = await box.view(message)
    content = found.content
    assert content is not None
    assert (content.text, content.subject, content.reply_to, content.silent) == ("Grüße \x00👋", "s", "r", True)
    assert content.extra == {"a": [1, 2.5, None, "x"]}
    assert (view.channel, view.recipient, view.thread, view.tenant, view.account) == ("chat", "ann", "7", "acme", "bot")
    assert (view.key, view.collapse_key, view.correlation_id, view.origin) == ("k", "c", "turn", "agent")
    assert (view.priority, view.max_attempts, view.kind) == (3, 9, Kind.BLOCK)
    assert view.not_before_ms == view.due_ms == stand.clock.wall_ms() + 60_000
    assert view.expires_ms == stand.clock.wall_ms() + 150_000
    assert view.metadata == b'{"b":{"c":true}}'
    assert view.traceparent == said["traceparent"]
    assert view.lane is not None


@pytest.mark.contract("EN2")
async def test_a_large_payload_comes_back_byte_for_byte(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    payload = bytes(range(256)) * 700
    message = await box.outbox.send("chat", to="ann", payload=payload, content_type="application/x-all")
    await box.settled(message)
    (attempt,) = channel.attempts
    assert (attempt.content.payload, attempt.content.content_type) == (payload, "application/x-all")


@pytest.mark.contract("EN2")
async def test_a_payload_does_not_change_when_its_owner_changes_it(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("no"), policy=Policy(schedule=(0.001,), jitter=0.0))
    box = await stand.open(channel)
    payload: dict[str, Any] = {"items": [1]}
    message = await box.outbox.send("chat", to="ann", payload=payload)
    payload["items"].append(2)
    await box.heard.wait_for(RetryScheduled)
    stand.advance(10)
    box.look()
    await box.settled(message)
    assert [attempt.content.payload for attempt in channel.attempts] == [b'{"items":[1]}'] * 2


@pytest.mark.contract("EN14")
@pytest.mark.parametrize("text", ["", "  \n"])
async def test_nothing_to_say_is_settled_at_once_without_a_row_or_an_event(stand: Stand, text: str) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    message = await box.send(text=text)
    assert (message.id, message.skipped, message.settled, message.created) == (None, "empty", True, False)
    assert await message.wait(0) is message
    assert message.reason == "empty"
    mixed = await box.outbox.send_many([{"channel": "chat", "to": "ann", "text": t} for t in ("", "hi", " ")])
    assert [one.skipped for one in mixed] == ["empty", None, "empty"]
    await box.settled(mixed[1])
    assert len(await box.outbox.list()) == 1
    assert len(box.heard.of(MessageEnqueued)) == 1


@pytest.mark.contract("EN15", "CO2")
async def test_several_recipients_are_several_messages_with_one_content(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.script(Rejected("unknown"), to="bob")
    box = await stand.open(channel)
    made = await box.outbox.send_many([{"channel": "chat", "to": ["ann", "bob", "eve"], "text": "hi"}])
    views = [await box.settled(message) for message in made]
    assert [view.recipient for view in views] == ["ann", "bob", "eve"]
    assert [view.state for view in views] == [State.DELIVERED, State.DEAD, State.DELIVERED]
    assert len({view.correlation_id for view in views}) == 1
    assert len({view.group_id for view in views}) == 1
    assert {attempt.text for attempt in channel.attempts} == {"hi"}
    found = await box.outbox.list(correlation_id=views[0].correlation_id)
    assert len(found) == 3


@pytest.mark.contract("EN15", "EN13")
@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"to": []}, "messages[0].to"),
        ({"to": [None]}, "messages[0].to"),
        ({"to": 5}, "messages[0].to"),
        ({"to": {"ann": 1}}, "messages[0].to"),
        ({"to": ["ann", "bob"], "key": "k"}, "messages[0].key"),
        ({"to": "ann", "txt": "hi"}, "messages[0].txt"),
        ({"channel": 5}, "messages[0].channel"),
    ],
    ids=str,
)
async def test_a_list_that_does_not_fit_is_refused_by_position_and_field(
    stand: Stand, said: dict[str, Any], field: str
) -> None:
    box = await stand.open()
    with pytest.raises(InvalidMessage) as caught:
        await box.outbox.send_many([{"channel": "chat", "to": "ann", "text": "hi"} | said])
    assert caught.value.field == field
    assert await box.outbox.list() == []


async def test_send_many_names_what_is_missing_and_the_nearest_word(stand: Stand) -> None:
    box = await stand.open()
    with pytest.raises(InvalidMessage, match="is missing"):
        await box.outbox.send_many([{"channel": "chat", "text": "hi"}])
    with pytest.raises(InvalidMessage, match="did you mean 'text'"):
        await box.outbox.send_many([{"channel": "chat", "to": "ann", "txt": "hi"}])
    with pytest.raises(InvalidMessage, match="expected a mapping"):
        await box.outbox.send_many([5])  # type: ignore[list-item]
    made = await box.outbox.send_many([Outgoing(channel="chat", to="ann", text="hi")])
    assert len(made) == 1
    assert await box.outbox.send_many([]) == []


@pytest.mark.contract("EN16", "CL7")
async def test_an_unknown_channel_is_an_error_only_where_messages_are_delivered(stand: Stand) -> None:
    deliverer = await stand.open(ScriptedChannel())
    with pytest.raises(UnknownChannel) as caught:
        await deliverer.send(channel="chta")
    assert caught.value.known == ("chat",)
    acceptor = await stand.open()
    assert (await acceptor.send(channel="chta")).created
    for bad in ("", "a,b", "a\nb", 5, None, ["chat"]):
        with pytest.raises(InvalidMessage) as refused:
            await acceptor.outbox.send(bad, to="ann", text="hi")  # type: ignore[arg-type]
        assert refused.value.field == "channel"


@pytest.mark.contract("EN5")
async def test_a_full_queue_refuses_by_its_name_and_keeps_what_it_has(stand: Stand) -> None:
    limited = stand.make(None)
    await limited.outbox.start()
    await limited.outbox.stop()
    outbox = Outbox(str(stand.path), deliver=False, limits={"messages": 2})
    async with outbox:
        await outbox.send("chat", to="ann", text="hi")
        await outbox.send("chat", to="bob", text="hi")
        with pytest.raises(QueueFull) as caught:
            await outbox.send("chat", to="eve", text="hi")
        assert (caught.value.scope, caught.value.unit, caught.value.limit) == ("store", "messages", 2)
        assert len(await outbox.list()) == 2


@pytest.mark.contract("RE7", "EN6")
async def test_policy_is_looked_up_message_then_channel_then_adapter_then_store(stand: Stand) -> None:
    declared = Policy(max_attempts=3, ttl_seconds=30.0)
    box = stand.make(None, defaults={"max_attempts": 2, "ttl": "20s"})
    inside(box.outbox).lifetime.deliver_here()
    box.outbox.channel("plain", ScriptedChannel())
    box.outbox.channel("adapter", ScriptedChannel(policy=declared))
    box.outbox.channel("configured", ScriptedChannel(policy=declared), max_attempts=4)
    box.outbox.channel("unordered", ScriptedChannel(ordered=False))
    await box.outbox.start()

    async def lives(channel: str, **said: Any) -> tuple[int, int | None]:
        view = await box.view(await box.send(channel=channel, **said))
        return view.max_attempts, None if view.expires_ms is None else (view.expires_ms - view.created_ms) // 1000

    assert await lives("plain") == (2, 20)
    assert await lives("adapter") == (3, 30)
    assert await lives("configured") == (4, 30)
    assert await lives("configured", max_attempts=5, ttl=None) == (5, None)
    assert (await box.view(await box.send(channel="unordered"))).lane is None
    assert (await box.view(await box.send(channel="plain"))).lane is not None
    await box.outbox.stop()


async def test_a_result_says_what_it_survives(stand: Stand) -> None:
    assert (await (await stand.open()).send()).durability is Durability.POWER
    async with Outbox(":memory:", deliver=False) as outbox:
        message = await outbox.send("chat", to="ann", text="hi")
        assert message.durability is Durability.MEMORY
        assert outbox.in_memory


# Channels


@pytest.mark.contract("LE3", "DR3")
async def test_a_lease_shorter_than_a_send_is_refused_before_anything_is_opened(stand: Stand) -> None:
    box = stand.make(ScriptedChannel(send_timeout_seconds=60), lease_seconds=60)
    with pytest.raises(ConfigError) as caught:
        await box.outbox.start()
    assert caught.value.field == "lease_seconds"
    assert not stand.path.exists()


async def test_a_function_is_a_channel(stand: Stand) -> None:
    box = stand.make(None)
    inside(box.outbox).lifetime.deliver_here()

    async def page(attempt: Attempt) -> str:
        return f"paged {attempt.to}"

    def ring(attempt: Attempt) -> None:
        raise Rejected("no bell")

    box.outbox.channel("pager", max_attempts=2)(page)
    box.outbox.channel("bell", ring)
    await box.outbox.start()
    assert (await box.settled(await box.send(channel="pager"))).receipt == "paged ann"
    assert (await box.settled(await box.send(channel="bell"))).last_error == "no bell"
    assert box.outbox.channels == ("pager", "bell")
    with pytest.raises(Refused):
        box.outbox.channel("late", page)
    await box.outbox.stop()


# Looking


async def test_a_message_is_found_by_either_end_of_its_id(stand: Stand) -> None:
    box = await stand.open()
    first = await box.send()
    stand.advance(60_000)
    await box.send("bob")
    identity = first.id or ""
    assert (await box.outbox.find(identity)).id == identity
    assert (await box.outbox.find(identity[-6:])).id == identity
    assert (await box.outbox.find(identity[:12])).id == identity
    with pytest.raises(NotFound):
        await box.outbox.find("nothing-like-it")
    with pytest.raises(InvalidMessage, match="2 messages"):
        await box.outbox.find(identity[:4])
    assert await box.outbox.get("not an id") is None
    assert await box.outbox.get(identity[:-1] + ("A" if identity[-1] != "A" else "Q")) is None


@pytest.mark.contract("ST10")
async def test_a_history_tells_every_transition(stand: Stand) -> None:
    channel = ScriptedChannel(Deferred("no route"), Delivered("r"), policy=Policy(schedule=(0.001,), jitter=0.0))
    box = await stand.open(channel)
    message = await box.send()
    await box.heard.wait_for(RetryScheduled)
    stand.advance(10)
    box.look()
    await box.settled(message)
    story = await box.outbox.history(message.id or "")
    moves = [(event.act, event.from_state, event.to_state) for event in story]
    assert moves == [
        ("enqueue", None, State.SCHEDULED),
        ("claim", State.SCHEDULED, State.LEASED),
        ("settle", State.LEASED, State.SCHEDULED),
        ("claim", State.SCHEDULED, State.LEASED),
        ("settle", State.LEASED, State.DELIVERED),
    ]
    assert [event.reason for event in story][2] == "no route"


@pytest.mark.contract("EV3")
async def test_what_a_message_shows_of_itself_is_not_what_it_says(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(Rejected("no"), policy=STEADY))
    message = await box.send(text="opensesame")
    async with asyncio.timeout(SECONDS):
        await message.wait()
    assert "opensesame" not in repr(message)
    assert (message.state, message.reason, message.error, message.attempts) == (State.DEAD, "rejected", "no", 1)
    (part,) = message.parts
    assert (part.number, part.state, part.reason) == (0, State.DEAD, "rejected")


# Waiting


async def test_a_wait_ends_with_its_time_and_the_message_goes_on(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    async with asyncio.timeout(SECONDS):
        assert await message.wait(0) is message
    assert (message.settled, message.state) == (False, State.LEASED)
    channel.release()
    async with asyncio.timeout(SECONDS):
        await message.wait()
    assert (message.settled, message.state) == (True, State.DELIVERED)


async def test_a_wait_ends_when_a_person_must_decide(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(Uncertain("no answer"), policy=HOLD))
    message = await box.send()
    async with asyncio.timeout(SECONDS):
        await message.wait()
    assert (message.state, message.settled, message.reason) == (State.HELD, True, Reason.UNCERTAIN)


async def test_a_wait_sees_what_another_process_did(stand: Stand) -> None:
    acceptor = await stand.open()
    message = await acceptor.send()
    await stand.open(ScriptedChannel(policy=STEADY))
    async with asyncio.timeout(SECONDS):
        await message.wait()
    assert message.state is State.DELIVERED


async def test_a_wait_that_is_given_up_leaves_nothing_behind(stand: Stand) -> None:
    box = await stand.open()
    message = await box.send()
    waiting = asyncio.create_task(message.wait())
    await until(lambda: bool(box.runtime.reporter._waiting))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert box.runtime.reporter._waiting == {}


async def test_a_wait_for_what_was_pruned_says_so(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    message = await box.send()
    await box.settled(message)
    stand.advance(60_000)
    await box.outbox.prune(1)
    with pytest.raises(NotFound):
        await message.wait()


# Withdrawing


@pytest.mark.contract("OP3", "ST2")
async def test_what_has_not_begun_can_be_withdrawn_and_frees_its_lane(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    await box.send(text="head")
    unwanted = await box.send(text="unwanted")
    last = await box.send(text="last")
    await channel.begun(1)
    assert await box.outbox.cancel(unwanted.id or "", reason="not needed")
    async with asyncio.timeout(SECONDS):
        await unwanted.wait()
    assert unwanted.state is State.CANCELLED
    (event,) = await box.heard.wait_for(MessageCancelled)
    assert (event.id, event.channel, event.said) == (unwanted.id, "chat", "not needed")
    channel.release()
    await box.settled(last)
    assert [attempt.text for attempt in channel.attempts] == ["head", "last"]
    stand.advance(1)
    assert not await box.outbox.cancel(unwanted.id or "")
    with pytest.raises(NotFound):
        await box.outbox.cancel("A" * 22)


@pytest.mark.contract("ST11", "OP1")
async def test_a_retry_makes_a_held_message_go_again(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), policy=HOLD)
    box = await stand.open(channel)
    message = await box.send()
    assert (await box.settled(message)).state is State.HELD
    assert await box.outbox.retry(message.id or "", reason="they did not get it")
    view = await box.settled(message)
    assert (view.state, view.claims) == (State.DELIVERED, 2)
    assert len({attempt.token for attempt in channel.attempts}) == 1
    assert not await box.outbox.retry(message.id or "")


@pytest.mark.contract("FL3")
async def test_a_pause_ends_by_itself_or_by_a_person(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    await box.outbox.pause("chat", reason="night", span=timedelta(hours=8))
    message = await box.send(ttl=None)
    (queue,) = await box.outbox.queues()
    assert (queue.paused, queue.pause_reason) == (True, "night")
    assert queue.paused_until_ms == stand.clock.wall_ms() + 8 * 3_600_000
    stand.advance(8 * 3_600_000)
    box.look()
    assert (await box.settled(message)).state is State.DELIVERED
    assert not await box.outbox.resume("never heard of it")
