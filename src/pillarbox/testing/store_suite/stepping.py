"""What holds for a message that holds its lane up: after a time it steps aside, where that is asked for (LA5)."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited
from pillarbox.store.base import Settled
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures

LANE: Final = "chat//ann"
# Waits of 5, 25 and 120 seconds.
STEPPING: Final = msgspec.structs.replace(POLICY, schedule=(5.0, 25.0, 120.0), lane_block_seconds=60.0)


class SteppingSuite(StoreFixtures):
    """Heads that step aside."""

    @pytest.mark.contract("LA5")
    async def test_a_head_that_would_block_for_too_long_steps_aside_and_takes_a_place_at_the_tail(
        self, driver: StoreDriver
    ) -> None:
        first, second, third = await driver.send_in_turn(LANE, 3, policy=STEPPING)
        for wait in (5, 25):
            await driver.settle(await driver.claim_one(), Deferred("busy"))
            driver.clock.advance(wait - 1)
            assert await driver.claimed_ids() == [], "it keeps its turn"
            driver.clock.advance(1)
        # Tried for 30 seconds, and due in 120: its lane would be held up for longer than a minute.
        assert await driver.settle(await driver.claim_one(), Deferred("busy")) is Settled.APPLIED
        view = await driver.view(first)
        assert (view.state, view.waiting, view.charged) == (State.SCHEDULED, False, 3)
        assert view.last_error == "busy; it steps aside: its lane goes on without it"
        settled = [event for event in await driver.store.history(first) if event.act == "settle"]
        assert [event.reason for event in settled] == ["busy", "busy", view.last_error]
        assert await driver.deliver_next() == second
        driver.clock.advance(120)
        # It is due now, and stands behind what was there before.
        assert [await driver.deliver_next(), await driver.deliver_next()] == [third, first]
        await driver.healthy()

    @pytest.mark.contract("LA5", "LA1")
    async def test_what_stepped_aside_takes_its_turn_again_and_is_never_sent_beside_another(
        self, driver: StoreDriver
    ) -> None:
        first, second = await driver.send_in_turn(LANE, 2, policy=STEPPING)
        await driver.settle(await driver.claim_one(), Deferred("busy", after=61))
        other = await driver.claim_one()
        assert other.id == second
        driver.clock.advance(61)
        assert await driver.claimed_ids() == [], "one at a time"
        await driver.settle(other, Delivered("r"))
        assert await driver.deliver_next() == first
        await driver.healthy()

    @pytest.mark.contract("LA5")
    async def test_without_the_setting_a_head_keeps_its_turn_however_long(self, driver: StoreDriver) -> None:
        first, _ = await driver.send_in_turn(LANE, 2)
        await driver.settle(await driver.claim_one(), RateLimited("slow", after=86_000))
        assert await driver.claimed_ids() == []
        driver.clock.advance(86_000)
        assert await driver.claimed_ids() == [first]

    @pytest.mark.contract("LA5", "LA2")
    async def test_nobody_steps_aside_while_the_whole_channel_rests(self, driver: StoreDriver) -> None:
        first, second = await driver.send_in_turn(LANE, 2, policy=STEPPING)
        await driver.settle(await driver.claim_one(), RateLimited("slow", scope="channel", after=3600))
        driver.clock.advance(3600)
        assert [await driver.deliver_next(), await driver.deliver_next()] == [first, second]

    @pytest.mark.contract("LA5", "FL4")
    async def test_newer_messages_in_the_place_of_one_that_fails_keep_nobody_waiting_for_longer(
        self, driver: StoreDriver
    ) -> None:
        """Each of them would begin the time anew, and who stands behind them would wait for ever."""
        await driver.send(lane=LANE, collapse_key="progress", policy=STEPPING)
        behind = await driver.send(lane=LANE, policy=STEPPING)
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        newer = await driver.send(lane=LANE, collapse_key="progress", policy=STEPPING)
        newest = await driver.send(lane=LANE, collapse_key="progress", policy=STEPPING)
        assert (await driver.view(newer)).state is State.CANCELLED
        driver.clock.advance(5)
        assert [await driver.deliver_next(), await driver.deliver_next()] == [behind, newest]
        # What was not tried yet hands its place on all the same.
        await driver.send(lane=LANE, collapse_key="progress", policy=STEPPING)
        behind = await driver.send(lane=LANE, policy=STEPPING)
        newest = await driver.send(lane=LANE, collapse_key="progress", policy=STEPPING)
        assert [await driver.deliver_next(), await driver.deliver_next()] == [newest, behind]
        await driver.healthy()

    @pytest.mark.contract("LA5", "LE4")
    async def test_a_head_whose_worker_is_lost_after_too_long_steps_aside(self, driver: StoreDriver) -> None:
        hasty = msgspec.structs.replace(STEPPING, lane_block_seconds=1.0)
        first, second = await driver.send_in_turn(LANE, 2, policy=hasty)
        (head,) = await driver.claim()
        assert head.id == first
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        # Due at once, it takes its new place with the next claim.
        assert [await driver.deliver_next(), await driver.deliver_next()] == [second, first]
        await driver.healthy()
