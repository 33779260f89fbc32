"""A stop and a claim under way: what is leased meanwhile is given back, and no channel is called after the end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.errors import NotStarted, StoreOutcomeUnknown, StoreUnavailable
from pillarbox.outbox.outbox import inside
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, until

if TYPE_CHECKING:
    from pillarbox.outbox.message import Message
    from pillarbox.store.base import Batch
    from tests.engine.stand import Box, Stand, WatchedStore

HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


def claims(batch: Batch) -> bool:
    return batch.claim is not None


def lose_the_first_claim(store: WatchedStore) -> None:
    """Commit the first batch that claims, and lose the answer; the look whether it was committed fails too."""
    lost: list[Batch] = []

    def lose(batch: Batch) -> StoreOutcomeUnknown | None:
        if batch.claim is None or len(lost) == 2:
            return None
        lost.append(batch)
        return StoreOutcomeUnknown("the disk is gone")

    store.broken = lose


async def stall_claims(store: WatchedStore) -> int:
    """Let every claim from now on wait, and none be under way; return how many were offered."""
    await until(lambda: not store.under_way)
    store.stall(claims)
    return store.offered(claims)


async def claiming(stand: Stand) -> tuple[Box, ScriptedChannel, asyncio.Task[Message]]:
    """A worker whose commit, which stores a message and leases it, is under way."""
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    await box.looked()
    offered = await stall_claims(box.store)
    sending = asyncio.create_task(box.send())
    await box.store.until(claims, offered + 1)
    return box, channel, sending


async def begun_to_stop(box: Box, deadline: float = SECONDS) -> asyncio.Task[int]:
    """A stop that has come so far that the worker takes nothing new: what is leased before that may be sent yet."""
    worker = box.worker
    stopping = asyncio.create_task(box.outbox.stop(deadline))
    await until(lambda: not worker._accepting)
    return stopping


async def given_back(stand: Stand, channel: ScriptedChannel, message: Message) -> None:
    """See that a message was not sent and costs nothing, and that the next worker sends it once."""
    view = await (await stand.open()).view(message)
    assert (view.state, view.claims, view.charged, view.lost) == (State.SCHEDULED, 1, 0, 0)
    assert view.last_error == "stopped before it was sent"
    assert view.due_ms <= stand.clock.wall_ms() + 1_000
    assert channel.attempts == []
    stand.advance(1_000)
    after = ScriptedChannel(policy=HOLD)
    box = await stand.open(after)
    assert (await box.settled(message)).state is State.DELIVERED
    assert len(after.attempts) == 1


@pytest.mark.contract("DR3", "RE5")
@pytest.mark.parametrize("deadline", [0, SECONDS])
async def test_what_a_commit_under_way_leases_after_a_stop_began_is_given_back(stand: Stand, deadline: float) -> None:
    box, channel, sending = await claiming(stand)
    store = box.store
    stopping = await begun_to_stop(box, deadline)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stopping.done()
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        assert await stopping == 0
        message = await sending
    await given_back(stand, channel, message)


@pytest.mark.contract("DR3", "RE5")
async def test_another_process_s_message_that_is_leased_while_a_stop_goes_on_is_given_back(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    acceptor = await stand.open()
    await box.looked()
    offered = await stall_claims(box.store)
    message = await acceptor.send()
    box.look()
    await box.store.until(claims, offered + 1)
    store = box.store
    stopping = await begun_to_stop(box)
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        assert await stopping == 0
    await given_back(stand, channel, message)


@pytest.mark.contract("DR3")
async def test_a_commit_that_outlasts_the_stop_s_patience_has_its_leases_given_back_all_the_same(stand: Stand) -> None:
    box, channel, sending = await claiming(stand)
    store, worker = box.store, box.worker
    box.hurry_to_record(1)
    stopping = asyncio.create_task(box.outbox.stop(0))
    # The worker has stopped, and its channel is closed: only the committer waits for its commit now.
    await until(lambda: worker._slot == 0)
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        assert await stopping == 0
        message = await sending
    await given_back(stand, channel, message)


@pytest.mark.contract("DR3")
async def test_a_second_stop_and_one_that_is_cancelled_wait_for_the_commit_as_well(stand: Stand) -> None:
    box, channel, sending = await claiming(stand)
    store = box.store
    first = await begun_to_stop(box)
    second = asyncio.create_task(box.outbox.stop(SECONDS))
    await asyncio.sleep(0)
    assert inside(box.outbox).lifetime.stop_now() == 0
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        await second
        message = await sending
    await given_back(stand, channel, message)


@pytest.mark.contract("DR3", "UN4")
async def test_a_stop_ends_where_the_commit_under_way_fails_and_nothing_was_leased(stand: Stand) -> None:
    box, channel, sending = await claiming(stand)
    store = box.store
    store.refuse = lambda batch: StoreUnavailable("the disk is gone") if batch.claim is not None else None
    stopping = await begun_to_stop(box)
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        assert await stopping == 0
        with pytest.raises(StoreUnavailable):
            await sending
    assert channel.attempts == []
    assert await (await stand.open()).outbox.list() == []


@pytest.mark.contract("DR3", "EN4")
@pytest.mark.only_sqlite("loses answers itself")
async def test_what_a_commit_leased_whose_answer_was_lost_is_found_at_the_stop_and_given_back(stand: Stand) -> None:
    box, channel, sending = await claiming(stand)
    store = box.store
    lose_the_first_claim(store)
    stopping = await begun_to_stop(box)
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        await stopping
        with pytest.raises(StoreUnavailable):
            await sending
    (message,) = await (await stand.open()).outbox.list()
    await given_back(stand, channel, message)


@pytest.mark.contract("EN4", "LE5")
@pytest.mark.only_sqlite("loses answers itself")
async def test_what_a_commit_leased_whose_answer_was_lost_is_sent_by_the_next_claim(stand: Stand) -> None:
    box, channel, sending = await claiming(stand)
    store = box.store
    lose_the_first_claim(store)
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(StoreUnavailable):
            await sending
        (attempt,) = await channel.answered(1)
        view = await box.settled(await box.outbox.find(attempt.id))
    assert (view.state, view.claims, view.charged) == (State.DELIVERED, 1, 0)


@pytest.mark.contract("DR3", "EN8")
async def test_a_stop_while_a_batch_is_bisected_waits_for_no_claim_that_was_dropped(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    await box.looked()
    offered = box.store.offered(claims)
    store = box.store
    # Whatever claims is taken for unwritable: the batch is written without its claim, message by message.
    store.refuse = lambda batch: ValueError("odd") if batch.claim is not None or len(batch.enqueue) > 1 else None
    store.stall(lambda batch: bool(batch.enqueue))
    sending = [asyncio.create_task(box.send(f"r{n}")) for n in range(3)]
    await store.until(claims, offered + 1)
    stopping = await begun_to_stop(box)
    store.gate.set()
    async with asyncio.timeout(SECONDS):
        assert await stopping == 0
        messages = await asyncio.gather(*sending)
    looker = await stand.open()
    assert {(await looker.view(message)).state for message in messages} == {State.SCHEDULED}
    assert channel.attempts == []


@pytest.mark.contract("DR3", "HO3", "RE5")
async def test_what_a_hook_is_still_asked_about_at_the_deadline_is_given_back_at_once(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def hook(attempt: object) -> None:
        asked.set()
        while not answer.done():
            try:
                await asyncio.shield(answer)
            except asyncio.CancelledError:
                continue

    box.outbox.hooks.revalidate(hook, timeout_seconds=3600)
    message = await box.send()
    async with asyncio.timeout(SECONDS):
        await asked.wait()
        assert await box.outbox.stop(0) == 0
    answer.set_result(None)
    for _ in range(20):
        await asyncio.sleep(0)
    await given_back(stand, channel, message)


@pytest.mark.contract("DR3", "HO3")
async def test_a_hook_that_answers_before_the_deadline_lets_its_message_go_before_the_stop_ends(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    asked, go = asyncio.Event(), asyncio.Event()

    async def hook(attempt: object) -> None:
        asked.set()
        await go.wait()

    box.outbox.hooks.revalidate(hook, timeout_seconds=3600)
    message = await box.send()
    async with asyncio.timeout(SECONDS):
        await asked.wait()
        stopping = await begun_to_stop(box)
        go.set()
        assert await stopping == 0
    assert (await (await stand.open()).view(message)).state is State.DELIVERED


@pytest.mark.contract("DR3", "DR1")
async def test_a_drain_that_a_stop_overtakes_ends_with_it(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel)
    await box.send()
    await channel.begun(1)
    draining = asyncio.create_task(box.outbox.drain(3600))
    await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS):
        assert await box.outbox.stop(0) == 1
        # Its report, or that the outbox was closed before it could be made.
        with contextlib.suppress(NotStarted):
            assert (await draining).delivered == 0


@pytest.mark.contract("DR3")
async def test_a_stop_during_a_start_leaves_nothing_leased(stand: Stand) -> None:
    message = await (await stand.open()).send()
    channel = ScriptedChannel(policy=HOLD)
    box = stand.make(channel)
    starting = asyncio.create_task(box.outbox.start())
    await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS):
        assert await box.outbox.stop(0) == 0
        await starting
        await box.outbox.stop(0)
    view = await (await stand.open()).view(message)
    assert view.state is State.SCHEDULED
    assert channel.attempts == []
