"""Values that a database cannot hold: whoever gave them is told, and nobody else notices (contract EN8, LE7, UN4)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pillarbox.domain.message import Admission, State
from pillarbox.domain.transition import ErrorClass, Transition
from pillarbox.errors import InvalidMessage, StoreError, ValueRefused
from pillarbox.store.base import AdmissionWrite, Resolve, Settled
from pillarbox.testing.store_suite.driver import StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures

UNSTORABLE: list[Any] = [b"bytes", 7, 2.5, ["a list"], {"an": "object"}, True, object()]
BEYOND_64_BITS = 1 << 70


def _named(value: object) -> str:
    return type(value).__name__


class RefusingSuite(StoreFixtures):
    """A refused value is no outage: a store that is given it again would refuse it again."""

    @pytest.mark.contract("EN8", "LE7", "UN4")
    @pytest.mark.parametrize("receipt", UNSTORABLE, ids=_named)
    @pytest.mark.parametrize("keep", [False, True], ids=["outcomes", "full"])
    async def test_a_receipt_that_cannot_be_stored_is_refused_as_a_value(
        self, driver: StoreDriver, receipt: Any, *, keep: bool
    ) -> None:
        await driver.send()
        message = await driver.claim_one()
        with pytest.raises(ValueRefused) as refused:
            await driver.settle(message, Transition.deliver(receipt), keep_attempt=keep)
        assert not isinstance(refused.value, StoreError)
        await self._ends_all_the_same(driver, message)

    @pytest.mark.contract("EN8", "LE7", "UN4")
    @pytest.mark.parametrize("error", UNSTORABLE, ids=_named)
    async def test_a_reason_that_cannot_be_stored_is_refused_as_a_value(self, driver: StoreDriver, error: Any) -> None:
        await driver.send()
        message = await driver.claim_one()
        retry = Transition.retry(due_ms=0, error_class=ErrorClass.TRANSIENT, error=error)
        with pytest.raises(ValueRefused):
            await driver.settle(message, retry)
        await self._ends_all_the_same(driver, message)

    @pytest.mark.contract("EN8", "LE7", "UN4")
    async def test_a_time_beyond_the_database_is_refused_as_a_value(self, driver: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        for due_ms in (BEYOND_64_BITS, -BEYOND_64_BITS, "soon", b"soon"):
            later = Transition.retry(due_ms=due_ms, error_class=ErrorClass.TRANSIENT, error="no")  # type: ignore[arg-type]
            with pytest.raises(ValueRefused):
                await driver.settle(message, later)
        await self._ends_all_the_same(driver, message)

    @pytest.mark.contract("EN8", "LE7")
    async def test_what_a_batch_with_a_refused_value_held_is_written_without_it(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(3)])
        one, odd, two = await driver.claim()
        bad = driver.settlement(odd, Transition.deliver(b"id"))  # type: ignore[arg-type]
        with pytest.raises(ValueRefused):
            await driver.commit(
                settle=[driver.settlement(one, Transition.deliver("1")), bad],
                enqueue=[[driver.draft(text="beside it")]],
            )
        states = [(await driver.view(message.id)).state for message in (one, odd, two)]
        assert states == [State.LEASED] * 3
        assert len(await driver.everything()) == 3
        await driver.deliver(one, two)
        assert await driver.send()
        await driver.healthy()

    @pytest.mark.contract("EN8")
    async def test_a_part_s_end_that_cannot_be_stored_is_refused_as_a_value(self, driver: StoreDriver) -> None:
        parts = (driver.draft(text="one").content, driver.draft(text="two").content)
        await driver.send(admission=Admission(recipient="ann", parts=parts, splitter="1"))
        message = await driver.claim_one()
        for part in (
            Transition.next_part(State.DELIVERED, due_ms=0, receipt=b"id"),  # type: ignore[arg-type]
            Transition.next_part(State.DEAD, due_ms=0, error_class=ErrorClass.PERMANENT, error=404),  # type: ignore[arg-type]
        ):
            with pytest.raises(ValueRefused):
                await driver.settle(message, part)
        assert await driver.settle(message, Transition.next_part(State.DELIVERED, due_ms=0)) is Settled.APPLIED
        await driver.healthy()

    @pytest.mark.contract("EN8", "EN16")
    @pytest.mark.parametrize(
        "admission",
        [
            Admission(recipient=b"ann"),  # type: ignore[arg-type]
            Admission(recipient=None),  # type: ignore[arg-type]
            Admission(recipient="ann", splitter=b"1"),  # type: ignore[arg-type]
            Admission(recipient="\ud800"),
        ],
        ids=["bytes", "None", "splitter", "surrogate"],
    )
    async def test_an_admission_that_cannot_be_stored_is_refused_as_a_value(
        self, driver: StoreDriver, admission: Admission
    ) -> None:
        await driver.send()
        message = await driver.claim_one()
        with pytest.raises(ValueRefused):
            await driver.commit(admit=[AdmissionWrite(message=message, admission=admission)])
        await self._ends_all_the_same(driver, message)

    @pytest.mark.contract("EN8", "UN3")
    async def test_an_order_with_a_value_that_cannot_be_stored_is_refused_as_a_value(self, driver: StoreDriver) -> None:
        held = await driver.send()
        hold = Transition.hold(
            "uncertain",  # type: ignore[arg-type]
            error_class=ErrorClass.UNCERTAIN,
            error="no answer",
            charged=1,
            keeps_turn=False,
        )
        await driver.settle(await driver.claim_one(), hold)
        for values in ({"receipt": b"id"}, {"reason": b"why"}, {"actor": None}):
            with pytest.raises(ValueRefused):
                await driver.act(self._verdict(held, **values))
        assert (await driver.act(self._verdict(held))).applied
        await driver.healthy()

    @pytest.mark.contract("EN8", "EN13")
    async def test_a_message_that_cannot_be_stored_is_told_so_and_its_neighbours_are_stored(
        self, driver: StoreDriver
    ) -> None:
        bad = [
            driver.draft(recipient=b"ann"),
            driver.draft(recipient="\ud800"),
            driver.draft(due_ms=BEYOND_64_BITS),
            driver.draft(priority=9),
            driver.draft(correlation_id=object()),
        ]
        good = [driver.draft() for _ in bad]
        groups = [[draft] for pair in zip(bad, good, strict=True) for draft in pair]
        result = await driver.commit(enqueue=groups)
        assert [isinstance(group, InvalidMessage) for group in result.enqueued] == [True, False] * len(bad)
        assert {view.id for view in await driver.everything()} == {draft.id for draft in good}
        await driver.healthy()

    def _verdict(self, message: Any, **values: Any) -> Resolve:
        order = Resolve(id=message, actor="ann", verdict="delivered")  # type: ignore[arg-type]
        return msgspec.structs.replace(order, **values)

    async def _ends_all_the_same(self, driver: StoreDriver, message: Any) -> None:
        """Nothing of the refused write is left, and a value that can be stored is taken."""
        assert (await driver.view(message.id)).state is State.LEASED
        assert await driver.settle(message, Transition.deliver("fine")) is Settled.APPLIED
        assert (await driver.view(message.id)).receipt == "fine"
        await driver.healthy()
