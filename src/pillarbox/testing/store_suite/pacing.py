"""What platforms take in a time, and who rests after a rate limit (contract FL1, RE5)."""

from __future__ import annotations

from typing import Final

import pytest

from pillarbox.domain.outcome import Deferred, Delivered, RateLimited
from pillarbox.domain.pace import Pace, Rate
from pillarbox.store.base import Resume, Retry
from pillarbox.testing.store_suite.driver import CHANNEL, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures
from pillarbox.testing.store_suite.redirecting import move

WHOLE: Final = {CHANNEL: Pace(whole=(Rate(3),))}
EACH: Final = {CHANNEL: Pace(whole=(Rate(30),), each=(Rate(1),), group=(Rate(2, 60),), group_prefix="-")}
SECOND: Final = 1.02


class PacingSuite(StoreFixtures):
    """Rates and rests."""

    @pytest.mark.contract("FL1")
    async def test_a_channel_takes_no_more_than_its_rate_of_all_workers_together(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(10)])
        assert len(await driver.claim(2, paces=WHOLE)) == 2
        assert len(await other.claim(5, paces=WHOLE)) == 1
        assert await driver.claim(5, paces=WHOLE) == []
        next_ms = driver.last.next_due_ms[await driver.queue()]
        assert next_ms == driver.clock.wall_ms() + 1020
        driver.clock.advance(SECOND)
        assert len(await other.claim(10, paces=WHOLE)) == 3

    @pytest.mark.contract("FL1")
    async def test_workers_with_different_rates_each_keep_to_their_own_over_what_all_sent(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        strict, loose = {CHANNEL: Pace(whole=(Rate(3, 60),))}, {CHANNEL: Pace(whole=(Rate(4),))}
        await driver.enqueue(*[driver.draft() for _ in range(20)])
        assert len(await driver.claim(2, paces=strict)) == 2
        assert len(await other.claim(5, paces=loose)) == 2
        assert await driver.claim(5, paces=strict) == []
        for _ in range(3):
            driver.clock.advance(15)
            # What the looser one no longer counts, the stricter one still does.
            assert len(await other.claim(1, paces=loose)) == 1
            assert await driver.claim(5, paces=strict) == []
        driver.clock.advance(2 * 60)
        assert len(await driver.claim(5, paces=strict)) == 3

    @pytest.mark.contract("FL1")
    async def test_what_is_stored_is_no_way_around_the_rate(self, driver: StoreDriver) -> None:
        await driver.send()
        await driver.claim(10, paces=WHOLE)
        result = await driver.commit(
            enqueue=[[driver.draft() for _ in range(5)]], claim=await driver.request(10, paces=WHOLE)
        )
        assert len(result.claimed) == 2

    @pytest.mark.contract("FL1")
    async def test_a_recipient_gets_no_more_than_its_rate_and_holds_back_nobody_else(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft(recipient="ann") for _ in range(5)], driver.draft(recipient="bob"))
        taken = await driver.claim(10, paces=EACH)
        assert sorted(message.recipient for message in taken) == ["ann", "bob"]
        assert await other.claim(10, paces=EACH) == []
        for _ in range(4):
            driver.clock.advance(SECOND)
            assert [message.recipient for message in await other.claim(10, paces=EACH)] == ["ann"]
        driver.clock.advance(SECOND)
        assert await other.claim(10, paces=EACH) == []

    @pytest.mark.contract("FL1", "LA1")
    async def test_a_paced_lane_keeps_its_order(self, driver: StoreDriver) -> None:
        sent = await driver.send_in_turn("l", 3, recipient="ann")
        went = []
        for _ in range(3):
            (message,) = await driver.claim(10, paces=EACH)
            went.append(message.id)
            await driver.deliver(message)
            assert await driver.claim(10, paces=EACH) == []
            driver.clock.advance(SECOND)
        assert went == sent

    @pytest.mark.contract("FL1")
    async def test_a_group_has_a_rate_of_its_own(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(recipient="-100") for _ in range(5)])
        assert len(await driver.claim(10, paces=EACH)) == 2
        driver.clock.advance(59)
        assert await driver.claim(10, paces=EACH) == []
        driver.clock.advance(3)
        assert len(await driver.claim(10, paces=EACH)) == 2

    @pytest.mark.contract("FL1", "LA3")
    async def test_a_recipient_s_backlog_is_put_off_in_bounded_steps(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(recipient="ann") for _ in range(2500)], driver.draft(recipient="bob"))
        went: list[str] = []
        claims = 0
        while not claims or driver.last.more:
            went += [message.recipient for message in await driver.claim(10, paces=EACH)]
            claims += 1
        assert sorted(went) == ["ann", "bob"]
        assert 2 <= claims <= 4
        driver.clock.advance(SECOND)
        assert [message.recipient for message in await driver.claim(10, paces=EACH)] == ["ann"]

    @pytest.mark.contract("FL1", "RE5")
    async def test_a_rate_limit_of_a_recipient_lets_all_its_messages_rest(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft(recipient="ann", lane=None) for _ in range(3)])
        limited = await driver.claim_one()
        await driver.enqueue(driver.draft(recipient="bob"))
        await driver.settle(limited, RateLimited("slow", after=30))
        assert [message.recipient for message in await other.claim(10)] == ["bob"]
        new = await driver.send(recipient="ann")
        result = await driver.commit(enqueue=[[driver.draft(recipient="ann")]], claim=await driver.request(10))
        assert result.claimed == []
        driver.clock.advance(30)
        back = await other.claim(10)
        assert len(back) == 5
        assert new in {message.id for message in back}

    @pytest.mark.contract("FL1", "FL3")
    async def test_a_resume_ends_a_recipient_s_rest(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(recipient="ann", lane=None) for _ in range(2)])
        await driver.settle(await driver.claim_one(), RateLimited("slow", after=30))
        await driver.act(Resume(tenant=None, channel=CHANNEL, actor="ann"))
        assert len(await driver.claim(10)) == 1

    @pytest.mark.contract("FL1", "ST11")
    async def test_who_wants_a_message_to_go_now_ends_its_recipient_s_rest(self, driver: StoreDriver) -> None:
        await driver.enqueue(driver.draft(recipient="ann", lane=None))
        limited = await driver.claim_one()
        await driver.settle(limited, RateLimited("slow", after=30))
        await driver.act(Retry(id=limited.id, actor="ann"))
        assert await driver.claimed_ids() == [limited.id]

    @pytest.mark.contract("FL1")
    async def test_one_message_alone_waits_for_its_place_too(self, driver: StoreDriver) -> None:
        first, second = await driver.send(recipient="ann"), await driver.send(recipient="ann")
        assert len(await driver.claim(1, only=first, paces=EACH)) == 1
        assert await driver.claim(1, only=second, paces=EACH) == []
        driver.clock.advance(SECOND)
        assert len(await driver.claim(1, only=second, paces=EACH)) == 1

    @pytest.mark.contract("FL1")
    async def test_what_counts_no_more_is_forgotten(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(recipient=f"r{n}") for n in range(20)])
        for message in await driver.claim(20, paces=EACH):
            await driver.settle(message, Deferred("busy"))
        driver.clock.advance(3600)
        assert len(await driver.claim(20, paces=EACH)) == 20
        assert await driver.store.check() == []

    @pytest.mark.contract("FL1")
    async def test_a_recipient_rests_where_its_platform_says_so_beside_a_delivery(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft(recipient=to) for to in ("ann", "ann", "bob")])
        first = await driver.claim_one()
        assert await driver.settle(first, Delivered("r", rest=2)) == "applied"
        assert [message.recipient for message in await other.claim()] == ["bob"]
        assert await driver.claim() == []
        driver.clock.advance(2)
        assert [message.recipient for message in await driver.claim()] == ["ann"]

    @pytest.mark.contract("FL1", "RE5")
    async def test_a_shorter_rest_does_not_end_a_longer_one(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(recipient="ann", lane=None) for _ in range(4)])
        limited, other, third = await driver.claim(3)
        await driver.commit(
            settle=[
                driver.settlement(limited, RateLimited("slow", after=60)),
                driver.settlement(other, RateLimited("busy", after=5)),
            ]
        )
        await driver.settle(third, Delivered("r", rest=1))
        driver.clock.advance(6)
        assert await driver.claim() == []
        driver.clock.advance(54)
        assert len(await driver.claim()) == 3

    @pytest.mark.contract("FL1", "RE5", "CH3")
    async def test_who_has_moved_rests_and_is_paced_under_its_new_address(self, driver: StoreDriver) -> None:
        await move(driver, "old", "new")
        driver.clock.advance(5)
        await driver.enqueue(*[driver.draft(recipient=to) for to in ("old", "new", "old", "bob")])
        taken = await driver.claim(10, paces=EACH)
        assert sorted(message.recipient for message in taken) == ["bob", "new"]
        driver.clock.advance(SECOND)
        second = await driver.claim_one(paces=EACH)
        assert second.recipient == "new"
        await driver.settle(second, RateLimited("slow", after=30))
        driver.clock.advance(5)
        assert await driver.claim(10) == []
        driver.clock.advance(25)
        assert [message.recipient for message in await driver.claim(10)] == ["new", "new"]
