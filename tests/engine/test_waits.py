"""Who waits for a message costs nobody else anything: one look for all who wait, and only where there is a reason."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.retry import Policy
from pillarbox.engine.waits import UNTOLD_SECONDS
from pillarbox.errors import NotStarted, StoreUnavailable
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.outbox.message import Message
    from tests.engine.stand import Box, Stand

FOR_EVER = Policy(jitter=0.0, ttl_seconds=None)
LATER = timedelta(hours=1)
MANY = 100


class Counted:
    """How often an outbox read one message, and how often it looked for all."""

    def __init__(self, box: Box) -> None:
        self.reads = 0
        self.answered = 0
        self.looks: list[int] = []
        self.looked = 0
        self._box = box
        store: Any = box.store
        store.get = self._get
        store.ended = self._ended

    async def _get(self, message: Any) -> object:
        self.reads += 1
        view = await self._box.store.real.get(message)
        self.answered += 1
        return view

    async def _ended(self, messages: Sequence[Any]) -> object:
        self.looks.append(len(messages))
        ended = await self._box.store.real.ended(messages)
        self.looked += 1
        return ended


async def waiting(box: Box, messages: list[Message], counted: Counted) -> list[asyncio.Task[Message]]:
    """Wait for every message, until all of them were read once."""
    before = counted.answered
    tasks = [asyncio.create_task(message.wait()) for message in messages]
    # Answered, not only asked: what settles before it was first read is not read a second time.
    await until(lambda: counted.answered - before >= len(messages))
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def all_of(tasks: list[asyncio.Task[Message]]) -> set[State]:
    async with asyncio.timeout(SECONDS):
        return {message.state for message in await asyncio.gather(*tasks)}


@pytest.mark.on_files("counts on looks that take no time")
async def test_a_process_that_delivers_alone_reads_nothing_while_it_waits(stand: Stand) -> None:
    channel = ScriptedChannel(policy=FOR_EVER)
    box = await stand.open(channel)
    later = [await box.send(f"r{n}", at=LATER) for n in range(MANY)]
    counted = Counted(box)
    waits = await waiting(box, later, counted)
    for n in range(5):
        await (await box.send(f"now{n}")).wait()
    for _ in range(5):
        await box.runtime.waits.tick()
    assert counted.looks == []
    assert counted.reads <= MANY + 2 * 5
    stand.advance(3_600_000)
    box.look()
    assert await all_of(waits) == {State.DELIVERED}
    assert counted.reads <= 2 * MANY + 2 * 5


@pytest.mark.on_files("counts on looks that take no time")
@pytest.mark.contract("DR2")
async def test_one_look_serves_all_who_wait_for_another_process(stand: Stand) -> None:
    acceptor = await stand.open()
    messages = [await acceptor.send(f"r{n}") for n in range(MANY)]
    counted = Counted(acceptor)
    waits = await waiting(acceptor, messages, counted)
    await stand.open(ScriptedChannel(policy=FOR_EVER))
    assert await all_of(waits) == {State.DELIVERED}
    assert counted.looks
    assert max(counted.looks) == MANY
    assert counted.reads == 2 * MANY


@pytest.mark.contract("DR2")
async def test_where_nothing_is_written_nobody_looks(stand: Stand) -> None:
    acceptor = await stand.open()
    messages = [await acceptor.send(f"r{n}") for n in range(3)]
    counted = Counted(acceptor)
    waits = await waiting(acceptor, messages, counted)
    for _ in range(50):
        await acceptor.runtime.waits.tick()
    assert len(counted.looks) <= 1
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await acceptor.send("more")
    await acceptor.runtime.waits.tick()
    assert len(counted.looks) <= 1


@pytest.mark.contract("DR2")
@pytest.mark.parametrize("served", [True, False])
async def test_a_worker_hears_of_what_another_one_settled(stand: Stand, served: bool) -> None:
    """Whether it serves the channel too, or not."""
    mine = ScriptedChannel(policy=FOR_EVER)
    box = await stand.open({"chat" if served else "other": mine})
    box.worker._accepting = False
    acceptor = await stand.open()
    message = await acceptor.send()
    found = await box.outbox.find(message.id or "")
    (wait,) = await waiting(box, [found], Counted(box))
    await stand.open(ScriptedChannel(policy=FOR_EVER))
    assert await all_of([wait]) == {State.DELIVERED}
    assert mine.attempts == []


@pytest.mark.contract("OP3")
async def test_what_an_operator_does_elsewhere_ends_a_wait(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=FOR_EVER))
    message = await box.send(at=LATER)
    (wait,) = await waiting(box, [message], Counted(box))
    operator = await stand.open()
    await operator.outbox.cancel(message.id or "", actor="ann")
    assert await all_of([wait]) == {State.CANCELLED}


@pytest.mark.contract("DR3")
@pytest.mark.parametrize("delivers", [True, False])
async def test_a_close_ends_every_wait(stand: Stand, delivers: bool) -> None:
    box = await stand.open(ScriptedChannel(policy=FOR_EVER) if delivers else None)
    waits = await waiting(box, [await box.send(f"r{n}", at=LATER) for n in range(3)], Counted(box))
    async with asyncio.timeout(SECONDS):
        await box.outbox.close()
        ends = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(end) for end in ends} == {NotStarted}


async def test_a_wait_hears_that_the_database_does_not_answer(stand: Stand) -> None:
    acceptor = await stand.open()
    message = await acceptor.send()
    counted = Counted(acceptor)
    (wait,) = await waiting(acceptor, [message], counted)

    async def gone(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    store: Any = acceptor.store
    store.get = store.ended = gone
    # A look that had begun before would seem to take all of the time that passes now, and rest for many times that.
    await until(lambda: counted.looked == len(counted.looks))
    stand.advance(5_000)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(StoreUnavailable):
            await wait


async def test_after_a_look_that_took_a_minute_the_next_one_comes_soon(stand: Stand) -> None:
    acceptor = await stand.open()
    counted = Counted(acceptor)
    (wait,) = await waiting(acceptor, [await acceptor.send()], counted)
    answers: Any = acceptor.store

    async def late(_: object) -> set[object]:
        stand.advance(60_000)
        counted.looked += 1
        return set()

    await until(lambda: counted.looked == len(counted.looks))
    looked, answers.ended = counted.looked, late
    stand.advance(5_000)
    await until(lambda: counted.looked > looked)
    answers.ended = acceptor.store.real.ended
    rests = await acceptor.runtime.waits.tick()
    assert rests is not None
    assert rests <= UNTOLD_SECONDS
    wait.cancel()
