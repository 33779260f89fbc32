"""An edit or a deletion changes what is not begun, and stands behind what is (contract CO5)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import MessageId
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Content, State, encode_content
from pillarbox.domain.mirror import Mirror
from pillarbox.domain.outcome import Deferred
from pillarbox.errors import QueueFull
from pillarbox.store.base import Enqueued
from pillarbox.testing.store_suite.driver import Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

LANE: Final = "lane"
LONG: Final = "x" * 5000


async def change(driver: StoreDriver, target: MessageId, op: Op = Op.EDIT, **fields: Any) -> Enqueued:
    """Order a change as the outbox does."""
    draft = driver.draft(**{"op": op, "target": target, "lane": LANE, "collapse_key": f"change of {target}"} | fields)
    (accepted,) = await driver.enqueue(draft)
    return accepted


class ChangingSuite(StoreFixtures):
    """Edits and deletions."""

    @pytest.mark.contract("CO5")
    @pytest.mark.parametrize("before", ["short", LONG])
    @pytest.mark.parametrize("after", ["new", LONG + "y"])
    async def test_what_is_not_begun_gets_the_new_content(
        self, driver: StoreDriver, backstage: Backstage, *, before: str, after: str
    ) -> None:
        first = await driver.send(lane=LANE, text=before)
        other = await driver.send(lane=LANE)
        accepted = await change(driver, first, text=after)
        assert (accepted.id, accepted.created) == (first, False)
        leased = await driver.claim_one()
        assert (leased.id, leased.content) == (first, encode_content(Content(text=after)))
        assert leased.content_size == len(leased.content)
        assert await backstage.stored_contents() == (1 if len(after) > 5000 else 0)
        await driver.deliver(leased)
        assert await driver.deliver_next() == other
        assert "edit" in [event.act for event in await driver.store.history(first)]
        await driver.healthy()

    @pytest.mark.contract("CO5", "EN5")
    async def test_an_edit_grows_only_as_far_as_there_is_room(self, open_limited: OpenDriver) -> None:
        room = Limits(bytes=3000)
        driver = await open_limited(limits=room)
        first = await driver.send(lane=LANE, text="x" * 1000)
        await driver.send(text="x" * 1000)
        fields = {"op": Op.EDIT, "target": first, "lane": LANE, "collapse_key": f"change of {first}"}
        refused = await driver.refusal(driver.draft(text="y" * 2000, **fields))
        assert isinstance(refused, QueueFull)
        assert (refused.scope, refused.unit) == ("store", "bytes")
        assert (await driver.view(first)).content == encode_content(Content(text="x" * 1000))
        for text in ("y" * 1800, "z" * 10, "y" * 1800):
            assert not (await change(driver, first, text=text)).created
        full = await open_limited(limits=Limits(bytes=1))
        assert not (await change(full, first, text="less")).created
        assert (await driver.view(first)).content == encode_content(Content(text="less"))
        await driver.healthy()

    @pytest.mark.contract("CO5", "HO4")
    async def test_the_record_of_a_session_says_what_went_out(self, driver: StoreDriver) -> None:
        record = Mirror(key="k", session_key="s", text="old", media=("https://example.org/a",))
        first = await driver.send(lane=LANE, mirror=record)
        await driver.send(lane=LANE, mirror=msgspec.structs.replace(record, key="other"))
        await change(driver, first, text="new", mirror=msgspec.structs.replace(record, text="new", media=()))
        await driver.deliver(await driver.claim_one())
        await change(driver, first, mirror=msgspec.structs.replace(record, key="of the edit"))
        assert await driver.deliver_next() != first
        assert await driver.deliver_next() != first
        found = await driver.store.mirror_pending("s", limit=9)
        assert [(entry.key, entry.text, len(entry.media)) for entry in found] == [("k", "new", 0), ("other", "old", 1)]
        await driver.healthy()

    @pytest.mark.contract("CO5")
    async def test_the_new_content_comes_in_parts_of_its_own(self, driver: StoreDriver) -> None:
        texts = [encode_content(Content(text=text)) for text in ("a", "b", "c")]
        split = Admission(recipient="ann", parts=tuple(texts[:2]), splitter="s")
        first = await driver.send(lane=LANE, admission=split)
        await change(driver, first, admission=Admission(recipient="ann", parts=tuple(texts), splitter="s"))
        view = await driver.view(first)
        assert (view.part_count, view.prepared) == (3, True)
        assert [part.content for part in view.parts] == texts
        await change(driver, first, text="short", admission=Admission(recipient="ann"))
        view = await driver.view(first)
        assert (view.part_count, view.parts, view.splitter) == (1, (), None)
        await change(driver, first, text="nobody looked at it")
        assert not (await driver.view(first)).prepared

    @pytest.mark.contract("CO5")
    async def test_what_is_not_begun_and_deleted_is_cancelled(self, driver: StoreDriver) -> None:
        first = await driver.send(lane=LANE)
        other = await driver.send(lane=LANE)
        accepted = await change(driver, first, Op.DELETE)
        assert (accepted.id, accepted.created, [gone.id for gone in accepted.superseded]) == (first, False, [first])
        assert await driver.state(first) is State.CANCELLED
        assert await driver.claimed_ids() == [other]
        await driver.healthy()

    @pytest.mark.contract("CO5")
    async def test_a_change_stands_behind_what_was_begun(self, driver: StoreDriver) -> None:
        first = await driver.send(lane=LANE)
        leased = await driver.claim_one()
        accepted = await change(driver, first)
        assert accepted.created
        view = await driver.view(accepted.id)
        assert (view.op, view.target, view.prepared) == (Op.EDIT, first, False)
        assert await driver.claimed_ids() == []
        await driver.settle(leased, Deferred("down"))
        # It may be tried again, and its platform may have it: that is no time to change what it says.
        assert (await change(driver, first)).created
        driver.clock.advance(3600)
        assert await driver.deliver_next() == first
        assert (await driver.claim_one()).op is Op.EDIT
        await driver.healthy()

    @pytest.mark.contract("CO5")
    async def test_a_newer_edit_takes_the_place_of_an_unsent_one_and_none_undoes_a_deletion(
        self, driver: StoreDriver
    ) -> None:
        first = await driver.send(lane=LANE)
        await driver.deliver_next()
        paused = await driver.claim(0)
        assert paused == []
        one, two = (await change(driver, first)).id, (await change(driver, first)).id
        gone = (await change(driver, first, Op.DELETE)).id
        late = (await change(driver, first)).id
        assert [await driver.state(edit) for edit in (one, two)] == [State.CANCELLED] * 2
        assert [await driver.deliver_next() for _ in range(2)] == [gone, late]
