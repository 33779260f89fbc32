"""
What two transactions may do to one lane while neither has ended, in an order that the test gives.

Each of these goes wrong with the plain SQL that a single writer may use (decision 0021). A random load finds none.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.domain.envelope import Op
from pillarbox.domain.lifecycle import decide, lost_worker
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome, Delivered, RateLimited, Redirected, Rejected, Uncertain
from pillarbox.domain.pace import Pace, Rate
from pillarbox.store.base import (
    Batch,
    BatchResult,
    Cancel,
    Claim,
    Durability,
    Pause,
    Purge,
    Resume,
    Retry,
    Settled,
    Settlement,
)
from pillarbox.store.postgres import dsn, presence
from pillarbox.store.postgres.connection import Session, connect
from pillarbox.store.postgres.server_clock import ServerClock
from pillarbox.store.registry import open_store
from pillarbox.store.steps import batch as steps
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from pillarbox.testing.store_suite.driver import CHANNEL
from pillarbox.testing.store_suite.storing import stored
from tests.store.postgres_server import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pillarbox.domain.message import Leased

LANE = "l"
SECONDS = 60.0
NOW_MS = FakeClock().wall_ms()


class Hand:
    """A connection whose transactions the test opens and ends; a batch that has to wait does so on a thread."""

    def __init__(self, url: str) -> None:
        place = dsn.parse(url)
        self._session = Session(
            connect(place, Durability.PROCESS), place, Durability.PROCESS, lambda: 0, ServerClock(FakeClock())
        )
        self._transaction: Any = None
        self._thread: threading.Thread | None = None
        self._result: list[BatchResult | Exception] = []

    def begin(self) -> None:
        self._transaction = self._session.transaction()
        self._transaction.__enter__()

    def apply(self, **work: Any) -> BatchResult:
        return steps.apply(
            self._session, self._session.numbers, Batch(now_ms=NOW_MS, **work), limits=Limits(), lease_now=0
        )

    def start(self, **work: Any) -> None:
        """Apply a batch that may have to wait for somebody."""

        def run() -> None:
            try:
                self._result.append(self.apply(**work))
            except Exception as exc:  # noqa: BLE001 — handed to the test
                self._result.append(exc)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def waits(self, watcher: Any) -> bool:
        """Return whether it waits for a lock; otherwise it is done."""
        assert self._thread is not None
        backend = self._session.connection.info.backend_pid
        asks = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
        while self._thread.is_alive():
            ((waiting,),) = watcher.execute(asks, (backend,))
            if waiting:
                return True
            self._thread.join(0.01)
        return False

    def done(self) -> BatchResult:
        assert self._thread is not None
        self._thread.join(SECONDS)
        (result,) = self._result
        if isinstance(result, Exception):
            raise result
        return result

    def before(self, name: str, do: Callable[[], None]) -> None:
        """Call *do* once, right before a statement is run."""
        many = self._session.many

        def watched(asked: str, bindings: Sequence[Any] = ()) -> Any:
            if asked == name:
                vars(self._session)["many"] = many
                do()
            return many(asked, bindings)

        vars(self._session)["many"] = watched

    def commit(self) -> None:
        self._transaction.__exit__(None, None, None)

    def commit_each(self, *batches: dict[str, Any]) -> list[BatchResult]:
        """Apply each in a transaction of its own, the first in the one that is open."""
        results: list[BatchResult] = []
        for batch in batches:
            if results:
                self.begin()
            results.append(self.apply(**batch))
            self.commit()
        return results

    def close(self) -> None:
        self._session.connection.close()


class Lane:
    """A lane, a handle to look at it, and hands that write to it."""

    def __init__(self, url: str, driver: StoreDriver) -> None:
        self.url = url
        self.driver = driver
        self.watcher = connected(url)
        self.hands: list[Hand] = []

    def hand(self) -> Hand:
        hand = Hand(self.url)
        self.hands.append(hand)
        hand.begin()
        return hand

    async def request(self) -> Claim:
        return await self.driver.request()

    def delivery(self, message: Leased) -> Settlement:
        transition = decide(message, Delivered("r"), now_ms=NOW_MS, fraction=0.0)
        return Settlement(message=message, transition=transition, began_ms=NOW_MS, ended_ms=NOW_MS)

    async def deliver_all(self) -> list[str]:
        """Deliver one after the other, and return in which order; what is stranded is missing."""
        sent: list[str] = []
        while claimed := await self.driver.claim():
            assert len(claimed) == 1
            sent.append(claimed[0].id)
            await self.driver.deliver(*claimed)
        await self.driver.healthy()
        return sent


@pytest.fixture
async def lane(url: str) -> AsyncIterator[Lane]:
    clock = FakeClock()
    store = open_store(url, clock=clock, lease_clock=clock.boot_ms)
    await store.open()
    lane = Lane(url, StoreDriver(store, clock, SeededEntropy(1)))
    try:
        # So that nobody has to wait for who is the first to store its queue and policy.
        await lane.driver.send()
        await lane.driver.deliver_next()
        yield lane
    finally:
        for hand in lane.hands:
            hand.close()
        lane.watcher.close()
        await store.close()


@pytest.mark.contract("LA1", "LE1")
async def test_a_lower_number_that_is_committed_late_does_not_start_beside_a_higher_one(lane: Lane) -> None:
    late = lane.hand()
    first = lane.driver.draft(lane=LANE)
    late.apply(enqueue=[[first]])
    second = await lane.driver.send(lane=LANE)
    (leased,) = await lane.driver.claim()
    assert leased.id == second
    late.commit()
    assert await lane.driver.claim() == []
    await lane.driver.deliver(leased)
    assert await lane.deliver_all() == [first.id]


@pytest.mark.contract("LA1")
async def test_of_two_claims_at_once_one_starts_a_lane(lane: Lane) -> None:
    ids = await lane.driver.send_in_turn(LANE, 2)
    one, two = lane.hand(), lane.hand()
    assert [message.id for message in one.apply(claim=await lane.request()).claimed] == [ids[0]]
    # Neither the first, which is being leased, nor the second, which must not start beside it.
    assert two.apply(claim=await lane.request()).claimed == []
    one.commit()
    two.commit()
    ((waiting,),) = lane.watcher.execute("SELECT count(*) FROM message WHERE waiting")
    assert waiting <= 1
    await lane.driver.healthy()


@pytest.mark.contract("LA1", "LA3")
async def test_what_is_made_to_wait_while_the_head_is_settled_is_freed(lane: Lane) -> None:
    ids = await lane.driver.send_in_turn(LANE, 2)
    (head,) = await lane.driver.claim(1)
    claims, settles = lane.hand(), lane.hand()
    # Makes the second one wait behind the head, which the other transaction is about to settle.
    assert claims.apply(claim=await lane.request()).claimed == []
    settles.start(settle=[lane.delivery(head)])
    settles.waits(lane.watcher)
    claims.commit()
    settles.done()
    settles.commit()
    assert await lane.deliver_all() == [ids[1]]


@pytest.mark.contract("LA1", "LA3")
async def test_what_is_claimed_while_the_head_is_settled_is_not_made_to_wait_for_ever(lane: Lane) -> None:
    ids = await lane.driver.send_in_turn(LANE, 2)
    (head,) = await lane.driver.claim(1)
    claims, settles = lane.hand(), lane.hand()
    settles.apply(settle=[lane.delivery(head)])
    # The head is about to go: nobody may be made to wait behind it.
    claims.apply(claim=await lane.request())
    claims.commit()
    settles.commit()
    assert await lane.deliver_all() == [ids[1]]


@pytest.mark.contract("LA1", "OP3")
async def test_where_the_next_one_is_cancelled_while_the_head_is_settled_the_one_behind_it_is_freed(lane: Lane) -> None:
    ids = await lane.driver.send_in_turn(LANE, 3)
    (head,) = await lane.driver.claim(1)
    assert await lane.driver.claim() == []
    cancels, settles = lane.hand(), lane.hand()
    assert cancels.apply(acts=[Cancel(id=ids[1], actor="ann")]).acted[0].applied
    settles.start(settle=[lane.delivery(head)])
    # It wants to free the one that is being cancelled.
    settles.waits(lane.watcher)
    cancels.commit()
    settles.done()
    settles.commit()
    assert await lane.deliver_all() == [ids[2]]
    assert await lane.driver.state(ids[1]) is State.CANCELLED


@pytest.mark.contract("LA1")
async def test_a_settled_head_s_successor_is_leased_by_the_same_commit(lane: Lane) -> None:
    """In a later statement, which sees that the head is gone."""
    ids = await lane.driver.send_in_turn(LANE, 3)
    (head,) = await lane.driver.claim(1)
    assert await lane.driver.claim() == []
    result = await lane.driver.commit(settle=[lane.delivery(head)], claim=await lane.request())
    assert [message.id for message in result.claimed] == [ids[1]]
    await lane.driver.deliver(*result.claimed)
    assert await lane.deliver_all() == [ids[2]]


@pytest.mark.contract("LE1", "LE3")
async def test_a_lease_that_is_renewed_while_the_reaper_looks_is_not_taken(lane: Lane) -> None:
    await lane.driver.send()
    message = await lane.driver.claim_one(lease_ms=1)
    reaps, renews = lane.hand(), lane.hand()
    renews.apply(renew=[message], renew_ms=60_000 + lane.driver.clock.boot_ms())
    lost = lost_worker(message, now_ms=NOW_MS, fraction=0.0)
    reaps.start(settle=[Settlement(message=message, transition=lost, lapsed="time", began_ms=None, ended_ms=NOW_MS)])
    reaps.waits(lane.watcher)
    renews.commit()
    assert reaps.done().settled == [Settled.STALE]
    reaps.commit()
    assert await lane.driver.state(message.id) is State.LEASED


def limited(message: Leased) -> Settlement:
    outcome = RateLimited("slow down", after=60.0)
    transition = decide(message, outcome, now_ms=NOW_MS, fraction=0.0)
    return Settlement(message=message, transition=transition, began_ms=NOW_MS, ended_ms=NOW_MS)


@pytest.mark.contract("FL1", "LE2")
async def test_a_retry_and_a_claim_that_keeps_to_a_pace_do_not_wait_for_each_other(lane: Lane) -> None:
    drafts = [lane.driver.draft(), lane.driver.draft()]
    await lane.driver.enqueue(*drafts)
    message = await lane.driver.claim_one()
    claims, retries = lane.hand(), lane.hand()
    claims.apply(settle=[limited(message)])
    # It holds the other message, and waits for the channel.
    (waiting,) = {draft.id for draft in drafts} - {message.id}
    retries.start(acts=[Retry(id=waiting, actor="ann")])
    retries.waits(lane.watcher)
    request = await lane.driver.request(paces={CHANNEL: Pace(whole=(Rate(5),))})
    assert claims.apply(claim=request).claimed == []
    claims.commit()
    assert retries.done().acted[0].applied
    retries.commit()
    await lane.driver.healthy()


@pytest.mark.contract("FL1", "LE2")
async def test_who_waits_for_a_message_keeps_nobody_from_its_channel(lane: Lane) -> None:
    await lane.driver.enqueue(lane.driver.draft(), lane.driver.draft())
    message = await lane.driver.claim_one()
    settles, somebody = lane.hand(), connected(lane.url)
    with somebody, somebody.transaction():
        ((other,),) = somebody.execute("SELECT id FROM message WHERE state = 0 FOR UPDATE").fetchall()
        settles.start(settle=[limited(message)], acts=[Cancel(id=other, actor="ann")])
        assert settles.waits(lane.watcher)
        somebody.execute("SET LOCAL lock_timeout = '5s'")
        somebody.execute(
            "INSERT INTO pace (channel, recipient) VALUES (%s, '') ON CONFLICT (channel, recipient)"
            " DO UPDATE SET channel = excluded.channel",
            (CHANNEL,),
        )
    assert settles.done().acted[0].applied
    settles.commit()


@pytest.mark.contract("FL3")
@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("tenant", [None, ""])
async def test_what_is_sent_behind_a_pause_is_not_leased_by_who_looked_before_it(
    lane: Lane, tenant: str | None, only: bool
) -> None:
    claims, pauses = lane.hand(), lane.hand()
    draft = lane.driver.draft()

    def pause_and_send() -> None:
        pause = Pause(tenant=tenant, channel=CHANNEL, actor="ann")
        paused, _ = pauses.commit_each({"acts": [pause]}, {"enqueue": [[draft]]})
        assert paused.acted[0].applied

    claims.before("claim_only" if only else "claim", pause_and_send)
    request = await lane.driver.request(only=draft.id if only else None)
    assert claims.apply(claim=request).claimed == []
    claims.commit()
    assert await lane.driver.state(draft.id) is State.SCHEDULED
    await lane.driver.act(Resume(tenant=tenant, channel=CHANNEL, actor="ann"))
    assert await lane.deliver_all() == [draft.id]


async def paused(lane: Lane, tenant: str) -> bool:
    return [queue.paused for queue in await lane.driver.store.queues() if queue.tenant == tenant] == [True]


@pytest.mark.contract("FL3")
@pytest.mark.parametrize("first", ["the queue", "the order"])
@pytest.mark.parametrize("resumed", [False, True])
async def test_what_is_ordered_for_every_tenant_is_so_for_a_queue_that_is_made_meanwhile(
    lane: Lane, first: str, *, resumed: bool
) -> None:
    pause = Pause(tenant=None, channel=CHANNEL, actor="ann")
    act: Pause | Resume = pause
    if resumed:
        assert (await lane.driver.act(pause)).applied
        act = Resume(tenant=None, channel=CHANNEL, actor="ann")
    makes: dict[str, Any] = {"enqueue": [[lane.driver.draft(tenant="new")]]}
    orders: dict[str, Any] = {"acts": [act]}
    before, after = (makes, orders) if first == "the queue" else (orders, makes)
    one, other = lane.hand(), lane.hand()
    one.apply(**before)
    other.start(**after)
    other.waits(lane.watcher)
    one.commit()
    other.done()
    other.commit()
    assert await paused(lane, "new") is not resumed


@pytest.mark.contract("CO4", "PR2")
@pytest.mark.parametrize("kept", ["payload", "blob"])
async def test_of_two_that_delete_messages_with_the_same_content_one_deletes_it(lane: Lane, kept: str) -> None:
    said: dict[str, Any] = {"group_id": "g", "text": "x" * 5000} if kept == "payload" else stored(b"a file")
    drafts = [lane.driver.draft(recipient=name, **said) for name in ("ann", "bob")]
    await lane.driver.enqueue_group(*drafts)
    await lane.driver.deliver(*await lane.driver.claim(2))
    counting = f"SELECT count(*) FROM {kept}"  # noqa: S608 — our own names
    assert lane.watcher.execute(counting).fetchall() == [(1,)]
    one, other = lane.hand(), lane.hand()
    one.apply(acts=[Purge(id=drafts[0].id, actor="ann", keys_until_ms=0)])
    other.start(acts=[Purge(id=drafts[1].id, actor="ann", keys_until_ms=0)])
    other.waits(lane.watcher)
    one.commit()
    assert other.done().acted[0].applied
    other.commit()
    assert lane.watcher.execute(counting).fetchall() == [(0,)]


@pytest.mark.contract("CO2", "PR2")
@pytest.mark.parametrize("first", ["edit", "purge"])
async def test_what_a_fan_out_shares_goes_with_who_parts_from_it_last(lane: Lane, first: str) -> None:
    drafts = [lane.driver.draft(recipient=name, group_id="g", text="x" * 5000) for name in ("ann", "bob")]
    await lane.driver.enqueue_group(*drafts)
    await lane.driver.deliver(await lane.driver.claim_one())
    (delivered,) = [draft for draft in drafts if await lane.driver.state(draft.id) is State.DELIVERED]
    (waiting,) = [draft for draft in drafts if draft is not delivered]
    change = lane.driver.draft(
        op=Op.EDIT, target=waiting.id, recipient=waiting.recipient, collapse_key=f"change of {waiting.id}"
    )
    edit: dict[str, Any] = {"enqueue": [[change]]}
    purge: dict[str, Any] = {"acts": [Purge(id=delivered.id, actor="ann", keys_until_ms=0)]}
    one, other = lane.hand(), lane.hand()
    one.apply(**(edit if first == "edit" else purge))
    other.start(**(purge if first == "edit" else edit))
    other.waits(lane.watcher)
    one.commit()
    other.done()
    other.commit()
    assert lane.watcher.execute("SELECT count(*) FROM payload").fetchall() == [(0,)]
    assert (await lane.driver.view(waiting.id)).content == change.content
    await lane.driver.healthy()


@pytest.mark.contract("LE4", "LE5")
async def test_a_worker_that_is_heard_of_again_while_it_is_forgotten_keeps_what_it_leases(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = lane.driver
    store = open_store(lane.url, clock=looks.clock, lease_clock=looks.clock.boot_ms)
    await store.open()
    try:
        worker = StoreDriver(store, looks.clock, SeededEntropy(2))
        await worker.register()
        sent = await looks.send()
        looks.clock.advance(presence.GONE_MS / 1000)
        loop, read, claimed = asyncio.get_running_loop(), presence.lapses, list["Leased"]()

        def claim_meanwhile(session: Session, limit: int) -> Any:
            found = read(session, limit)
            if not claimed:
                claimed.extend(asyncio.run_coroutine_threadsafe(worker.claim(), loop).result(SECONDS))
            return found

        monkeypatch.setattr(presence, "lapses", claim_meanwhile)
        assert await looks.lapsed() == []
        assert [message.id for message in claimed] == [sent]
        assert await looks.lapsed() == []
        await worker.deliver(*claimed)
        await worker.healthy()
    finally:
        await store.close()


@pytest.mark.contract("CL1", "CH3")
@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (Rejected("blocked", about="recipient"), [("ann", "blocked")]),
        (Redirected("bob"), [("bob", None)]),
    ],
)
async def test_what_was_heard_of_a_recipient_holds_for_what_is_sent_to_it_afterwards(
    lane: Lane, answer: AnyOutcome, seen: list[tuple[str, str | None]], only: bool
) -> None:
    draft = lane.driver.draft()
    await lane.driver.send()
    message = await lane.driver.claim_one()
    claims, settles = lane.hand(), lane.hand()

    def settle_and_send() -> None:
        settles.commit_each({"settle": [lane.driver.settlement(message, answer)]}, {"enqueue": [[draft]]})

    claims.before("claim_only" if only else "claim", settle_and_send)
    request = await lane.driver.request(only=draft.id if only else None)
    claimed = claims.apply(claim=request).claimed
    claims.commit()
    assert [(one.recipient, one.suppressed) for one in claimed if one.id == draft.id] == seen
    await lane.driver.healthy()


@pytest.mark.contract("FL4", "UN1")
async def test_what_may_have_arrived_says_so_when_a_newer_one_waited_for_it_to_be_settled(lane: Lane) -> None:
    first = await lane.driver.send(collapse_key="k")
    message = await lane.driver.claim_one()
    settles, sends = lane.hand(), lane.hand()
    settles.apply(settle=[lane.driver.settlement(message, Uncertain("no answer"))])
    sends.start(enqueue=[[lane.driver.draft(collapse_key="k")]])
    assert sends.waits(lane.watcher)
    settles.commit()
    sends.done()
    sends.commit()
    assert (await lane.driver.view(first)).terminal_reason == "superseded_maybe_sent"


@pytest.mark.contract("FL2")
@pytest.mark.parametrize(
    ("gate", "most"), [("strikes = 1", 1), (f"reopened_at = {NOW_MS}", 2)], ids=["out of order", "reopened"]
)
async def test_of_two_claims_at_once_not_each_takes_what_one_may_of_a_channel_that_was_out_of_order(
    lane: Lane, gate: str, most: int
) -> None:
    await lane.driver.enqueue(*(lane.driver.draft() for _ in range(5)))
    lane.watcher.execute(f"UPDATE queue SET {gate}")  # noqa: S608 — our own words
    one, two = lane.hand(), lane.hand()
    assert len(one.apply(claim=await lane.request()).claimed) == most
    two.start(claim=await lane.request())
    # Nobody waits for who is about to send: it looks again.
    assert not two.waits(lane.watcher)
    beside = two.done()
    assert beside.claimed == []
    assert list(beside.next_due_ms.values()) != [None]
    one.commit()
    two.commit()
    two.begin()
    assert two.apply(claim=await lane.request()).claimed == []
    two.commit()
