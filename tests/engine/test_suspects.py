"""A suspect is sent alone, but not at everybody's cost; and who merely flew beside it is not taken for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Delivered
from pillarbox.domain.retry import Policy
from pillarbox.domain.transition import Reason
from pillarbox.engine.suspects import ALONE_SECONDS, OTHERS_SHARE, QUIET_SECONDS
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, crash

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from pillarbox.outbox.message import Message
    from tests.engine.stand import Box, Stand

FOR_EVER = Policy(jitter=0.0, ttl_seconds=None)


async def made_suspects(stand: Stand, *messages: Message) -> None:
    """Lose two workers while each message is being sent."""
    for _ in range(2):
        channel = ScriptedChannel(policy=FOR_EVER)
        channel.hold()
        box = await stand.open({"mail": channel})
        await channel.begun(len(messages))
        await crash(box)
        await reaped(stand)


async def reaped(stand: Stand) -> None:
    """Let another worker notice what was lost, and send nothing."""
    box = await stand.open({"mail": ScriptedChannel(policy=FOR_EVER), "chat": ScriptedChannel(policy=FOR_EVER)})
    box.worker._accepting = False
    await box.reap()
    await box.outbox.stop(0)
    stand.advance(3_600_000)


async def sent(box: Box, count: int) -> list[Message]:
    return [await box.send(f"r{n}", ttl=None, lane=None) for n in range(count)]


@pytest.mark.contract("LA2")
async def test_a_suspect_that_hangs_stalls_the_others_for_five_seconds_and_no_longer(stand: Stand) -> None:
    acceptor = await stand.open()
    suspect = await acceptor.send("suspect", channel="mail", ttl=None)
    await made_suspects(stand, suspect)
    mail, chat = ScriptedChannel(policy=FOR_EVER), ScriptedChannel(policy=FOR_EVER)
    mail.hold()
    box = await stand.open({"mail": mail, "chat": chat})
    await mail.begun(1)
    others = await sent(box, 20)
    await box.looked()
    assert chat.attempts == []
    stand.advance(int(ALONE_SECONDS * 1000))
    box.look()
    for message in others:
        assert (await box.settled(message)).state is State.DELIVERED
    assert (await box.view(suspect)).state is State.LEASED
    mail.release()
    view = await box.settled(suspect)
    assert (view.state, view.lost) == (State.DELIVERED, 0)


@pytest.mark.on_files("counts on looks that take no time")
@pytest.mark.contract("LA2")
async def test_the_next_suspect_waits_until_the_others_had_nine_times_as_long(stand: Stand) -> None:
    acceptor = await stand.open()
    suspects = [await acceptor.send(f"suspect{n}", channel="mail", ttl=None) for n in range(3)]
    await made_suspects(stand, *suspects)
    mail, chat = ScriptedChannel(policy=FOR_EVER), ScriptedChannel(policy=FOR_EVER)
    mail.hold()
    box = await stand.open({"mail": mail, "chat": chat}, lease_seconds=3600)
    for flying in (1, 2, 3):
        await mail.begun(flying)
        await box.looked()
        assert len(mail.attempts) == flying
        stand.advance(int(ALONE_SECONDS * 1000))
        box.look()
        for message in await sent(box, 3):
            assert (await box.settled(message)).state is State.DELIVERED
        # Looks take some milliseconds, which count too.
        stand.advance(int(OTHERS_SHARE * ALONE_SECONDS * 1000) - 1000)
        await box.looked()
        assert len(mail.attempts) == flying
        stand.advance(1000)
        box.look()
    # That they waited for each other is nobody's fault: they are cleared by their first success.
    mail.release()
    for suspect in suspects:
        assert (await box.settled(suspect)).lost == 0


@pytest.mark.contract("LA2")
async def test_while_suspects_rest_nobody_looks_for_them(stand: Stand) -> None:
    acceptor = await stand.open()
    suspects = [await acceptor.send(f"suspect{n}", channel="mail", ttl=None) for n in range(2)]
    await made_suspects(stand, *suspects)
    mail = ScriptedChannel(policy=FOR_EVER)
    mail.hold()
    box = await stand.open({"mail": mail})
    await mail.begun(1)
    stand.advance(int(ALONE_SECONDS * 1000))
    await box.looked()
    before = box.store.offered(lambda batch: batch.claim is not None)
    for _ in range(200):
        await asyncio.sleep(0)
    writer = box.store.real._writer
    assert writer is not None
    for _ in range(20):
        await writer.run(lambda: None)
        await asyncio.sleep(0)
    assert box.store.offered(lambda batch: batch.claim is not None) - before <= 2


@pytest.mark.contract("LE2", "LA2")
async def test_those_that_fly_beside_a_late_killer_lose_nothing_and_it_runs_out(stand: Stand) -> None:
    """It kills after more than five seconds, so others fly beside it each time."""
    acceptor = await stand.open()
    poison = await acceptor.send("poison", channel="mail", ttl=None)
    await made_suspects(stand, poison)
    beside: list[Message] = []
    for _ in range(3):
        mail, chat = ScriptedChannel(policy=FOR_EVER), ScriptedChannel(policy=FOR_EVER)
        mail.hold()
        chat.hold()
        box = await stand.open({"mail": mail, "chat": chat})
        # Those of the round before are under way already, and may take a second to end.
        await chat.begun(len(beside))
        await box.looked()
        stand.advance(int(QUIET_SECONDS * 1000))
        box.look()
        await mail.begun(1)
        stand.advance(int(ALONE_SECONDS * 1000))
        beside += await sent(box, 3)
        await chat.begun(len(beside))
        await crash(box)
        await reaped(stand)
    view = await acceptor.view(poison)
    assert (view.state, view.terminal_reason, view.lost) == (State.DEAD, Reason.KILLS_WORKERS, 5)
    box = await stand.open({"chat": ScriptedChannel(policy=FOR_EVER)})
    for message in beside:
        innocent = await box.settled(message)
        assert (innocent.state, innocent.lost, innocent.charged) == (State.DELIVERED, 0, 0)


@pytest.mark.on_files("counts on looks that take no time")
@pytest.mark.contract("LE2")
async def test_a_slow_innocent_suspect_is_not_buried_for_what_starts_beside_it(stand: Stand) -> None:
    """Another message kills at once, again and again while the first one is still being sent."""
    acceptor = await stand.open()
    slow = await acceptor.send("slow", channel="mail", ttl=None)
    await made_suspects(stand, slow)
    poison = await acceptor.send("poison", ttl=None)
    for _ in range(12):
        if (await acceptor.view(poison)).state is State.DEAD:
            break
        mail, chat, killed = ScriptedChannel(policy=FOR_EVER), ScriptedChannel(policy=FOR_EVER), asyncio.Event()
        mail.hold()

        async def kill(attempt: Attempt, killed: asyncio.Event = killed) -> object:
            killed.set()
            return await asyncio.Event().wait()

        chat.script(kill)
        box = await stand.open({"mail": mail, "chat": chat}, lease_seconds=3600)
        async with asyncio.timeout(SECONDS):
            while not killed.is_set():
                stand.advance(1000)
                await box.looked()
        await crash(box)
        await reaped(stand)
    assert (await acceptor.view(poison)).terminal_reason == Reason.KILLS_WORKERS
    mail = ScriptedChannel(Delivered("r"), policy=FOR_EVER)
    box = await stand.open({"mail": mail})
    view = await box.settled(slow)
    assert (view.state, view.lost) == (State.DELIVERED, 0)
