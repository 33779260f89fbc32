"""Channels that are out of order: their breakers (contract FL2)."""

from __future__ import annotations

import msgspec
import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, RateLimited, Rejected, Unavailable
from pillarbox.domain.pace import Pace, Rate
from pillarbox.domain.transition import ErrorClass, Transition
from pillarbox.store.base import Cancel, Flow, Pause, Resume, TryAgain
from pillarbox.testing.store_suite.driver import CHANNEL, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures


class BreakingSuite(StoreFixtures):
    """Breakers."""

    @pytest.mark.contract("FL2", "CL1")
    async def test_a_channel_that_was_unavailable_is_probed_with_one_message_until_it_answers(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(5)])
        for strikes in (1, 2):
            await driver.settle(await driver.claim_one(), Unavailable("token revoked"))
            assert (await driver.store.queues())[0].strikes == strikes
            assert await driver.claim() == []
            driver.clock.advance(3600)
        probe = await driver.claim(10)
        assert len(probe) == 1
        assert await other.claim(10) == []
        await driver.deliver(*probe)
        assert (await driver.store.queues())[0].strikes == 0
        assert len(await other.claim(10)) == 2
        driver.clock.advance(1)
        assert len(await driver.claim(10)) == 2

    @pytest.mark.contract("FL2")
    async def test_a_channel_that_answers_again_is_opened_step_by_step(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(40)])
        await driver.settle(await driver.claim_one(), Unavailable("token revoked"))
        driver.clock.advance(3600)
        await driver.deliver(await driver.claim_one())
        under_way = 0
        for worker, most in ((driver, 2), (other, 4), (driver, 8)):
            for each in (worker, other, driver):
                under_way += len(await each.claim(10))
            assert under_way == most
            driver.clock.advance(1)
        driver.clock.advance(10)
        assert len(await driver.claim(100)) > 16
        assert (await driver.store.queues())[0].paused is False

    @pytest.mark.contract("FL2")
    async def test_who_probes_a_channel_knows_how_long_it_is_out_of_order(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(5)])
        taken = await driver.claim(4)
        assert {message.strikes for message in taken} == {0}
        opened = Transition.release(
            due_ms=0, error_class=ErrorClass.OUTAGE, error="refused", pause_ms=3_000_000_000_000
        )
        for message in taken:
            await driver.settle(message, opened)
        assert (await other.store.queues())[0].strikes == 1, "what was under way is no second outage"
        driver.clock.advance(3_000_000_000)
        assert [message.strikes for message in await other.claim(10)] == [1]

    @pytest.mark.contract("FL2")
    async def test_who_asks_again_for_a_probe_hears_the_same(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(2)])
        await driver.settle(await driver.claim_one(), Unavailable("token revoked"))
        driver.clock.advance(3600)
        request = await driver.request()
        first = await driver.commit(claim=request)
        again = await driver.commit(claim=request, again=True)
        assert again.claimed == first.claimed
        assert [message.strikes for message in again.claimed] == [1]

    @pytest.mark.contract("FL2", "CL1")
    async def test_refused_credentials_pause_a_channel_until_it_is_resumed_whatever_was_under_way(
        self, driver: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(5)])
        refused, under_way = await driver.claim(2)
        await driver.settle(refused, Unavailable("token revoked", auth=True))
        await driver.deliver(under_way)
        (queue,) = await driver.store.queues()
        assert (queue.paused, queue.paused_until_ms, queue.strikes) == (True, None, 1)
        driver.clock.advance(30 * 86400)
        assert await driver.claim() == []
        await driver.act(Resume(tenant=None, channel=CHANNEL, actor="ann"))
        assert len(await driver.claim()) == 4

    @pytest.mark.contract("FL1", "FL2", "FL3")
    @pytest.mark.parametrize("outcome", [RateLimited("slow", scope="channel"), Unavailable("token", auth=True)])
    async def test_an_answer_holds_for_its_tenant_and_a_person_resumes_all_in_one_transaction(
        self, driver: StoreDriver, outcome: RateLimited | Unavailable
    ) -> None:
        tenants = ("", "acme", "other")
        for tenant in tenants:
            await driver.enqueue(*[driver.draft(tenant=tenant, lane=None) for _ in range(2)])
        numbers = {queue.tenant: queue.id for queue in await driver.store.queues()}
        for place, tenant in enumerate(tenants):
            # An application's own function may send each tenant's messages with credentials of that tenant.
            request = msgspec.structs.replace(await driver.request(), capacity={numbers[tenant]: 1})
            (message,) = (await driver.commit(claim=request)).claimed
            await driver.settle(message, outcome)
            paused = {queue.tenant for queue in await driver.store.queues() if queue.paused}
            assert paused == set(tenants[: place + 1])
        await driver.commit(acts=[Resume(tenant=None, channel=CHANNEL, actor="ann")])
        assert not any(queue.paused for queue in await driver.store.queues())

    @pytest.mark.contract("FL2")
    async def test_other_credentials_are_tried_with_one_message(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(5)])
        for other in (False, True):
            await driver.settle(await driver.claim_one(), Unavailable("token revoked", auth=True))
            driver.clock.advance(2)
            assert await driver.claim() == []
            assert (await driver.act(TryAgain(channel=CHANNEL, other=other))).applied
            driver.clock.advance(0.001)
            assert not (await driver.act(TryAgain(channel=CHANNEL, other=other))).applied
        probe = await driver.claim_one()
        assert probe.strikes > 0
        await driver.deliver(probe)
        assert len(await driver.claim()) == 2

    @pytest.mark.contract("FL2", "FL3")
    async def test_a_receiver_that_wants_nothing_is_tried_only_at_another_address_and_a_persons_pause_stays(
        self, driver: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(3)])
        await driver.settle(await driver.claim_one(), Rejected("gone", about="endpoint"))
        assert not (await driver.act(TryAgain(channel=CHANNEL, other=False))).applied
        assert (await driver.act(TryAgain(channel=CHANNEL, other=True))).applied
        assert len(await driver.claim()) == 1
        await driver.act(Pause(tenant=None, channel=CHANNEL, actor="ann"))
        driver.clock.advance(0.001)
        assert not (await driver.act(TryAgain(channel=CHANNEL, other=True))).applied

    @pytest.mark.contract("FL1", "FL2", "FL4")
    @pytest.mark.parametrize("strikes", [0, 1])
    async def test_what_an_answer_says_of_a_channel_holds_though_its_message_is_cancelled(
        self, driver: StoreDriver, strikes: int
    ) -> None:
        outcome = Unavailable("out of order") if strikes else RateLimited("slow", scope="channel", after=30)
        await driver.enqueue(*[driver.draft() for _ in range(3)])
        message = await driver.claim_one()
        await driver.act(Cancel(id=message.id, actor="ann"))
        assert await driver.settle_or_cancel(message, outcome) == "applied"
        assert await driver.state(message.id) is State.CANCELLED
        (queue,) = await driver.store.queues()
        assert (queue.paused, queue.strikes) == (True, strikes)
        assert await driver.claim() == []

    @pytest.mark.contract("FL1", "FL3", "OP2")
    async def test_a_longer_pause_of_a_person_stays_its_own_whatever_was_under_way(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(2)])
        first, second = await driver.claim(2)
        until_ms = driver.clock.wall_ms() + 7_200_000
        await driver.act(Pause(tenant=None, channel=CHANNEL, until_ms=until_ms, actor="ann", reason="the move"))
        await driver.settle(first, RateLimited("slow", scope="channel", after=30))
        (found,) = await driver.store.flow(now_ms=driver.clock.wall_ms())
        assert (found.paused_until_ms, found.paused_by, found.pause_reason) == (until_ms, "ann", "the move")
        driver.clock.advance(7_190)
        await driver.settle(second, RateLimited("slow", scope="channel", after=30))
        (found,) = await driver.store.flow(now_ms=driver.clock.wall_ms())
        assert (found.paused_until_ms, found.pause_reason) == (until_ms + 20_000, "slow")

    @pytest.mark.contract("FL1", "FL2", "OP1")
    async def test_what_goes_through_each_channel_is_told(self, driver: StoreDriver) -> None:
        async def flow() -> Flow:
            (found,) = await driver.store.flow(now_ms=driver.clock.wall_ms())
            return found

        await driver.enqueue(*[driver.draft(recipient=f"r{n}") for n in range(4)])
        assert (await flow()).word == "open"
        await driver.settle(await driver.claim_one(), Rejected("blocked", about="recipient"))
        await driver.settle(await driver.claim_one(), RateLimited("slow", after=10))
        await driver.settle(await driver.claim_one(), Unavailable("out of order"))
        found = await flow()
        assert (found.word, found.paused_by, found.pause_reason, found.strikes) == (
            "paused", "pillarbox", "out of order", 1,
        )  # fmt: skip
        assert (found.resting, found.suppressed) == (1, 1)
        driver.clock.advance(120)
        found = await flow()
        assert (found.word, found.resting, found.suppressed) == ("probed", 0, 1)
        await driver.deliver(await driver.claim_one())
        assert (await flow()).word == "reopening"
        await driver.act(Resume(tenant=None, channel=CHANNEL, actor="ann"))
        await driver.claim(1, paces={CHANNEL: Pace(whole=(Rate(1),))})
        found = await flow()
        assert (found.word, found.full_until_ms) == ("full", driver.clock.wall_ms() + 1020)

    @pytest.mark.contract("OP1")
    async def test_it_is_told_since_when_the_first_message_of_a_channel_is_due(self, driver: StoreDriver) -> None:
        async def due_ms() -> dict[str, int | None]:
            return {one.channel: one.due_ms for one in await driver.store.flow(now_ms=driver.clock.wall_ms())}

        began_ms = driver.clock.wall_ms()
        await driver.enqueue(
            driver.draft(recipient="a", due_ms=began_ms + 500, priority=3),
            driver.draft(recipient="b", due_ms=began_ms + 700, priority=0),
            driver.draft(recipient="c", channel="other", due_ms=began_ms + 9_000),
        )
        assert await due_ms() == {CHANNEL: began_ms + 500, "other": began_ms + 9_000}
        driver.clock.advance(1)
        first, second = await driver.claim(2)
        assert (await due_ms())[CHANNEL] is None
        await driver.deliver(first)
        await driver.settle(second, Deferred("later", after=60))
        assert (await due_ms())[CHANNEL] == driver.clock.wall_ms() + 60_000
