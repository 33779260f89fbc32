"""Messages that start with the commit that stores them: only where nothing stands before them (contract LE2, LA1)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Draft, State
from pillarbox.domain.outcome import Deferred, Uncertain
from pillarbox.domain.retry import OnHeld, UncertainAction
from pillarbox.errors import InvalidMessage, QueueFull
from pillarbox.store.base import Pause
from pillarbox.testing.store_suite.accepting import full_draft
from pillarbox.testing.store_suite.driver import POLICY, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "every option": {"not_before_ms": None, "collapse_key": None},
    "large": {"content": b'{"text":"' + b"x" * 5000 + b'"}'},
    "parts": {"admission": Admission(recipient="Ann", parts=(b'{"text":"one"}', b'{"text":"two"}'), splitter="1")},
}


async def born(driver: StoreDriver, *drafts: Draft, capacity: int = 10, **fields: Any) -> list[MessageId]:
    """Store each for itself with a claim in the same batch; give what was claimed."""
    request = await driver.request(capacity, **fields)
    return [message.id for message in (await driver.commit(enqueue=[[d] for d in drafts], claim=request)).claimed]


class StartingSuite(StoreFixtures):
    """Messages that are stored leased."""

    @pytest.mark.contract("LE2", "EN2")
    @pytest.mark.parametrize("kind", KINDS)
    async def test_what_starts_at_once_is_given_as_a_claim_reads_it(self, driver: StoreDriver, kind: str) -> None:
        await driver.register()
        request = await driver.request()
        draft = (full_draft if kind == "every option" else type(driver).draft)(driver, **KINDS[kind])
        claimed = (await driver.commit(enqueue=[[draft]], claim=request)).claimed
        assert [message.id for message in claimed] == [draft.id]
        assert (await driver.commit(claim=request, again=True)).claimed == claimed
        view = await driver.view(draft.id)
        assert (view.state, view.claims, view.claimed_ms) == (State.LEASED, 1, driver.clock.wall_ms())
        await driver.healthy()
        await driver.deliver(*claimed)
        await driver.healthy()

    @pytest.mark.contract("LA1")
    async def test_a_message_starts_only_where_its_lane_is_free(self, driver: StoreDriver) -> None:
        manual = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD, on_held=OnHeld.BLOCK)
        heads = {lane: driver.draft(lane=lane, policy=manual) for lane in ("sent", "tried", "held", "two", "left")}
        second = driver.draft(lane="two")
        assert await born(driver, *heads.values()) == [draft.id for draft in heads.values()]
        sent, tried, held, two, left = driver.last.claimed
        await driver.commit(
            settle=[driver.settlement(tried, Deferred("busy")), driver.settlement(held, Uncertain("?"))]
        )
        await driver.deliver(left)
        assert await born(driver, second) == []
        lanes = [*heads, None, "new", "new", "other"]
        drafts = [driver.draft(lane=lane) for lane in lanes]
        free = [drafts[at].id for at in (4, 5, 6, 8)]
        assert sorted(await born(driver, *drafts)) == sorted(free)
        await driver.healthy()
        # Whatever was not free goes when its turn comes.
        first = {message.lane: message for message in driver.last.claimed}
        result = await driver.commit(
            settle=[driver.settlement(message, Deferred("later")) for message in (sent, first["other"])],
            claim=await driver.request(),
        )
        assert result.claimed == []
        await driver.deliver(two, first["new"])
        assert await driver.claimed_ids() == [second.id, drafts[7].id]
        await driver.healthy()

    @pytest.mark.contract("LA1")
    async def test_of_one_lane_in_one_batch_one_starts(self, driver: StoreDriver) -> None:
        drafts = [driver.draft(lane="l") for _ in range(5)]
        for draft in drafts:
            now = await born(driver, *drafts) if draft is drafts[0] else await driver.claimed_ids()
            assert now == [draft.id]
            await driver.healthy()
            await driver.deliver(*driver.last.claimed)

    @pytest.mark.contract("LA1")
    async def test_one_that_takes_its_place_without_starting_stands_before_those_behind_it(
        self, driver: StoreDriver
    ) -> None:
        later_ms = driver.clock.wall_ms() + 5000
        assert await born(driver, driver.draft(lane="l", due_ms=later_ms), driver.draft(lane="l")) == []
        free = driver.draft(lane="m")
        # What is for later has no place yet.
        assert await born(driver, driver.draft(lane="m", not_before_ms=later_ms), free) == [free.id]
        await driver.healthy()

    @pytest.mark.contract("LA4", "RE6")
    async def test_what_is_due_already_goes_first(self, driver: StoreDriver) -> None:
        old = await driver.send()
        assert await born(driver, driver.draft(), capacity=1) == [old]
        later = await driver.send(not_before_ms=driver.clock.wall_ms() + 1000)
        await driver.claim()
        driver.clock.advance(2)
        assert await born(driver, driver.draft(), capacity=1) == [later]

    @pytest.mark.contract("LE2", "EN10")
    async def test_where_slots_are_few_the_claim_chooses(self, driver: StoreDriver) -> None:
        low, high = driver.draft(priority=0), driver.draft(priority=3)
        assert await born(driver, low, high, capacity=1) == [high.id]
        new = [driver.draft(priority=priority) for priority in (1, 3)]
        assert await born(driver, *new, capacity=1) == [new[1].id]
        assert await driver.claimed_ids() == [new[0].id, low.id]

    @pytest.mark.contract("LE2")
    async def test_what_started_takes_its_slots(self, driver: StoreDriver) -> None:
        head = driver.draft(lane="l")
        behind = [driver.draft(lane="l"), driver.draft(lane="m")]
        assert await born(driver, head, *behind, capacity=3) == [head.id, behind[1].id]
        await driver.deliver(*driver.last.claimed)
        assert await driver.claimed_ids() == [behind[0].id]

    @pytest.mark.contract("FL3")
    async def test_nothing_starts_in_a_paused_queue_old_or_new(self, driver: StoreDriver) -> None:
        await driver.act(Pause(tenant=None, channel="chat", actor="ann"))
        assert await born(driver, driver.draft()) == []
        await driver.enqueue(driver.draft(channel="mail"))
        assert await born(driver, driver.draft(tenant="t"), driver.draft(channel="mail"), channels=["chat"]) == []
        assert {view.state for view in await driver.everything()} == {State.SCHEDULED}

    @pytest.mark.contract("EX1", "LE6")
    @pytest.mark.parametrize("judged", [True, False])
    async def test_what_is_past_its_time_starts_only_where_time_is_not_judged(
        self, driver: StoreDriver, *, judged: bool
    ) -> None:
        late = driver.draft(expires_ms=driver.clock.wall_ms() - 1)
        fresh = driver.draft(expires_ms=driver.clock.wall_ms())
        expected = [fresh.id] if judged else [late.id, fresh.id]
        assert await born(driver, late, fresh, judge_expiry=judged) == expected
        assert [ended.id for ended in driver.last.overdue] == ([late.id] if judged else [])
        await driver.healthy()

    @pytest.mark.contract("LE2")
    async def test_a_claim_of_one_or_of_suspects_starts_nothing_new(self, driver: StoreDriver) -> None:
        only = await driver.send()
        assert await born(driver, driver.draft(), only=only) == [only]
        assert await born(driver, driver.draft(), suspect=True) == []

    @pytest.mark.contract("EN8")
    async def test_beside_one_that_is_refused_the_others_start_and_are_claimed_once(self, driver: StoreDriver) -> None:
        good = [driver.draft(lane=f"l{place}") for place in range(70)]
        bad = driver.draft(priority=9)
        assert await born(driver, *good[:-1], bad, good[-1], capacity=100) == [draft.id for draft in good]
        assert [type(told) for told in driver.last.enqueued] == [*[list] * 69, InvalidMessage, list]
        assert {view.claims for view in await driver.everything()} == {1}
        await driver.healthy()

    @pytest.mark.contract("EN5")
    async def test_what_starts_at_once_counts_for_its_recipient(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(recipient_messages=2))
        await born(driver, driver.draft(), driver.draft())
        held = driver.last.claimed
        assert len(held) == 2
        assert await born(driver, driver.draft()) == []
        assert [type(told) for told in driver.last.enqueued] == [QueueFull]
        await driver.deliver(*held)
        assert len(await born(driver, driver.draft(), driver.draft(recipient="bob"))) == 2
        await driver.healthy()

    @pytest.mark.contract("EN4", "LE2")
    async def test_a_batch_given_again_claims_once(self, driver: StoreDriver) -> None:
        draft = driver.draft()
        request = await driver.request()
        for _ in range(2):
            result = await driver.commit(enqueue=[[draft]], claim=request, again=True)
            assert [(message.id, message.claims) for message in result.claimed] == [(draft.id, 1)]
        await driver.healthy()

    @pytest.mark.contract("LE2", "RE6")
    async def test_it_is_told_when_something_is_due_next(self, driver: StoreDriver) -> None:
        due_ms = driver.clock.wall_ms() + 5000
        now, later = driver.draft(), driver.draft(not_before_ms=due_ms)
        assert await born(driver, now, later) == [now.id]
        assert driver.last.next_due_ms == {await driver.queue(): due_ms}
        assert await born(driver, driver.draft()) == [driver.last.claimed[0].id]
        assert driver.last.next_due_ms == {await driver.queue(): due_ms}
