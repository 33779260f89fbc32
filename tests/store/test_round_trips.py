"""A step runs its statements once for all rows of a batch, so that a database across a network is asked as rarely."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest

from pillarbox.domain.envelope import Kind
from pillarbox.domain.ids import LeaseId, MessageId
from pillarbox.domain.lifecycle import Verdict, decide
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Leased, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.store.base import (
    Act,
    Batch,
    BatchResult,
    Cancel,
    Claim,
    Durability,
    Import,
    Prune,
    Purge,
    Replay,
    Resolve,
    Retry,
    Settlement,
)
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.handles import Handles
from pillarbox.store.sqlite.session import Session
from pillarbox.store.steps import batch as steps
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.opened import driver_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pillarbox.store.steps.tx import Row, Tx

FEW, MANY = 3, 40
NOW_MS = FakeClock().wall_ms()


class Counted:
    """Counts how often a database is asked."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.asked: Counter[str] = Counter()

    def many(self, name: str, bindings: Sequence[Any] = ()) -> list[Row]:
        self.asked[name] += 1
        return self._tx.many(name, bindings)

    def one(self, name: str, bindings: Sequence[Any] = ()) -> Row | None:
        self.asked[name] += 1
        return self._tx.one(name, bindings)

    def each(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Row]]:
        if rows:
            self.asked[name] += 1
        return self._tx.each(name, rows)

    def savepoint(self) -> contextlib.AbstractContextManager[None]:
        return self._tx.savepoint()


class Bench:
    """A database to which batches are applied by hand; makes messages and brings them to where a test wants them."""

    def __init__(self, session: Session, maker: StoreDriver, count: int) -> None:
        self._session = session
        self.maker = maker
        self.count = count
        self.asked: Counter[str] = Counter()

    def apply(self, **work: Any) -> BatchResult:
        with self._session.transaction():
            tx = Counted(self._session)
            result = steps.apply(tx, self._session.numbers, Batch(now_ms=NOW_MS, **work), limits=Limits(), lease_now=0)
        self.asked = tx.asked
        return result

    def enqueue(self, **fields: Any) -> list[MessageId]:
        drafts = [self.maker.draft(**fields) for _ in range(self.count)]
        self.apply(enqueue=[[draft] for draft in drafts])
        return [draft.id for draft in drafts]

    def leased(self, **fields: Any) -> list[Leased]:
        self.enqueue(**fields)
        claim = Claim(worker=1, lease=LeaseId(b"l" * 16), lease_ms=1000, capacity={1: self.count})
        return self.apply(claim=claim).claimed

    def settle(self, messages: Sequence[Leased], outcome: AnyOutcome) -> None:
        self.apply(
            settle=[
                Settlement(
                    message=message,
                    transition=decide(message, outcome, now_ms=NOW_MS, fraction=0.0),
                    began_ms=NOW_MS,
                    ended_ms=NOW_MS,
                )
                for message in messages
            ]
        )

    def dead(self) -> list[MessageId]:
        messages = self.leased()
        self.settle(messages, Rejected("no"))
        return [message.id for message in messages]

    def held(self) -> list[MessageId]:
        messages = self.leased(policy=Policy(uncertain=UncertainAction.HOLD))
        self.settle(messages, Uncertain("no answer"))
        return [message.id for message in messages]

    def order(self, acts: Sequence[Act]) -> None:
        assert all(done.applied for done in self.apply(acts=acts).acted)


def enqueues(bench: Bench) -> None:
    bench.enqueue()


def enqueues_with_keys(bench: Bench) -> None:
    drafts = [bench.maker.draft(key=f"k{at}", digest=b"d", recipient=f"r{at}") for at in range(bench.count)]
    assert len(bench.apply(enqueue=[drafts]).enqueued[0]) == bench.count  # type: ignore[arg-type]


def delivers(bench: Bench) -> None:
    bench.settle(bench.leased(lane=None), Delivered("r"))


def defers(bench: Bench) -> None:
    bench.settle(bench.leased(), Deferred("busy"))


def renews(bench: Bench) -> None:
    messages = bench.leased()
    assert bench.apply(renew=messages, renew_ms=1000).lost == []


def expires(bench: Bench) -> None:
    bench.enqueue(expires_ms=NOW_MS - 1)
    assert len(bench.apply(expire=100).expired) == bench.count


def abandons(bench: Bench) -> None:
    bench.enqueue(kind=Kind.TOOL, accepted_by=b"w")
    assert len(bench.apply(abandon=[b"w"]).abandoned) == bench.count


def prunes(bench: Bench) -> None:
    bench.dead()
    result = bench.apply(
        prune=Prune(before_ms={State.DEAD: NOW_MS + 1}, keys_until_ms=NOW_MS, audit_before_ms=0, limit=100)
    )
    assert result.pruned == {State.DEAD: bench.count}


def imports(bench: Bench) -> None:
    drafts = [bench.maker.draft() for _ in range(bench.count)]
    items = [Import(system="s", source_id=draft.id, outcome="queued", draft=draft, attempts=1) for draft in drafts]
    assert len(bench.apply(imports=items).imported) == bench.count


def cancels(bench: Bench) -> None:
    bench.order([Cancel(id=one, actor="ann") for one in bench.enqueue()])


def retries(bench: Bench) -> None:
    bench.order([Retry(id=one, actor="ann") for one in bench.held()])


def resolves(bench: Bench) -> None:
    bench.order([Resolve(id=one, actor="ann", verdict=Verdict.DELIVERED) for one in bench.held()])


def replays(bench: Bench) -> None:
    bench.order([Replay(id=one, new_id=bench.maker.draft().id, actor="ann") for one in bench.dead()])


def purges(bench: Bench) -> None:
    bench.order([Purge(id=one, actor="ann", keys_until_ms=0) for one in bench.dead()])


WORK = (
    enqueues, enqueues_with_keys, delivers, defers, renews, expires, abandons, prunes, imports, cancels, retries,
    resolves, replays, purges,
)  # fmt: skip


@contextlib.contextmanager
def session_on(path: Path) -> Iterator[Session]:
    handles = Handles(path, Durability.PROCESS, opening.connect, locks=True)
    session = Session(handles.open(), handles, FakeClock().boot_ms)
    try:
        yield session
    finally:
        handles.close(session.connection)


@pytest.mark.parametrize("work", WORK, ids=[work.__name__ for work in WORK])
async def test_many_messages_are_written_by_as_many_statements_as_few(tmp_path: Path, work: Any) -> None:
    asked = {}
    for count in (FEW, MANY):
        path = tmp_path / f"{count}.db"
        async with driver_on(path) as driver:
            await driver.register()
        with session_on(path) as session:
            bench = Bench(session, StoreDriver(driver.store, FakeClock(), SeededEntropy(count)), count)
            work(bench)
            asked[count] = bench.asked
    assert asked[MANY] == asked[FEW]
    assert sum(asked[MANY].values()) < MANY


@pytest.mark.contract("LA2", "FL1")
@pytest.mark.parametrize("scope", ["recipient", "channel"])
async def test_what_rests_in_one_channel_keeps_no_other_from_starting_with_its_acceptance(
    tmp_path: Path, scope: Literal["recipient", "channel"]
) -> None:
    async with driver_on(tmp_path / "outbox.db") as driver:
        await driver.register()
    with session_on(tmp_path / "outbox.db") as session:
        bench = Bench(session, StoreDriver(driver.store, FakeClock(), SeededEntropy(1)), FEW)
        bench.settle(bench.leased(lane=None)[:1], RateLimited("slow", scope=scope, after=60))
        claim = Claim(worker=1, lease=LeaseId(b"m" * 16), lease_ms=1000, capacity={1: FEW, 2: FEW})
        bench.enqueue(channel="mail")
        bench.apply(claim=claim)
        drafts = [[bench.maker.draft(channel=name)] for name in ("mail", "chat")]
        result = bench.apply(enqueue=drafts, claim=msgspec.structs.replace(claim, lease=LeaseId(b"n" * 16)))
        assert [message.channel for message in result.claimed] == ["mail"]
        assert bench.asked["claim"] == 0
