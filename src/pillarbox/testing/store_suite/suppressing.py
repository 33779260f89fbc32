"""Recipients that were refused for good: remembered, told to whoever claims, cleared by a person (contract CL1)."""

from __future__ import annotations

import msgspec
import pytest

from pillarbox.domain.outcome import Rejected
from pillarbox.domain.retry import OnDead
from pillarbox.store.base import ClearRecipient
from pillarbox.testing.store_suite.driver import CHANNEL, POLICY, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures


async def refuse(driver: StoreDriver, recipient: str, **fields: object) -> None:
    """Let one message find out that its recipient is refused for good."""
    await driver.send(recipient=recipient, **fields)
    await driver.settle(await driver.claim_one(), Rejected("blocked by the user", about="recipient"))


async def why(driver: StoreDriver, recipient: str, **fields: object) -> str | None:
    """Send to a recipient, and return why its message must not be sent."""
    await driver.send(recipient=recipient, **fields)
    message = await driver.claim_one()
    await driver.deliver(message)
    return message.suppressed


def clearing(recipient: str | None) -> ClearRecipient:
    """Return the order to send to a recipient again."""
    return ClearRecipient(tenant="", channel=CHANNEL, recipient=recipient, actor="ann", reason="asked")


class SuppressingSuite(StoreFixtures):
    """Suppression."""

    @pytest.mark.contract("CL1")
    async def test_who_was_refused_for_good_is_known_to_every_later_claim(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        waiting = await driver.send(recipient="ann", not_before_ms=driver.clock.wall_ms() + 1000)
        await refuse(driver, "ann")
        assert await why(other, "ann") == "blocked by the user"
        assert await why(driver, "bob") is None
        driver.clock.advance(2)
        message = await driver.claim_one()
        assert (message.id, message.suppressed) == (waiting, "blocked by the user")
        await driver.healthy()

    @pytest.mark.contract("CL1")
    async def test_what_is_stored_with_its_lease_is_told_too(self, driver: StoreDriver) -> None:
        await refuse(driver, "ann")
        result = await driver.commit(enqueue=[[driver.draft(recipient="ann")]], claim=await driver.request())
        assert [message.suppressed for message in result.claimed] == ["blocked by the user"]

    @pytest.mark.contract("CL1")
    async def test_it_is_listed_and_cleared_one_or_all(self, driver: StoreDriver) -> None:
        assert await driver.store.suppressed(limit=10) == []
        await refuse(driver, "ann")
        driver.clock.advance(1)
        await refuse(driver, "bob")
        found = await driver.store.suppressed(limit=10)
        assert [(one.tenant, one.channel, one.recipient, one.reason) for one in found] == [
            ("", CHANNEL, "bob", "blocked by the user"),
            ("", CHANNEL, "ann", "blocked by the user"),
        ]
        assert (await driver.act(clearing("ann"))).applied
        driver.clock.advance(1)
        assert not (await driver.act(clearing("ann"))).applied
        assert await why(driver, "ann") is None
        assert (await driver.act(clearing(None))).applied
        assert await driver.store.suppressed(limit=10) == []

    @pytest.mark.contract("CL1")
    async def test_another_channels_recipient_of_that_name_was_not_refused(self, driver: StoreDriver) -> None:
        await refuse(driver, "ann")
        await driver.send(recipient="ann", channel="mail")
        (message,) = await driver.claim(channels=["mail"])
        assert message.suppressed is None

    @pytest.mark.contract("CL1")
    async def test_where_it_is_off_nobody_is_remembered_and_nothing_is_kept_back(self, driver: StoreDriver) -> None:
        off = msgspec.structs.replace(POLICY, suppress=False)
        await refuse(driver, "ann", policy=off)
        assert await driver.store.suppressed(limit=10) == []
        await refuse(driver, "bob")
        assert await why(driver, "bob", policy=off) is None

    @pytest.mark.contract("CL1")
    async def test_a_lane_that_waits_for_a_person_remembers_it_too(self, driver: StoreDriver) -> None:
        await refuse(driver, "ann", lane="l", policy=msgspec.structs.replace(POLICY, on_dead=OnDead.BLOCK))
        assert [one.recipient for one in await driver.store.suppressed(limit=10)] == ["ann"]

    @pytest.mark.contract("CL1")
    async def test_an_explanation_knows_of_it(self, driver: StoreDriver) -> None:
        await refuse(driver, "ann")
        facts = await driver.store.facts(await driver.send(recipient="ann"), now_ms=driver.clock.wall_ms())
        assert facts is not None
        assert facts.subject.suppressed == "blocked by the user"
