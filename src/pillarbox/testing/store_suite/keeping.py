"""What a channel keeps in the store: one text, the same for every worker, replaced by one of several (contract CH8)."""

from __future__ import annotations

import asyncio

import pytest

from pillarbox.testing.store_suite.driver import StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures


class KeepingSuite(StoreFixtures):
    """Texts of channels."""

    async def test_what_a_channel_keeps_every_handle_has_and_later_ones_too(
        self, driver: StoreDriver, other: StoreDriver, open_driver: OpenDriver
    ) -> None:
        assert await driver.store.kept("chat") is None
        assert await driver.store.keep("chat", old=None, new="one")
        assert await other.store.kept("chat") == "one"
        assert await other.store.keep("chat", old="one", new="zwölf €")
        assert await driver.store.kept("chat") == "zwölf €"
        assert await driver.store.kept("mail") is None
        await driver.store.close()
        later = await open_driver()
        assert await later.store.kept("chat") == "zwölf €"
        await later.healthy()

    async def test_a_text_is_replaced_only_in_the_place_of_the_one_that_is_named(self, driver: StoreDriver) -> None:
        assert not await driver.store.keep("chat", old="nothing", new="one")
        assert await driver.store.keep("chat", old=None, new="one")
        assert not await driver.store.keep("chat", old=None, new="two")
        assert not await driver.store.keep("chat", old="two", new="three")
        assert await driver.store.kept("chat") == "one"
        # Whoever asks again, because its answer was lost, is told what it would have been told.
        assert await driver.store.keep("chat", old="one", new="two")
        assert await driver.store.keep("chat", old="one", new="two")

    @pytest.mark.parametrize("old", [None, "before"])
    async def test_of_several_who_replace_the_same_text_one_does(
        self, driver: StoreDriver, other: StoreDriver, old: str | None
    ) -> None:
        if old is not None:
            assert await driver.store.keep("chat", old=None, new=old)
        stores = (driver.store, other.store) * 4
        done = await asyncio.gather(*(store.keep("chat", old=old, new=f"{n}") for n, store in enumerate(stores)))
        assert done.count(True) == 1
        assert await other.store.kept("chat") == str(done.index(True))
