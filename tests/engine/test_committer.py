"""Group commit: one transaction for many, and nobody fails for another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Delivered, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.errors import (
    InvalidMessage,
    KeyConflict,
    NotStarted,
    StoreBusy,
    StoreDiskFull,
    StoreOutcomeUnknown,
    StoreUnavailable,
)
from pillarbox.events import Alarm, MessageEnqueued, MessageHeld
from pillarbox.store.base import Query
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS

if TYPE_CHECKING:
    from pillarbox.store.base import Batch
    from tests.engine.stand import Stand

QUERY = Query()
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


def enqueues(batch: Batch) -> bool:
    return bool(batch.enqueue)


def settles(batch: Batch) -> bool:
    return bool(batch.settle)


def claims(batch: Batch) -> bool:
    return batch.claim is not None


def claims_only(batch: Batch) -> bool:
    others = (batch.settle, batch.admit, batch.renew, batch.acts, batch.expire, batch.enqueue)
    return claims(batch) and not any(others) and batch.prune is None and batch.presence is None


def sends(batch: Batch, recipient: str) -> bool:
    return any(draft.recipient == recipient for group in batch.enqueue for draft in group)


async def test_a_thousand_callers_share_a_few_transactions(stand: Stand) -> None:
    box = await stand.open()
    messages = await asyncio.gather(*(box.send(f"r{n}") for n in range(1000)))
    assert len({message.id for message in messages}) == 1000
    assert box.store.offered(enqueues) <= 3


async def test_what_is_wanted_while_a_commit_runs_is_gathered_for_the_next(stand: Stand) -> None:
    box = await stand.open()
    box.store.gate.clear()
    first = asyncio.create_task(box.send("first"))
    await box.store.until(enqueues)
    others = [asyncio.create_task(box.send(f"r{n}")) for n in range(500)]
    await asyncio.sleep(0)
    box.store.gate.set()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(first, *others)
    sizes = [len(batch.enqueue) for batch in box.store.batches if batch.enqueue]
    assert sizes == [1, 500]


@pytest.mark.contract("EN1", "EN3")
async def test_a_message_is_committed_before_its_send_returns_and_before_its_channel_is_called(stand: Stand) -> None:
    other = await stand.open()
    seen: list[State] = []

    async def look(attempt: object) -> Delivered:
        # Another connection, in the middle of the send.
        (view,) = await other.store.list_messages(QUERY)
        seen.append(view.state)
        return Delivered("r")

    box = await stand.open(ScriptedChannel(look))
    message = await box.send()
    assert (await other.view(message)).recipient == "ann"
    await box.settled(message)
    assert seen == [State.LEASED]


@pytest.mark.contract("EN3", "LE2")
async def test_no_channel_is_called_before_the_commit_that_leased_its_message(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    box.store.stall(enqueues)
    sending = asyncio.create_task(box.send())
    await box.store.until(enqueues)
    assert channel.attempts == []
    box.store.gate.set()
    async with asyncio.timeout(SECONDS):
        await sending
    await channel.begun(1)


async def test_an_idle_worker_is_sending_after_one_transaction(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    await box.settled(await box.send())
    before = len(box.store.batches)
    channel.hold()
    await box.send()
    await channel.begun(2)
    written = [batch for batch in box.store.batches[before:] if batch.enqueue or batch.claim]
    assert len(written) == 1
    assert written[0].enqueue
    assert written[0].claim is not None


@pytest.mark.contract("LA1")
async def test_settling_the_head_of_a_lane_starts_its_successor_in_the_same_transaction(stand: Stand) -> None:
    channel = ScriptedChannel()
    channel.hold()
    box = await stand.open(channel, concurrency=1)
    await box.send(text="one")
    await box.send(text="two")
    await channel.begun(1)
    before = len(box.store.batches)
    channel.release()
    await channel.begun(2)
    written = [batch for batch in box.store.batches[before:] if batch.settle or batch.claim]
    assert written[0].settle
    assert written[0].claim is not None


# A store that fails


@pytest.mark.contract("EN4")
async def test_an_enqueue_that_cannot_be_committed_raises_a_typed_error_to_each_caller(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    box.store.refuse = lambda batch: StoreDiskFull("the disk is full") if batch.enqueue else None
    results = await asyncio.gather(*(box.send(f"r{n}") for n in range(20)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreDiskFull] * 20
    assert await box.outbox.list() == []
    assert channel.attempts == []


@pytest.mark.only_sqlite("loses answers itself")
@pytest.mark.contract("EN4")
async def test_whoever_cannot_be_told_whether_it_was_stored_is_told_its_id(stand: Stand) -> None:
    box = await stand.open()
    lost = iter([StoreOutcomeUnknown("writing: the disk fails")] * 2)
    box.store.broken = lambda batch: next(lost, None) if batch.enqueue else None
    results = await asyncio.gather(*(box.send(f"r{n}") for n in range(20)), return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, StoreOutcomeUnknown)
        (identity,) = result.message_ids
        assert identity in str(result)
        assert (await box.view(identity)).recipient == f"r{number}"
    assert (await box.send("next")).created


@pytest.mark.only_sqlite("loses answers itself")
@pytest.mark.contract("EN4")
async def test_an_answer_that_was_lost_is_found_out(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel())
    lost = iter([StoreOutcomeUnknown("writing: the disk fails")])
    box.store.broken = lambda batch: next(lost, None) if batch.enqueue else None
    messages = await asyncio.gather(*(box.send(f"r{n}") for n in range(20)))
    assert {message.created for message in messages} == {True}
    assert {(await box.settled(message)).claims for message in messages} == {1}
    assert len(await box.outbox.list()) == 20


@pytest.mark.only_sqlite("loses answers itself")
@pytest.mark.contract("EN4", "UN4")
async def test_what_nobody_knows_to_be_written_is_recognised_in_a_later_batch(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), policy=HOLD)
    box = await stand.open(channel)
    lost = iter([StoreOutcomeUnknown("writing: the disk fails")] * 2)
    box.store.broken = lambda batch: next(lost, None) if batch.settle else None
    message = await box.send()
    await box.heard.wait_for(MessageHeld)
    assert (await box.view(message)).state is State.HELD
    assert len(channel.attempts) == 1


@pytest.mark.contract("EN4")
async def test_after_a_failure_the_next_enqueue_is_as_good_as_ever(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel())
    failures = iter([StoreBusy("locked")])
    box.store.refuse = lambda batch: next(failures, None) if batch.enqueue else None
    with pytest.raises(StoreBusy):
        await box.send("one")
    assert (await box.settled(await box.send("two"))).state is State.DELIVERED


@pytest.mark.contract("EN4")
async def test_cancelling_an_awaiting_send_undoes_nothing(stand: Stand) -> None:
    box = await stand.open()
    box.store.gate.clear()
    sending = asyncio.create_task(box.send())
    await box.store.until(enqueues)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    box.store.gate.set()
    (event,) = await box.heard.wait_for(MessageEnqueued)
    assert (await box.view(event.id)).state is State.SCHEDULED


@pytest.mark.contract("UN4", "EV4")
async def test_a_store_that_fails_after_a_send_is_tried_until_it_has_the_outcome(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    failures = iter([StoreUnavailable("I/O error"), StoreDiskFull("full"), StoreBusy("locked")])
    box.store.refuse = lambda batch: next(failures, None) if batch.settle else None
    view = await box.settled(await box.send())
    assert (view.state, view.receipt, view.claims, view.charged) == (State.DELIVERED, "receipt-1", 1, 0)
    assert len(channel.attempts) == 1
    assert box.counts["alarm:store_failed"] == 3
    assert [event.what for event in box.heard.of(Alarm)] == ["store_failed"] * 3


@pytest.mark.contract("UN4", "EV4")
async def test_while_a_store_fails_callers_are_told_and_outcomes_are_kept(stand: Stand) -> None:
    channel = ScriptedChannel()
    channel.hold()
    box = await stand.open(channel)
    message = await box.send("one")
    await channel.begun(1)
    down = [True]
    box.store.refuse = lambda batch: StoreUnavailable("gone") if down[0] else None
    channel.release()
    await box.store.until(settles)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await box.send("two")
    down[0] = False
    assert (await box.settled(message)).state is State.DELIVERED
    assert [attempt.to for attempt in channel.attempts] == ["one"]


@pytest.mark.contract("EN16", "UN4")
async def test_a_store_that_fails_before_a_send_does_not_cost_the_message_its_lease(stand: Stand) -> None:
    await (await stand.open()).send()
    channel = ScriptedChannel()
    box = stand.make(channel)
    failures = iter([StoreBusy("locked"), StoreBusy("locked")])
    await box.outbox.start()
    box.store.refuse = lambda batch: next(failures, None) if batch.admit else None
    (message,) = await box.outbox.list()
    view = await box.settled(message)
    assert (view.state, view.claims, view.lost) == (State.DELIVERED, 1, 0)
    await box.outbox.stop(0)


@pytest.mark.contract("EV4")
async def test_an_outcome_that_no_store_can_hold_is_told_and_frees_its_slot(stand: Stand) -> None:
    channel = ScriptedChannel(concurrency=1)
    box = await stand.open(channel, concurrency=1)
    poison = await box.send("poison")
    await box.settled(poison)
    box.store.refuse = lambda batch: ValueError("a bug") if batch.settle and not batch.enqueue else None
    await box.send("one")
    alarms = await box.heard.wait_for(Alarm)
    assert alarms[0].what == "recording_failed"
    box.store.refuse = lambda batch: None
    assert (await box.settled(await box.send("two"))).state is State.DELIVERED


# Neighbours


@pytest.mark.contract("EN8", "LE7")
@pytest.mark.parametrize("at", [0, 1, 30, 62, 63])
async def test_one_item_that_cannot_be_written_fails_alone(stand: Stand, at: int) -> None:
    box = await stand.open()
    box.store.refuse = lambda batch: ValueError("I am to blame") if sends(batch, "poison") else None
    recipients = [f"r{n}" for n in range(64)]
    recipients[at] = "poison"
    results = await asyncio.gather(*(box.send(to) for to in recipients), return_exceptions=True)
    assert [index for index, result in enumerate(results) if isinstance(result, Exception)] == [at]
    assert sorted(m.view.recipient for m in await box.outbox.list(limit=100) if m.view) == sorted(
        to for to in recipients if to != "poison"
    )
    assert box.counts["alarm:recording_failed"] == 1


@pytest.mark.contract("EN8", "UN4")
async def test_a_bad_enqueue_does_not_cost_a_settlement(stand: Stand) -> None:
    channel = ScriptedChannel()
    channel.hold()
    box = await stand.open(channel)
    message = await box.send("one")
    await channel.begun(1)
    box.store.refuse = lambda batch: ValueError("I am to blame") if sends(batch, "poison") else None
    box.store.gate.clear()
    plug = asyncio.create_task(box.send("plug"))
    await box.store.until(enqueues, 2)
    channel.release()
    await channel.answered(1)
    poisoned = asyncio.create_task(box.send("poison"))
    await asyncio.sleep(0)
    box.store.gate.set()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(ValueError, match="I am to blame"):
            await poisoned
        await plug
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("EN8", "EN4")
async def test_when_the_store_fails_in_the_middle_of_a_bisection_nobody_waits_for_ever(stand: Stand) -> None:
    channel = ScriptedChannel()
    channel.hold()
    box = await stand.open(channel)
    message = await box.send("one")
    await channel.begun(1)
    failures = iter([StoreUnavailable("gone")])

    def refuse(batch: Batch) -> Exception | None:
        if sends(batch, "poison"):
            return ValueError("I am to blame")
        return next(failures, None) if batch.enqueue or batch.settle else None

    box.store.gate.clear()
    plug = asyncio.create_task(box.send("plug"))
    await box.store.until(enqueues, 2)
    channel.release()
    await channel.answered(1)
    others = [asyncio.create_task(box.send(to)) for to in ("two", "three", "poison", "four")]
    await asyncio.sleep(0)
    box.store.gate.set()
    async with asyncio.timeout(SECONDS):
        await plug
        box.store.refuse = refuse
        results = await asyncio.gather(*others, return_exceptions=True)
    assert all(isinstance(result, (ValueError, StoreUnavailable)) or result.id for result in results)  # type: ignore[union-attr]
    assert (await box.settled(message)).state is State.DELIVERED


@pytest.mark.contract("EN7", "EN8")
async def test_one_callers_conflict_never_fails_anothers_message(stand: Stand) -> None:
    box = await stand.open()
    first = await box.send("ann", key="k")
    bob, same, conflict, eve = await asyncio.gather(
        box.send("bob"), box.send("ann", key="k"), box.send("ann", key="k", text="other"), box.send("eve"),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(conflict, KeyConflict)
    assert conflict.message_id == first.id
    assert not isinstance(bob, BaseException)
    assert not isinstance(same, BaseException)
    assert not isinstance(eve, BaseException)
    assert (bob.created, eve.created) == (True, True)
    assert (same.created, same.id) == (False, first.id)


@pytest.mark.contract("EN8")
async def test_send_many_is_all_or_nothing(stand: Stand) -> None:
    box = await stand.open()
    await box.send("ann", key="k")
    group = [{"channel": "chat", "to": to, "text": "hi"} for to in ("bob", "eve")]
    with pytest.raises(KeyConflict):
        await box.outbox.send_many([*group, {"channel": "chat", "to": "ann", "text": "other", "key": "k"}])
    with pytest.raises(InvalidMessage) as caught:
        await box.outbox.send_many([*group, {"channel": "chat", "to": "a\nb", "text": "hi"}])
    assert caught.value.field == "messages[2].to"
    assert len(await box.outbox.list()) == 1
    made = await box.outbox.send_many(group)
    assert [message.created for message in made] == [True, True]
    assert [len(batch.enqueue) for batch in box.store.batches if batch.enqueue][-1] == 1


@pytest.mark.contract("LE7", "EN8")
async def test_a_claim_that_cannot_be_made_fails_no_enqueue_and_does_not_spin(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel())
    box.store.refuse = lambda batch: ValueError("a poisonous claim") if claims(batch) else None
    message = await box.send()
    assert (await box.view(message)).state is State.SCHEDULED
    await box.store.until(claims_only)
    # The loop rests longer after each failure; a loop that does not would have made thousands by now.
    for _ in range(200):
        await asyncio.sleep(0)
    assert box.store.offered(claims_only) < 10
    box.store.refuse = lambda batch: None
    assert (await box.settled(message)).state is State.DELIVERED


# Events


@pytest.mark.contract("EN11")
async def test_the_enqueued_event_follows_the_commit_and_comes_once(stand: Stand) -> None:
    box = await stand.open()

    def broken(event: object) -> None:
        raise RuntimeError("a broken listener")

    box.outbox.subscribe(broken)
    box.store.gate.clear()
    sending = asyncio.create_task(box.send(key="k"))
    await box.store.until(enqueues)
    assert box.heard.events == []
    box.store.gate.set()
    async with asyncio.timeout(SECONDS):
        message = await sending
    again = await box.send(key="k")
    assert (again.id, again.created) == (message.id, False)
    (event,) = box.heard.of(MessageEnqueued)
    assert (event.id, event.channel) == (message.id, "chat")
    assert box.outbox.events.errors == 1


@pytest.mark.contract("EN11", "EN4")
async def test_what_was_not_committed_has_no_event(stand: Stand) -> None:
    box = await stand.open()
    box.store.refuse = lambda batch: StoreDiskFull("full") if batch.enqueue else None
    with pytest.raises(StoreDiskFull):
        await box.send()
    assert box.heard.of(MessageEnqueued) == []


# The end


@pytest.mark.contract("DR3", "EN4")
async def test_close_writes_what_was_wanted_before(stand: Stand) -> None:
    box = await stand.open()
    sending = [asyncio.create_task(box.send(f"r{n}")) for n in range(50)]
    await asyncio.sleep(0)
    await box.outbox.close()
    results = await asyncio.gather(*sending)
    after = await stand.open()
    assert {message.id for message in await after.outbox.list(limit=100)} == {message.id for message in results}


@pytest.mark.contract("EN4", "SG5")
async def test_a_closed_outbox_says_that_it_is_closed(stand: Stand) -> None:
    box = await stand.open()
    await box.outbox.close()
    await box.outbox.close()
    with pytest.raises(NotStarted):
        await box.send()
    with pytest.raises(NotStarted):
        await box.outbox.list()


@pytest.mark.contract("DR3", "UN4")
async def test_a_stop_ends_also_where_the_store_takes_no_outcome(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    channel.hold()
    box = await stand.open(channel)
    message = await box.send()
    await channel.begun(1)
    box.store.refuse = lambda batch: StoreDiskFull("full")
    box.hurry_to_record(20)
    async with asyncio.timeout(SECONDS):
        assert await box.outbox.stop(0) == 1
    # Nobody recorded it, so it is what a crash would have left: a lease whose worker is gone.
    after = await stand.open(ScriptedChannel(Uncertain("never called"), policy=HOLD))
    view = await after.settled(message)
    assert (view.state, view.terminal_reason) == (State.HELD, Reason.UNCERTAIN)
