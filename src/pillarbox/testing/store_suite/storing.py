"""Files are stored with their message, once for all that have them, and go with the last of these (contract CO4)."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from pillarbox.domain.envelope import Op
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Content, File, State, encode_content
from pillarbox.errors import QueueFull
from pillarbox.store.base import Prune, Purge, Replay
from pillarbox.testing.store_suite.driver import StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

ONE, TWO = bytes(range(256)) * 20, b"another"


def stored(*datas: bytes) -> dict[str, Any]:
    """Return what a draft with such files has."""
    files = tuple(File(name="a", data=data, size=len(data), digest=digest(data)) for data in datas)
    said = tuple(msgspec.structs.replace(file, data=None) for file in files)
    return {"content": encode_content(Content(text="see", files=said)), "files": files}


def digest(data: bytes) -> str:
    """Return by what a file is known."""
    return hashlib.sha256(data).hexdigest()


class FileSuite(StoreFixtures):
    """Files of messages."""

    @pytest.mark.contract("CO4", "EN2")
    async def test_files_come_back_byte_for_byte_through_any_handle(
        self, driver: StoreDriver, open_driver: OpenDriver
    ) -> None:
        accepted = await driver.send(**stored(ONE, TWO, b""))
        await driver.store.close()
        later = await open_driver()
        wanted = [digest(ONE), digest(TWO), digest(b""), digest(b"nobody's")]
        assert await later.store.files(wanted) == {digest(data): data for data in (ONE, TWO, b"")}
        view = await later.view(accepted)
        assert view.content_size == len(view.content or b"") + len(ONE) + len(TWO)
        assert (await later.claim_one()).content_size == view.content_size
        await later.healthy()

    @pytest.mark.contract("CO4", "EN5")
    async def test_files_count_as_content_does(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(bytes=2 * len(ONE)))
        await driver.send(**stored(ONE))
        assert isinstance(await driver.refusal(driver.draft(**stored(ONE))), QueueFull)
        assert isinstance(await driver.refusal(driver.draft(**stored(TWO, ONE))), QueueFull)
        assert await driver.store.files([digest(TWO)]) == {}
        await driver.send(**stored(TWO))
        await driver.healthy()

    @pytest.mark.contract("CO4", "PR2")
    async def test_a_file_goes_with_the_last_message_that_has_it(self, driver: StoreDriver) -> None:
        first = await driver.send(**stored(ONE, TWO))
        second = await driver.send(**stored(ONE))
        for leased in await driver.claim(2):
            await driver.deliver(leased)
        await driver.commit(acts=[Purge(id=first, actor="a", keys_until_ms=0)])
        assert await driver.store.files([digest(ONE), digest(TWO)]) == {digest(ONE): ONE}
        await driver.healthy()
        driver.clock.advance(10)
        before = {State.DELIVERED: driver.clock.wall_ms()}
        await driver.commit(prune=Prune(before_ms=before, keys_until_ms=0, audit_before_ms=0))
        assert await driver.store.get(second) is None
        assert await driver.store.files([digest(ONE)]) == {}
        await driver.healthy()

    @pytest.mark.contract("CO4", "PR3")
    async def test_a_file_goes_with_what_its_message_said(self, driver: StoreDriver) -> None:
        await driver.send(**stored(ONE))
        await driver.deliver(await driver.claim_one())
        driver.clock.advance(10)
        now_ms = driver.clock.wall_ms()
        await driver.commit(prune=Prune(before_ms={}, keys_until_ms=0, audit_before_ms=0, scrub_before_ms=now_ms))
        assert await driver.store.files([digest(ONE)]) == {}
        await driver.healthy()

    @pytest.mark.contract("CO4", "ST2")
    async def test_a_replay_keeps_the_files(self, driver: StoreDriver) -> None:
        first = await driver.send(**stored(ONE))
        await driver.deliver(await driver.claim_one())
        copy = driver.draft().id
        await driver.commit(acts=[Replay(id=first, new_id=copy, actor="a")])
        await driver.commit(acts=[Purge(id=first, actor="a", keys_until_ms=0)])
        assert await driver.store.files([digest(ONE)]) == {digest(ONE): ONE}
        assert (await driver.claim_one()).id == copy
        await driver.healthy()

    @pytest.mark.contract("CO4", "CO5")
    async def test_an_edit_stands_behind_a_message_with_files_and_a_deletion_ends_it(self, driver: StoreDriver) -> None:
        first = await driver.send(lane="lane", **stored(ONE))
        change: dict[str, Any] = {"target": first, "lane": "lane", "collapse_key": "c"}
        (accepted,) = await driver.enqueue(driver.draft(op=Op.EDIT, admission=Admission(recipient="ann"), **change))
        assert accepted.created
        (deleted,) = await driver.enqueue(driver.draft(op=Op.DELETE, text="", **change))
        assert (deleted.id, deleted.created) == (first, False)
        assert (await driver.view(first)).state is State.CANCELLED
        await driver.healthy()
