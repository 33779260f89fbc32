"""A newer message takes the place of the unsent one of its collapse key (contract FL4)."""

from __future__ import annotations

from typing import Any, Final

import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.lifecycle import cancelled, decide
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Leased, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Uncertain
from pillarbox.domain.retry import OnDead, OnHeld, Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.errors import KeyConflict, QueueFull
from pillarbox.store.base import CANCELLED_FOR, Cancel, Replay, Settled
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

LANE: Final = "lane"
KEY: Final = "progress"
HOLD: Final = Policy(jitter=0.0, ttl_seconds=None, uncertain=UncertainAction.HOLD)
HOLD_IN_PLACE: Final = Policy(jitter=0.0, ttl_seconds=None, uncertain=UncertainAction.HOLD, on_held=OnHeld.BLOCK)
BLOCK: Final = Policy(jitter=0.0, ttl_seconds=None, on_dead=OnDead.BLOCK)


async def update(driver: StoreDriver, **fields: Any) -> MessageId:
    """Send a newer state of the same thing."""
    return await driver.send(**{"lane": LANE, "collapse_key": KEY} | fields)


async def ended(driver: StoreDriver, message: MessageId) -> tuple[State, str | None]:
    """Read what became of a message, and why."""
    view = await driver.view(message)
    return view.state, view.terminal_reason


SUPERSEDED: Final = (State.CANCELLED, Reason.SUPERSEDED)
IN_DOUBT: Final = (State.CANCELLED, Reason.SUPERSEDED_MAYBE_SENT)
SCHEDULED: Final = (State.SCHEDULED, None)


async def end(driver: StoreDriver, message: Leased, outcome: AnyOutcome) -> Settled:
    """Settle as the engine does: what is not to be scheduled again is cancelled."""
    settled = await driver.settle(message, outcome)
    if settled in CANCELLED_FOR:
        transition = decide(message, outcome, now_ms=driver.clock.wall_ms(), fraction=0.0)
        assert await driver.settle(message, cancelled(transition, CANCELLED_FOR[settled])) is Settled.APPLIED
    return settled


class CollapsingSuite(StoreFixtures):
    """Collapse keys."""

    @pytest.mark.contract("FL4", "RE4")
    async def test_the_wait_that_one_in_flight_was_told_holds_for_the_newer(self, driver: StoreDriver) -> None:
        first = await update(driver)
        flying = await driver.claim_one()
        second = await update(driver)
        assert await end(driver, flying, RateLimited("slow down", after=30.0)) is Settled.SUPERSEDE
        assert await ended(driver, first) == SUPERSEDED
        assert await driver.claimed_ids() == []
        # And for what takes the place of that, and of that again.
        third = [await update(driver) for _ in range(2)][-1]
        assert (await ended(driver, second), await driver.claimed_ids()) == (SUPERSEDED, [])
        driver.clock.advance(30.1)
        assert await driver.deliver_next() == third
        await driver.healthy()

    @pytest.mark.contract("FL4")
    async def test_a_newer_message_takes_the_place_of_the_unsent_one(self, driver: StoreDriver) -> None:
        first = await update(driver)
        other = await driver.send(lane=LANE)
        second, third = await update(driver), await update(driver)
        assert [await ended(driver, message) for message in (first, second)] == [SUPERSEDED] * 2
        # The place is the first one's: before what was sent after it.
        assert [await driver.deliver_next() for _ in range(2)] == [third, other]
        await driver.healthy()

    @pytest.mark.contract("FL4")
    async def test_the_batch_tells_what_was_superseded(self, driver: StoreDriver) -> None:
        first = await update(driver, origin="agent")
        (accepted,) = await driver.enqueue(driver.draft(lane=LANE, collapse_key=KEY))
        (gone,) = accepted.superseded
        assert (gone.id, gone.state, gone.reason, gone.origin) == (
            first, State.CANCELLED, Reason.SUPERSEDED, "agent",
        )  # fmt: skip
        history = await driver.store.history(first)
        assert [(event.act, event.actor) for event in history][-1] == ("superseded", f"message {accepted.id}")

    @pytest.mark.contract("FL4")
    @pytest.mark.parametrize(
        "fields",
        [
            {"recipient": "bob"}, {"collapse_key": "other"}, {"collapse_key": None}, {"tenant": "t"},
            {"channel": "other"}, {"account": "second"}, {"thread": "7"},
        ],
        ids=str,
    )  # fmt: skip
    async def test_only_the_same_key_to_the_same_place_is_superseded(
        self, driver: StoreDriver, fields: dict[str, Any]
    ) -> None:
        first = await update(driver)
        second = await update(driver, **fields)
        assert [await ended(driver, message) for message in (first, second)] == [SCHEDULED] * 2

    @pytest.mark.contract("FL4")
    async def test_the_newer_one_keeps_its_own_time_to_live(self, driver: StoreDriver) -> None:
        now_ms = driver.clock.wall_ms()
        await update(driver, expires_ms=now_ms + 1_000)
        second = await update(driver, expires_ms=now_ms + 60_000)
        driver.clock.advance(5)
        assert await driver.expire() == []
        assert await driver.claimed_ids() == [second]

    @pytest.mark.contract("FL4", "LA4")
    async def test_without_a_lane_the_place_is_the_time_in_the_queue(self, driver: StoreDriver) -> None:
        await update(driver, lane=None)
        driver.clock.advance(1)
        other = await driver.send()
        driver.clock.advance(1)
        newer = await update(driver, lane=None)
        assert await driver.claimed_ids() == [newer, other]

    @pytest.mark.contract("FL4", "LA1")
    async def test_one_in_flight_stays_and_the_newer_queues_behind_it(self, driver: StoreDriver) -> None:
        first = await update(driver)
        flying = await driver.claim_one()
        second = await update(driver)
        assert await driver.claim() == []
        third = await update(driver)
        assert await ended(driver, second) == SUPERSEDED
        assert await driver.settle(flying, Delivered("r")) is Settled.APPLIED
        assert await ended(driver, first) == (State.DELIVERED, None)
        assert await driver.claimed_ids() == [third]
        await driver.healthy()

    @pytest.mark.contract("FL4")
    @pytest.mark.parametrize(
        ("outcome", "reason"),
        [
            (Deferred("down"), Reason.SUPERSEDED),
            (RateLimited(after=3), Reason.SUPERSEDED),
            (Uncertain("reset"), Reason.SUPERSEDED_MAYBE_SENT),
        ],
        ids=str,
    )
    async def test_one_in_flight_that_fails_makes_way(
        self, driver: StoreDriver, outcome: AnyOutcome, reason: Reason
    ) -> None:
        first = await update(driver)
        flying = await driver.claim_one()
        second = await update(driver)
        assert await end(driver, flying, outcome) is Settled.SUPERSEDE
        assert await ended(driver, first) == (State.CANCELLED, reason)
        driver.clock.advance(3)
        assert await driver.claimed_ids() == [second]
        await driver.healthy()

    @pytest.mark.contract("FL4", "UN4")
    async def test_an_earlier_doubt_is_kept(self, driver: StoreDriver) -> None:
        first = await update(driver)
        await driver.settle(await driver.claim_one(), Uncertain("reset"))
        driver.clock.advance(10)
        flying = await driver.claim_one()
        await update(driver)
        assert await end(driver, flying, Deferred("down")) is Settled.SUPERSEDE_IN_DOUBT
        assert await ended(driver, first) == IN_DOUBT

    @pytest.mark.contract("FL4")
    async def test_one_that_is_rejected_in_flight_is_dead(self, driver: StoreDriver) -> None:
        first = await update(driver)
        flying = await driver.claim_one()
        second = await update(driver)
        assert await end(driver, flying, Rejected("no")) is Settled.APPLIED
        assert await ended(driver, first) == (State.DEAD, Reason.REJECTED)
        assert await driver.claimed_ids() == [second]

    @pytest.mark.contract("FL4", "LE4")
    async def test_one_whose_worker_is_lost_makes_way(self, driver: StoreDriver) -> None:
        first = await update(driver)
        await driver.claim_one()
        second = await update(driver)
        driver.clock.advance(LEASE_MS / 1000 + 1)
        assert await driver.reap() == [Settled.APPLIED]
        assert await ended(driver, first) == IN_DOUBT
        assert await driver.claimed_ids() == [second]
        await driver.healthy()

    @pytest.mark.contract("FL4", "OP3")
    async def test_a_person_who_asked_to_cancel_goes_before_it(self, driver: StoreDriver) -> None:
        first = await update(driver)
        flying = await driver.claim_one()
        await driver.act(Cancel(id=first, actor="ann"))
        await update(driver)
        assert await end(driver, flying, Deferred("down")) is Settled.CANCEL
        assert await ended(driver, first) == (State.CANCELLED, Reason.REQUESTED)

    @pytest.mark.contract("FL4", "UN4")
    async def test_one_that_may_have_arrived_is_told_apart(self, driver: StoreDriver) -> None:
        first = await update(driver)
        await driver.settle(await driver.claim_one(), Uncertain("reset"))
        second = await update(driver)
        assert await ended(driver, first) == IN_DOUBT
        assert await driver.claimed_ids() == [second]

    @pytest.mark.contract("FL4", "ST11")
    @pytest.mark.parametrize(
        ("policy", "outcome", "reason"),
        [
            (HOLD, Uncertain("reset"), IN_DOUBT),
            (HOLD_IN_PLACE, Uncertain("reset"), IN_DOUBT),
            (BLOCK, Rejected("no"), SUPERSEDED),
        ],
        ids=["hold", "hold in its place", "dead in its place"],
    )
    async def test_nobody_has_to_decide_about_what_is_superseded(
        self, driver: StoreDriver, policy: Policy, outcome: AnyOutcome, reason: tuple[State, str]
    ) -> None:
        first = await update(driver, policy=policy)
        await driver.settle(await driver.claim_one(), outcome)
        assert await driver.state(first) is State.HELD
        behind = await driver.send(lane=LANE)
        second = await update(driver, policy=policy)
        assert await ended(driver, first) == reason
        # A held one that gave up its place has none to give.
        expected = [behind, second] if policy is HOLD else [second, behind]
        assert [await driver.deliver_next() for _ in range(2)] == expected
        await driver.healthy()

    @pytest.mark.contract("FL4", "RE4")
    async def test_the_time_that_a_platform_asked_for_is_not_cut_short(self, driver: StoreDriver) -> None:
        await update(driver)
        await driver.settle(await driver.claim_one(), RateLimited(after=30))
        second = await update(driver)
        driver.clock.advance(29)
        assert await driver.claim() == []
        driver.clock.advance(1)
        assert await driver.claimed_ids() == [second]

    @pytest.mark.contract("FL4")
    async def test_one_that_waited_for_a_retry_gives_its_place_at_once(self, driver: StoreDriver) -> None:
        await update(driver)
        await driver.settle(await driver.claim_one(), Deferred("down"))
        second = await update(driver)
        assert await driver.claimed_ids() == [second]

    @pytest.mark.contract("FL4", "LA1")
    async def test_one_for_later_blocks_nobody_and_takes_its_place_when_it_is_due(self, driver: StoreDriver) -> None:
        first = await update(driver)
        behind = await driver.send(lane=LANE)
        later = await update(driver, not_before_ms=driver.clock.wall_ms() + 60_000)
        assert await ended(driver, first) == SUPERSEDED
        assert await driver.deliver_next() == behind
        assert await driver.claim() == []
        driver.clock.advance(60)
        assert await driver.claimed_ids() == [later]
        await driver.healthy()

    @pytest.mark.contract("FL4")
    async def test_one_for_later_is_superseded_too(self, driver: StoreDriver) -> None:
        later = await update(driver, not_before_ms=driver.clock.wall_ms() + 60_000)
        now = await update(driver)
        assert await ended(driver, later) == SUPERSEDED
        assert await driver.claimed_ids() == [now]

    @pytest.mark.contract("FL4", "LA1")
    async def test_one_that_waits_for_its_turn_is_superseded_and_the_lane_goes_on(self, driver: StoreDriver) -> None:
        head = await driver.send(lane=LANE)
        flying = await driver.claim_one()
        waiting = await update(driver)
        assert await driver.claim() == []
        newer = await update(driver)
        elsewhere = await update(driver, lane="other")
        assert [await ended(driver, message) for message in (waiting, newer)] == [SUPERSEDED] * 2
        await driver.deliver(flying)
        assert await driver.state(head) is State.DELIVERED
        assert await driver.claimed_ids() == [elsewhere]
        await driver.healthy()

    @pytest.mark.contract("FL4", "LA1")
    async def test_leaving_for_another_lane_lets_the_next_one_go(self, driver: StoreDriver) -> None:
        await update(driver)
        await driver.settle(await driver.claim_one(), Deferred("down"))
        behind = await driver.send(lane=LANE)
        assert await driver.claim() == []
        newer = await update(driver, lane=None)
        assert set(await driver.claimed_ids()) == {behind, newer}
        await driver.healthy()

    @pytest.mark.contract("FL4", "EN5")
    async def test_what_is_superseded_makes_room(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(messages=1, recipient_messages=1))
        first = await update(driver)
        second = await update(driver)
        assert await ended(driver, first) == SUPERSEDED
        refused = await driver.refusal(driver.draft(recipient="bob"))
        assert isinstance(refused, QueueFull)
        assert await driver.claimed_ids() == [second]
        await driver.healthy()

    @pytest.mark.contract("FL4", "EN8")
    async def test_what_is_refused_supersedes_nothing(self, driver: StoreDriver) -> None:
        await driver.enqueue(driver.draft(key="k", digest=b"x" * 32, recipient="bob"))
        first = await update(driver)
        refused = await driver.refusal(
            driver.draft(lane=LANE, collapse_key=KEY), driver.draft(key="k", digest=b"y" * 32, recipient="bob")
        )
        assert isinstance(refused, KeyConflict)
        assert await ended(driver, first) == SCHEDULED
        assert await driver.claimed_ids(1, channels=["chat"]) != []
        await driver.healthy()

    @pytest.mark.contract("FL4", "EN7")
    async def test_the_same_key_again_supersedes_nothing(self, driver: StoreDriver) -> None:
        draft = driver.draft(key="k", digest=b"x" * 32, lane=LANE, collapse_key=KEY)
        await driver.enqueue(draft)
        newer = await update(driver)
        again = driver.draft(key="k", digest=b"x" * 32, lane=LANE, collapse_key=KEY)
        (accepted,) = await driver.enqueue(again)
        assert (accepted.id, accepted.created, list(accepted.superseded)) == (draft.id, False, [])
        assert await ended(driver, newer) == SCHEDULED

    @pytest.mark.contract("FL4", "PA5")
    async def test_parts_that_arrived_stay_so(self, driver: StoreDriver) -> None:
        parts = (b'{"text":"a"}', b'{"text":"b"}')
        first = await update(driver, admission=Admission(recipient="ann", parts=parts, splitter="1"))
        flying = await driver.claim_one()
        second = await update(driver)
        assert await end(driver, flying, Delivered("r")) is Settled.SUPERSEDE
        view = await driver.view(first)
        assert (view.state, view.terminal_reason, view.parts_delivered) == (*SUPERSEDED, 1)
        assert await driver.claimed_ids() == [second]

    @pytest.mark.contract("FL4", "ST6")
    async def test_a_late_answer_of_a_superseded_one_is_recorded(self, driver: StoreDriver) -> None:
        first = await update(driver)
        lost = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000 + 1)
        await driver.reap()
        await update(driver)
        assert await ended(driver, first) == IN_DOUBT
        assert await driver.settle(lost, Delivered("r")) is Settled.LATE
        view = await driver.view(first)
        assert (view.state, view.receipt, view.extra_copies) == (State.CANCELLED, "r", 1)

    @pytest.mark.contract("FL4", "ST2")
    async def test_a_replay_supersedes_nothing_and_is_superseded(self, driver: StoreDriver) -> None:
        old = await update(driver)
        newer = await update(driver)
        replayed = driver.draft().id
        acted = await driver.act(Replay(id=old, new_id=replayed, actor="ann", fresh=False))
        assert acted.applied
        assert await ended(driver, newer) == SCHEDULED
        newest = await update(driver)
        assert [await ended(driver, message) for message in (newer, replayed)] == [SUPERSEDED] * 2
        assert await driver.claimed_ids() == [newest]

    @pytest.mark.contract("FL4", "EN8")
    async def test_of_several_in_one_call_the_last_one_stays(self, driver: StoreDriver) -> None:
        accepted = await driver.enqueue_group(*(driver.draft(lane=LANE, collapse_key=KEY) for _ in range(3)))
        assert [await ended(driver, done.id) for done in accepted] == [SUPERSEDED, SUPERSEDED, SCHEDULED]
        await driver.healthy()

    @pytest.mark.contract("FL4", "EN8", "EN7")
    async def test_of_many_in_one_batch_each_takes_its_own_place(self, driver: StoreDriver) -> None:
        flying = await update(driver, collapse_key="c", lane=None)
        await driver.claim_one()
        waiting = [await update(driver, collapse_key=key, lane="else") for key in "ab"]
        said = {"key": "k", "digest": b"x" * 32}
        asked: list[dict[str, Any]] = [
            {"collapse_key": "a"}, {}, {"collapse_key": "b", **said}, {"collapse_key": "a"}, {"collapse_key": "c"},
            {"collapse_key": "d", **said}, {"collapse_key": "b", "recipient": "bob"},
        ]  # fmt: skip
        drafts = [driver.draft(**fields) for fields in asked]
        accepted = await driver.enqueue(*drafts)
        ids = [draft.id for draft in drafts]
        assert [done.id for done in accepted] == [*ids[:5], ids[2], ids[6]]
        assert [[gone.id for gone in done.superseded] for done in accepted] == [
            [waiting[0]], [], [waiting[1]], [ids[0]], [], [], [],
        ]  # fmt: skip
        gone = [*waiting, ids[0]]
        assert [await ended(driver, message) for message in gone] == [SUPERSEDED] * len(gone)
        assert (await driver.view(flying)).cancel_requested_ms is not None
        assert await driver.claimed_ids(9) == [ids[1], ids[2], ids[3], ids[4], ids[6]]
        await driver.healthy()

    @pytest.mark.contract("FL4", "CO2")
    async def test_a_fan_out_that_takes_the_place_of_others_stores_its_content_once(
        self, driver: StoreDriver, backstage: Backstage
    ) -> None:
        people = ("ann", "bob", "cy")
        await driver.enqueue_group(*(driver.draft(group_id="g", collapse_key=KEY, recipient=name) for name in people))
        assert await backstage.stored_contents() == 1
        assert len(await driver.claim()) == len(people)

    @pytest.mark.contract("FL4")
    async def test_what_is_enqueued_with_the_end_of_the_one_in_flight_follows_it(self, driver: StoreDriver) -> None:
        await update(driver)
        flying = await driver.claim_one()
        newer = driver.draft(lane=LANE, collapse_key=KEY)
        result = await driver.commit(
            settle=[driver.settlement(flying, Delivered("r"))], enqueue=[[newer]], claim=await driver.request()
        )
        assert [message.id for message in result.claimed] == [newer.id]
        assert POLICY.max_attempts == result.claimed[0].max_attempts
