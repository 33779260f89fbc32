"""An answer after its lease was lost: a delivery is recorded, nothing else is (contract ST6)."""

from __future__ import annotations

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected, Uncertain
from pillarbox.store.base import Cancel, Settled
from pillarbox.testing.store_suite.driver import StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures
from pillarbox.testing.store_suite.states import in_state

OTHER_ENDS = [Delivered("second"), Deferred("busy"), Rejected("no"), Uncertain("no answer"), None]


class LateSuite(StoreFixtures):
    """Late answers."""

    @pytest.mark.contract("ST6")
    @pytest.mark.parametrize("state", [State.SCHEDULED, State.HELD])
    async def test_a_late_delivery_ends_a_message_that_nobody_sends(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        driver.clock.advance(2)
        assert await driver.settle(old, Delivered("late")) is Settled.LATE
        view = await driver.view(old.id)
        assert (view.state, view.receipt, view.completed_ms) == (State.DELIVERED, "late", driver.clock.wall_ms())
        assert (view.extra_copies, view.also_arrived_ms) == (0, None)
        assert (view.terminal_reason, view.error_class) == (None, None)
        assert await driver.claim() == []
        await driver.healthy()

    @pytest.mark.contract("ST6")
    @pytest.mark.parametrize("end", OTHER_ENDS, ids=lambda end: type(end).__name__)
    async def test_a_late_delivery_of_what_another_sends_counts_at_once_and_that_attempt_ends_as_delivered(
        self, driver: StoreDriver, other: StoreDriver, end: AnyOutcome | None
    ) -> None:
        old, current = await in_state(driver, State.LEASED)
        driver.clock.advance(2)
        delivered_ms = driver.clock.wall_ms()
        assert await driver.settle(old, Delivered("late")) is Settled.LATE
        view = await other.view(old.id)
        assert (view.state, view.receipt, view.completed_ms) == (State.DELIVERED, "late", delivered_ms)
        driver.clock.advance(2)
        if end is None:
            driver.clock.advance(60)
            assert await other.reap() == [Settled.LATE]
        else:
            assert await driver.settle(current, end) is Settled.LATE
        view = await other.view(old.id)
        assert (view.state, view.receipt, view.completed_ms) == (State.DELIVERED, "late", delivered_ms)
        twice = end == Delivered("second")
        assert (view.extra_copies, view.also_arrived_ms is not None) == (int(twice), twice)
        await driver.healthy()

    @pytest.mark.contract("ST6")
    async def test_nothing_more_is_done_to_what_was_delivered_late_and_is_still_sent(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        old, current = await in_state(driver, State.LEASED)
        await driver.settle(old, Delivered("late"))
        acted = await other.act(Cancel(id=old.id, actor="ann"))
        assert (acted.applied, acted.state) == (False, State.DELIVERED)
        assert await other.claim() == []
        result = await driver.commit(renew=[current], renew_ms=1 << 40)
        assert result.lost == []

    @pytest.mark.contract("ST6", "ST2")
    @pytest.mark.parametrize("state", [State.DELIVERED, State.DEAD, State.EXPIRED, State.CANCELLED])
    async def test_a_late_delivery_of_what_has_ended_is_counted_and_changes_no_state(
        self, driver: StoreDriver, state: State
    ) -> None:
        old, _ = await in_state(driver, state)
        before = await driver.view(old.id)
        driver.clock.advance(2)
        assert await driver.settle(old, Delivered("late")) is Settled.LATE
        view = await driver.view(old.id)
        assert (view.state, view.completed_ms, view.terminal_reason) == (
            before.state, before.completed_ms, before.terminal_reason,
        )  # fmt: skip
        assert view.receipt == ("r" if state is State.DELIVERED else "late")
        assert (view.extra_copies, view.also_arrived_ms) == (1, driver.clock.wall_ms())
        await driver.healthy()

    @pytest.mark.contract("ST6")
    @pytest.mark.parametrize("state", list(State))
    async def test_a_late_delivery_told_twice_counts_once(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        await driver.settle(old, Delivered("late"))
        before = await driver.view(old.id)
        driver.clock.advance(2)
        assert await driver.settle(old, Delivered("late")) is Settled.STALE
        assert await driver.view(old.id) == before

    @pytest.mark.contract("ST6", "ST10")
    async def test_history_tells_of_a_late_delivery(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.SCHEDULED)
        driver.clock.advance(2)
        await driver.settle(old, Delivered("late"))
        events = await driver.store.history(old.id)
        assert events[-1].to_state is State.DELIVERED
        assert events[-1].from_state is State.SCHEDULED
        assert events[-1].at_ms == driver.clock.wall_ms()
        assert "late" in {event.receipt for event in events}
