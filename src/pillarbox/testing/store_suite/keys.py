"""One idempotency key, one message, for as long as the key is kept (contract EN7)."""

from __future__ import annotations

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import Delivered, Rejected
from pillarbox.errors import KeyConflict
from pillarbox.store.base import Cancel, Enqueued, Prune
from pillarbox.testing.store_suite.driver import StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures

RETENTION_SECONDS = 7 * 24 * 3600


class KeySuite(StoreFixtures):
    """Idempotency keys."""

    @pytest.mark.contract("EN7")
    async def test_the_same_key_and_content_give_the_first_message(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        first = await driver.send(key="k", digest=b"1")
        for handle in (driver, other):
            assert await handle.enqueue(handle.draft(key="k", digest=b"1")) == [Enqueued(first, created=False)]
        assert [view.id for view in await driver.everything()] == [first]
        await driver.healthy()

    @pytest.mark.contract("EN7")
    async def test_the_same_key_and_other_content_are_refused(self, driver: StoreDriver, other: StoreDriver) -> None:
        first = await driver.send(key="k", digest=b"1")
        for handle in (driver, other):
            error = await handle.refusal(handle.draft(key="k", digest=b"2", text="a secret"))
            assert isinstance(error, KeyConflict)
            assert (error.field, error.key, error.message_id) == ("key", "k", first)
            assert "secret" not in str(error)
        assert [view.id for view in await driver.everything()] == [first]
        await driver.healthy()

    @pytest.mark.contract("EN7")
    @pytest.mark.parametrize("end", [Delivered("r"), Rejected("no"), None], ids=["delivered", "dead", "cancelled"])
    async def test_a_key_belongs_to_a_message_that_has_ended_too(
        self, driver: StoreDriver, other: StoreDriver, end: Delivered | Rejected | None
    ) -> None:
        first = await driver.send(key="k", digest=b"1")
        if end is None:
            await driver.act(Cancel(id=first, actor="ann"))
        else:
            await driver.settle(await driver.claim_one(), end)
        assert await other.enqueue(other.draft(key="k", digest=b"1")) == [Enqueued(first, created=False)]
        assert isinstance(await other.refusal(other.draft(key="k", digest=b"2")), KeyConflict)

    @pytest.mark.contract("EN7")
    async def test_a_key_counts_within_its_tenant(self, driver: StoreDriver) -> None:
        drafts = [driver.draft(key="k", digest=b"1", tenant=tenant) for tenant in ("", "acme", "bolt")]
        assert [accepted.created for accepted in await driver.enqueue(*drafts)] == [True, True, True]
        assert isinstance(await driver.refusal(driver.draft(key="k", digest=b"2", tenant="acme")), KeyConflict)

    @pytest.mark.contract("EN7")
    async def test_a_key_is_one_key_whatever_the_channel(self, driver: StoreDriver) -> None:
        await driver.send(key="k", digest=b"1", channel="chat")
        assert isinstance(await driver.refusal(driver.draft(key="k", digest=b"2", channel="mail")), KeyConflict)

    @pytest.mark.contract("EN7", "EN8")
    async def test_of_two_with_one_key_committed_together_the_first_is_stored(self, driver: StoreDriver) -> None:
        one, two, three = (driver.draft(key="k", digest=digest) for digest in (b"1", b"1", b"2"))
        result = await driver.commit(enqueue=[[one], [two], [three]])
        assert result.enqueued[0] == [Enqueued(one.id, created=True)]
        assert result.enqueued[1] == [Enqueued(one.id, created=False)]
        assert isinstance(result.enqueued[2], KeyConflict)

    @pytest.mark.contract("EN7", "EN8")
    async def test_a_group_may_hold_what_is_there_already(self, driver: StoreDriver) -> None:
        first = await driver.send(key="k", digest=b"1")
        known, new = driver.draft(key="k", digest=b"1"), driver.draft(key="n", digest=b"2")
        same = driver.draft(key="n", digest=b"2")
        assert await driver.enqueue_group(known, new, same) == [
            Enqueued(first, created=False),
            Enqueued(new.id, created=True),
            Enqueued(new.id, created=False),
        ]
        await driver.healthy()

    @pytest.mark.contract("EN7", "PR2")
    async def test_a_key_outlives_its_message_for_its_retention(self, driver: StoreDriver, other: StoreDriver) -> None:
        first = await driver.send(key="k", digest=b"1")
        await driver.deliver_next()
        driver.clock.advance(1)
        await prune_with_keys(driver)
        assert await driver.store.get(first) is None
        driver.clock.advance(RETENTION_SECONDS)
        await prune_with_keys(driver)
        assert await other.enqueue(other.draft(key="k", digest=b"1")) == [Enqueued(first, created=False)]
        assert isinstance(await other.refusal(other.draft(key="k", digest=b"2")), KeyConflict)
        driver.clock.advance(1)
        await prune_with_keys(driver)
        (again,) = await other.enqueue(other.draft(key="k", digest=b"2"))
        assert again.created

    @pytest.mark.contract("EN7", "PR2")
    async def test_a_key_of_a_message_that_is_there_is_never_forgotten(self, driver: StoreDriver) -> None:
        first = await driver.send(key="k", digest=b"1")
        for _ in range(3):
            driver.clock.advance(RETENTION_SECONDS)
            await prune_with_keys(driver)
        assert await driver.enqueue(driver.draft(key="k", digest=b"1")) == [Enqueued(first, created=False)]

    @pytest.mark.contract("EN7")
    async def test_messages_without_a_key_are_never_the_same(self, driver: StoreDriver) -> None:
        assert all(accepted.created for accepted in await driver.enqueue(*[driver.draft() for _ in range(3)]))


async def prune_with_keys(driver: StoreDriver) -> None:
    """Delete what ended before now; its keys are kept for the retention."""
    now_ms = driver.clock.wall_ms()
    request = Prune(
        before_ms={state: now_ms for state in State if state.terminal},
        keys_until_ms=now_ms + RETENTION_SECONDS * 1000,
        audit_before_ms=0,
    )
    await driver.commit(prune=request)
