"""A batch whose answer was lost is committed again: it is written once, and returns the same answer (contract EN4)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Admission, Content, encode_content
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.retry import UncertainAction
from pillarbox.domain.transition import Transition
from pillarbox.store.base import (
    AdmissionWrite,
    BatchResult,
    Cancel,
    Enqueued,
    Import,
    Purge,
    Replay,
    Resume,
    Retry,
    Settled,
)
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, Backstage, StoreDriver, fields_of
from pillarbox.testing.store_suite.fixtures import StoreFixtures

MANUAL: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
PARTS: Final = Admission(recipient="ann", parts=(b"1", b"2", b"3"), splitter="1")
ENQUEUED: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "large": {"content": encode_content(Content(text="x" * 9000))},
    "keyed": {"key": "k", "digest": b"1"},
    "fan-out": {"group_id": "g"},
    "in parts": {"admission": PARTS},
    "in a lane": {"lane": "l"},
}
ENDS: Final[dict[str, AnyOutcome | Transition]] = {
    "delivered": Delivered("r"),
    "retried": Deferred("busy"),
    "dead": Rejected("no"),
    "held": Uncertain("no answer"),
    "expired": Transition.expire(),
}


class RepeatingSuite(StoreFixtures):
    """Batches that are committed a second time."""

    @pytest.mark.contract("EN4")
    @pytest.mark.parametrize("kind", ENQUEUED)
    async def test_what_is_stored_is_stored_once(self, driver: StoreDriver, kind: str) -> None:
        group = [driver.draft(**ENQUEUED[kind]) for _ in range(2 if kind == "fan-out" else 1)]
        result = await twice(driver, enqueue=[group, [driver.draft()]])
        assert all(one.created for accepted in result.enqueued for one in _all(accepted))
        assert len(await driver.everything()) == len(group) + 1

    @pytest.mark.contract("EN4", "FL4")
    async def test_a_place_is_taken_once(self, driver: StoreDriver) -> None:
        old = await driver.send(lane="l", collapse_key="progress")
        newer = driver.draft(lane="l", collapse_key="progress")
        result = await twice(driver, enqueue=[[newer]])
        (accepted,) = _all(result.enqueued[0])
        assert [ended.id for ended in accepted.superseded] == [old]
        assert await driver.claimed_ids() == [newer.id]

    @pytest.mark.contract("EN4", "LE1", "LE2")
    async def test_what_is_claimed_is_claimed_once_within_its_capacity(self, driver: StoreDriver) -> None:
        accepted = await driver.enqueue(*[driver.draft() for _ in range(6)])
        result = await twice(driver, claim=await driver.request(2))
        assert [message.id for message in result.claimed] == [one.id for one in accepted[:2]]
        await driver.deliver(*result.claimed)

    @pytest.mark.contract("EN4", "LE3")
    async def test_what_was_claimed_and_lost_meanwhile_is_not_given_again(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        accepted = await driver.send()
        claim = await driver.request()
        await driver.commit(claim=claim)
        driver.clock.advance(LEASE_MS / 1000)
        await other.reap()
        theirs = await other.claim_one()
        assert (await driver.commit(claim=claim, again=True)).claimed == []
        assert theirs.id == accepted
        await other.deliver(theirs)

    @pytest.mark.contract("EN4", "UN4")
    @pytest.mark.parametrize("end", ENDS)
    @pytest.mark.parametrize("keep", [False, True], ids=["outcomes", "full"])
    async def test_an_attempt_ends_once(self, driver: StoreDriver, end: str, *, keep: bool) -> None:
        await driver.send(policy=MANUAL, lane="l")
        message = await driver.claim_one()
        result = await twice(driver, settle=[driver.settlement(message, ENDS[end], keep_attempt=keep)])
        assert result.settled == [Settled.APPLIED]

    @pytest.mark.contract("EN4", "PA3")
    @pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
    async def test_a_part_ends_once(self, driver: StoreDriver, *, late: bool) -> None:
        await driver.send(admission=PARTS)
        message = await driver.claim_one()
        if late:
            driver.clock.advance(LEASE_MS / 1000)
            await driver.reap()
        result = await twice(driver, settle=[driver.settlement(message, Delivered("r1"))])
        assert result.settled == [Settled.LATE if late else Settled.APPLIED]
        assert (await driver.view(message.id)).extra_copies == 0

    @pytest.mark.contract("EN4", "ST6")
    @pytest.mark.parametrize("leased", [False, True], ids=["scheduled", "leased by another"])
    async def test_a_late_delivery_counts_once(self, driver: StoreDriver, *, leased: bool) -> None:
        await driver.send()
        old = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        driver.clock.advance(5)
        current = await driver.claim_one() if leased else None
        result = await twice(driver, settle=[driver.settlement(old, Delivered("late"))])
        assert result.settled == [Settled.LATE]
        if current is not None:
            result = await twice(driver, settle=[driver.settlement(current, Delivered("again"))])
            assert result.settled == [Settled.LATE]
        assert (await driver.view(old.id)).extra_copies == int(leased)

    @pytest.mark.contract("EN4", "ST7")
    async def test_a_lost_lease_is_stale_however_often_it_is_told(self, driver: StoreDriver) -> None:
        await driver.send()
        old = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        result = await twice(driver, settle=[driver.settlement(old, Rejected("no"))])
        assert result.settled == [Settled.STALE]

    @pytest.mark.contract("EN4", "ST10")
    @pytest.mark.parametrize("word", ["cancel", "cancel what is sent", "retry", "bury", "replay", "purge"])
    async def test_an_order_is_carried_out_once(self, driver: StoreDriver, word: str) -> None:
        accepted = await driver.send(policy=MANUAL)
        message = await driver.claim_one()
        if word in {"replay", "purge"}:
            await driver.deliver(message)
        elif word != "cancel what is sent":
            await driver.settle(message, Uncertain("no answer") if word == "bury" else Deferred("busy"))
        driver.clock.advance(1)
        result = await twice(driver, acts=[_order(driver, word, accepted)])
        assert result.acted[0].applied
        if word != "purge":
            orders = [event for event in await driver.store.history(accepted) if event.actor == "ann"]
            assert len(orders) == 1

    @pytest.mark.contract("EN4", "ST2")
    async def test_a_replay_is_known_by_its_new_message_also_when_the_original_is_gone(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        accepted = await driver.send()
        await driver.deliver_next()
        order = _order(driver, "replay", accepted)
        assert (await driver.act(order)).applied
        assert (await other.act(_order(other, "purge", accepted))).applied
        again = (await driver.commit(acts=[order], again=True)).acted[0]
        assert (again.applied, again.state) == (True, None)

    @pytest.mark.contract("EN4", "EN16")
    async def test_an_admission_is_written_once(self, driver: StoreDriver) -> None:
        accepted = await driver.send(admission=None)
        message = await driver.claim_one()
        result = await twice(driver, admit=[AdmissionWrite(message=message, admission=PARTS)])
        assert result.admitted == [True]
        assert len((await driver.view(accepted)).parts) == 3

    @pytest.mark.contract("EN4", "IM1")
    async def test_what_is_imported_is_imported_once(self, driver: StoreDriver) -> None:
        foreign = Import(system="comis", source_id="1", outcome="scheduled", draft=driver.draft())
        result = await twice(driver, imports=[foreign])
        assert result.imported == [Enqueued(foreign.draft.id, created=True)]

    @pytest.mark.contract("EN4", "EX1")
    @pytest.mark.parametrize("by", ["reaper", "claim"])
    async def test_what_time_has_ended_is_told_again(self, driver: StoreDriver, by: str) -> None:
        over = await driver.send(expires_ms=driver.clock.wall_ms() + 1000)
        driver.clock.advance(2)
        work: dict[str, Any] = {"expire": 10} if by == "reaper" else {"claim": await driver.request()}
        result = await twice(driver, **work)
        assert [ended.id for ended in (*result.expired, *result.overdue)] == [over]

    @pytest.mark.contract("EN4", "ST9")
    async def test_what_cannot_be_read_is_told_again(self, driver: StoreDriver, backstage: Backstage) -> None:
        bad = await driver.send()
        await backstage.lose_content(bad)
        result = await twice(driver, claim=await driver.request())
        assert [ended.id for ended in result.unreadable] == [bad]

    @pytest.mark.contract("EN4", "FL3")
    async def test_an_order_that_changes_nothing_never_does(self, driver: StoreDriver) -> None:
        result = await twice(driver, acts=[Resume(tenant=None, channel="nobody's", actor="ann")])
        assert not result.acted[0].applied

    @pytest.mark.contract("EN4", "DK1")
    async def test_what_nobody_else_may_send_is_told_again(self, driver: StoreDriver) -> None:
        accepted = await driver.send(accepted_by=b"gone")
        result = await twice(driver, abandon=[b"gone"])
        assert [ended.id for ended in result.abandoned] == [accepted]

    @pytest.mark.contract("EN4", "DR2")
    async def test_where_something_became_claimable_is_told_again(self, driver: StoreDriver) -> None:
        assert (await twice(driver, enqueue=[[driver.draft()]])).touched == {await driver.queue()}
        message = await driver.claim_one()
        settle = [driver.settlement(message, Deferred("busy"))]
        assert (await twice(driver, settle=settle)).touched == {await driver.queue()}
        assert (await twice(driver, acts=[Retry(id=message.id, actor="ann")])).touched == {await driver.queue()}

    @pytest.mark.contract("EN4", "LA1")
    async def test_a_whole_batch_is_written_once_also_when_it_comes_again_in_pieces(self, driver: StoreDriver) -> None:
        await driver.send_in_turn("l", 2)
        message = await driver.claim_one()
        new = driver.draft(lane="l")
        settle = [driver.settlement(message, Delivered("r"))]
        claim = await driver.request(2)
        first = await twice(driver, settle=settle, enqueue=[[new]], claim=claim)
        before = await stored(driver)
        assert (await driver.commit(settle=settle, again=True)).settled == first.settled
        assert (await driver.commit(enqueue=[[new]], again=True)).enqueued == first.enqueued
        assert (await driver.commit(claim=claim, again=True)).claimed == first.claimed
        assert await stored(driver) == before
        await driver.healthy()


async def twice(driver: StoreDriver, **work: Any) -> BatchResult:
    """Commit a batch, and once more as if its answer had been lost; see that nothing is changed or told otherwise."""
    first = await driver.commit(**work)
    before = await stored(driver)
    second = await driver.commit(**work, again=True)
    assert await stored(driver) == before
    assert _told(second) == _told(first)
    assert await driver.store.check() == []
    return second


async def stored(driver: StoreDriver) -> list[tuple[object, ...]]:
    """Read all that is stored of every message."""
    return [(fields_of(view), await driver.store.history(view.id)) for view in await driver.everything()]


def _told(result: BatchResult) -> tuple[object, ...]:
    return (
        result.settled,
        result.admitted,
        [(acted.applied, acted.state, acted.pending) for acted in result.acted],
        result.enqueued,
        result.imported,
        result.claimed,
        result.expired,
        result.overdue,
        result.abandoned,
    )


def _all(accepted: object) -> list[Enqueued]:
    assert isinstance(accepted, list), accepted
    return accepted


def _order(driver: StoreDriver, word: str, subject: MessageId) -> Any:
    match word:
        case "retry":
            return Retry(id=subject, actor="ann")
        case "bury":
            return driver.burial(subject)
        case "replay":
            return Replay(id=subject, new_id=driver.draft().id, actor="ann")
        case "purge":
            return Purge(id=subject, actor="ann", keys_until_ms=driver.clock.wall_ms())
        case _:
            return Cancel(id=subject, actor="ann")
