"""Operators in processes of their own, on disks that fail: each order takes once (contract ST7, EN4, UN3, ST2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox.domain.ids import MessageId, message_id
from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Delivered, Rejected, Uncertain
from pillarbox.errors import StoreOutcomeUnknown, StoreUnavailable
from pillarbox.store import lost_answers
from pillarbox.store.base import Batch, Cancel, Purge, Replay, Resolve, Retry, Settled
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.store_suite.resolving import MANUAL
from tests.store.faulty_disk import FaultyDisk, once, since, synced
from tests.store.opened import driver_on, raw
from tests.store.racing import race

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pillarbox.domain.message import Leased
    from pillarbox.testing.store_suite import StoreDriver

COUNT = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with FaultyDisk() as made:
        yield made


# --- jobs


async def resolve_all(driver: StoreDriver, work: tuple[Sequence[Leased], Verdict]) -> list[bool]:
    messages, verdict = work
    acts = [Resolve(id=message.id, actor=str(verdict), verdict=verdict) for message in messages]
    return [(await driver.act(act)).applied for act in acts]


async def answer_all(driver: StoreDriver, messages: Sequence[Leased]) -> list[Settled]:
    return [await driver.settle(message, Delivered("late")) for message in messages]


async def replay_all(driver: StoreDriver, ids: Sequence[MessageId]) -> list[MessageId | None]:
    made: list[MessageId | None] = []
    for identity in ids:
        new = message_id(driver.clock.wall_ms(), driver.entropy.token(10))
        acted = await driver.act(Replay(id=identity, new_id=new, actor="ann"))
        made.append(new if acted.applied else None)
    return made


async def purge_all(driver: StoreDriver, ids: Sequence[MessageId]) -> list[bool]:
    return [(await driver.act(Purge(id=one, actor="bob", keys_until_ms=0))).applied for one in ids]


# --- races


async def held(path: Path, *, lost: bool = False) -> list[Leased]:
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft(policy=MANUAL, lane=f"l{place % 7}") for place in range(COUNT)])
        messages: list[Leased] = []
        while leased := await driver.claim(COUNT):
            if lost:
                driver.clock.advance(30)
                await driver.reap()
            else:
                settle = [driver.settlement(message, Uncertain("no answer")) for message in leased]
                await driver.commit(settle=settle)
            messages += leased
        assert len(messages) == COUNT
    return messages


async def dead(path: Path) -> list[MessageId]:
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft() for _ in range(COUNT)])
        messages = await driver.claim(COUNT)
        await driver.commit(settle=[driver.settlement(message, Rejected("no")) for message in messages])
    return [message.id for message in messages]


async def at_the_end(path: Path) -> list[Any]:
    async with driver_on(path) as driver:
        await driver.healthy()
        return await driver.everything()


@pytest.mark.contract("UN3", "ST7")
async def test_of_two_operators_one_resolves_each_message(path: Path) -> None:
    messages = await held(path)
    sent, done = await asyncio.to_thread(
        race,
        path,
        (resolve_all, (messages, Verdict.RESEND)),
        (resolve_all, (messages[::-1], Verdict.DELIVERED)),
    )
    views = {view.id: view for view in await at_the_end(path)}
    for message, resent, delivered in zip(messages, sent, done[::-1], strict=True):
        assert resent is not delivered
        assert views[message.id].state is (State.SCHEDULED if resent else State.DELIVERED)


@pytest.mark.contract("UN3", "ST6", "ST7")
async def test_of_a_verdict_and_a_late_answer_nothing_is_lost(path: Path) -> None:
    messages = await held(path, lost=True)
    applied, settled = await asyncio.to_thread(
        race, path, (resolve_all, (messages, Verdict.RESEND)), (answer_all, messages[::-1])
    )
    assert settled == [Settled.LATE] * COUNT
    assert len(applied) == COUNT
    for view in await at_the_end(path):
        assert (view.state, view.receipt, view.extra_copies) == (State.DELIVERED, "late", 0)


@pytest.mark.contract("ST2", "ST7")
async def test_of_two_operators_one_replays_each_message(path: Path) -> None:
    ids = await dead(path)
    one, two = await asyncio.to_thread(race, path, (replay_all, ids), (replay_all, ids[::-1]))
    new = []
    for mine, theirs in zip(one, two[::-1], strict=True):
        assert (mine is None) is not (theirs is None)
        new.append(mine or theirs)
    views = await at_the_end(path)
    assert len(views) == 2 * COUNT
    assert {view.replay_of: view.id for view in views if view.replay_of} == dict(zip(ids, new, strict=True))


@pytest.mark.contract("ST2", "OP1", "ST7")
async def test_a_message_is_replayed_before_it_is_deleted_or_not_at_all(path: Path) -> None:
    ids = await dead(path)
    made, gone = await asyncio.to_thread(race, path, (replay_all, ids), (purge_all, ids[::-1]))
    assert all(gone)
    assert {view.id for view in await at_the_end(path)} == {one for one in made if one is not None}


@pytest.mark.contract("ST2", "EN5", "ST7")
async def test_two_who_replay_together_keep_a_limit_exactly(path: Path) -> None:
    ids = await dead(path)
    half = COUNT // 2
    made = await asyncio.to_thread(race, path, (replay_all, ids), (replay_all, ids), limits=Limits(messages=half))
    assert sum(one is not None for each in made for one in each) == half
    assert len(await at_the_end(path)) == COUNT + half


# --- a commit whose answer is lost


@pytest.mark.contract("EN4", "ST10")
@pytest.mark.parametrize("heals", [True, False], ids=["heals", "stays broken"])
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
@pytest.mark.parametrize("word", ["delivered", "resend", "copy", "retry", "replay", "purge"])
async def test_an_order_is_carried_out_once(
    path: Path, disk: FaultyDisk, word: str, *, committed: bool, heals: bool
) -> None:
    clock = FakeClock()
    async with driver_on(path, clock=clock) as driver:
        accepted = await driver.send(policy=MANUAL)
        message = await driver.claim_one()
        await driver.settle(message, Uncertain("no answer") if word not in {"replay", "purge"} else Rejected("no"))
    clock.advance(1)
    now_ms = clock.wall_ms()
    async with driver_on(path, clock=clock, connect=disk.connect) as driver:
        order: Any = {
            "delivered": Resolve(id=accepted, actor="ann", verdict=Verdict.DELIVERED, receipt="r"),
            "resend": Resolve(id=accepted, actor="ann", verdict=Verdict.RESEND),
            "copy": Resolve(id=accepted, actor="ann", verdict=Verdict.RESEND, force_copy=True),
            "retry": Retry(id=accepted, actor="ann"),
            "replay": Replay(id=accepted, new_id=driver.draft().id, actor="ann"),
            "purge": Purge(id=accepted, actor="ann", keys_until_ms=now_ms),
        }[word]
        batch = Batch(now_ms=now_ms, acts=[order])
        if heals and committed:
            disk.fail(synced(), until_reopened=True)
        elif heals:
            disk.fail(once(1))
        else:
            disk.fail(synced() if committed else since(1))
            with pytest.raises(StoreUnavailable) as failed:
                await lost_answers.commit(driver.store, batch)
            batch = msgspec.structs.replace(batch, again=isinstance(failed.value, StoreOutcomeUnknown))
            disk.heal()
        (acted,) = (await lost_answers.commit(driver.store, batch)).acted
        assert (acted.applied, acted.refused) == (True, None)
    async with driver_on(path, clock=clock) as later:
        expected = {"replay": 2, "purge": 0}.get(word, 1)
        assert len(await later.everything()) == expected
        orders = [event for event in await later.store.history(accepted) if event.actor == "ann"]
        assert len(orders) == 1
        await later.healthy()
        if word in {"resend", "copy"}:
            assert (await later.claim_one()).token_epoch == int(word == "copy")
    with raw(path) as connection:
        assert connection.execute("SELECT count(*) FROM audit WHERE actor = 'ann'").get == 1


@pytest.mark.contract("OP1", "ST10")
async def test_the_audit_says_how_many_were_deleted_and_why(path: Path) -> None:
    async with driver_on(path) as driver:
        ids = [await driver.send() for _ in range(5)]
        await driver.commit(acts=[Cancel(id=one, actor="ann") for one in ids[:4]])
        purges = [
            Purge(id=one, actor="bob", keys_until_ms=0, reason="tidy" if place < 3 else "asked")
            for place, one in enumerate(ids)
        ]
        acted = (await driver.commit(acts=purges)).acted
        assert [one.applied for one in acted] == [True] * 4 + [False]
    with raw(path) as connection:
        rows = connection.execute(
            "SELECT actor, subject, reason, detail FROM audit WHERE act = 'purge' ORDER BY id"
        ).fetchall()
    assert rows == [("bob", "messages", "tidy", "3"), ("bob", "messages", "asked", "1")]
