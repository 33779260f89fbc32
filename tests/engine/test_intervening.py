"""What people order of one message or of many, and what programs see of it (contract UN3, ST2, ST11, OP1, OP3)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import sync
from pillarbox.domain.ids import dedupe_token
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Delivered, Rejected, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.errors import InvalidMessage, NotFound, QueueFull, Refused
from pillarbox.events import MessageCancelled, MessageDelivered, MessageEnqueued
from pillarbox.outbox.bulk import IDS_MAX, PAGE, BulkItem
from pillarbox.outbox.outbox import Outbox
from pillarbox.store.base import Query
from pillarbox.testing.scripted import ScriptedChannel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pillarbox.outbox.bulk import BulkReport
    from tests.engine.stand import Box, Stand

STEADY = Policy(jitter=0.0)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


async def held(box: Box, **said: Any) -> str:
    message = await box.send(**said)
    assert (await box.settled(message)).state is State.HELD
    return message.id or ""


async def dead(box: Box, **said: Any) -> str:
    message = await box.send(**said)
    assert (await box.settled(message)).state is State.DEAD
    return message.id or ""


# One


@pytest.mark.contract("UN3", "EV1")
async def test_what_a_person_knows_to_be_delivered_ends_the_wait_and_is_told(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), policy=HOLD)
    box = await stand.open(channel)
    identity = await held(box)
    assert await box.outbox.resolve(identity, "delivered", receipt="r-1", reason="ann says so", actor="bob")
    view = await box.view(identity)
    assert (view.state, view.receipt) == (State.DELIVERED, "r-1")
    (event,) = box.heard.of(MessageDelivered)
    assert (event.id, event.receipt, event.to) == (identity, "r-1", "ann")
    assert box.counts["delivered"] == 1
    assert not await box.outbox.resolve(identity, "resend")
    last = (await box.outbox.history(identity))[-1]
    assert (last.act, last.actor, last.reason) == ("resolve delivered", "bob", "ann says so")


@pytest.mark.contract("UN3", "UN2")
async def test_what_is_resent_goes_at_once_under_the_same_token_and_a_forced_copy_under_another(stand: Stand) -> None:
    channel = ScriptedChannel(*[Uncertain("no answer")] * 3, policy=HOLD)
    box = await stand.open(channel)
    identity = await held(box)
    for count, verdict in enumerate(("not_delivered", "resend"), start=2):
        assert await box.outbox.resolve(identity, verdict)
        await channel.begun(count)
        await box.settled(await box.outbox.find(identity))
    assert await box.outbox.resolve(identity, "resend", force_copy=True)
    await channel.begun(4)
    tokens = [attempt.token for attempt in channel.attempts]
    assert tokens == [dedupe_token(identity, 0, 0)] * 3 + [dedupe_token(identity, 0, 1)]
    assert (await box.settled(await box.outbox.find(identity))).state is State.DELIVERED


@pytest.mark.contract("UN3", "ST11")
async def test_what_is_past_its_time_is_refused_with_what_to_do(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(Uncertain("no answer"), policy=HOLD))
    identity = await held(box, ttl=60)
    stand.advance(61_000)
    for order in (box.outbox.retry(identity), box.outbox.resolve(identity, "resend")):
        with pytest.raises(Refused, match=r"its time is over, .* a new ttl"):
            await order
    assert (await box.view(identity)).state is State.HELD
    assert await box.outbox.resolve(identity, "resend", ttl=timedelta(minutes=1))
    assert (await box.settled(await box.outbox.find(identity))).state is State.DELIVERED


@pytest.mark.contract("ST2", "EN11", "UN2")
async def test_a_replay_is_sent_at_once_as_a_new_message_that_is_told_of(stand: Stand) -> None:
    channel = ScriptedChannel(Rejected("no such chat"), policy=STEADY)
    box = await stand.open(channel)
    old = await dead(box, key="k", metadata={"a": 1}, tenant="acme", correlation_id="turn", text="again")
    message = await box.outbox.replay(old, reason="the chat exists now", actor="bob")
    assert message.id != old
    assert (await message.wait(10)).state is State.DELIVERED
    view = await box.view(message)
    assert (view.replay_of, view.key, view.tenant, view.metadata) == (old, None, "acme", b'{"a":1}')
    first, second = channel.attempts
    assert first.token == second.token == dedupe_token(old, 0, 0)
    events = box.heard.of(MessageEnqueued)
    assert [(event.id, event.tenant, event.correlation_id) for event in events] == [
        (old, "acme", "turn"), (message.id, "acme", "turn"),
    ]  # fmt: skip
    assert (await box.view(old)).state is State.DEAD


@pytest.mark.contract("ST2")
async def test_a_replay_that_cannot_be_says_why(stand: Stand) -> None:
    channel = ScriptedChannel(Rejected("no"), policy=STEADY)
    box = await stand.open(channel)
    old = await dead(box)
    channel.hold()
    message = await box.outbox.replay(old)
    await channel.begun(2)
    with pytest.raises(Refused, match=f"replayed already, as {message.id}"):
        await box.outbox.replay(old)
    with pytest.raises(Refused, match="it is leased: only what has ended is replayed"):
        await box.outbox.replay(message.id or "")
    copy = await box.outbox.replay(old, fresh=True)
    channel.release()
    assert (await copy.wait(10)).state is State.DELIVERED
    assert channel.attempts[-1].token == dedupe_token(copy.id or "", 0, 0)


@pytest.mark.contract("ST2", "EN5")
async def test_a_replay_for_which_there_is_no_room_is_refused(tmp_path: Path) -> None:
    async with _outbox(tmp_path, limits={"messages": 1}) as box:
        old = await box.send("chat", to="ann", text="hi")
        await box.cancel(old.id or "")
        await box.send("chat", to="ann", text="hi")
        with pytest.raises(QueueFull):
            await box.replay(old.id or "")
        bulk = await box.replay_many("state=cancelled")
        assert (bulk.matched, bulk.applied, str(bulk.full)) == (
            1,
            0,
            "queue full: the store holds its limit of 1 messages",
        )
        assert len(await box.list()) == 2


@pytest.mark.contract("OP1")
async def test_what_has_ended_can_be_deleted_and_nothing_else(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    channel.hold()
    message = await box.send()
    await channel.begun(1)
    assert not await box.outbox.purge(message.id or "")
    channel.release()
    await box.settled(message)
    assert await box.outbox.purge(message.id or "", reason="asked to forget", actor="bob")
    assert await box.outbox.get(message.id or "") is None
    last = (await box.outbox.history(message.id or ""))[-1]
    assert (last.act, last.actor, last.reason) == ("purge", "bob", "asked to forget")
    with pytest.raises(NotFound):
        await box.outbox.purge(message.id or "")


@pytest.mark.contract("UN3", "OP1")
@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("verdict", {"verdict": "maybe"}),
        ("force_copy", {"verdict": "not_delivered", "force_copy": True}),
        ("receipt", {"verdict": "resend", "receipt": "r"}),
        ("receipt", {"verdict": "delivered", "receipt": "\ud800"}),
        ("ttl", {"verdict": "resend", "ttl": 0}),
        ("ttl", {"verdict": "resend", "ttl": float("nan")}),
        ("ttl", {"verdict": "resend", "ttl": timedelta(seconds=-1)}),
        ("ttl", {"verdict": "resend", "ttl": True}),
        ("reason", {"verdict": "resend", "reason": "\ud800"}),
        ("reason", {"verdict": "resend", "reason": "x" * 1001}),
        ("reason", {"verdict": "resend", "reason": 5}),
    ],
    ids=repr,
)
async def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing(
    stand: Stand, field: str, said: dict[str, Any]
) -> None:
    box = await stand.open(ScriptedChannel(Uncertain("no answer"), policy=HOLD))
    identity = await held(box)
    before = await box.view(identity)
    with pytest.raises(InvalidMessage) as refused:
        await box.outbox.resolve(identity, **said)
    assert refused.value.field == field
    assert await box.view(identity) == before


# Many


def _outbox(folder: Path, **settings: Any) -> Outbox:
    return Outbox(folder / "outbox.db", deliver=False, **settings)


async def filled(box: Outbox, count: int, **said: Any) -> list[str]:
    values = {"channel": "chat", "to": "ann", "text": "hi"} | said
    return [message.id or "" for message in await box.send_many([values] * count)]


@pytest.mark.contract("OP3")
@pytest.mark.parametrize("where", ["correlation=turn", "collapse=status", "to=bob", "state=scheduled thread~x"])
async def test_messages_are_cancelled_by_whatever_they_have_in_common(tmp_path: Path, where: str) -> None:
    async with _outbox(tmp_path) as box:
        others = await filled(box, 3, correlation_id="other", thread="y")
        said = {"to": "bob", "correlation_id": "turn", "collapse": "status"}
        mine = [(await filled(box, 1, **said, thread=f"axb{number}"))[0] for number in range(3)]
        bulk = await box.cancel_many(where, reason="a mistake", actor="bob")
        assert (bulk.matched, bulk.applied, bulk.ids) == (3, 3, mine)
        assert bulk.states == {State.SCHEDULED: 3}
        assert {message.id for message in await box.list(where="state=cancelled")} == set(mine)
        assert {message.id for message in await box.list(where="state=scheduled")} == set(others)
        events = await box.history(mine[0])
        assert (events[-1].actor, events[-1].reason) == ("bob", "a mistake")
        assert (await box.cancel_many(where)).matched == 0


@pytest.mark.contract("OP1")
async def test_a_dry_run_shows_what_would_be_asked_and_changes_nothing(tmp_path: Path) -> None:
    async with _outbox(tmp_path) as box:
        ids = await filled(box, 3)
        seen: list[BulkItem] = []
        bulk = await box.cancel_many("channel=chat", dry_run=True, on_item=seen.append)
        assert (bulk.dry_run, bulk.matched, bulk.applied, bulk.ids) == (True, 3, 0, ids)
        assert [(done.id, done.applied, done.state) for done in seen] == [(one, False, State.SCHEDULED) for one in ids]
        assert {message.state for message in await box.list()} == {State.SCHEDULED}
        assert [event.act for event in await box.history(ids[0])] == ["enqueue"]


@pytest.mark.contract("OP1")
async def test_nothing_is_done_to_all_unless_that_is_said(tmp_path: Path) -> None:
    async with _outbox(tmp_path) as box:
        ids = await filled(box, 2)
        for verb in (box.cancel_many, box.retry_many, box.replay_many, box.purge_many):
            nothing: tuple[Any, ...] = (None, "", "  ", [])
            for where in nothing:
                with pytest.raises(InvalidMessage, match="where: expected a filter"):
                    await verb(where)
            with pytest.raises(InvalidMessage, match="every: expected either"):
                await verb("state=dead", every=True)
            with pytest.raises(InvalidMessage, match="did you mean 'state'"):
                await verb("staet=dead")
        with pytest.raises(InvalidMessage, match="where: expected a filter"):
            await box.resolve_many("resend")
        assert (await box.cancel_many(every=True)).ids == ids


@pytest.mark.contract("OP1")
async def test_each_verb_is_for_the_states_that_it_can_do_something_about(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    ids: dict[str, str] = {"delivered": (await box.settled(await box.send())).id}
    channel.script(Rejected("no"), Uncertain("no answer"))
    ids["dead"] = await dead(box)
    ids["held"] = await held(box, to="bob")
    later = await box.send(at=timedelta(hours=1))
    ids["scheduled"] = later.id or ""
    outbox = box.outbox

    async def asked(verb: Callable[..., Awaitable[BulkReport]], *args: Any) -> set[str]:
        names = {identity: name for name, identity in ids.items()}
        return {names[identity] for identity in (await verb(*args, dry_run=True)).ids}

    everything = "channel=chat"
    assert await asked(outbox.cancel_many, everything) == {"scheduled", "held"}
    assert await asked(outbox.retry_many, everything) == {"scheduled", "held"}
    assert await asked(outbox.resolve_many, "resend", everything) == {"held"}
    assert await asked(outbox.replay_many, everything) == {"dead"}
    assert await asked(outbox.replay_many, "state=delivered,held") == {"delivered"}
    assert await asked(outbox.purge_many, everything) == {"delivered", "dead"}
    assert await asked(outbox.cancel_many, "state=dead") == set()


@pytest.mark.contract("OP1", "UN3")
async def test_held_messages_are_resolved_together_and_sent_in_order(stand: Stand) -> None:
    channel = ScriptedChannel(*[Uncertain("no answer")] * 4, policy=HOLD)
    box = await stand.open(channel)
    ids = [await held(box) for _ in range(4)]
    bulk = await box.outbox.resolve_many("not_delivered", "state=held reason=uncertain")
    assert (bulk.applied, bulk.ids) == (4, ids)
    await channel.answered(8)
    assert [attempt.id for attempt in channel.attempts[4:]] == ids


@pytest.mark.contract("OP1", "ST2")
async def test_the_dead_are_replayed_oldest_first_and_what_is_refused_says_why(stand: Stand) -> None:
    channel = ScriptedChannel(*[Rejected("no")] * 3, policy=STEADY)
    box = await stand.open(channel)
    ids = [await dead(box, text=str(number)) for number in range(3)]
    await (await box.outbox.replay(ids[1])).wait(10)
    seen: list[BulkItem] = []
    bulk = await box.outbox.replay_many("state=dead", on_item=seen.append)
    assert (bulk.matched, bulk.applied, bulk.full) == (3, 2, None)
    assert [done.applied for done in seen] == [True, False, True]
    assert "replayed already" in bulk.refusals[ids[1]]
    assert seen[1].refused == bulk.refusals[ids[1]]
    await channel.answered(6)
    new = [done.replayed_as for done in seen if done.applied]
    assert [attempt.id for attempt in channel.attempts[4:]] == new
    # What the replays made is not picked again, although it fits no less.
    assert len(box.heard.of(MessageEnqueued)) == 6


@pytest.mark.contract("OP1")
async def test_pages_go_on_where_they_ended_and_what_is_told_is_bounded(tmp_path: Path) -> None:
    count = 2 * PAGE + 10
    async with _outbox(tmp_path, durability="process") as box:
        ids = await filled(box, count, at=timedelta(hours=1))
        heard: list[str] = []
        box.subscribe(lambda event: heard.append(event.id), MessageCancelled)
        seen: list[str] = []
        said: set[str | None] = set()
        box.subscribe(lambda event: said.add(event.said), MessageCancelled)
        bulk = await box.cancel_many("channel=chat", reason="spring clean", on_item=lambda done: seen.append(done.id))
        assert (bulk.matched, bulk.applied) == (count, count)
        assert (seen == heard == ids, said) == (True, {"spring clean"})
        assert bulk.ids == ids[:IDS_MAX]
        assert {(tally.state, tally.messages) for tally in await box.stats()} == {(State.CANCELLED, count)}
        gone = await box.purge_many("older=0s", reason="tidy", actor="bob")
        assert (gone.matched, gone.applied, gone.states) == (count, count, {State.CANCELLED: count})
        assert await box.list() == []
        assert await box.check() == []


@pytest.mark.contract("OP1")
async def test_a_list_takes_the_same_filters(tmp_path: Path) -> None:
    async with _outbox(tmp_path) as box:
        (first,) = await filled(box, 1, to="ann")
        (second,) = await filled(box, 1, to="bob")
        found = await box.list(where=["to=bob", "channel=chat"])
        assert [message.id for message in found] == [second]
        assert [message.id for message in await box.list(limit=1)] == [second]
        assert [message.id for message in await box.list(Query(recipient="ann"), where="channel=chat")] == [first]
        with pytest.raises(InvalidMessage, match="where: there is no field 'too'"):
            await box.list(where="too=bob")


@pytest.mark.contract("OP1", "ST7")
async def test_of_two_operators_who_order_the_same_each_message_obeys_one(stand: Stand) -> None:
    one = await stand.open()
    two = await stand.open()
    ids = await filled(one.outbox, 200)
    both = await asyncio.gather(one.outbox.cancel_many("to=ann"), two.outbox.cancel_many("to=ann"))
    assert sum(bulk.applied for bulk in both) == len(ids)
    assert await one.outbox.check() == []


@pytest.mark.contract("OP1", "ST2")
def test_the_blocking_outbox_has_every_verb(tmp_path: Path) -> None:
    answers = iter([Rejected("no"), Delivered("r-2"), Rejected("no"), Rejected("no")])

    def answer(attempt: object) -> Any:
        return next(answers)

    with sync.Outbox(tmp_path / "outbox.db", channels={"chat": answer}) as box:
        old = box.send("chat", to="ann", text="hi").wait(10)
        assert old.state is State.DEAD
        new = box.replay(old.id or "")
        assert new.wait(10).receipt == "r-2"
        assert box.resolve(old.id or "", "resend") is False
        assert box.purge(old.id or "") is True
        box.send("chat", to="bob", text="hi").wait(10)
        assert box.replay_many("to=bob").applied == 1
        assert box.resolve_many("resend", "to=bob").matched == 0
        assert box.retry_many("to=bob").matched <= 1
        assert box.cancel_many("to=cid").matched == 0
        assert box.purge_many("state=delivered").applied == 1
