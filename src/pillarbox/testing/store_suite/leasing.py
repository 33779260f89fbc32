"""Claims and leases: one holder, a fresh id, nothing by a stale one, no worker lost for ever (contract LE1–LE8)."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from pillarbox.domain.ids import LeaseId
from pillarbox.domain.lifecycle import release_unsent
from pillarbox.domain.message import Admission, Leased, State
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Uncertain
from pillarbox.domain.transition import ErrorClass, Reason, Transition
from pillarbox.store.base import AdmissionWrite, Cancel, Settled
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.store_suite.driver import LEASE_MS, StoreDriver, fields_of
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

LEASE_SECONDS: Final = LEASE_MS / 1000
STALE: Final = {
    "retry": Transition.retry(due_ms=1, error_class=ErrorClass.TRANSIENT, error="late"),
    "release": Transition.release(due_ms=1, error_class=ErrorClass.RELEASED, error="late"),
    "redirect": Transition.redirect("eve", due_ms=1, error="late"),
    "bury": Transition.bury(Reason.REJECTED, error_class=ErrorClass.PERMANENT, error="late"),
    "hold": Transition.hold(
        Reason.UNCERTAIN, error_class=ErrorClass.UNCERTAIN, error="late", charged=1, keeps_turn=False
    ),
    "expire": Transition.expire(),
    "cancel": Transition.cancel(Reason.REQUESTED),
    "pause": Transition.release(due_ms=1, error_class=ErrorClass.UNAVAILABLE, error="late", pause_ms=0),
}
"""Every way to end an attempt but a delivery, which a late one may still record."""


class LeasingSuite(StoreFixtures):
    """Claims and leases."""

    @pytest.mark.contract("LE1")
    async def test_of_several_workers_one_claims_a_message(self, driver: StoreDriver, open_driver: OpenDriver) -> None:
        sent = {accepted.id for accepted in await driver.enqueue(*[driver.draft() for _ in range(40)])}
        workers = [driver, *[await open_driver() for _ in range(3)]]
        claimed = [message for _ in range(4) for worker in workers for message in await worker.claim(3)]
        assert len(claimed) == 40
        assert {message.id for message in claimed} == sent

    @pytest.mark.contract("LE2")
    @pytest.mark.parametrize("capacity", [0, 1, 3, 7])
    async def test_a_claim_takes_no_more_than_its_capacity(self, driver: StoreDriver, capacity: int) -> None:
        await driver.enqueue(*[driver.draft(priority=place % 4) for place in range(12)])
        claimed = await driver.claim(capacity)
        assert len(claimed) == capacity
        views = await driver.everything()
        assert sum(view.state is State.LEASED for view in views) == capacity
        assert sum(view.claims for view in views) == capacity

    @pytest.mark.contract("LE2")
    async def test_what_a_claim_gives_is_committed(self, driver: StoreDriver, other: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        view = await other.view(message.id)
        assert (view.state, view.claims, view.claimed_ms) == (State.LEASED, 1, driver.clock.wall_ms())
        assert (message.claims, message.claimed_ms) == (1, driver.clock.wall_ms())

    @pytest.mark.contract("LE2")
    async def test_only_claims_are_counted_when_an_attempt_begins(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        for attempt in range(1, 4):
            message = await driver.claim_one()
            assert (message.claims, message.charged) == (attempt, attempt - 1)
            await driver.settle(message, Deferred("busy"))
            driver.clock.advance(600)
        view = await driver.view(accepted)
        assert (view.claims, view.charged, view.lost) == (3, 3, 0)

    @pytest.mark.contract("LE2", "RE5")
    async def test_a_free_return_costs_no_attempt_and_gives_no_claim_back(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        for attempt in range(1, 4):
            message = await driver.claim_one()
            assert message.free_returns == attempt - 1
            release = release_unsent(message, "not ready", now_ms=driver.clock.wall_ms())
            await driver.settle(message, release, began_ms=None)
            assert await driver.claim() == []
            driver.clock.advance(1)
        view = await driver.view(accepted)
        assert (view.claims, view.charged, view.state) == (3, 0, State.SCHEDULED)

    @pytest.mark.contract("LE2")
    async def test_free_returns_are_counted_in_a_row(self, driver: StoreDriver) -> None:
        await driver.send()
        for outcome in ("free", "free", "busy", "free"):
            message = await driver.claim_one()
            free = release_unsent(message, "not ready", now_ms=driver.clock.wall_ms())
            await driver.settle(message, free if outcome == "free" else Deferred("busy"))
            driver.clock.advance(600)
        assert (await driver.claim_one()).free_returns == 1

    @pytest.mark.contract("CL5")
    async def test_bounded_rate_limits_are_counted_over_everything_that_comes_between(
        self, driver: StoreDriver, open_driver: OpenDriver
    ) -> None:
        accepted = await driver.send()
        bounded, plain = RateLimited("554 later", bounded=True), RateLimited("450 later")
        worker = driver
        for outcome, told in ((plain, 0), (bounded, 0), (Deferred("busy"), 1), (plain, 1), (bounded, 1)):
            message = await worker.claim_one()
            assert message.bounded_limits == told
            await worker.settle(message, outcome)
            worker = await open_driver(clock=driver.clock)
            driver.clock.advance(3600)
        found = {one.id: one.bounded_limits for one in await worker.claim()}
        assert found == {accepted: 2}
        view = await driver.view(accepted)
        assert (view.charged, view.claims) == (1, 6)

    @pytest.mark.contract("CL5", "PA3")
    async def test_bounded_rate_limits_are_counted_for_each_part_by_itself(self, driver: StoreDriver) -> None:
        await driver.send(admission=Admission(recipient="ann", parts=(b"1", b"2"), splitter="1"))
        await driver.settle(await driver.claim_one(), RateLimited("554 later", bounded=True))
        driver.clock.advance(3600)
        message = await driver.claim_one()
        assert (message.part_next, message.bounded_limits) == (0, 1)
        await driver.settle(message, Delivered("r"))
        message = await driver.claim_one()
        assert (message.part_next, message.bounded_limits) == (1, 0)

    @pytest.mark.contract("CH6", "UN1", "PA3")
    async def test_a_claim_says_since_when_its_part_may_have_arrived(self, driver: StoreDriver) -> None:
        await driver.send(admission=Admission(recipient="ann", parts=(b"1", b"2"), splitter="1"))
        began_ms = driver.clock.wall_ms()
        for outcome, since_ms in (
            (Deferred("busy"), None),
            (Uncertain("no answer"), None),
            (Uncertain("no answer"), began_ms + 3_600_000),
            (Delivered("r"), began_ms + 3_600_000),
        ):
            message = await driver.claim_one()
            assert (message.part_next, message.maybe_sent_ms, message.undecided_ms) == (0, since_ms, since_ms)
            await driver.settle(message, outcome)
            driver.clock.advance(3600)
        message = await driver.claim_one()
        assert (message.part_next, message.maybe_sent_ms, message.undecided_ms) == (1, None, None)

    @pytest.mark.contract("LE2", "LA4")
    async def test_a_claim_looks_only_where_there_is_capacity(self, driver: StoreDriver) -> None:
        mine = await driver.send(channel="chat")
        other_queue = await driver.send(channel="mail")
        assert await driver.claimed_ids(channels=["chat"]) == [mine]
        assert await driver.claimed_ids(channels=["chat"]) == []
        assert await driver.claimed_ids(channels=["mail"]) == [other_queue]

    @pytest.mark.contract("LA4", "LA2")
    async def test_a_queue_s_backlog_takes_no_slot_of_another_queue(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(channel="bulk") for _ in range(200)])
        mine = await driver.send(channel="chat")
        claimed = await driver.claim(2, channels=["bulk", "chat"])
        assert [message.channel for message in claimed].count("bulk") == 2
        assert mine in [message.id for message in claimed]

    @pytest.mark.contract("RE6")
    async def test_what_is_not_due_blocks_nothing_behind_it(self, driver: StoreDriver) -> None:
        now_ms = driver.clock.wall_ms()
        later = [await driver.send(not_before_ms=now_ms + 60_000) for _ in range(20)]
        due = await driver.send()
        assert await driver.claimed_ids(1) == [due]
        assert await driver.claimed_ids() == []
        assert driver.last.next_due_ms == {await driver.queue(): now_ms + 60_000}
        driver.clock.advance(59.999)
        assert await driver.claimed_ids() == []
        driver.clock.advance(0.001)
        assert await driver.claimed_ids(20) == later

    @pytest.mark.contract("RE6")
    async def test_a_failed_message_does_not_block_those_behind_it(self, driver: StoreDriver) -> None:
        await driver.send()
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        behind = await driver.send()
        assert await driver.claimed_ids() == [behind]

    @pytest.mark.contract("RE1")
    async def test_the_next_attempt_is_due_when_the_row_says_also_after_reopening(
        self, driver: StoreDriver, open_driver: OpenDriver
    ) -> None:
        accepted = await driver.send()
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        due_ms = driver.clock.wall_ms() + 5000
        assert (await driver.view(accepted)).due_ms == due_ms
        await driver.leave()
        await driver.store.close()
        later = await open_driver()
        later.clock.advance(4.999)
        assert await later.claimed_ids() == []
        assert later.last.next_due_ms == {await later.queue(): due_ms}
        later.clock.advance(0.001)
        assert await later.claimed_ids() == [accepted]

    async def test_due_messages_come_oldest_first(self, driver: StoreDriver) -> None:
        now_ms = driver.clock.wall_ms()
        drafts = [driver.draft(due_ms=now_ms - age) for age in (10, 30, 20)]
        await driver.enqueue(*drafts)
        assert await driver.claimed_ids() == [drafts[1].id, drafts[2].id, drafts[0].id]

    async def test_a_higher_priority_goes_first(self, driver: StoreDriver) -> None:
        drafts = [driver.draft(priority=priority) for priority in (0, 2, 1, 3)]
        await driver.enqueue(*drafts)
        claimed = [await driver.claim_one() for _ in drafts]
        assert [message.priority for message in claimed] == [3, 2, 1, 0]

    async def test_the_oldest_goes_first_where_that_is_asked_for(self, driver: StoreDriver) -> None:
        old = await driver.send(priority=0)
        driver.clock.advance(1)
        urgent = await driver.send(priority=3)
        assert await driver.claimed_ids(1, oldest_first=True) == [old]
        assert await driver.claimed_ids(1, oldest_first=True) == [urgent]

    async def test_a_claim_of_one_message_takes_no_other(self, driver: StoreDriver) -> None:
        ids = [await driver.send() for _ in range(3)]
        assert await driver.claimed_ids(only=ids[1]) == [ids[1]]
        assert await driver.claimed_ids(only=ids[1]) == []

    async def test_a_queue_that_ran_dry_says_when_to_come_again(self, driver: StoreDriver) -> None:
        await driver.send()
        queue = await driver.queue()
        await driver.claim(10)
        assert driver.last.next_due_ms == {queue: None}
        assert not driver.last.more

    @pytest.mark.contract("LE3")
    async def test_each_claim_has_its_own_lease(self, driver: StoreDriver) -> None:
        await driver.send()
        first = await driver.claim_one()
        await driver.settle(first, Deferred("busy"))
        driver.clock.advance(600)
        second = await driver.claim_one()
        assert first.lease != second.lease

    @pytest.mark.contract("LE3", "ST7")
    @pytest.mark.parametrize("name", STALE)
    async def test_a_lease_that_was_lost_changes_nothing(self, driver: StoreDriver, name: str) -> None:
        old = await self._lost(driver)
        before = await everything(driver, old)
        assert await driver.settle(old, STALE[name]) is Settled.STALE
        assert await everything(driver, old) == before
        current = await driver.claim_one()
        before = await everything(driver, old)
        assert await driver.settle(old, STALE[name]) is Settled.STALE
        assert await everything(driver, old) == before
        await driver.deliver(current)

    @pytest.mark.contract("LE3")
    async def test_a_lease_that_was_lost_renews_and_admits_nothing(self, driver: StoreDriver) -> None:
        old = await self._lost(driver)
        current = await driver.claim_one()
        before = await everything(driver, old)
        admission = AdmissionWrite(message=old, admission=Admission(recipient="eve", parts=(b"1", b"2")))
        result = await driver.commit(renew=[old], renew_ms=1 << 60, admit=[admission])
        assert (result.lost, result.admitted) == ([old], [False])
        assert await everything(driver, old) == before
        driver.clock.advance(LEASE_SECONDS)
        assert [lapsed.message.lease for lapsed in await driver.lapsed()] == [current.lease]

    @pytest.mark.contract("LE3")
    async def test_a_lease_that_nobody_ever_had_changes_nothing(self, driver: StoreDriver) -> None:
        await driver.send()
        real = await driver.claim_one()
        forged = msgspec.structs.replace(real, lease=LeaseId(b"never given out."))
        before = await everything(driver, real)
        for transition in (*STALE.values(), Transition.deliver("r")):
            assert await driver.settle(forged, transition) is Settled.STALE
        assert await everything(driver, real) == before

    @pytest.mark.contract("LE3")
    async def test_a_lease_lasts_from_its_commit_on(self, driver: StoreDriver, other: StoreDriver) -> None:
        await driver.send()
        request = await driver.request()
        driver.clock.advance(LEASE_SECONDS)
        await driver.commit(claim=request)
        driver.clock.advance(LEASE_SECONDS - 0.001)
        assert await other.lapsed() == []
        driver.clock.advance(0.001)
        assert [item.by for item in await other.lapsed()] == ["time"]

    @pytest.mark.contract("LE3")
    async def test_a_renewed_lease_holds_longer(self, driver: StoreDriver, other: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        driver.clock.advance(LEASE_SECONDS - 1)
        result = await driver.commit(renew=[message], renew_ms=LEASE_MS)
        assert result.lost == []
        driver.clock.advance(LEASE_SECONDS - 0.001)
        assert await other.lapsed() == []
        driver.clock.advance(0.001)
        assert [(item.message.id, item.by) for item in await other.lapsed()] == [(message.id, "time")]

    @pytest.mark.contract("LE3")
    async def test_a_lease_renewed_meanwhile_is_not_taken_for_lapsed(self, driver: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        driver.clock.advance(LEASE_SECONDS)
        (lapsed,) = await driver.lapsed()
        await driver.commit(renew=[message], renew_ms=LEASE_MS)
        before = await everything(driver, message)
        assert await driver.settle_lapsed(lapsed) is Settled.STALE
        assert await everything(driver, message) == before
        await driver.deliver(message)

    @pytest.mark.contract("LE3", "OP3")
    async def test_a_renewal_tells_of_a_wish_to_cancel(self, driver: StoreDriver, other: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        await other.act(Cancel(id=message.id, actor="ann"))
        result = await driver.commit(renew=[message], renew_ms=LEASE_MS)
        assert (result.cancelling, result.lost) == ([message.id], [])

    @pytest.mark.contract("LE4")
    async def test_a_lease_lapses_with_its_time(self, driver: StoreDriver, other: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.claim_one()
        driver.clock.advance(LEASE_SECONDS - 0.001)
        assert await other.reap() == []
        driver.clock.advance(0.001)
        assert await other.reap() == [Settled.APPLIED]
        view = await other.view(accepted)
        assert (view.state, view.claims, view.charged, view.lost) == (State.SCHEDULED, 1, 1, 1)
        other.clock.advance(5)
        assert await other.claimed_ids() == [accepted]

    @pytest.mark.contract("LE4")
    async def test_the_leases_of_a_worker_that_left_lapse_at_once(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(3)])
        await driver.claim()
        assert await other.lapsed() == []
        await driver.leave()
        assert [item.by for item in await other.lapsed()] == ["owner"] * 3
        assert await other.reap() == [Settled.APPLIED] * 3

    @pytest.mark.contract("LE4")
    async def test_the_leases_of_a_handle_that_was_closed_lapse_as_soon_as_that_is_known(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.send()
        await driver.claim()
        await driver.store.close()
        driver.clock.advance(self.owner_liveness)
        assert [item.by for item in await other.lapsed()] == ["owner"]

    @pytest.mark.contract("LE4", "LE6")
    async def test_the_leases_of_another_boot_have_lapsed(self, driver: StoreDriver, open_driver: OpenDriver) -> None:
        await driver.send()
        await driver.claim()
        rebooted = await open_driver(clock=FakeClock(boot_id="boot-2", boot_ms=1))
        if self.lease_clock == "own":
            # A machine that was booted says nothing of the others, whose leases it cannot judge.
            assert await rebooted.lapsed() == []
            driver.clock.advance(LEASE_SECONDS)
            assert [item.by for item in await rebooted.lapsed()] == ["time"]
            return
        assert [item.by for item in await rebooted.lapsed()] == ["owner"]
        assert await rebooted.reap() == [Settled.APPLIED]

    @pytest.mark.contract("LE4", "LE6")
    @pytest.mark.parametrize("boots", [("", ""), ("boot-1", ""), ("", "boot-1")], ids=repr)
    async def test_where_boots_have_no_names_a_worker_that_lives_keeps_its_lease(
        self, open_driver: OpenDriver, clock: FakeClock, boots: tuple[str, str]
    ) -> None:
        one = await open_driver(clock=FakeClock(boot_id=boots[0]))
        await one.send()
        message = await one.claim_one()
        two = await open_driver(clock=FakeClock(boot_id=boots[1]))
        two.clock.set_wall(two.clock.wall_ms() + 7_200_000)
        assert await two.lapsed() == []
        await one.store.close()
        clock.advance(self.owner_liveness)
        assert [(item.by, item.message.id) for item in await two.lapsed()] == [("owner", message.id)]

    @pytest.mark.contract("LE6")
    async def test_a_wall_clock_that_is_set_ends_no_lease(self, driver: StoreDriver, other: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        driver.clock.set_wall(driver.clock.wall_ms() + 7_200_000)
        assert await other.lapsed() == []
        driver.clock.set_wall(driver.clock.wall_ms() - 14_400_000)
        assert await other.lapsed() == []
        driver.clock.advance(LEASE_SECONDS)
        assert [item.message.id for item in await other.lapsed()] == [message.id]

    @pytest.mark.contract("LE5", "ST7")
    async def test_of_two_reapers_one_settles_a_lost_lease(self, driver: StoreDriver, other: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.claim()
        driver.clock.advance(LEASE_SECONDS)
        (mine,) = await driver.lapsed()
        (theirs,) = await other.lapsed()
        assert await driver.settle_lapsed(mine) is Settled.APPLIED
        assert await other.settle_lapsed(theirs) is Settled.STALE
        view = await driver.view(accepted)
        assert (view.claims, view.charged, view.lost) == (1, 1, 1)

    @pytest.mark.contract("LE4")
    async def test_the_reaper_is_given_at_most_what_it_asked_for(self, driver: StoreDriver, other: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(5)])
        await driver.claim()
        await driver.leave()
        assert len(await other.store.lapsed(limit=2)) == 2

    @pytest.mark.contract("LE4", "OP3")
    async def test_a_message_to_be_cancelled_ends_when_its_worker_is_lost(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        accepted = await driver.send()
        await driver.claim()
        await other.act(Cancel(id=accepted, actor="ann"))
        driver.clock.advance(LEASE_SECONDS)
        assert await other.reap() == [Settled.APPLIED]
        assert (await other.view(accepted)).state is State.CANCELLED
        await other.healthy()

    async def _lost(self, driver: StoreDriver) -> Leased:
        """Return a claim whose lease was lost; its message is due again."""
        await driver.send()
        old = await driver.claim_one()
        driver.clock.advance(LEASE_SECONDS)
        await driver.reap()
        driver.clock.advance(5)
        return old


async def everything(driver: StoreDriver, message: Leased) -> tuple[object, ...]:
    """Return all that is stored about a message, its queue and the counters."""
    return (
        fields_of(await driver.view(message.id)),
        await driver.store.history(message.id),
        await driver.counters(),
        await driver.store.queues(),
    )
