"""Split messages: what is done is never sent again, what is left goes on, each part is told (contract PA2–PA5)."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.lifecycle import cancelled, decide
from pillarbox.domain.message import Admission, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.retry import OnHeld, PartsMode, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Cancel, Settled
from pillarbox.testing.store_suite.accepting import prune
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures

PARTS: Final = (b'"a"', b'"b"', b'"c"')
BEST_EFFORT: Final = msgspec.structs.replace(POLICY, parts=PartsMode.BEST_EFFORT)
BLOCKING: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD, on_held=OnHeld.BLOCK)


class PartSuite(StoreFixtures):
    """Split messages."""

    @pytest.mark.contract("PA2", "PA3")
    async def test_parts_go_one_after_the_other_each_with_what_the_platform_said_before(
        self, driver: StoreDriver
    ) -> None:
        accepted = await self._split(driver)
        seen = []
        for receipt in ("r1", "r2", "r3"):
            message = await driver.claim_one()
            seen.append((message.content, message.part_next, message.receipts, message.charged))
            assert await driver.settle(message, Delivered(receipt)) is Settled.APPLIED
        assert seen == [(b'"a"', 0, (), 0), (b'"b"', 1, ("r1",), 0), (b'"c"', 2, ("r1", "r2"), 0)]
        view = await driver.view(accepted)
        assert (view.state, view.claims, view.part_next) == (State.DELIVERED, 3, 2)
        assert [(part.state, part.receipt) for part in view.parts] == [
            (State.DELIVERED, "r1"), (State.DELIVERED, "r2"), (State.DELIVERED, "r3"),
        ]  # fmt: skip
        await driver.healthy()

    @pytest.mark.contract("PA3")
    @pytest.mark.parametrize("lost", [False, True], ids=["failed", "worker lost"])
    async def test_after_trouble_at_a_part_those_before_it_are_not_sent_again(
        self, driver: StoreDriver, other: StoreDriver, *, lost: bool
    ) -> None:
        accepted = await self._split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        message = await driver.claim_one()
        if lost:
            driver.clock.advance(LEASE_MS / 1000)
            assert await other.reap() == [Settled.APPLIED]
        else:
            await driver.settle(message, Deferred("busy"))
        driver.clock.advance(60)
        again = await other.claim_one()
        assert (again.content, again.part_next, again.receipts) == (b'"b"', 1, ("r1",))
        assert (again.claims, again.charged, again.lost) == (3, 1, int(lost))
        await other.settle(again, Delivered("r2"))
        last = await other.claim_one()
        assert (last.content, last.charged, last.lost) == (b'"c"', 0, 0)
        await other.settle(last, Delivered("r3"))
        assert await other.state(accepted) is State.DELIVERED

    @pytest.mark.contract("PA3", "LA1")
    async def test_nothing_comes_between_the_parts_of_a_message(self, driver: StoreDriver) -> None:
        first = await self._split(driver, lane="l")
        behind = await driver.send(lane="l")
        for _ in PARTS:
            (message,) = await driver.claim()
            assert message.id == first
            await driver.settle(message, Delivered("r"))
        assert await driver.claimed_ids() == [behind]

    @pytest.mark.contract("PA4", "PA5")
    async def test_a_rejected_part_ends_the_message_and_what_went_before_is_told(self, driver: StoreDriver) -> None:
        accepted = await self._split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        view = await driver.view(accepted)
        assert (view.state, view.terminal_reason) == (State.DEAD, Reason.REJECTED)
        assert [part.state for part in view.parts[:2]] == [State.DELIVERED, State.DEAD]
        assert (view.parts[0].receipt, view.parts[1].reason) == ("r1", "too long")
        assert await driver.claim() == []
        await driver.healthy()

    @pytest.mark.contract("PA4")
    async def test_under_best_effort_the_parts_behind_a_rejected_one_go_out(self, driver: StoreDriver) -> None:
        accepted = await self._split(driver, policy=BEST_EFFORT)
        outcomes: tuple[AnyOutcome, ...] = (Delivered("r1"), Rejected("too long"), Delivered("r3"))
        for outcome in outcomes:
            await driver.settle(await driver.claim_one(), outcome)
        view = await driver.view(accepted)
        assert (view.state, view.terminal_reason) == (State.DEAD, Reason.PARTIAL)
        assert [part.state for part in view.parts] == [State.DELIVERED, State.DEAD, State.DELIVERED]
        await driver.healthy()

    @pytest.mark.contract("PA5", "OP3")
    async def test_a_cancel_while_a_part_is_sent_ends_the_rest_and_keeps_that_part_s_truth(
        self, driver: StoreDriver
    ) -> None:
        accepted = await self._split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        message = await driver.claim_one()
        await driver.act(Cancel(id=accepted, actor="ann"))
        transition = decide(message, Delivered("r2"), now_ms=driver.clock.wall_ms(), fraction=0.0)
        assert await driver.settle(message, transition) is Settled.CANCEL
        assert await driver.settle(message, cancelled(transition)) is Settled.APPLIED
        view = await driver.view(accepted)
        assert view.state is State.CANCELLED
        assert [(part.state, part.receipt) for part in view.parts[:2]] == [
            (State.DELIVERED, "r1"), (State.DELIVERED, "r2"),
        ]  # fmt: skip
        assert await driver.claim() == []

    @pytest.mark.contract("ST6", "PA3")
    @pytest.mark.parametrize("held", [False, True], ids=["scheduled", "held"])
    async def test_a_late_delivery_of_a_part_is_not_sent_again(self, driver: StoreDriver, *, held: bool) -> None:
        accepted = await self._split(driver, lane="l", policy=BLOCKING if held else POLICY)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        old = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        assert await driver.state(accepted) is (State.HELD if held else State.SCHEDULED)
        assert await driver.settle(old, Delivered("r2")) is Settled.LATE
        assert await driver.settle(old, Delivered("r2")) is Settled.STALE
        await driver.healthy()
        message = await driver.claim_one()
        assert (message.content, message.receipts, message.charged, message.lost) == (b'"c"', ("r1", "r2"), 0, 0)
        await driver.settle(message, Delivered("r3"))
        assert await driver.state(accepted) is State.DELIVERED
        await driver.healthy()

    @pytest.mark.contract("ST6", "PA3")
    async def test_a_late_delivery_of_the_last_part_ends_the_message(self, driver: StoreDriver) -> None:
        accepted = await self._split(driver)
        for receipt in ("r1", "r2"):
            await driver.settle(await driver.claim_one(), Delivered(receipt))
        old = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        assert await driver.settle(old, Delivered("r3")) is Settled.LATE
        view = await driver.view(accepted)
        assert view.state is State.DELIVERED
        assert [(part.state, part.receipt) for part in view.parts] == [
            (State.DELIVERED, "r1"), (State.DELIVERED, "r2"), (State.DELIVERED, "r3"),
        ]  # fmt: skip
        await driver.healthy()

    @pytest.mark.contract("ST6", "PA3")
    async def test_a_late_delivery_of_a_part_that_another_sends_or_sent_is_a_copy(self, driver: StoreDriver) -> None:
        accepted = await self._split(driver)
        old = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        driver.clock.advance(5)
        current = await driver.claim_one()
        assert await driver.settle(old, Delivered("late")) is Settled.LATE
        assert await driver.settle(old, Delivered("late")) is Settled.STALE
        view = await driver.view(accepted)
        assert (view.state, view.part_next, view.extra_copies) == (State.LEASED, 0, 1)
        assert await driver.settle(current, Delivered("r1")) is Settled.APPLIED
        assert (await driver.claim_one()).receipts == ("r1",)
        await driver.healthy()

    @pytest.mark.contract("PA2", "ST10")
    async def test_a_full_history_keeps_the_attempt_of_every_part(self, driver: StoreDriver) -> None:
        accepted = await self._split(driver)
        for receipt in ("r1", "r2", "r3"):
            driver.clock.advance(1)
            await driver.settle(await driver.claim_one(), Delivered(receipt), keep_attempt=True)
        events = await driver.store.history(accepted)
        assert [event.receipt for event in events if event.act == "settle"] == ["r1", "r2", "r3"]
        assert [event.attempt for event in events if event.act == "claim"] == [1, 2, 3]

    @pytest.mark.contract("UN1", "PA3")
    async def test_a_stale_answer_to_a_part_changes_nothing(self, driver: StoreDriver) -> None:
        accepted = await self._split(driver)
        old = await driver.claim_one()
        await driver.settle(old, Delivered("r1"))
        before = await driver.view(accepted)
        for outcome in (Delivered("again"), Deferred("busy"), Uncertain("no answer"), Rejected("no")):
            assert await driver.settle(old, outcome) is Settled.STALE
        assert await driver.view(accepted) == before

    @pytest.mark.contract("PR2")
    async def test_parts_go_with_their_message(self, driver: StoreDriver) -> None:
        accepted = await self._split(driver)
        for _ in PARTS:
            await driver.settle(await driver.claim_one(), Delivered("r"))
        assert await prune(driver) == 1
        assert await driver.store.get(accepted) is None
        again = await self._split(driver)
        assert [part.state for part in (await driver.view(again)).parts] == [State.SCHEDULED] * 3

    async def _split(self, driver: StoreDriver, **fields: object) -> MessageId:
        """Enqueue a message of three parts."""
        admission = Admission(recipient="ann", parts=PARTS, splitter="1")
        return await driver.send(admission=admission, text="abc", **fields)
