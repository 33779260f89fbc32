"""Split messages on their way: cut and committed before the first send, in order, each part sent until it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import apsw
import msgspec
import pytest

from pillarbox.channels.base import Attempt, Capabilities
from pillarbox.channels.function import FunctionChannel
from pillarbox.channels.text.split import SPLITTER
from pillarbox.domain.ids import ID_LENGTH
from pillarbox.domain.message import File, State, decode_content
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Rejected, Uncertain
from pillarbox.domain.retry import PartsMode, Policy
from pillarbox.domain.transition import Reason
from pillarbox.errors import InvalidMessage
from pillarbox.outbox.outbox import Outbox
from pillarbox.testing.receiver import Receiver
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, Box, Stand, crash, until

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.domain.message import MessageView
    from pillarbox.outbox.message import Message

STEADY = Policy(jitter=0.0)  # 5 s, 25 s, 2 min, 10 min
BEST_EFFORT = msgspec.structs.replace(STEADY, parts=PartsMode.BEST_EFFORT)
TEXT = "one two three four"
TEXTS = ["one", "two", "three", "four"]


class Chat(ScriptedChannel):
    """A scripted channel that takes five characters at a time."""

    def __init__(self, *steps: object, policy: Policy = STEADY, **settings: Any) -> None:
        super().__init__(*steps, policy=policy, text_limit=5, **settings)


def texts(channel: ScriptedChannel) -> list[str]:
    """What was sent, in order."""
    return [attempt.text for attempt in channel.attempts]


def receipts(count: int) -> list[Delivered]:
    return [Delivered(f"r{n}") for n in range(count)]


def told(view: MessageView) -> list[tuple[State, str | None]]:
    return [(part.state, part.receipt or part.reason) for part in view.parts]


async def waits(box: Box, message: Message, *, attempts: int) -> MessageView:
    """Wait until so many attempts were made, of which the last has failed, and the next one is for later."""

    async def so() -> bool:
        view = await box.view(message)
        return (view.state, view.claims) == (State.SCHEDULED, attempts) and view.error_class is not None

    await until(so)
    return await box.view(message)


async def resumed(stand: Stand, box: Box, message: Message, *, attempts: int, seconds: int | None = None) -> None:
    """Let an attempt fail, and the time until the next one pass, which is *seconds* where that is known."""
    view = await waits(box, message, attempts=attempts)
    wait_ms = view.due_ms - stand.clock.wall_ms()
    assert seconds is None or wait_ms == 1000 * seconds
    stand.advance(wait_ms)
    box.look()


# The split


@pytest.mark.on_files("reads the file")
@pytest.mark.contract("PA1", "PA2")
@pytest.mark.parametrize("at_hand", [True, False], ids=["accepted with its channel", "accepted without"])
async def test_all_parts_are_committed_before_the_first_is_sent(stand: Stand, *, at_hand: bool) -> None:
    seen: list[list[Any]] = []

    def look(_: Attempt) -> Delivered:
        connection = apsw.Connection(str(stand.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            stored = connection.execute("SELECT number, state, content FROM part ORDER BY number").fetchall()
            message = connection.execute("SELECT part_count, splitter, prepared FROM message").fetchall()
        finally:
            connection.close()
        rows = [(number, state, decode_content(str(content).encode()).text) for number, state, content in stored]
        seen.append([rows, *message])
        return Delivered()

    acceptor = None if at_hand else await stand.open()
    message = None if acceptor is None else await acceptor.send(text=TEXT)
    channel = Chat(look)
    box = await stand.open(channel)
    message = message or await box.send(text=TEXT)
    view = await box.settled(message)
    assert seen == [[[(n, 0, text) for n, text in enumerate(TEXTS)], (4, SPLITTER, 1)]]
    assert (view.state, view.part_count, view.splitter) == (State.DELIVERED, 4, SPLITTER)
    assert texts(channel) == TEXTS


@pytest.mark.contract("PA2", "EN16")
async def test_a_message_that_was_split_in_its_first_claim_is_settled_part_by_part(stand: Stand) -> None:
    message = await (await stand.open()).send(text=TEXT)
    channel = Chat(*receipts(4))
    box = await stand.open(channel)
    view = await box.settled(message)
    assert told(view) == [(State.DELIVERED, f"r{n}") for n in range(4)]
    assert [(a.part, a.part_count, a.number, a.receipts) for a in channel.attempts] == [
        (n, 4, n + 1, tuple(f"r{before}" for before in range(n))) for n in range(4)
    ]
    assert await box.outbox.check() == []


@pytest.mark.contract("PA2", "PA3")
async def test_a_split_that_was_committed_is_not_made_anew_by_a_channel_with_another_limit(stand: Stand) -> None:
    message = await (await stand.open()).send(text=TEXT)
    first = Chat()
    first.hold()
    box = await stand.open(first)
    await first.begun(1)
    await crash(box)
    wider = Chat()
    wider.capabilities = Capabilities(text_limit=100)
    box = await stand.open(wider)
    view = await box.settled(message)
    assert texts(wider) == TEXTS
    assert view.part_count == 4


@pytest.mark.contract("PA1", "EN2")
@pytest.mark.parametrize("at_hand", [True, False], ids=["accepted with its channel", "accepted without"])
async def test_white_space_that_alone_is_too_long_is_kept_but_not_sent(stand: Stand, *, at_hand: bool) -> None:
    channel = Chat()
    box = None if not at_hand else await stand.open(channel)
    message = await (box or await stand.open()).send(text="hello\n")
    box = box or await stand.open(channel)
    view = await box.settled(message)
    assert texts(channel) == ["hello"]
    assert view.content is not None
    assert (decode_content(view.content).text, view.part_count) == ("hello\n", 1)


@pytest.mark.contract("PA1", "EN13")
async def test_what_a_channel_cannot_cut_is_refused_with_the_field_named(stand: Stand) -> None:
    box = await stand.open(Chat())
    with pytest.raises(InvalidMessage, match=r"^text: expected at most 4096 parts") as refused:
        await box.send(text="a" * (5 * 4096 + 1))
    assert refused.value.field == "text"
    message = await (await stand.open()).send(text="a" * (5 * 4096 + 1))
    view = await box.settled(message)
    assert (view.state, view.terminal_reason) == (State.DEAD, Reason.INVALID)


@pytest.mark.contract("PA1")
async def test_files_and_subject_go_with_the_first_part_only(stand: Stand) -> None:
    channel = Chat()
    box = await stand.open(channel)
    await box.settled(await box.send(text="one two", subject="s", files=["https://example.org/a.png"]))
    assert [(a.content.subject, a.files) for a in channel.attempts] == [
        ("s", (File(url="https://example.org/a.png", media_type="image/png"),)), (None, ()),
    ]  # fmt: skip


# Going on after trouble


@pytest.mark.contract("PA3", "RE1", "RE2")
@pytest.mark.parametrize("part", range(4))
async def test_a_part_that_failed_is_tried_again_and_none_before_it(stand: Stand, part: int) -> None:
    failures = [Deferred("busy"), Deferred("busy")]
    channel = Chat(*receipts(part), *failures, *receipts(4))
    box = await stand.open(channel)
    message = await box.send(text=TEXT)
    for failed, seconds in enumerate((5, 25), start=1):
        view = await waits(box, message, attempts=part + failed)
        assert (view.part_next, view.charged) == (part, failed)
        await resumed(stand, box, message, attempts=part + failed, seconds=seconds)
    view = await box.settled(message)
    assert texts(channel) == [*TEXTS[:part], *[TEXTS[part]] * 3, *TEXTS[part + 1 :]]
    assert (view.state, view.claims, view.parts_delivered) == (State.DELIVERED, 6, 4)


@pytest.mark.contract("PA3", "RE2")
async def test_the_attempts_and_the_schedule_begin_again_with_each_part(stand: Stand) -> None:
    policy = msgspec.structs.replace(STEADY, max_attempts=2)
    busy = Deferred("busy")
    channel = Chat(busy, Delivered("r0"), busy, Delivered("r1"), busy, busy, policy=policy)
    box = await stand.open(channel)
    message = await box.send(text=TEXT)
    for attempts in (1, 3, 5):
        await resumed(stand, box, message, attempts=attempts, seconds=5)
    view = await box.settled(message)
    assert (view.state, view.terminal_reason, view.claims) == (State.DEAD, Reason.RETRIES_EXHAUSTED, 6)
    assert [part.state for part in view.parts] == [State.DELIVERED, State.DELIVERED, State.DEAD, State.CANCELLED]


@pytest.mark.contract("PA3", "RE5", "FL1")
async def test_a_rate_limit_at_a_part_lets_it_wait_and_costs_nothing(stand: Stand) -> None:
    channel = Chat(Delivered("r0"), RateLimited(after=30), *receipts(4))
    box = await stand.open(channel)
    message = await box.send(text=TEXT)
    view = await waits(box, message, attempts=2)
    assert (view.part_next, view.charged) == (1, 0)
    await resumed(stand, box, message, attempts=2, seconds=30)
    assert (await box.settled(message)).state is State.DELIVERED
    assert texts(channel) == ["one", "two", "two", "three", "four"]


@pytest.mark.contract("PA3", "LE4", "UN2")
@pytest.mark.parametrize("part", range(4))
async def test_after_a_crash_at_a_part_that_part_and_those_behind_it_are_sent(stand: Stand, part: int) -> None:
    first = Chat(*receipts(part), *[hang] * 4)
    box = await stand.open(first)
    message = await box.send(text=TEXT)
    await first.begun(part + 1)
    await crash(box)
    second = Chat()
    box = await stand.open(second)
    view = await box.settled(message)
    assert texts(first) == TEXTS[: part + 1]
    assert texts(second) == TEXTS[part:]
    assert first.attempts[part].token == second.attempts[0].token
    assert (view.state, view.claims, view.lost) == (State.DELIVERED, 5, 0)


async def hang(_: Attempt) -> Delivered:
    await asyncio.Event().wait()
    return Delivered()


@pytest.mark.contract("UN2")
async def test_each_part_has_a_token_of_its_own_and_keeps_it_for_every_attempt(stand: Stand) -> None:
    again = [Deferred("busy"), Uncertain("no answer"), RateLimited(after=1)]
    channel = Chat(*[step for _ in TEXTS for step in (*again, Delivered())])
    box = await stand.open(channel)
    message = await box.send(text=TEXT)
    for part in range(4):
        for failed, seconds in enumerate((5, 25, 1), start=1):
            await resumed(stand, box, message, attempts=4 * part + failed, seconds=seconds)
    await box.settled(message)
    assert len(channel.attempts) == 16
    tokens = {part: {a.token for a in channel.attempts if a.part == part} for part in range(4)}
    assert [len(found) for found in tokens.values()] == [1, 1, 1, 1]
    every = sorted(token for found in tokens.values() for token in found)
    assert every == [f"{message.id}{end}" for end in ("AAA", "ABA", "ACA", "ADA")]
    assert {len(token) for token in every} == {ID_LENGTH + 3}


@pytest.mark.contract("UN2")
async def test_no_two_of_the_most_parts_there_can_be_share_a_token(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY, text_limit=1)
    box = await stand.open(channel)
    count = 130  # more than two rounds of the last character
    await box.settled(await box.send(text="a" * count))
    assert len({attempt.token for attempt in channel.attempts}) == count == len(channel.attempts)


# Order


@pytest.mark.contract("PA3", "LA1")
async def test_the_next_message_of_a_lane_does_not_start_between_two_parts(stand: Stand) -> None:
    channel = Chat(Delivered(), Deferred("busy"))
    box = await stand.open(channel)
    first = await box.send(text=TEXT)
    behind = [await box.send(text="five six"), await box.send(text="seven")]
    elsewhere = await box.send("bob", text="hello")
    await box.settled(elsewhere)
    await waits(box, first, attempts=2)
    await box.looked()
    assert [a.text for a in channel.attempts if a.to == "ann"] == ["one", "two"]
    await resumed(stand, box, first, attempts=2, seconds=5)
    for message in behind:
        assert (await box.settled(message)).state is State.DELIVERED
    assert [a.text for a in channel.attempts if a.to == "ann"] == [
        "one", "two", "two", "three", "four", "five", "six", "seven",
    ]  # fmt: skip
    assert channel.most <= 2


@pytest.mark.contract("PA3", "PA1")
async def test_parts_of_one_message_are_sent_one_at_a_time_without_a_lane_too(stand: Stand) -> None:
    channel = Chat(ordered=False)
    box = await stand.open(channel)
    await box.settled(await box.send(text=TEXT, lane=None))
    assert (texts(channel), channel.most) == (TEXTS, 1)


@pytest.mark.contract("PA4")
async def test_who_waits_for_a_message_waits_for_its_last_part(stand: Stand) -> None:
    channel = Chat(Delivered("r0"), Deferred("busy"))
    box = await stand.open(channel)
    message = await box.send(text="one two")
    waiting = asyncio.ensure_future(message.wait(SECONDS))
    await waits(box, message, attempts=2)
    assert not waiting.done()
    await resumed(stand, box, message, attempts=2, seconds=5)
    await waiting
    assert (message.state, message.aggregate) == (State.DELIVERED, "delivered")
    assert [part.state for part in message.parts] == [State.DELIVERED, State.DELIVERED]


# How it ends


@pytest.mark.contract("PA4")
@pytest.mark.parametrize(
    ("policy", "states", "reason"),
    [
        (STEADY, [State.DELIVERED, State.DEAD, State.CANCELLED, State.CANCELLED], Reason.REJECTED),
        (BEST_EFFORT, [State.DELIVERED, State.DEAD, State.DELIVERED, State.DELIVERED], Reason.PARTIAL),
    ],
    ids=["all_or_abort", "best_effort"],
)
async def test_a_rejected_part_stops_the_others_or_does_not(
    stand: Stand, policy: Policy, states: list[State], reason: Reason
) -> None:
    channel = Chat(Delivered("r0"), Rejected("too long"), policy=policy)
    box = await stand.open(channel)
    message = await box.send(text=TEXT)
    async with asyncio.timeout(SECONDS):
        await message.wait()
    assert (message.state, message.reason, message.aggregate) == (State.DEAD, reason, "partial")
    assert [part.state for part in message.parts] == states
    assert message.parts[1].reason == "too long"
    assert texts(channel) == [text for text, state in zip(TEXTS, states, strict=True) if state is not State.CANCELLED]
    said = message.to_dict()
    assert (said["aggregate"], said["part_count"]) == ("partial", 4)
    assert [part["state"] for part in said["parts"]] == [str(state) for state in states]


@pytest.mark.contract("PA5", "OP3")
@pytest.mark.parametrize(
    ("answer", "part", "together"),
    [
        (Delivered("r1"), State.DELIVERED, "partial"),
        (Deferred("busy"), State.CANCELLED, "partial"),
        (Uncertain("no answer"), State.CANCELLED, "uncertain"),
    ],
    ids=["delivered", "deferred", "uncertain"],
)
async def test_a_cancel_while_a_part_is_sent_lets_it_end_and_cancels_the_rest(
    stand: Stand, answer: object, part: State, together: str
) -> None:
    under_way, answered = asyncio.Event(), asyncio.Event()

    async def slow(_: Attempt) -> object:
        under_way.set()
        await answered.wait()
        return answer

    channel = Chat(Delivered("r0"), slow)
    box = await stand.open(channel)
    message = await box.send(text=TEXT)
    async with asyncio.timeout(SECONDS):
        await under_way.wait()
    await box.outbox.cancel(message.id or "")
    assert (await box.view(message)).cancel_requested_ms == stand.clock.wall_ms()
    answered.set()
    async with asyncio.timeout(SECONDS):
        await message.wait()
    assert (message.state, message.aggregate) == (State.CANCELLED, together)
    assert [found.state for found in message.parts] == [State.DELIVERED, part, State.CANCELLED, State.CANCELLED]
    assert texts(channel) == ["one", "two"]
    assert await box.outbox.check() == []


@pytest.mark.contract("PA5", "OP3")
async def test_a_cancel_while_the_last_part_is_sent_comes_too_late(stand: Stand) -> None:
    under_way, answered = asyncio.Event(), asyncio.Event()

    async def slow(_: Attempt) -> Delivered:
        under_way.set()
        await answered.wait()
        return Delivered("r1")

    box = await stand.open(Chat(Delivered("r0"), slow))
    message = await box.send(text="one two")
    async with asyncio.timeout(SECONDS):
        await under_way.wait()
    await box.outbox.cancel(message.id or "")
    answered.set()
    view = await box.settled(message)
    assert (view.state, view.parts_delivered) == (State.DELIVERED, 2)


@pytest.mark.contract("PA3", "PA4", "EX1")
async def test_a_message_whose_time_is_over_midway_says_what_arrived(stand: Stand) -> None:
    channel = Chat(Delivered("r0"), Deferred("busy"))
    box = await stand.open(channel)
    message = await box.send(text=TEXT, ttl=3)
    await waits(box, message, attempts=2)
    stand.advance(3_001)
    await box.reap()
    async with asyncio.timeout(SECONDS):
        await message.wait()
    assert (message.state, message.aggregate) == (State.EXPIRED, "partial")
    assert [part.state for part in message.parts] == [State.DELIVERED, *[State.EXPIRED] * 3]
    assert texts(channel) == ["one", "two"]


# Other ways


@pytest.mark.contract("PA1", "PA2", "PA4")
async def test_a_function_that_takes_little_text_is_called_once_a_part(stand: Stand) -> None:
    calls: list[tuple[str, int, int]] = []

    def call(attempt: Attempt) -> str:
        calls.append((attempt.text, attempt.part, attempt.part_count))
        return f"r{attempt.part}"

    box = await stand.open(FunctionChannel(call, text_limit=5, split_mode="length"))
    view = await box.settled(await box.send(text=TEXT))
    assert calls == [(text, number, 4) for number, text in enumerate(TEXTS)]
    assert told(view) == [(State.DELIVERED, f"r{n}") for n in range(4)]


@pytest.mark.contract("PA4", "EN12")
@pytest.mark.parametrize(
    ("answer", "state", "together"),
    [
        (Delivered("r1"), State.DELIVERED, "delivered"),
        (Rejected("too long"), State.DEAD, "partial"),
        (Uncertain("no answer"), State.DEAD, "uncertain"),
    ],
    ids=["delivered", "rejected", "uncertain"],
)
async def test_without_a_queue_each_part_s_truth_is_told_too(
    tmp_path: Path, answer: object, state: State, together: str
) -> None:
    channel = Chat(Delivered("r0"), answer)
    async with Outbox(tmp_path / "outbox.db", channels={"chat": channel}, enabled=False) as box:
        message = await box.send("chat", to="ann", text="one two")
        assert (message.state, message.aggregate) == (state, together)
        assert [part.state for part in message.parts] == [State.DELIVERED, state]
        assert (await box.send("chat", to="ann", text="hello\n")).state is State.DELIVERED
    assert texts(channel) == ["one", "two", "hello"]


@pytest.mark.contract("PA4", "EN12")
async def test_without_a_queue_the_last_rejected_part_keeps_its_own_reason(tmp_path: Path) -> None:
    channel = Chat(Delivered("r0"), Rejected("too long"), policy=BEST_EFFORT)
    settings: dict[str, Any] = {"channels": {"chat": channel}, "enabled": False}
    async with Outbox(tmp_path / "outbox.db", **settings) as box:
        message = await box.send("chat", to="ann", text="one two")
    assert (message.reason, message.error) == (Reason.PARTIAL, "1 of 2 parts were rejected")
    assert [part.reason for part in message.parts] == [None, "too long"]


@pytest.mark.contract("PA1", "PA2")
async def test_a_webhook_with_a_limit_gets_a_text_part_by_part(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        outbox = Outbox(tmp_path / "outbox.db")
        outbox.channel("hooks", receiver.url, text_limit=8)
        async with outbox:
            message = await (await outbox.send("hooks", to="ann", text=TEXT)).wait(SECONDS)
        assert (message.state, message.aggregate) == (State.DELIVERED, "delivered")
        bodies = [request.json for request in receiver.requests]
    assert [(body["text"], body["part"], body["part_count"]) for body in bodies] == [
        ("one two", 0, 3),
        ("three", 1, 3),
        ("four", 2, 3),
    ]
