"""What a host reads of the deliveries in a session."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Delivered, InvalidMessage, Rejected, State
from pillarbox.domain.retry import Policy
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Box, Stand, until

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from pillarbox.outbox.mirror import MirrorBook

pytestmark = pytest.mark.contract("HO4")

HOUR_MS = 3_600_000
S = "agent:main"


@pytest.fixture
async def channel() -> ScriptedChannel:
    return ScriptedChannel(policy=Policy(jitter=0.0))


@pytest.fixture
async def box(stand: Stand, channel: ScriptedChannel) -> Box:
    return await stand.open(channel)


@pytest.fixture
async def book(box: Box) -> MirrorBook:
    return box.outbox.mirror


async def test_a_delivered_message_leaves_a_record_for_its_session(stand: Stand, box: Box, book: MirrorBook) -> None:
    mirror = {"sessionKey": S, "text": "said so", "mediaUrls": ["https://example.org/a.png"], "agentId": "main"}
    message = await box.send(mirror=mirror)
    await box.settled(message)
    (entry,) = await book.pending(S)
    assert (entry.key, entry.session_key, entry.message) == (message.id, S, message.id)
    assert (entry.text, entry.media) == ("said so", ("https://example.org/a.png",))
    assert entry.delivered_ms == stand.clock.wall_ms()
    assert await book.pending("agent:other") == []


async def test_text_and_media_are_the_messages_own_unless_said(box: Box, book: MirrorBook) -> None:
    await box.settled(await box.send(text="hello", files=["https://example.org/b.png"], mirror={"sessionKey": S}))
    (entry,) = await book.pending(S)
    assert (entry.text, entry.media) == ("hello", ("https://example.org/b.png",))


async def test_there_is_no_record_before_the_delivery_nor_of_what_was_not_delivered(
    box: Box, book: MirrorBook, channel: ScriptedChannel
) -> None:
    channel.hold()
    channel.script(Rejected("no"))
    message = await box.send(mirror={"sessionKey": S})
    await channel.begun(1)
    assert await book.pending(S) == []
    channel.release()
    assert (await box.settled(message)).state is State.DEAD
    assert await book.pending(S) == []
    assert await book.acknowledge([message.id or ""]) == 0


async def test_reading_changes_nothing_and_acknowledging_ends_it(box: Box, book: MirrorBook) -> None:
    await box.settled(await box.send(mirror={"sessionKey": S}))
    (entry,) = await book.pending(S)
    assert await book.pending(S) == [entry]
    assert await book.acknowledge([entry]) == 1
    assert await book.pending(S) == []
    assert await book.acknowledge([entry.key]) == 0


async def test_a_record_can_be_read_and_acknowledged_by_another_process(stand: Stand, box: Box) -> None:
    await box.settled(await box.send(mirror={"sessionKey": S}))
    other = (await stand.open()).outbox.mirror
    assert await other.acknowledge(await other.pending(S)) == 1
    assert await box.outbox.mirror.pending(S) == []


async def test_the_second_message_of_one_key_leaves_no_second_record(box: Box, book: MirrorBook) -> None:
    for text in ("first", "second"):
        await box.settled(await box.send(text=text, mirror={"sessionKey": S, "idempotencyKey": "turn-1"}))
    assert [(entry.key, entry.text) for entry in await book.pending(S)] == [("turn-1", "first")]


async def test_at_most_ten_come_at_once_the_oldest_first(stand: Stand, box: Box, book: MirrorBook) -> None:
    for number in range(12):
        await box.settled(await box.send(text=str(number), mirror={"sessionKey": S}))
        stand.advance(1)
    first = await book.pending(S)
    assert [entry.text for entry in first] == [str(number) for number in range(10)]
    await book.acknowledge(first)
    assert [entry.text for entry in await book.pending(S)] == ["10", "11"]
    assert len(await book.pending(S, entries=1)) == 1


async def test_at_most_four_thousand_characters_come_at_once(stand: Stand, box: Box, book: MirrorBook) -> None:
    for text in ("a" * 3000, "b" * 1000, "c"):
        await box.settled(await box.send(text=text, mirror={"sessionKey": S}))
        stand.advance(1)
    assert [len(entry.text) for entry in await book.pending(S)] == [3000, 1000]
    assert [len(entry.text) for entry in await book.pending(S, characters=3999)] == [3000]
    assert [entry.text for entry in await book.pending(S, characters=10)] == ["a" * 10]


async def test_a_record_that_is_too_long_is_cut_not_left_for_ever(box: Box, book: MirrorBook) -> None:
    await box.settled(await box.send(text="x" * 5000, mirror={"sessionKey": S}))
    assert [entry.text for entry in await book.pending(S)] == ["x" * 4000]


@pytest.mark.contract("PR2")
async def test_a_record_goes_a_day_after_its_delivery_or_its_acknowledgement(
    stand: Stand, box: Box, book: MirrorBook
) -> None:
    await box.settled(await box.send(text="read", mirror={"sessionKey": S}))
    stand.advance(HOUR_MS)
    await book.acknowledge(await book.pending(S))
    await box.settled(await box.send(text="unread", mirror={"sessionKey": S}))
    stand.advance(23 * HOUR_MS)
    await box.worker.pruner.tick()
    assert await rows(box) == ["read", "unread"]
    stand.advance(HOUR_MS + 1)
    await box.worker.pruner.tick()
    assert await rows(box) == []
    assert await book.pending(S) == []


async def test_a_record_outlives_its_message(stand: Stand, box: Box, book: MirrorBook) -> None:
    message = await box.send(mirror={"sessionKey": S})
    delivered = await box.settled(message)
    stand.advance(HOUR_MS)
    assert await box.outbox.prune(1) == {State.DELIVERED: 1}
    assert await box.outbox.get(message.id or "") is None
    (entry,) = await book.pending(S)
    assert entry.delivered_ms == delivered.completed_ms


async def test_a_record_of_what_failed_goes_with_its_message(stand: Stand, box: Box, channel: ScriptedChannel) -> None:
    channel.script(Rejected("no"))
    await box.settled(await box.send(mirror={"sessionKey": S}))
    stand.advance(HOUR_MS)
    await box.outbox.prune(1)
    assert await rows(box) == []


async def test_pruning_by_call_takes_an_age_above_zero(stand: Stand, box: Box, book: MirrorBook) -> None:
    await box.settled(await box.send(mirror={"sessionKey": S}))
    stand.advance(2_000)
    for age in (timedelta(), timedelta(seconds=-1), timedelta(microseconds=1), 5):
        with pytest.raises(InvalidMessage, match=r"^age: "):
            await book.prune(age)  # type: ignore[arg-type]
    await book.prune(timedelta(seconds=3))
    assert await rows(box) == ["hi"]
    await book.prune(timedelta(seconds=1))
    assert await rows(box) == []


@pytest.mark.contract("ST6")
async def test_a_late_delivery_leaves_a_record_too(stand: Stand) -> None:
    channel = ScriptedChannel(policy=Policy(jitter=0.0))
    channel.hold()
    box = await stand.open(channel)
    message = await box.send(mirror={"sessionKey": S})
    await channel.begun(1)
    # Another worker takes the lease for lost; before it sends the message again, the first one's answer comes.
    box.store.stall(lambda batch: bool(batch.renew))
    other = await stand.open(ScriptedChannel(policy=Policy(jitter=0.0)))
    other.worker._accepting = False
    stand.advance(HOUR_MS)
    await other.reap()
    assert await other.outbox.mirror.pending(S) == []
    channel.release()
    await until(lambda: _delivered(other, message.id or ""))
    assert [entry.message for entry in await other.outbox.mirror.pending(S)] == [message.id]


async def _delivered(box: Box, identity: str) -> bool:
    return (await box.view(identity)).state is State.DELIVERED


async def test_a_message_in_parts_leaves_one_record_of_the_whole(stand: Stand) -> None:
    seen: list[int] = []
    channel = ScriptedChannel(policy=Policy(jitter=0.0), text_limit=5)
    box = await stand.open(channel)

    async def look(attempt: Attempt) -> Delivered:
        seen.append(len(await box.outbox.mirror.pending(S)))
        return Delivered("r")

    channel.script(look, look, look)
    await box.settled(await box.send(text="one two three", mirror={"sessionKey": S}))
    assert seen == [0, 0, 0]
    assert [entry.text for entry in await box.outbox.mirror.pending(S)] == ["one two three"]


@pytest.mark.contract("EN13")
@pytest.mark.parametrize(
    ("field", "block"),
    [
        ("mirror.sessionKey", {}),
        ("mirror.sessionKey", {"sessionKey": ""}),
        ("mirror.sessionKey", {"sessionKey": "x" * 256}),
        ("mirror.text", {"sessionKey": S, "text": 5}),
        ("mirror.mediaUrls", {"sessionKey": S, "mediaUrls": "https://example.org"}),
        ("mirror.mediaUrls", {"sessionKey": S, "mediaUrls": [1]}),
        ("mirror.idempotencyKey", {"sessionKey": S, "idempotencyKey": 1}),
    ],
)
async def test_a_block_that_means_nothing_is_refused_by_its_field(box: Box, field: str, block: Any) -> None:
    with pytest.raises(InvalidMessage, match=f"^{field}: "):
        await box.send(mirror=block)


@pytest.mark.parametrize(("name", "value"), [("entries", 0), ("entries", 11), ("characters", 4001), ("entries", True)])
async def test_a_limit_out_of_range_is_refused(book: MirrorBook, name: str, value: int) -> None:
    with pytest.raises(InvalidMessage, match=f"^{name}: expected a whole number 1–"):
        await book.pending(S, **{name: value})


async def rows(box: Box) -> list[str]:
    """Read the texts of every record there is, seen or not."""
    writer, session = box.store.real._writer, box.store.real._session
    assert writer is not None
    assert session is not None
    connection = session.connection
    found = await writer.run(lambda: connection.execute("SELECT text FROM mirror ORDER BY id").fetchall())
    return [str(row[0]) for row in found]
