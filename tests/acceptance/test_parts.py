"""Long messages whose workers are killed with SIGKILL at any part, over real sockets: every part arrives, in order."""

from __future__ import annotations

import asyncio
import random
import signal
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pytest

from pillarbox.domain.message import State
from pillarbox.testing.receiver import Answer, Receiver
from tests.acceptance.parts_worker import LIMIT
from tests.acceptance.processes import SECONDS, Accepting, WorkerProcess

if TYPE_CHECKING:
    from pillarbox.outbox.message import Message
    from pillarbox.testing.receiver import Received

Moment = Literal["before", "during", "after"]
PARTS: Final = 4
MOMENTS: Final[tuple[Moment, ...]] = ("before", "during", "after")


class NarrowWorker(WorkerProcess):
    """A worker whose channel cuts text, which kills itself where it was told to."""

    script = Path(__file__).with_name("parts_worker.py")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def long_text(name: str) -> str:
    """A text of four parts, each of which is one word."""
    return " ".join(f"{name}-{number:05}" for number in range(PARTS))


def ledger(requests: list[Received], message: Message) -> list[tuple[int, str, str]]:
    """What arrived of a message: part, text and token, in order."""
    return [
        (request.json["part"], request.json["text"], request.headers["idempotency-key"])
        for request in requests
        if request.json["id"] == message.id
    ]


def judge(requests: list[Received], message: Message, name: str, *, twice: set[int]) -> None:
    """See that every part arrived, in order, those of *twice* twice with the same token, the others once."""
    arrived = ledger(requests, message)
    runs = [(entry, len(list(copies))) for entry, copies in groupby(arrived)]
    assert [part for (part, _, _), _ in runs] == list(range(PARTS)), arrived
    assert " ".join(text for (_, text, _), _ in runs) == long_text(name)
    assert len({token for (_, _, token), _ in runs}) == PARTS
    assert {part for (part, _, _), count in runs if count == 2} == twice, arrived
    assert {count for _, count in runs} <= {1, 2}
    assert (message.state, message.aggregate) == (State.DELIVERED, "delivered")
    assert [part.state for part in message.parts] == [State.DELIVERED] * PARTS


async def kill_at(db: Path, receiver: Receiver, part: int, moment: Moment) -> None:
    """Let a worker deliver until it is at *part* of some message, and dies there."""
    if moment != "during":
        async with NarrowWorker(db, receiver.url, die=[part, moment]) as worker:
            assert await worker.ended() == -signal.SIGKILL
        return
    reached = asyncio.Event()

    def answer(request: Received) -> Answer:
        if request.json["part"] != part:
            return Answer()
        reached.set()
        return Answer.hang()

    receiver.answer = answer
    async with NarrowWorker(db, receiver.url) as worker:
        async with asyncio.timeout(SECONDS):
            await reached.wait()
        await worker.kill()
    receiver.answer = Answer()


@pytest.mark.contract("PA2", "PA3", "UN2", "LE4", "EN1")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("part", [0, 2, PARTS - 1])
async def test_a_worker_killed_at_a_part_repeats_that_part_at_most(db: Path, part: int, moment: Moment) -> None:
    async with Receiver() as receiver, Accepting(db) as box:
        message = await box.send(text=long_text("a"))
        await kill_at(db, receiver, part, moment)
        # Its own eyes: what was sent is in the ledger, and nothing of what comes behind it.
        expected = part + (moment != "before")
        assert [number for number, _, _ in ledger(receiver.requests, message)] == list(range(expected))
        async with NarrowWorker(db, receiver.url):
            await box.settled(message)
        judge(receiver.requests, message, "a", twice=set() if moment == "before" else {part})
        assert message.attempts == PARTS + 1
        assert await box.outbox.check() == []


@pytest.mark.contract("PA3", "UN2", "RE2")
async def test_a_worker_killed_at_every_part_wears_no_message_out(db: Path) -> None:
    """Six workers are lost over one message of five attempts: the counters begin again with every delivered part."""
    kills: list[tuple[int, Moment]] = [
        (0, "during"), (0, "before"), (1, "after"), (2, "before"), (2, "during"), (3, "after"),
    ]  # fmt: skip
    async with Receiver() as receiver, Accepting(db) as box:
        message = await box.send(text=long_text("a"), max_attempts=3)
        for part, moment in kills:
            await kill_at(db, receiver, part, moment)
        async with NarrowWorker(db, receiver.url):
            await box.settled(message)
        judge(receiver.requests, message, "a", twice={0, 1, 2, 3})
        assert message.attempts == PARTS + len(kills)


@pytest.mark.contract("PA3", "LA1", "UN2", "EN1")
@pytest.mark.parametrize("seed", range(3))
async def test_long_messages_of_several_lanes_survive_kills_at_any_part_in_order(db: Path, seed: int) -> None:
    draw, kills = random.Random(seed), 4
    # Between two kills no lane gets further than a message: the last one is there for the last kill.
    each = kills + 1
    names = [f"{lane}{number}" for number in range(each) for lane in "xyz"]
    async with Receiver() as receiver, Accepting(db) as box:
        made = {name: await box.send(name[0], text=long_text(name), max_attempts=50) for name in names}
        for _ in range(kills):
            await kill_at(db, receiver, draw.randrange(PARTS), draw.choice(MOMENTS))
        async with NarrowWorker(db, receiver.url):
            await box.settled(*made.values())
        for lane in "xyz":
            entries = [request.json for request in receiver.requests if request.json["to"] == lane]
            order = [text for text, _ in groupby(entry["text"] for entry in entries)]
            assert order == [word for number in range(each) for word in long_text(f"{lane}{number}").split()]
        for name, message in made.items():
            arrived = ledger(receiver.requests, message)
            assert len({(part, token) for part, _, token in arrived}) == PARTS == len({key for _, _, key in arrived})
            assert message.view is not None
            assert len(arrived) <= message.view.claims
            assert message.state is State.DELIVERED, name
        assert await box.outbox.check() == []


@pytest.mark.contract("PA1")
def test_the_parts_of_these_tests_fill_what_the_channel_takes() -> None:
    assert {len(word) for word in long_text("a").split()} == {LIMIT - 1}
