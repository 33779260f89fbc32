"""
What holds for lanes, exactly as lanes.md says: one at a time, in the order of positions, freed by every exit (LA1).

A message of a lane is open or waiting. A claim starts the lane's first open message, and makes those behind it wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.lifecycle import release_unsent
from pillarbox.domain.message import Leased, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Redirected, Rejected, Uncertain
from pillarbox.domain.retry import OnDead, OnHeld, Policy, UncertainAction
from pillarbox.domain.transition import Reason, Transition
from pillarbox.store.base import Act, Cancel, Import, Retry, Settled
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

LANE: Final = "chat//ann"
HOLD_SKIP: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
HOLD_BLOCK: Final = msgspec.structs.replace(HOLD_SKIP, on_held=OnHeld.BLOCK)
DEAD_BLOCK: Final = msgspec.structs.replace(POLICY, on_dead=OnDead.BLOCK)
ENDS: Final[dict[str, AnyOutcome | Transition]] = {
    "delivered": Transition.deliver("r"),
    "dead": Rejected("no"),
    "expired": Transition.expire(),
    "cancelled": Transition.cancel(Reason.REQUESTED),
}
"""Ways out of a lane at the end of an attempt."""
KEEPING: Final[dict[str, AnyOutcome]] = {
    "deferred": Deferred("busy"),
    "rate limited": RateLimited("slow"),
    "redirected": Redirected("ann2"),
    "uncertain": Uncertain("no answer"),
}
"""Ends of an attempt after which a message keeps its turn."""
HOUR: Final = 3600
LANES: Final = ("l0", "l1", "l2")
EACH: Final = 12


class LaneSuite(StoreFixtures):
    """Lanes."""

    @pytest.mark.contract("LA1")
    async def test_a_lane_goes_one_at_a_time_in_order(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 5)
        for expected in ids:
            (message,) = await driver.claim()
            assert message.id == expected
            assert await driver.claim() == []
            await driver.deliver(message)
        await driver.healthy()

    @pytest.mark.contract("LA1")
    async def test_order_is_that_of_acceptance_not_of_due_times_ids_or_priorities(self, driver: StoreDriver) -> None:
        now_ms = driver.clock.wall_ms()
        first = await driver.send(lane=LANE, priority=0, due_ms=now_ms, id="zzzzzzzzzzzzzzzzzzzzzA")
        second = await driver.send(lane=LANE, priority=3, due_ms=now_ms - 1000, id="AAAAAAAAAAAAAAAAAAAAAA")
        assert [await driver.deliver_next(), await driver.deliver_next()] == [first, second]

    @pytest.mark.contract("LA1")
    async def test_messages_accepted_in_one_batch_go_in_their_order(self, driver: StoreDriver) -> None:
        drafts = [driver.draft(lane=LANE) for _ in range(4)]
        await driver.enqueue(*drafts)
        assert [await driver.deliver_next() for _ in drafts] == [draft.id for draft in drafts]

    @pytest.mark.contract("LA1")
    async def test_messages_without_a_lane_have_no_order(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(5)])
        assert len(await driver.claim()) == 5

    @pytest.mark.contract("LA1", "LA2")
    async def test_a_lane_holds_up_only_itself(self, driver: StoreDriver) -> None:
        head, *_ = await driver.send_in_turn(LANE, 3)
        free = await driver.send(lane="another")
        loose = await driver.send()
        assert await driver.claimed_ids() == [head, free, loose]

    @pytest.mark.contract("LA1")
    async def test_a_lane_is_one_also_across_channels_and_handles(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        first = await driver.send(lane=LANE, channel="chat")
        second = await other.send(lane=LANE, channel="mail")
        assert await other.claimed_ids(channels=["mail"]) == []
        message = (await driver.claim())[0]
        assert message.id == first
        assert await other.claimed_ids(channels=["mail"]) == []
        await driver.deliver(message)
        # Whoever claims from the other channel is told that something is there to claim.
        assert await driver.queue("mail") in driver.last.touched
        assert await other.claimed_ids(channels=["mail"]) == [second]

    @pytest.mark.contract("LA1")
    @pytest.mark.parametrize("end", ENDS)
    async def test_the_end_of_the_head_frees_the_next(self, driver: StoreDriver, end: str) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        head = await self._head(driver, ids)
        assert await driver.settle(head, ENDS[end]) is Settled.APPLIED
        assert await driver.claimed_ids() == [ids[1]]
        assert await self._waiting(driver) == {ids[2]}
        await driver.healthy()

    @pytest.mark.contract("LA1")
    @pytest.mark.parametrize("end", ENDS)
    async def test_settling_the_head_leases_its_successor_in_the_same_batch(
        self, driver: StoreDriver, end: str
    ) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        head = await self._head(driver, ids)
        result = await driver.commit(settle=[driver.settlement(head, ENDS[end])], claim=await driver.request())
        assert [message.id for message in result.claimed] == [ids[1]]

    @pytest.mark.contract("LA1")
    @pytest.mark.parametrize("kept", KEEPING)
    async def test_a_message_to_be_tried_again_keeps_its_turn(self, driver: StoreDriver, kept: str) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        head = await self._head(driver, ids)
        await driver.settle(head, KEEPING[kept])
        assert not set(await driver.claimed_ids()) & set(ids[1:])
        driver.clock.advance(HOUR)
        assert [await driver.deliver_next() for _ in ids] == ids

    @pytest.mark.contract("LA1")
    async def test_a_message_given_back_unsent_keeps_its_turn(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 2)
        head = await self._head(driver, ids)
        release = release_unsent(head, "stopped", now_ms=driver.clock.wall_ms())
        await driver.settle(head, release, began_ms=None)
        assert await driver.claimed_ids() == []
        driver.clock.advance(1)
        assert [await driver.deliver_next() for _ in ids] == ids

    @pytest.mark.contract("LA1", "LE4")
    async def test_a_message_whose_worker_was_lost_keeps_its_turn(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        ids = await driver.send_in_turn(LANE, 2)
        await self._head(driver, ids)
        await driver.leave()
        await other.reap()
        assert [await other.deliver_next() for _ in ids] == ids

    @pytest.mark.contract("LA1")
    async def test_a_message_that_comes_while_the_head_waits_for_its_retry_does_not_overtake(
        self, driver: StoreDriver
    ) -> None:
        head = await driver.send(lane=LANE)
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        behind = await driver.send(lane=LANE)
        assert await driver.claimed_ids() == []
        driver.clock.advance(5)
        assert [await driver.deliver_next(), await driver.deliver_next()] == [head, behind]

    @pytest.mark.contract("LA1")
    @pytest.mark.parametrize("waiting", [True, False], ids=["waiting", "open"])
    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_a_cancelled_message_leaves_its_lane(self, driver: StoreDriver, place: int, *, waiting: bool) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        if waiting:
            head = await self._head(driver, ids)
            await driver.settle(head, Deferred("busy"))
        assert (await driver.act(Cancel(id=ids[place], actor="ann"))).applied
        await driver.healthy()
        driver.clock.advance(HOUR)
        left = [one for one in ids if one != ids[place]]
        assert [await driver.deliver_next() for _ in left] == left

    @pytest.mark.contract("LA1", "EX1")
    @pytest.mark.parametrize("waiting", [True, False], ids=["waiting", "open"])
    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_an_expired_message_leaves_its_lane(self, driver: StoreDriver, place: int, *, waiting: bool) -> None:
        until_ms = driver.clock.wall_ms() + 1000
        ids = [await driver.send(lane=LANE, expires_ms=until_ms if at == place else None) for at in range(3)]
        if waiting:
            head = await self._head(driver, ids)
            await driver.settle(head, Deferred("busy"))
        driver.clock.advance(HOUR)
        assert await driver.expire() == [ids[place]]
        await driver.healthy()
        left = [one for one in ids if one != ids[place]]
        assert [await driver.deliver_next() for _ in left] == left

    @pytest.mark.contract("LA1")
    async def test_the_message_that_waits_first_is_freed_first(self, driver: StoreDriver) -> None:
        # Made waiting one by one and in another order than theirs: by priority, each claim meets a later one first.
        ids = [await driver.send(lane=LANE, priority=priority) for priority in (0, 1, 2, 3)]
        head = (await driver.claim())[0]
        assert head.id == ids[0]
        assert await self._waiting(driver) == set(ids[1:])
        await driver.deliver(head)
        assert await self._waiting(driver) == set(ids[2:])
        assert [await driver.deliver_next() for _ in ids[1:]] == ids[1:]

    @pytest.mark.contract("LA1")
    async def test_several_exits_in_one_batch_free_the_lane_once_and_for_all(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 5)
        head = await self._head(driver, ids)
        result = await driver.commit(
            settle=[driver.settlement(head, Delivered("r"))],
            acts=[Cancel(id=ids[1], actor="ann"), Cancel(id=ids[2], actor="ann")],
            claim=await driver.request(),
        )
        assert [message.id for message in result.claimed] == [ids[3]]
        assert await self._waiting(driver) == {ids[4]}
        await driver.healthy()

    @pytest.mark.contract("LA1", "ST6")
    async def test_a_late_delivery_leaves_its_lane(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        head = await self._head(driver, ids)
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        assert await driver.settle(head, Delivered("late")) is Settled.LATE
        assert await driver.claimed_ids() == [ids[1]]
        await driver.healthy()

    @pytest.mark.contract("LA1", "ST6")
    async def test_a_late_delivery_of_what_another_sends_opens_the_lane_when_that_lease_ends(
        self, driver: StoreDriver
    ) -> None:
        ids = await driver.send_in_turn(LANE, 2)
        head = await self._head(driver, ids)
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        driver.clock.advance(5)
        second = await driver.claim_one()
        assert await driver.settle(head, Delivered("late")) is Settled.LATE
        assert await driver.claimed_ids() == []
        await driver.settle(second, Deferred("busy"))
        assert await driver.claimed_ids() == [ids[1]]
        assert await driver.state(ids[0]) is State.DELIVERED
        await driver.healthy()

    @pytest.mark.contract("LA1", "ST9")
    async def test_an_unreadable_message_leaves_its_lane(self, driver: StoreDriver, backstage: Backstage) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        await backstage.lose_content(ids[0])
        assert await driver.claimed_ids() == [ids[1]]
        await driver.healthy()

    @pytest.mark.contract("LA1")
    async def test_a_held_message_gives_up_its_turn_by_default(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 3, policy=HOLD_SKIP)
        head = await self._head(driver, ids)
        await driver.settle(head, Uncertain("no answer"))
        assert await driver.state(ids[0]) is State.HELD
        assert await driver.deliver_next() == ids[1]
        await driver.act(Retry(id=ids[0], actor="ann"))
        # Back with a new position, at the tail.
        assert [await driver.deliver_next(), await driver.deliver_next()] == [ids[2], ids[0]]
        await driver.healthy()

    @pytest.mark.contract("LA1")
    @pytest.mark.parametrize("policy", [HOLD_BLOCK, DEAD_BLOCK], ids=["on_held", "on_dead"])
    @pytest.mark.parametrize("way", ["retry", "cancel", "bury"])
    async def test_a_held_message_that_blocks_keeps_its_turn_until_somebody_decides(
        self, driver: StoreDriver, policy: Policy, way: str
    ) -> None:
        ids = await driver.send_in_turn(LANE, 3, policy=policy)
        head = await self._head(driver, ids)
        await driver.settle(head, Uncertain("no answer") if policy is HOLD_BLOCK else Rejected("no"))
        assert await driver.state(ids[0]) is State.HELD
        driver.clock.advance(HOUR)
        behind = await driver.send(lane=LANE)
        assert await driver.claimed_ids() == []
        assert await driver.claimed_ids() == []
        await driver.healthy()
        orders: dict[str, Act] = {
            "retry": Retry(id=ids[0], actor="ann"),
            "cancel": Cancel(id=ids[0], actor="ann"),
            "bury": driver.burial(ids[0]),
        }
        assert (await driver.act(orders[way])).applied
        expected = [*ids, behind] if way == "retry" else [*ids[1:], behind]
        assert [await driver.deliver_next() for _ in expected] == expected
        await driver.healthy()

    @pytest.mark.contract("LA1")
    async def test_a_held_message_that_blocks_stops_its_lane_wherever_it_stands(self, driver: StoreDriver) -> None:
        first = await driver.send(lane=LANE)
        held = driver.draft(lane=LANE, policy=HOLD_BLOCK)
        # Only a message that comes from another system is held without having been sent from its place.
        foreign = Import(
            system="elsewhere", source_id="1", outcome="held", draft=held, state=State.HELD, reason=Reason.UNCERTAIN
        )
        await driver.commit(imports=[foreign])
        assert await driver.claimed_ids() == []
        await driver.act(Cancel(id=held.id, actor="ann"))
        assert await driver.claimed_ids() == [first]
        await driver.healthy()

    @pytest.mark.contract("LA1", "ST6")
    async def test_a_late_delivery_of_a_message_that_blocks_opens_the_lane(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 2, policy=HOLD_BLOCK)
        head = await self._head(driver, ids)
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        assert await driver.state(ids[0]) is State.HELD
        assert await driver.claimed_ids() == []
        assert await driver.settle(head, Delivered("late")) is Settled.LATE
        assert await driver.claimed_ids() == [ids[1]]

    @pytest.mark.contract("LA1")
    async def test_messages_behind_several_that_were_passed_over_still_go_in_order(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 4, policy=HOLD_SKIP)
        for _ in range(2):
            await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        third = await driver.claim_one()
        for one in (ids[1], ids[0]):
            driver.clock.advance(1)
            await driver.act(Retry(id=one, actor="ann"))
        await driver.deliver(third)
        # Back in the order in which they became due again, behind what never left.
        assert [await driver.deliver_next() for _ in range(3)] == [ids[3], ids[1], ids[0]]
        await driver.healthy()

    @pytest.mark.contract("LA1")
    async def test_a_message_for_later_blocks_nobody_until_it_is_due(self, driver: StoreDriver) -> None:
        later = await driver.send(lane=LANE, not_before_ms=driver.clock.wall_ms() + 60_000)
        now = await driver.send(lane=LANE)
        assert await driver.deliver_next() == now
        after = await driver.send(lane=LANE)
        assert await driver.deliver_next() == after
        driver.clock.advance(60)
        assert await driver.deliver_next() == later

    @pytest.mark.contract("LA1")
    async def test_a_message_for_later_takes_its_position_when_it_is_due(self, driver: StoreDriver) -> None:
        later = await driver.send(lane=LANE, not_before_ms=driver.clock.wall_ms() + 60_000)
        early = await driver.send_in_turn(LANE, 2)
        driver.clock.advance(60)
        # This claim finds it due: it stands behind what is in the lane by now, and before what comes afterwards.
        head = (await driver.claim())[0]
        assert head.id == early[0]
        late = await driver.send(lane=LANE)
        await driver.deliver(head)
        assert [await driver.deliver_next() for _ in range(3)] == [early[1], later, late]

    @pytest.mark.contract("LA1")
    async def test_messages_for_later_go_in_the_order_in_which_they_became_due(self, driver: StoreDriver) -> None:
        now_ms = driver.clock.wall_ms()
        ids = [await driver.send(lane=LANE, not_before_ms=now_ms + wait) for wait in (3000, 1000, 2000)]
        driver.clock.advance(5)
        assert [await driver.deliver_next() for _ in ids] == [ids[1], ids[2], ids[0]]

    @pytest.mark.contract("LA1")
    async def test_a_message_for_later_keeps_its_position_when_it_is_tried_again(self, driver: StoreDriver) -> None:
        later = await driver.send(lane=LANE, not_before_ms=driver.clock.wall_ms() + 1000)
        driver.clock.advance(1)
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        behind = await driver.send(lane=LANE)
        assert await driver.claimed_ids() == []
        driver.clock.advance(5)
        assert [await driver.deliver_next(), await driver.deliver_next()] == [later, behind]

    @pytest.mark.contract("LA1", "ST11")
    async def test_a_message_for_later_that_is_ordered_now_goes_to_the_tail(self, driver: StoreDriver) -> None:
        later = await driver.send(lane=LANE, not_before_ms=driver.clock.wall_ms() + 60_000)
        first = await driver.send(lane=LANE)
        await driver.act(Retry(id=later, actor="ann"))
        assert [await driver.deliver_next(), await driver.deliver_next()] == [first, later]

    @pytest.mark.contract("LA1", "ST11")
    async def test_ordering_a_waiting_message_now_does_not_let_it_overtake(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        head = await self._head(driver, ids)
        for one in ids[1:]:
            assert (await driver.act(Retry(id=one, actor="ann"))).applied
        assert await driver.claimed_ids() == []
        await driver.deliver(head)
        assert [await driver.deliver_next(), await driver.deliver_next()] == ids[1:]

    @pytest.mark.contract("LA1")
    async def test_never_two_of_a_lane_are_leased(self, driver: StoreDriver, other: StoreDriver) -> None:
        for place in range(12):
            later_ms = driver.clock.wall_ms() + 1000 if place % 3 == 0 else None
            await driver.send(lane=LANE, priority=place % 4, not_before_ms=later_ms)
        done: list[MessageId] = []
        for step in range(40):
            worker = (driver, other)[step % 2]
            claimed = await worker.claim(3, oldest_first=step % 8 == 0)
            leased = [view for view in await driver.everything() if view.state is State.LEASED]
            assert len(leased) <= 1
            for message in claimed:
                if step % 5 == 0:
                    await worker.settle(message, Deferred("busy"))
                else:
                    await worker.deliver(message)
                    done.append(message.id)
            driver.clock.advance(700)
        assert len(set(done)) == len(done) == 12
        await driver.healthy()

    @pytest.mark.contract("LA1", "LE1", "LE5")
    async def test_workers_at_once_keep_every_lane_in_order_and_strand_nobody(self, open_driver: OpenDriver) -> None:
        drivers = [await open_driver() for _ in range(4)]
        ids: dict[str, list[MessageId]] = {lane: [] for lane in LANES}
        begun: list[MessageId] = []
        sending: dict[str, MessageId] = {}

        async def produce(driver: StoreDriver) -> None:
            for place in range(EACH):
                for lane in LANES:
                    ids[lane].append(await driver.send(lane=lane))
                if place % 4 == 3:
                    await driver.act(Cancel(id=ids[LANES[0]][place - 1], actor="ann"))

        async def work(driver: StoreDriver) -> None:
            while sum(map(len, ids.values())) < EACH * len(LANES) or await left(driver):
                for message in await driver.claim(2):
                    assert message.lane is not None
                    assert sending.setdefault(message.lane, message.id) == message.id, "two of a lane at once"
                    begun.append(message.id)
                    outcome = Deferred("busy") if message.claims == 1 and message.seq % 5 == 0 else Delivered("r")
                    # Before it is settled: from then on another may begin.
                    del sending[message.lane]
                    await driver.settle(message, outcome)
                driver.clock.advance(2)

        async def left(driver: StoreDriver) -> bool:
            return any(state in {State.SCHEDULED, State.LEASED} for *_, state in await driver.counters())

        async with asyncio.timeout(60):
            await asyncio.gather(produce(drivers[0]), *[work(driver) for driver in drivers[1:]])
        for lane in LANES:
            mine = set(ids[lane])
            first_begun = list(dict.fromkeys(one for one in begun if one in mine))
            assert first_begun == [one for one in ids[lane] if one in set(first_begun)]
        ended = {view.id: view.state for view in await drivers[0].everything()}
        assert set(ended.values()) <= {State.DELIVERED, State.CANCELLED}
        assert len(ended) == EACH * len(LANES)
        await drivers[0].healthy()

    @pytest.mark.contract("LA1", "LE2")
    async def test_waiting_costs_a_message_nothing(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 3)
        await self._head(driver, ids)
        for one in ids[1:]:
            view = await driver.view(one)
            assert (view.state, view.waiting, view.claims, view.claimed_ms) == (State.SCHEDULED, True, 0, None)

    @pytest.mark.contract("LA1")
    async def test_a_paused_head_s_lane_waits_with_it(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn(LANE, 2)
        head = await self._head(driver, ids)
        pause_ms = driver.clock.wall_ms() + 30_000
        limited = RateLimited("slow", scope="channel", after=30)
        await driver.settle(head, limited)
        assert await driver.claimed_ids() == []
        assert (await driver.store.queues())[0].paused_until_ms == pause_ms
        driver.clock.advance(30)
        assert [await driver.deliver_next(), await driver.deliver_next()] == ids

    @pytest.mark.contract("LA3")
    async def test_a_long_lane_is_made_to_wait_in_bounded_steps(self, driver: StoreDriver) -> None:
        drafts = [driver.draft(lane=LANE) for _ in range(2500)]
        await driver.enqueue(*drafts)
        free = await driver.send()
        seen: set[MessageId] = set()
        for _ in range(20):
            seen |= set(await driver.claimed_ids(1))
            if not driver.last.more and free in seen:
                break
        assert seen == {drafts[0].id, free}
        await driver.healthy()

    async def _head(self, driver: StoreDriver, ids: Sequence[MessageId]) -> Leased:
        """Claim a lane's head; the others wait then."""
        claimed = await driver.claim()
        assert [message.id for message in claimed] == [ids[0]]
        return claimed[0]

    async def _waiting(self, driver: StoreDriver) -> set[MessageId]:
        return {view.id for view in await driver.everything() if view.waiting}
