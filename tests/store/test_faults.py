"""
Disks that fill up or fail while a store works on them (contract EN4, SG3).

A commit whose answer is lost has happened or has not; either way the store must find out, and neither lose nor double
anything. `FaultyDisk` plays both: a write that fails is lost with its transaction; a sync that fails on a disk that is
dead until it is opened again leaves the transaction in the log, where it is found.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import apsw
import msgspec
import pytest

from pillarbox.domain.ids import LeaseId, MessageId
from pillarbox.domain.message import Admission, Content, State, encode_content
from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.retry import UncertainAction
from pillarbox.domain.transition import Transition
from pillarbox.errors import PillarboxError, StoreDiskFull, StoreError, StoreOutcomeUnknown, StoreUnavailable
from pillarbox.outbox.outbox import Outbox
from pillarbox.store import lost_answers
from pillarbox.store.base import (
    AdmissionWrite,
    Batch,
    BatchResult,
    Cancel,
    Claim,
    Durability,
    Enqueued,
    Retry,
    Settled,
)
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.store_suite.driver import CHANNEL, LEASE_MS, POLICY
from tests.store.faulty_disk import FaultyDisk, once, since, synced
from tests.store.opened import connecting, driver_on, raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pillarbox.domain.message import Leased, MessageView
    from pillarbox.domain.outcome import AnyOutcome
    from pillarbox.testing.store_suite import StoreDriver

MANUAL: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
LARGE: Final = encode_content(Content(text="x" * 9000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with FaultyDisk() as made:
        yield made


# --- the tool itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("committed", "rows"), [(True, 2), (False, 1)])
def test_the_faulty_disk_can_lose_a_commit_or_only_its_answer(
    path: Path, disk: FaultyDisk, rows: int, *, committed: bool
) -> None:
    with raw(path) as connection:
        connection.pragma("application_id", opening.APPLICATION_ID)
        connection.execute("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    connection = disk.connect(str(path), Durability.POWER)
    break_disk(disk, committed=committed)
    with pytest.raises(apsw.IOError):
        connection.execute("INSERT INTO t VALUES (2)")
    with contextlib.suppress(apsw.Error):
        connection.close()
    again = disk.connect(str(path), Durability.POWER)
    assert again.execute("SELECT count(*) FROM t").get == rows
    again.close()


def break_disk(disk: FaultyDisk, *, committed: bool) -> None:
    """Let the next commit fail: when it is in the log, on a disk that is dead until reopened; or at its first write."""
    if committed:
        disk.fail(synced(), until_reopened=True)
    else:
        disk.fail(once(1))


# --- a commit whose answer is lost ---------------------------------------------------------------------------------

either_way = pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
# How the caller gets through: by giving the batch again at once, or much later.
either_try = pytest.mark.parametrize("heals", [True, False], ids=["heals", "stays broken"])


async def commit(driver: StoreDriver, disk: FaultyDisk, batch: Batch, *, committed: bool, heals: bool) -> BatchResult:
    """Commit a batch on a disk that fails; where it stays broken, give the batch again when it is whole."""
    if heals:
        break_disk(disk, committed=committed)
        return await lost_answers.commit(driver.store, batch)
    disk.fail(synced() if committed else since(1))
    with pytest.raises(StoreUnavailable) as failure:
        await lost_answers.commit(driver.store, batch)
    disk.heal()
    unsure = isinstance(failure.value, StoreOutcomeUnknown)
    assert unsure or not committed
    return await lost_answers.commit(driver.store, msgspec.structs.replace(batch, again=unsure))


@pytest.mark.contract("EN4", "EN1")
@either_try
@either_way
@pytest.mark.parametrize("kind", ["plain", "large", "keyed", "fan-out", "in parts"])
async def test_an_accepted_message_is_stored_once(
    path: Path, disk: FaultyDisk, kind: str, *, committed: bool, heals: bool
) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        fields: dict[str, dict[str, Any]] = {
            "large": {"content": LARGE},
            "keyed": {"key": "k", "digest": b"1"},
            "fan-out": {"group_id": "g"},
            "in parts": {"admission": Admission(recipient="ann", parts=(b"1", b"2"), splitter="1")},
        }
        group = [driver.draft(**fields.get(kind, {})) for _ in range(2 if kind == "fan-out" else 1)]
        batch = at(driver, enqueue=[group, [driver.draft()]])
        result = await commit(driver, disk, batch, committed=committed, heals=heals)
        assert result.enqueued == [[Enqueued(one.id, created=True) for one in group] for group in batch.enqueue]
    async with driver_on(path) as later:
        views = await later.everything()
        assert [view.id for view in views] == [draft.id for group in batch.enqueue for draft in group]
        assert (await later.view(group[0].id)).content == group[0].content
        await later.healthy()
    with raw(path) as connection:
        beside = connection.execute("SELECT count(*) FROM payload").get
    assert beside == (1 if kind in {"large", "fan-out"} else 0)


@pytest.mark.contract("EN4", "FL4")
@either_try
@either_way
async def test_a_place_is_taken_once_and_told(path: Path, disk: FaultyDisk, *, committed: bool, heals: bool) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        old = await driver.send(lane="l", collapse_key="progress")
        newer = driver.draft(lane="l", collapse_key="progress")
        batch = at(driver, enqueue=[[newer]])
        result = await commit(driver, disk, batch, committed=committed, heals=heals)
        assert not isinstance(result.enqueued[0], PillarboxError)
        (accepted,) = result.enqueued[0]
        told = [(ended.id, ended.state, ended.reason, ended.channel) for ended in accepted.superseded]
        assert told == [(old, State.CANCELLED, "superseded", CHANNEL)]
    async with driver_on(path) as later:
        assert await later.claimed_ids() == [newer.id]
        assert [event.act for event in await later.store.history(old)].count("superseded") == 1
        await later.healthy()


@pytest.mark.contract("EN4", "LE1", "LE2")
@either_try
@either_way
async def test_a_message_is_claimed_once_and_the_capacity_is_kept(
    path: Path, disk: FaultyDisk, *, committed: bool, heals: bool
) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        accepted = await driver.enqueue(*[driver.draft() for _ in range(6)])
        claim = await claim_of(driver, 2)
        result = await commit(driver, disk, at(driver, claim=claim), committed=committed, heals=heals)
        assert [message.id for message in result.claimed] == [one.id for one in accepted[:2]]
        assert [message.claims for message in result.claimed] == [1, 1]
        await driver.deliver(*result.claimed)
    async with driver_on(path) as later:
        assert [view.state for view in await later.everything()] == [State.DELIVERED] * 2 + [State.SCHEDULED] * 4
        assert sum(view.claims for view in await later.everything()) == 2
        await later.healthy()


ENDS: Final[dict[str, tuple[AnyOutcome | Transition, State]]] = {
    "delivered": (Delivered("r"), State.DELIVERED),
    "retried": (Deferred("busy"), State.SCHEDULED),
    "dead": (Rejected("no"), State.DEAD),
    "held": (Uncertain("no answer"), State.HELD),
    "expired": (Transition.expire(), State.EXPIRED),
}


@pytest.mark.contract("EN4", "UN4")
@either_try
@either_way
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("keep", [False, True], ids=["outcomes", "full"])
async def test_an_attempt_ends_once(
    path: Path, disk: FaultyDisk, end: str, *, keep: bool, committed: bool, heals: bool
) -> None:
    outcome, state = ENDS[end]
    async with driver_on(path, connect=disk.connect) as driver:
        await driver.send(policy=MANUAL, lane="l")
        message = await claimed(driver)
        settlement = driver.settlement(message, outcome, keep_attempt=keep)
        result = await commit(driver, disk, at(driver, settle=[settlement]), committed=committed, heals=heals)
        assert result.settled == [Settled.APPLIED]
    async with driver_on(path) as later:
        view = await later.view(message.id)
        assert (view.state, view.claims, view.extra_copies) == (state, 1, 0)
        assert view.charged == settlement.transition.charged
        moves = [event for event in await later.store.history(message.id) if event.act in {"settle", str(state)}]
        assert len(moves) == 1
        await later.healthy()


@pytest.mark.contract("EN4", "PA3")
@either_try
@either_way
@pytest.mark.parametrize("keep", [False, True], ids=["outcomes", "full"])
@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
async def test_a_part_ends_once(
    path: Path, disk: FaultyDisk, *, late: bool, keep: bool, committed: bool, heals: bool
) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        await driver.send(admission=Admission(recipient="ann", parts=(b"1", b"2", b"3"), splitter="1"))
        message = await claimed(driver)
        if late:
            driver.clock.advance(LEASE_MS / 1000)
            await driver.reap()
        settlement = driver.settlement(message, Delivered("r1"), keep_attempt=keep)
        result = await commit(driver, disk, at(driver, settle=[settlement]), committed=committed, heals=heals)
        assert result.settled == [Settled.LATE if late else Settled.APPLIED]
    async with driver_on(path) as later:
        view = await later.view(message.id)
        assert (view.state, view.part_next, view.charged, view.extra_copies) == (State.SCHEDULED, 1, 0, 0)
        assert [part.receipt for part in view.parts] == ["r1", None, None]
        await later.healthy()


@pytest.mark.contract("EN4", "ST6")
@either_try
@either_way
@pytest.mark.parametrize("leased", [False, True], ids=["scheduled", "leased by another"])
async def test_a_late_delivery_counts_once(
    path: Path, disk: FaultyDisk, *, leased: bool, committed: bool, heals: bool
) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        await driver.send()
        old = await claimed(driver)
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        driver.clock.advance(5)
        current = await claimed(driver) if leased else None
        batch = at(driver, settle=[driver.settlement(old, Delivered("late"))])
        result = await commit(driver, disk, batch, committed=committed, heals=heals)
        assert result.settled == [Settled.LATE]
        if current is not None:
            batch = at(driver, settle=[driver.settlement(current, Delivered("again"))])
            result = await commit(driver, disk, batch, committed=committed, heals=heals)
            assert result.settled == [Settled.LATE]
    async with driver_on(path) as later:
        view = await later.view(old.id)
        assert (view.state, view.receipt, view.extra_copies) == (State.DELIVERED, "late", int(leased))
        await later.healthy()


@pytest.mark.contract("EN4", "ST6")
@either_try
@either_way
async def test_a_lease_lost_meanwhile_is_not_taken_for_one_s_own_work(
    path: Path, disk: FaultyDisk, *, committed: bool, heals: bool
) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        await driver.send()
        old = await claimed(driver)
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        # A refusal alone writes nothing, so something else must make the transaction one that can fail.
        batch = at(driver, settle=[driver.settlement(old, Rejected("no"))], enqueue=[[driver.draft()]])
        result = await commit(driver, disk, batch, committed=committed, heals=heals)
        assert result.settled == [Settled.STALE]
        assert (await driver.commit(settle=[driver.settlement(old, Delivered("late"))])).settled == [Settled.LATE]
    async with driver_on(path) as later:
        assert await later.state(old.id) is State.DELIVERED


@pytest.mark.contract("EN4", "ST10")
@either_try
@either_way
@pytest.mark.parametrize("word", ["cancel", "cancel what is sent", "retry", "bury", "admit"])
async def test_an_order_is_carried_out_once(
    path: Path, disk: FaultyDisk, word: str, *, committed: bool, heals: bool
) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        accepted = await driver.send(policy=MANUAL)
        message = await claimed(driver)
        if word not in {"cancel what is sent", "admit"}:
            await driver.settle(message, Uncertain("no answer") if word == "bury" else Deferred("busy"))
        driver.clock.advance(1)
        order = {
            "retry": Retry(id=accepted, actor="ann"),
            "bury": driver.burial(accepted),
        }.get(word, Cancel(id=accepted, actor="ann"))
        parts = Admission(recipient="ann", parts=(b"1", b"2"), splitter="1")
        if word == "admit":
            batch = at(driver, admit=[AdmissionWrite(message=message, admission=parts)])
        else:
            batch = at(driver, acts=[order])
        result = await commit(driver, disk, batch, committed=committed, heals=heals)
        assert result.admitted == [True] if word == "admit" else result.acted[0].applied
    async with driver_on(path) as later:
        view = await later.view(accepted)
        expected = {"cancel": State.CANCELLED, "retry": State.SCHEDULED, "bury": State.DEAD}.get(word, State.LEASED)
        assert view.state is expected
        orders = [event for event in await later.store.history(accepted) if event.actor == "ann"]
        assert len(orders) == (0 if word == "admit" else 1)
        assert len(view.parts) == (2 if word == "admit" else 0)
        await later.healthy()


@pytest.mark.contract("EN4")
async def test_a_send_whose_outcome_cannot_be_read_back_says_so_and_gives_its_id(path: Path, disk: FaultyDisk) -> None:
    box = Outbox(str(path), deliver=False, store=lambda: SQLiteStore(path, connect=disk.connect))
    async with box:
        disk.fail(synced())
        with pytest.raises(StoreOutcomeUnknown, match="get it by its id before you send again") as unknown:
            await box.send("chat", to="ann", text="x")
        with pytest.raises(StoreUnavailable) as later:
            await box.send("chat", to="bob", text="x")
        disk.heal()
        # The second was not even begun.
        assert not isinstance(later.value, StoreOutcomeUnknown)
        third = await box.send("chat", to="cyd", text="x")
    async with driver_on(path) as driver:
        views = await driver.everything()
        assert [(view.id, view.recipient) for view in views] == [(*unknown.value.message_ids, "ann"), (third.id, "cyd")]


@pytest.mark.contract("EN4", "SG3")
@pytest.mark.parametrize(
    ("code", "error"),
    [(apsw.SQLITE_IOERR_WRITE, StoreUnavailable), (apsw.SQLITE_IOERR_FSYNC, StoreOutcomeUnknown)],
    ids=["write", "sync"],
)
async def test_only_a_commit_that_was_not_written_whole_is_surely_not_stored(
    path: Path, code: int, error: type[StoreError]
) -> None:
    """After a sync that failed, the log has a commit that nobody sees, and that a power cut would make one."""
    failing = False

    def trace(_: object, sql: str, __: object) -> bool:
        if failing and sql.startswith("COMMIT"):
            raise apsw.exception_for(code)
        return True

    async with (
        driver_on(path) as other,  # in whose index of the log there is no such commit
        driver_on(path, connect=connecting(lambda connection: connection.set_exec_trace(trace))) as driver,
    ):
        kept = await driver.send()
        failing = True
        with pytest.raises(StoreError) as failure:
            await driver.send()
        failing = False
        assert type(failure.value) is error
        assert [view.id for view in await other.everything()] == [kept]


@pytest.mark.contract("EN4")
@either_way
async def test_a_whole_batch_is_recognised(path: Path, disk: FaultyDisk, *, committed: bool) -> None:
    async with driver_on(path, connect=disk.connect) as driver:
        await driver.send(lane="l")
        await driver.send(lane="l")
        message = await claimed(driver)
        claim = await claim_of(driver, 2)
        new = driver.draft()
        batch = at(driver, settle=[driver.settlement(message, Delivered("r"))], enqueue=[[new]], claim=claim)
        result = await commit(driver, disk, batch, committed=committed, heals=True)
        assert result.settled == [Settled.APPLIED]
        assert result.enqueued == [[Enqueued(new.id, created=True)]]
        assert len(result.claimed) == 2
        await driver.deliver(*result.claimed)
    async with driver_on(path) as later:
        assert [(view.state, view.claims) for view in await later.everything()] == [(State.DELIVERED, 1)] * 3
        await later.healthy()


def at(driver: StoreDriver, **work: object) -> Batch:
    return Batch(now_ms=driver.clock.wall_ms(), **work)  # type: ignore[arg-type]


async def claim_of(driver: StoreDriver, capacity: int) -> Claim:
    """Build a claim. Queue 1 is the only one; reading its number would need a second connection on the faulty disk."""
    return Claim(
        worker=driver.worker or await driver.register(),
        lease=LeaseId(driver.entropy.token(16)),
        lease_ms=LEASE_MS,
        capacity={1: capacity},
    )


async def claimed(driver: StoreDriver) -> Leased:
    """Claim one message."""
    (message,) = (await driver.commit(claim=await claim_of(driver, 1))).claimed
    return message


# --- every operation fails -----------------------------------------------------------------------------------------

Life = dict[MessageId, State]


async def life(driver: StoreDriver, told: Life) -> None:
    """Live a few messages, noting what the store said of each."""
    first, second = driver.draft(lane="l", content=LARGE), driver.draft(lane="l", key="k", digest=b"1")
    await driver.enqueue(first)
    told[first.id] = State.SCHEDULED
    await driver.enqueue(second)
    told[second.id] = State.SCHEDULED
    message = await claimed(driver)
    told[message.id] = State.LEASED
    await driver.settle(message, Delivered("r"))
    told[message.id] = State.DELIVERED
    await driver.act(Cancel(id=second.id, actor="ann"))
    told[second.id] = State.CANCELLED


EXPECTED: Final[dict[type[apsw.Error], type[StoreError]]] = {
    apsw.IOError: StoreUnavailable,
    apsw.FullError: StoreDiskFull,
}
SPANS: Final = {
    "once": (once, False),
    "until it is reopened": (since, True),
    "for good": (since, False),
}


@pytest.mark.contract("EN4", "SG3", "EV4")
@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError], ids=["failing", "full"])
@pytest.mark.parametrize("span", SPANS)
async def test_whatever_operation_fails_nothing_is_lost_and_nothing_is_silent(
    tmp_path: Path, span: str, error: type[apsw.Error]
) -> None:
    when, until_reopened = SPANS[span]
    number, failed = 0, 0
    while True:
        number += 1
        path = tmp_path / f"{number}.db"
        told: Life = {}
        clock = FakeClock()
        with FaultyDisk() as disk:
            async with driver_on(path, clock=clock, connect=disk.connect) as driver:
                disk.fail(when(number), error, until_reopened=until_reopened)
                try:
                    await life(driver, told)
                except EXPECTED[error]:
                    failed += 1
                else:
                    assert len(told) == 2
                reached = disk.count >= number
                disk.heal()
        async with driver_on(path, clock=clock) as later:
            stored = {view.id: view for view in await later.everything()}
            assert await later.store.check() == []
        as_told(told, stored)
        if not reached:
            break
    assert number > 20
    assert failed > 0 or error is apsw.IOError


def as_told(told: Life, stored: dict[MessageId, MessageView]) -> None:
    """What was told is so, or further: the one step whose answer was an error may have been taken."""
    assert told.keys() <= stored.keys()
    assert len(stored.keys() - told.keys()) <= 1
    for identity, state in told.items():
        view = stored[identity]
        if state.terminal:
            assert view.state is state
        assert view.claims <= 1
        assert view.state is not State.SCHEDULED or state is State.SCHEDULED


# --- no room left --------------------------------------------------------------------------------------------------


@pytest.mark.contract("SG3", "EN4")
async def test_a_full_disk_refuses_what_has_no_room_and_keeps_what_is_there(path: Path) -> None:
    async with driver_on(path) as driver:
        before = [await driver.send(text="first") for _ in range(3)]
    with raw(path) as connection:
        pages = connection.pragma("page_count")
    tight = connecting(lambda connection: connection.pragma("max_page_count", pages + 2))
    async with driver_on(path, connect=tight) as driver:
        with pytest.raises(StoreDiskFull):
            await driver.enqueue(*[driver.draft(content=LARGE) for _ in range(5)])
        assert [view.id for view in await driver.everything()] == before
        # What is there can still be delivered: that needs no room.
        message = await driver.claim_one()
        await driver.deliver(message)
        await driver.healthy()
    async with driver_on(path) as driver:
        await driver.enqueue(*[driver.draft(content=LARGE) for _ in range(5)])
        await driver.healthy()


# --- those who stop waiting ------------------------------------------------------------------------------------------


@pytest.mark.contract("EN4")
async def test_who_stops_waiting_for_a_commit_undoes_nothing(path: Path) -> None:
    async with driver_on(path) as driver:
        draft = driver.draft()
        waiting = asyncio.create_task(driver.store.commit(at(driver, enqueue=[[draft]])))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await driver.commit()  # done after what was handed over before it
        assert await driver.state(draft.id) is State.SCHEDULED
        await driver.healthy()


@pytest.mark.contract("SG5")
async def test_who_stops_waiting_for_a_store_to_open_leaves_nothing_open(path: Path) -> None:
    opened: list[apsw.Connection] = []

    async def open_and_close() -> None:
        async with driver_on(path, connect=connecting(opened.append)):
            pass

    waiting = asyncio.create_task(open_and_close())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for connection in opened:
        with pytest.raises(apsw.ConnectionClosedError):
            connection.pragma("data_version")
