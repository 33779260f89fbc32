"""Edits, deletions and answers through the whole engine: what the channel is given, and what ends without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Deferred, Delivered, Redirected, Rejected, State, Uncertain
from pillarbox.channels.base import Capabilities
from pillarbox.domain.envelope import Op
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.errors import InvalidMessage, NotFound, Refused, StoreUnavailable
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Stand, until

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt

pytestmark = pytest.mark.contract("CO5")


def able(*steps: Any, ordered: bool = True, text_limit: int | None = None) -> ScriptedChannel:
    channel = ScriptedChannel(*steps, policy=Policy(jitter=0.0), ordered=ordered)
    channel.capabilities = Capabilities(edits=True, deletes=True, text_limit=text_limit)
    return channel


def seen(channel: ScriptedChannel) -> list[tuple[str, str | None, str]]:
    return [(str(attempt.op), attempt.target, attempt.text) for attempt in channel.attempts]


async def test_what_was_sent_is_edited_and_deleted_by_its_receipt(stand: Stand) -> None:
    channel = able(Delivered("r1"), Delivered("another id"))
    box = await stand.open(channel)
    first = await box.send(text="one")
    await box.settled(first)
    edit = await box.outbox.edit(first, text="two")
    assert edit.created
    await box.settled(edit)
    await box.settled(await box.outbox.edit(first.id, text="three", format="markdown"))
    await box.settled(await box.outbox.delete(first.id or ""))
    assert seen(channel) == [
        ("send", None, "one"), ("edit", "r1", "two"), ("edit", "r1", "three"), ("delete", "r1", ""),
    ]  # fmt: skip
    assert {attempt.to for attempt in channel.attempts} == {"ann"}
    view = await box.view(edit)
    assert (view.op, view.target) == (Op.EDIT, first.id)
    with pytest.raises(Refused, match="change itself"):
        await box.outbox.edit(edit, text="no")


async def test_what_is_not_begun_goes_out_once_with_the_new_text(stand: Stand) -> None:
    channel = able()
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    first, other = await box.send(text="one"), await box.send(text="gone")
    same = await box.outbox.edit(first, text="two")
    assert (same.id, same.created) == (first.id, False)
    await box.outbox.delete(other)
    assert (await box.view(other)).state is State.CANCELLED
    await box.outbox.resume("chat")
    await box.settled(first)
    assert seen(channel) == [("send", None, "two")]
    with pytest.raises(Refused, match="cancelled"):
        await box.outbox.edit(other, text="no")


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_edit_waits_for_what_is_being_sent(stand: Stand, *, ordered: bool) -> None:
    channel = able(ordered=ordered)
    channel.hold()
    box = await stand.open(channel)
    first = await box.send(text="one")
    await channel.begun(1)
    edits = [await box.outbox.edit(first, text=text) for text in ("two", "three")]
    await box.looked()
    assert len(channel.attempts) == 1
    channel.script(Delivered("r9"))
    channel.release()
    await box.settled(first)
    stand.advance(2000)
    box.look()
    last = await box.settled(edits[1])
    assert (last.state, (await box.view(edits[0])).terminal_reason) == (State.DELIVERED, "superseded")
    assert [text for *_, text in seen(channel)] == ["one", "three"]


async def test_a_change_of_what_was_never_delivered_ends_with_the_reason(stand: Stand) -> None:
    channel = able(Rejected("no"), Rejected("no"))
    channel.hold()
    box = await stand.open(channel)
    messages = [await box.send(to=to) for to in ("ann", "bob")]
    await channel.begun(2)
    edit, delete = await box.outbox.edit(messages[0], text="new"), await box.outbox.delete(messages[1])
    channel.release()
    edited, deleted = await box.settled(edit), await box.settled(delete)
    assert (edited.state, edited.terminal_reason) == (State.DEAD, "invalid")
    assert "not known to be there" in (edited.last_error or "")
    assert (deleted.state, deleted.terminal_reason) == (State.CANCELLED, "withdrawn")
    assert len(channel.attempts) == 2


async def test_a_channel_that_cannot_says_so(stand: Stand) -> None:
    channel = ScriptedChannel(Delivered("r1"))
    channel.hold()
    box = await stand.open(channel)
    first = await box.send()
    await channel.begun(1)
    early = await box.outbox.edit(first, text="new")
    channel.release()
    view = await box.settled(early)
    assert (view.state, view.terminal_reason) == (State.DEAD, "invalid")
    assert "cannot edit" in (view.last_error or "")
    with pytest.raises(InvalidMessage, match="cannot edit"):
        await box.outbox.edit(first, text="new")
    with pytest.raises(InvalidMessage, match="cannot delete"):
        await box.outbox.delete(first)
    assert len(channel.attempts) == 1


async def test_all_parts_of_a_message_are_deleted_and_an_edit_is_of_one(stand: Stand) -> None:
    channel = able(*(Delivered(f"r{number}") for number in range(3)), text_limit=10)
    box = await stand.open(channel)
    first = await box.send(text="aaaaa bbbbb ccccc")
    await box.settled(first)
    assert len(channel.attempts) == 3
    assert "3 parts" in ((await box.settled(await box.outbox.edit(first, text="short"))).last_error or "")
    assert (await box.settled(await box.outbox.delete(first))).state is State.DELIVERED
    assert [attempt.target for attempt in channel.attempts[3:]] == ["r0", "r1", "r2"]
    whole = await box.send(text="short")
    await box.settled(whole)
    assert "longer" in ((await box.settled(await box.outbox.edit(whole, text="aaaaa bbbbb cc"))).last_error or "")


async def test_a_deletion_goes_on_where_it_was_broken_off(stand: Stand) -> None:
    channel = able(*(Delivered(f"r{number}") for number in range(3)), Delivered(), Deferred("down"), text_limit=10)
    box = await stand.open(channel)
    first = await box.send(text="aaaaa bbbbb ccccc")
    await box.settled(first)
    gone = await box.outbox.delete(first)
    await channel.answered(5)
    await box.idle()
    stand.advance(60_000)
    box.look()
    await box.settled(gone)
    assert [attempt.target for attempt in channel.attempts[3:]] == ["r0", "r1", "r1", "r2"]


async def test_by_its_receipt_a_message_is_changed_that_came_another_way(stand: Stand) -> None:
    channel = able()
    box = await stand.open(channel)
    await box.settled(await box.outbox.edit(receipt="77", channel="chat", to="ann", text="new"))
    await box.settled(await box.outbox.delete(receipt="77", channel="chat", to="ann"))
    assert seen(channel) == [("edit", "77", "new"), ("delete", "77", "")]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({}, InvalidMessage),
        ({"receipt": "7", "channel": "chat"}, InvalidMessage),
        ({"receipt": "7", "to": "ann"}, InvalidMessage),
        ({"id": "AAAAAAAAAAAAAAAAAAAAAA"}, NotFound),
        ({"id": "x", "receipt": "7"}, InvalidMessage),
        ({"receipt": "7", "channel": "chat", "to": "ann", "key": "k"}, TypeError),
        ({"id": 7}, InvalidMessage),
    ],
)
async def test_what_is_said_wrongly_is_refused(stand: Stand, said: dict[str, Any], error: type[Exception]) -> None:
    channel = able()
    box = await stand.open(channel)
    with pytest.raises(error):
        await box.outbox.edit(**said, text="new")
    assert not channel.attempts


async def test_a_message_of_ours_says_where_it_went(stand: Stand) -> None:
    box = await stand.open(able())
    first = await box.send()
    with pytest.raises(InvalidMessage, match="to"):
        await box.outbox.edit(first, to="bob", text="new")


@pytest.mark.on_files("the store that is looked at stands before the driver")
async def test_a_store_that_fails_meanwhile_costs_no_attempt(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = able(Delivered("r1"))
    box = await stand.open(channel)
    first = await box.send()
    await box.settled(first)
    find, failures = box.worker.executor._preparing._references._find, [StoreUnavailable("busy")]

    async def failing(message: Any) -> Any:
        if failures:
            raise failures.pop()
        return await find(message)

    monkeypatch.setattr(box.worker.executor._preparing._references, "_find", failing)
    edit = await box.outbox.edit(first, text="two")
    await until(lambda: not failures)
    await box.idle()
    stand.advance(1500)
    box.look()
    view = await box.settled(edit)
    assert (view.state, view.charged) == (State.DELIVERED, 0)


@pytest.mark.contract("CO3")
async def test_an_answer_to_one_of_ours_goes_to_the_platforms_id(stand: Stand) -> None:
    replies: list[str | None] = []

    def note(attempt: Attempt) -> Delivered:
        replies.append(attempt.content.reply_to)
        return Delivered(f"r{len(replies)}")

    channel = able(note, note, note, note)
    box = await stand.open(channel)
    first = await box.send()
    second = await box.send(reply_to=first.id)
    unknown = await box.send(reply_to="AAAAAAAAAAAAAAAAAAAAAA")
    await box.settled(second)
    await box.settled(unknown)
    elsewhere = await box.send(to="bob", reply_to=first.id)
    await box.settled(elsewhere)
    # What stands elsewhere has an id there.
    assert replies == [None, "r1", "AAAAAAAAAAAAAAAAAAAAAA", first.id]


async def test_changes_by_receipts_that_begin_alike_are_two(stand: Stand) -> None:
    channel = able()
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    there: dict[str, Any] = {"channel": "chat", "to": "ann", "text": "new"}
    edits = [await box.outbox.edit(receipt=f"{'r' * 300}{number}", **there) for number in range(2)]
    await box.outbox.resume("chat")
    for edit in edits:
        assert (await box.settled(edit)).state is State.DELIVERED
    for receipt in ("", "a\0b", "r" * 1025):
        with pytest.raises(InvalidMessage, match="receipt: "):
            await box.outbox.edit(receipt=receipt, **there)


@pytest.mark.contract("CO5", "HO4")
async def test_what_an_edit_does_not_say_stays_as_it_is(stand: Stand) -> None:
    channel = able()
    box = await stand.open(channel)
    await box.outbox.pause("chat")
    link = "https://example.org/a.jpg"
    said: dict[str, Any] = {"reply_to": "r5", "silent": True, "files": [link], "mirror": {"sessionKey": "s"}}
    first = await box.send(text="one", **said)
    for text in ("two", "three"):
        assert not (await box.outbox.edit(first, text=text)).created
    await box.outbox.resume("chat")
    await box.settled(first)
    content = channel.attempts[0].content
    assert (content.text, content.reply_to, content.silent) == ("three", "r5", True)
    assert [file.url for file in content.files] == [link]
    await box.settled(await box.outbox.edit(first, text="four"))
    assert [file.url for file in channel.attempts[1].files] == [link]
    # What is recorded is what was sent, and once.
    assert [(entry.text, entry.media) for entry in await box.outbox.mirror.pending("s")] == [("three", (link,))]


async def test_an_edit_never_stands_before_what_it_changes(stand: Stand) -> None:
    """A message that stepped aside is due later than its edit, and would take a place behind it."""
    policy = Policy(jitter=0.0, schedule=(120.0,), lane_block_seconds=60.0)
    channel = ScriptedChannel(Deferred("busy"), Delivered("r1"), policy=policy)
    channel.capabilities = Capabilities(edits=True)
    box = await stand.open(channel)
    first = await box.send(text="one")
    await box.store.until(lambda batch: bool(batch.settle))
    await box.idle()
    edit, other = await box.outbox.edit(first, text="two"), await box.send(text="other")
    assert (await box.settled(other)).state is State.DELIVERED
    for milliseconds, message in ((130_000, first), (2_000, edit)):
        stand.advance(milliseconds)
        box.look()
        assert (await box.settled(message)).state is State.DELIVERED
    assert [text for *_, text in seen(channel)] == ["one", "other", "one", "two"]


@pytest.mark.contract("UN3")
async def test_a_message_sent_again_by_a_person_goes_before_the_edits_that_came_since(stand: Stand) -> None:
    """It takes a place at the tail of its lane, behind them."""
    policy = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)
    channel = ScriptedChannel(Uncertain("no answer"), Delivered("r1"), policy=policy)
    channel.capabilities = Capabilities(edits=True)
    box = await stand.open(channel)
    first = await box.send(text="one")
    await box.store.until(lambda batch: bool(batch.settle))
    await box.idle()
    await box.outbox.pause("chat")
    edit = await box.outbox.edit(first, text="two")
    await box.outbox.resolve(first.id or "", "not_delivered")
    await box.outbox.resume("chat")
    assert (await box.settled(first)).state is State.DELIVERED
    stand.advance(2_000)
    box.look()
    assert (await box.settled(edit)).state is State.DELIVERED
    assert [text for *_, text in seen(channel)] == ["one", "one", "two"]


@pytest.mark.contract("CO5", "CH3")
@pytest.mark.parametrize("by_receipt", [False, True])
async def test_a_change_goes_where_its_message_stands_though_its_recipient_has_moved(
    stand: Stand, *, by_receipt: bool
) -> None:
    """At the new address that id is another message's, or nobody's."""
    channel = able(Delivered("r1"), Redirected("bob"), Delivered("r2"), Deferred("busy"), Delivered("r1"))
    box = await stand.open(channel)
    old = await box.send(text="one")
    await box.settled(old)
    moving = await box.send(text="two")
    await until(lambda: len(channel.attempts) == 2 and not box.worker.executor.flights)
    stand.advance(2000)
    await box.settled(moving)
    assert channel.attempts[-1].to == "bob"
    place: Any = {"receipt": "r1", "channel": "chat", "to": "ann"} if by_receipt else {"id": old.id}
    edit = await box.outbox.edit(**place, text="three")
    await until(lambda: len(channel.attempts) == 4 and not box.worker.executor.flights)
    stand.advance(10_000)
    await box.settled(edit)
    assert [(attempt.to, attempt.target) for attempt in channel.attempts[3:]] == [("ann", "r1")] * 2

    channel.script(Redirected("bob"))
    gone = await box.outbox.delete(**place)
    await box.settled(gone)
    view = await box.view(gone)
    assert (view.state, view.recipient, len(channel.attempts)) == (State.DEAD, "ann", 6)
    assert "another address" in (view.last_error or "")
