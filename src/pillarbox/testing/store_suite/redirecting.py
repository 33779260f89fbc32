"""Recipients that have another address: remembered, followed, revocable (contract CH3)."""

from __future__ import annotations

import pytest

from pillarbox.domain.outcome import RateLimited, Redirected
from pillarbox.store.base import ForgetRedirect
from pillarbox.testing.store_suite.driver import CHANNEL, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures


async def move(driver: StoreDriver, recipient: str, address: str) -> None:
    """Let one message find out that a recipient has moved, and arrive there."""
    accepted = await driver.send(recipient=recipient)
    await driver.settle(await driver.claim_one(), Redirected(address))
    driver.clock.advance(2)
    message = await driver.claim_one()
    assert (message.id, message.recipient) == (accepted, address)
    await driver.deliver(message)


async def addressed(driver: StoreDriver, recipient: str, **fields: object) -> str:
    """Send to a recipient, and return where that goes."""
    await driver.send(recipient=recipient, **fields)
    message = await driver.claim_one()
    await driver.deliver(message)
    assert (await driver.view(message.id)).recipient == message.recipient
    return message.recipient


class RedirectingSuite(StoreFixtures):
    """Redirections."""

    @pytest.mark.contract("CH3", "CL1")
    async def test_later_messages_go_to_the_new_address_and_say_so(self, driver: StoreDriver) -> None:
        await move(driver, "old", "new")
        waiting = await driver.send(recipient="old")
        assert (await driver.view(waiting)).recipient == "old"
        message = await driver.claim_one()
        assert (message.id, message.recipient) == (waiting, "new")
        told = [event.reason for event in await driver.store.history(waiting) if event.act == "redirected"]
        assert told == ["old has become new"]
        await driver.deliver(message)
        assert await addressed(driver, "other") == "other"
        await driver.healthy()

    @pytest.mark.contract("CH3", "FL1")
    async def test_whoever_rests_keeps_nothing_from_its_new_address(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(recipient="old") for _ in range(2)])
        limited, moved = await driver.claim()
        await driver.settle(limited, RateLimited("slow", after=60))
        await driver.settle(moved, Redirected("new"))
        assert await addressed(driver, "old") == "new"

    @pytest.mark.contract("CH3", "LE2")
    async def test_what_starts_at_once_is_led_too_and_others_start_as_before(self, driver: StoreDriver) -> None:
        await move(driver, "old", "new")
        request = await driver.request()
        drafts = [driver.draft(recipient="old"), driver.draft(recipient="other")]
        claimed = (await driver.commit(enqueue=[[draft] for draft in drafts], claim=request)).claimed
        assert [(message.id, message.recipient) for message in claimed] == [
            (drafts[0].id, "new"), (drafts[1].id, "other"),
        ]  # fmt: skip
        again = (await driver.commit(claim=request, again=True)).claimed
        assert sorted(again, key=lambda message: message.seq) == claimed
        assert [(await driver.view(draft.id)).recipient for draft in drafts] == ["new", "other"]
        told = [event.reason for event in await driver.store.history(drafts[0].id) if event.act == "redirected"]
        assert told == ["old has become new"]
        await driver.deliver(*claimed)
        await driver.healthy()

    @pytest.mark.contract("CH3")
    async def test_what_is_remembered_is_listed_and_can_be_revoked(self, driver: StoreDriver) -> None:
        assert await driver.store.redirects(limit=10) == []
        await move(driver, "old", "new")
        (found,) = await driver.store.redirects(limit=10)
        assert (found.tenant, found.channel, found.recipient, found.address) == ("", CHANNEL, "old", "new")
        forgetting = ForgetRedirect(tenant="", channel=CHANNEL, recipient="old", actor="ann", reason="it was a lie")
        assert (await driver.act(forgetting)).applied
        assert not (await driver.act(forgetting)).applied
        assert await driver.store.redirects(limit=10) == []
        assert await addressed(driver, "old") == "old"

    @pytest.mark.contract("CH3")
    async def test_who_moves_twice_is_found_and_who_comes_back_too(self, driver: StoreDriver) -> None:
        await move(driver, "a", "b")
        await move(driver, "b", "c")
        assert await addressed(driver, "a") == await addressed(driver, "b") == "c"
        await move(driver, "c", "a")
        assert [await addressed(driver, one) for one in ("a", "b", "c")] == ["a", "a", "a"]

    @pytest.mark.contract("CH3")
    async def test_another_channels_recipient_of_that_name_has_not_moved(self, driver: StoreDriver) -> None:
        await move(driver, "old", "new")
        await driver.send(recipient="old", channel="mail")
        (message,) = await driver.claim(channels=["mail"])
        assert message.recipient == "old"

    @pytest.mark.contract("CH3", "LA1")
    async def test_order_is_kept_over_a_move(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn("lane", 3, recipient="old")
        await driver.settle(await driver.claim_one(), Redirected("new"))
        driver.clock.advance(2)
        for identity in ids:
            message = await driver.claim_one()
            assert (message.id, message.recipient) == (identity, "new")
            await driver.deliver(message)
