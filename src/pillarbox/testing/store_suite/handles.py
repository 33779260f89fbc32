"""Several handles share one database, close without a trace, and notice each other's writes (contract SG3, SG5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Leased
from pillarbox.domain.outcome import Delivered
from pillarbox.domain.transition import ErrorClass, Reason, Transition
from pillarbox.errors import NotStarted
from pillarbox.store.base import Batch, Durability
from pillarbox.testing.store_suite.driver import MakeStore, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

LANE: Final = "chat//ann"
NOTICE_SECONDS: Final = 0.01
PATIENCE_SECONDS: Final = 10.0


class HandleSuite(StoreFixtures):
    """Handles."""

    @pytest.mark.contract("SG5")
    async def test_opening_and_closing_are_repeatable(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.store.open()
        await driver.store.close()
        await driver.store.close()
        await driver.store.open()
        assert (await driver.view(accepted)).id == accepted

    @pytest.mark.contract("SG5")
    async def test_a_handle_that_is_not_open_refuses_everything(self, make_store: MakeStore) -> None:
        store = make_store()
        for closed in (False, True):
            if closed:
                await store.open()
                await store.close()
            with pytest.raises(NotStarted):
                await store.commit(Batch(now_ms=0))
            with pytest.raises(NotStarted):
                await store.stats()
            with pytest.raises(NotStarted):
                await store.lapsed(limit=1)

    @pytest.mark.contract("SG3")
    async def test_a_store_on_disk_survives_power_cuts_unless_told_otherwise(self, driver: StoreDriver) -> None:
        assert driver.store.durability is Durability.POWER
        assert not driver.store.in_memory

    @pytest.mark.contract("DR2")
    async def test_a_handle_is_told_that_another_wrote(self, driver: StoreDriver, other: StoreDriver) -> None:
        told, both = asyncio.Event(), asyncio.Event()
        other.store.on_change(told.set, seconds=NOTICE_SECONDS)
        other.store.on_change(both.set, seconds=3600)
        await until_told(driver, told, driver.send)
        await until_told(driver, both, driver.send)

    @pytest.mark.contract("DR2")
    async def test_a_write_of_its_own_hides_no_other_s(self, driver: StoreDriver, other: StoreDriver) -> None:
        await driver.send()
        told = asyncio.Event()
        driver.store.on_change(told.set, seconds=NOTICE_SECONDS)

        async def both_write() -> None:
            await other.send()
            await driver.send()

        await until_told(driver, told, both_write)

    @pytest.mark.contract("DR2")
    async def test_who_does_not_listen_any_more_is_told_nothing(self, driver: StoreDriver, other: StoreDriver) -> None:
        gone: list[None] = []
        end = other.store.on_change(lambda: gone.append(None), seconds=NOTICE_SECONDS)
        end()
        end()
        told = asyncio.Event()
        other.store.on_change(told.set, seconds=NOTICE_SECONDS)
        await until_told(driver, told, driver.send)
        assert gone == []

    async def test_what_has_ended_of_many_is_found_at_once(self, driver: StoreDriver) -> None:
        delivered = await driver.send()
        await driver.deliver_next()
        held = await driver.send()
        hold = Transition.hold(
            Reason.UNCERTAIN, error_class=ErrorClass.UNCERTAIN, error="", charged=1, keeps_turn=False
        )
        await driver.settle(await driver.claim_one(), hold)
        leased = await driver.send()
        await driver.claim_one()
        waiting, unknown = await driver.send(), MessageId("0" * 22)
        asked = [delivered, held, leased, waiting, unknown]
        assert await driver.store.ended(asked) == {delivered, held, unknown}
        assert await driver.store.ended([]) == set()

    @pytest.mark.contract("DR2")
    async def test_a_worker_is_told_that_another_wrote_something_to_claim(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await other.register()
        told = asyncio.Event()
        other.store.on_change(told.set, seconds=NOTICE_SECONDS)
        await until_told(driver, told, driver.send)

    @pytest.mark.contract("LA1", "LE1")
    async def test_commits_that_overlap_go_in_either_order_but_never_both_at_once(
        self, driver: StoreDriver, other: StoreDriver, open_driver: OpenDriver
    ) -> None:
        third = await open_driver()
        await third.register()
        sent: dict[StoreDriver, list[MessageId]] = {driver: [], other: []}
        told: list[MessageId] = []
        leased: list[Leased] = []
        for step in range(40):
            if leased and step % 2:
                message = leased.pop()
                told.append(message.id)
                claim = await third.request()
                settle = [third.settlement(message, Delivered("r"))]
                ending = third.commit(settle=settle, claim=claim)
            else:
                ending = third.commit(claim=await third.request())
            one, two, result = await asyncio.gather(driver.send(lane=LANE), other.send(lane=LANE), ending)
            sent[driver].append(one)
            sent[other].append(two)
            leased += result.claimed
            assert len(leased) <= 1
        while leased or (leased := await third.claim()):
            assert len(leased) == 1
            told.append(leased[0].id)
            await third.deliver(leased.pop())
        assert len(told) == 80
        for ids in sent.values():
            # Those of one sender did not overlap.
            assert [identity for identity in told if identity in ids] == ids
        await third.healthy()

    @pytest.mark.contract("SG7")
    async def test_a_healthy_store_has_nothing_to_complain_of(self, driver: StoreDriver) -> None:
        assert await driver.store.check() == []
        assert await driver.store.stats() == []
        assert await driver.store.queues() == []
        assert await driver.store.workers() == []
        assert await driver.store.lapsed(limit=10) == []

    async def test_an_empty_batch_does_nothing(self, driver: StoreDriver) -> None:
        result = await driver.commit()
        assert (result.settled, result.claimed, result.enqueued, result.more) == ([], [], [], False)


async def until_told(driver: StoreDriver, told: asyncio.Event, write: Callable[[], Awaitable[object]]) -> None:
    """Write until a notice of it came: one alone may be lost."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not told.is_set():
            await write()
            driver.clock.advance(NOTICE_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), 50 * NOTICE_SECONDS)
