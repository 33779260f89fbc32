"""What is told of a split message that did not go well: each part's truth, and all of them together (PA3–PA5)."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from pillarbox.domain.arrival import aggregate
from pillarbox.domain.ids import MessageId
from pillarbox.domain.lifecycle import cancelled, decide, lost_worker
from pillarbox.domain.message import Admission, MessageView, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Uncertain
from pillarbox.domain.retry import OnDead, PartsMode, Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Cancel, Prune, Query, Retry, Settled
from pillarbox.testing.fakes import SeededEntropy
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures

PARTS: Final = (b'"a"', b'"b"', b'"c"')
BEST_EFFORT: Final = msgspec.structs.replace(POLICY, parts=PartsMode.BEST_EFFORT)
DECIDED: Final = msgspec.structs.replace(BEST_EFFORT, on_dead=OnDead.BLOCK)
HOLD: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
DROP: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.DROP)
SCHEDULED, LEASED, HELD = State.SCHEDULED, State.LEASED, State.HELD
DELIVERED, DEAD, EXPIRED, CANCELLED = State.DELIVERED, State.DEAD, State.EXPIRED, State.CANCELLED


class PartEndSuite(StoreFixtures):
    """Split messages that meet trouble."""

    @pytest.mark.contract("PA2")
    async def test_the_splitter_s_version_is_kept_with_the_parts(self, driver: StoreDriver) -> None:
        split, whole = await _split(driver), await driver.send()
        assert ((await driver.view(split)).splitter, (await driver.view(whole)).splitter) == ("1", None)
        listed = {view.id: view.splitter for view in await driver.everything()}
        assert listed == {split: "1", whole: None}

    @pytest.mark.contract("PA3", "RE5")
    async def test_a_rate_limit_at_a_part_costs_nothing_and_goes_on_there(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await _split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), RateLimited(after=30))
        assert await other.claim() == []
        driver.clock.advance(30)
        again = await other.claim_one()
        assert (again.content, again.receipts, again.charged, again.free_returns) == (b'"b"', ("r1",), 0, 1)
        await other.settle(again, Delivered("r2"))
        assert (await other.claim_one()).free_returns == 0

    @pytest.mark.contract("PA3", "RE2")
    async def test_each_part_has_all_the_attempts(self, driver: StoreDriver) -> None:
        accepted = await _split(driver, max_attempts=2)
        for receipt in ("r1", "r2"):
            for outcome in (Deferred("busy"), Delivered(receipt)):
                await driver.settle(await driver.claim_one(), outcome)
                driver.clock.advance(5)
        for _ in range(2):
            await driver.settle(await driver.claim_one(), Deferred("busy"))
            driver.clock.advance(5)
        view = await driver.view(accepted)
        assert (view.state, view.terminal_reason, view.claims, view.charged) == (DEAD, Reason.RETRIES_EXHAUSTED, 6, 2)
        assert _told(view) == [(DELIVERED, "r1"), (DELIVERED, "r2"), (DEAD, "busy")]
        assert aggregate(view) == "partial"

    @pytest.mark.contract("PA3", "LA1")
    async def test_while_a_part_waits_for_its_next_attempt_the_message_behind_it_waits_too(
        self, driver: StoreDriver
    ) -> None:
        first = await _split(driver, lane="l")
        behind = await driver.send(lane="l")
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        assert await driver.claim() == []
        driver.clock.advance(5)
        assert await driver.claimed_ids() == [first]
        assert await driver.state(behind) is SCHEDULED

    @pytest.mark.contract("PA3", "EX1")
    async def test_a_message_that_expires_between_its_parts_says_which_arrived(self, driver: StoreDriver) -> None:
        accepted = await _split(driver, expires_ms=driver.clock.wall_ms() + 1000)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        driver.clock.advance(2)
        assert await driver.expire() == [accepted]
        view = await driver.view(accepted)
        assert (view.state, view.parts_delivered, aggregate(view)) == (EXPIRED, 1, "partial")
        assert [state for state, _ in _told(view)] == [DELIVERED, EXPIRED, EXPIRED]
        assert await driver.claim() == []
        await driver.healthy()

    @pytest.mark.contract("PA5", "OP3")
    async def test_a_cancel_between_parts_ends_the_rest(self, driver: StoreDriver) -> None:
        accepted = await _split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        assert (await driver.act(Cancel(id=accepted, actor="ann"))).applied
        view = await driver.view(accepted)
        assert (view.state, aggregate(view)) == (CANCELLED, "partial")
        assert [state for state, _ in _told(view)] == [DELIVERED, CANCELLED, CANCELLED]
        assert await driver.claim() == []

    @pytest.mark.contract("PA5", "OP3")
    @pytest.mark.parametrize(
        ("outcome", "states", "together"),
        [
            (Delivered("r2"), [DELIVERED, DELIVERED, CANCELLED], "partial"),
            (Deferred("busy"), [DELIVERED, CANCELLED, CANCELLED], "partial"),
            (Uncertain("no answer"), [DELIVERED, CANCELLED, CANCELLED], "uncertain"),
            (Rejected("too long"), [DELIVERED, DEAD, CANCELLED], "partial"),
        ],
        ids=["delivered", "deferred", "uncertain", "rejected"],
    )
    async def test_a_cancel_while_a_part_is_sent_waits_for_what_becomes_of_it(
        self, driver: StoreDriver, outcome: AnyOutcome, states: list[State], together: str
    ) -> None:
        accepted = await _split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        message = await driver.claim_one()
        assert (await driver.act(Cancel(id=accepted, actor="ann"))).pending
        transition = decide(message, outcome, now_ms=driver.clock.wall_ms(), fraction=0.0)
        if await driver.settle(message, transition) is Settled.CANCEL:
            assert await driver.settle(message, cancelled(transition)) is Settled.APPLIED
        view = await driver.view(accepted)
        assert [state for state, _ in _told(view)] == states
        assert (view.state, aggregate(view)) == (DEAD if DEAD in states else CANCELLED, together)
        assert await driver.claim() == []
        await driver.healthy()

    @pytest.mark.contract("PA5", "PA4")
    async def test_a_cancel_whose_worker_is_lost_does_not_claim_that_nothing_arrived(self, driver: StoreDriver) -> None:
        accepted = await _split(driver)
        message = await driver.claim_one()
        await driver.act(Cancel(id=accepted, actor="ann"))
        driver.clock.advance(LEASE_MS / 1000)
        lost = lost_worker(message, now_ms=driver.clock.wall_ms(), fraction=0.0)
        assert await driver.settle(message, cancelled(lost)) is Settled.APPLIED
        view = await driver.view(accepted)
        assert (view.state, view.parts_delivered, aggregate(view)) == (CANCELLED, 0, "uncertain")

    @pytest.mark.contract("PA4")
    async def test_all_or_abort_stops_at_the_first_rejected_part(self, driver: StoreDriver) -> None:
        accepted = await _split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        assert await driver.claim() == []
        view = await driver.view(accepted)
        assert _told(view) == [(DELIVERED, "r1"), (DEAD, "too long"), (CANCELLED, None)]
        assert (view.state, view.terminal_reason, aggregate(view)) == (DEAD, Reason.REJECTED, "partial")

    @pytest.mark.contract("PA4")
    @pytest.mark.parametrize(
        ("outcomes", "reason", "together"),
        [
            ("ddr", Reason.PARTIAL, "partial"),
            ("rrd", Reason.PARTIAL, "partial"),
            ("rdr", Reason.PARTIAL, "partial"),
            ("rrr", Reason.REJECTED, "rejected"),
            ("ddd", None, "delivered"),
        ],
    )
    async def test_best_effort_tries_every_part_and_tells_of_each(
        self, driver: StoreDriver, outcomes: str, reason: Reason | None, together: str
    ) -> None:
        accepted = await _split(driver, policy=BEST_EFFORT)
        for number, letter in enumerate(outcomes):
            message = await driver.claim_one()
            assert message.part_next == number
            delivered = letter == "d"
            await driver.settle(message, Delivered(f"r{number}") if delivered else Rejected(f"e{number}"))
        view = await driver.view(accepted)
        assert _told(view) == [
            (DELIVERED, f"r{number}") if letter == "d" else (DEAD, f"e{number}")
            for number, letter in enumerate(outcomes)
        ]
        assert (view.state, view.terminal_reason) == (DELIVERED if reason is None else DEAD, reason)
        assert (aggregate(view), view.parts_delivered) == (together, outcomes.count("d"))
        await driver.healthy()

    @pytest.mark.contract("PA4")
    async def test_best_effort_ends_with_a_recipient_that_is_gone(self, driver: StoreDriver) -> None:
        """The other parts would go to the same recipient."""
        accepted = await _split(driver, policy=BEST_EFFORT)
        await driver.settle(await driver.claim_one(), Rejected("chat not found", about="recipient"))
        view = await driver.view(accepted)
        assert (view.state, aggregate(view)) == (DEAD, "rejected")
        assert [state for state, _ in _told(view)] == [DEAD, CANCELLED, CANCELLED]

    @pytest.mark.contract("PA4", "LA1")
    async def test_where_a_person_decides_of_the_dead_best_effort_waits_at_a_rejected_part(
        self, driver: StoreDriver
    ) -> None:
        accepted = await _split(driver, policy=DECIDED, lane="l")
        behind = await driver.send(lane="l")
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        view = await driver.view(accepted)
        assert _told(view) == [(DELIVERED, "r1"), (HELD, "too long"), (SCHEDULED, None)]
        assert (view.state, aggregate(view), await driver.claim()) == (HELD, None, [])
        await driver.act(Retry(id=accepted, actor="ann"))
        for content in PARTS[1:]:
            message = await driver.claim_one()
            assert (message.id, message.content) == (accepted, content)
            await driver.settle(message, Delivered("r"))
        assert await driver.claimed_ids() == [behind]

    @pytest.mark.contract("PA4", "UN1", "PA3")
    async def test_a_part_that_is_held_as_uncertain_says_so_and_goes_on_there_when_retried(
        self, driver: StoreDriver
    ) -> None:
        accepted = await _split(driver, policy=HOLD)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        view = await driver.view(accepted)
        assert _told(view) == [(DELIVERED, "r1"), (HELD, "no answer"), (SCHEDULED, None)]
        assert (view.state, aggregate(view)) == (HELD, "uncertain")
        await driver.act(Retry(id=accepted, actor="ann"))
        message = await driver.claim_one()
        assert (message.content, message.receipts) == (b'"b"', ("r1",))
        assert _told(await driver.view(accepted))[1][0] is LEASED

    @pytest.mark.contract("PA4")
    @pytest.mark.parametrize("given_up", [False, True], ids=["dropped", "held too long"])
    async def test_what_is_given_up_uncertain_is_not_called_rejected(
        self, driver: StoreDriver, *, given_up: bool
    ) -> None:
        accepted = await _split(driver, policy=HOLD if given_up else DROP)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        if given_up:
            assert (await driver.act(driver.burial(accepted))).applied
        view = await driver.view(accepted)
        assert [state for state, _ in _told(view)] == [DELIVERED, DEAD, CANCELLED]
        assert (view.state, aggregate(view)) == (DEAD, "uncertain")

    @pytest.mark.contract("PA4")
    @pytest.mark.parametrize("whole", [False, True], ids=["split", "whole"])
    async def test_a_doubt_is_not_forgotten_by_a_later_attempt_that_failed_for_certain(
        self, driver: StoreDriver, *, whole: bool
    ) -> None:
        accepted = await driver.send() if whole else await _split(driver)
        await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        driver.clock.advance(5)
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        view = await driver.view(accepted)
        assert (view.state, view.maybe_arrived, aggregate(view)) == (DEAD, True, "uncertain")

    @pytest.mark.contract("PA4")
    async def test_a_doubt_is_over_when_its_part_was_delivered(self, driver: StoreDriver) -> None:
        accepted = await _split(driver)
        await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        driver.clock.advance(5)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        view = await driver.view(accepted)
        assert (view.state, view.maybe_arrived, aggregate(view)) == (DEAD, False, "partial")

    @pytest.mark.contract("PA4", "ST6")
    async def test_a_part_that_turns_out_to_have_arrived_after_its_message_was_given_up_is_told_so(
        self, driver: StoreDriver
    ) -> None:
        accepted = await _split(driver, policy=DROP)
        for receipt in ("r1", "r2"):
            await driver.settle(await driver.claim_one(), Delivered(receipt))
        old = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        assert aggregate(await driver.view(accepted)) == "uncertain"
        assert await driver.settle(old, Delivered("r3")) is Settled.LATE
        view = await driver.view(accepted)
        assert _told(view) == [(DELIVERED, "r1"), (DELIVERED, "r2"), (DELIVERED, "r3")]
        assert (view.state, aggregate(view)) == (DEAD, "delivered")

    @pytest.mark.contract("PA4", "ST6")
    async def test_a_copy_of_a_part_that_arrived_leaves_its_receipt_alone(self, driver: StoreDriver) -> None:
        accepted = await _split(driver)
        old = await driver.claim_one()
        driver.clock.advance(LEASE_MS / 1000)
        await driver.reap()
        driver.clock.advance(5)
        await driver.settle(await driver.claim_one(), Delivered("first"))
        assert await driver.settle(old, Delivered("copy")) is Settled.LATE
        view = await driver.view(accepted)
        assert (view.part_next, view.extra_copies, _told(view)[0]) == (1, 1, (DELIVERED, "first"))

    @pytest.mark.contract("PA3", "PA4")
    @pytest.mark.parametrize("seed", range(8))
    async def test_whatever_happens_no_part_is_sent_again_once_it_ended_and_each_is_told_as_it_was(
        self, driver: StoreDriver, *, seed: int
    ) -> None:
        """Parts go in order, each until an attempt ends it; what is told of them is what the platform saw."""
        draw = SeededEntropy(seed)
        policy = BEST_EFFORT if seed % 2 else POLICY
        accepted = await _split(driver, policy=policy, lane="l")
        await driver.send(lane="l")
        ended: list[tuple[State, str]] = []
        while not (await driver.state(accepted)).terminal:
            (message,) = await driver.claim(1) or await driver.claim(1, suspect=True)
            assert (message.id, message.content) == (accepted, PARTS[len(ended)])
            assert message.receipts == tuple(r if state is DELIVERED else None for state, r in ended)
            happens = draw.fraction()
            if happens < 0.3:
                driver.clock.advance(LEASE_MS / 1000)
                await driver.reap()
            elif happens < 0.6:
                await driver.settle(
                    message, (Deferred("busy"), RateLimited(after=1), Uncertain("?"))[int(happens * 10) - 3]
                )
            else:
                end = DEAD if happens < 0.75 else DELIVERED
                ended.append((end, f"{end} {len(ended)}"))
                await driver.settle(message, (Delivered if end is DELIVERED else Rejected)(ended[-1][1]))
            driver.clock.advance(600)
        view = await driver.view(accepted)
        delivered = sum(state is DELIVERED for state, _ in ended)
        assert _told(view)[: len(ended)] == ended
        assert {state for state, _ in _told(view)[len(ended) :]} <= {DEAD, CANCELLED}
        # What stopped it before its end: under best effort nothing but attempts or workers that ran out.
        rejected = [state for state, _ in ended].count(DEAD)
        worn_out = view.terminal_reason in (Reason.RETRIES_EXHAUSTED, Reason.KILLS_WORKERS)
        assert len(ended) == len(PARTS) or worn_out or (policy is POLICY and rejected == 1 and ended[-1][0] is DEAD)
        assert policy is BEST_EFFORT or rejected <= 1
        assert (view.parts_delivered, view.state is DELIVERED) == (delivered, delivered == len(PARTS))
        await driver.healthy()

    @pytest.mark.contract("PA4", "PR3")
    async def test_what_became_of_each_part_is_told_when_what_they_said_is_deleted(self, driver: StoreDriver) -> None:
        accepted = await _split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        driver.clock.advance(1)
        scrub = Prune(before_ms={}, keys_until_ms=0, audit_before_ms=0, scrub_before_ms=driver.clock.wall_ms())
        await driver.commit(prune=scrub)
        view = await driver.view(accepted)
        assert (view.content, [part.content for part in view.parts]) == (None, [None] * 3)
        assert _told(view) == [(DELIVERED, "r1"), (DEAD, "too long"), (CANCELLED, None)]
        assert aggregate(view) == "partial"
        await driver.healthy()

    @pytest.mark.contract("PA4")
    async def test_a_list_tells_the_aggregate_too(self, driver: StoreDriver) -> None:
        accepted = await _split(driver)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        (listed,) = await driver.store.list_messages(Query())
        assert (listed.id, listed.parts, listed.parts_delivered, aggregate(listed)) == (accepted, (), 1, "partial")


async def _split(driver: StoreDriver, *, policy: Policy = POLICY, **fields: object) -> MessageId:
    """Enqueue a message of three parts."""
    admission = Admission(recipient="ann", parts=PARTS, splitter="1")
    return await driver.send(admission=admission, text="abc", policy=policy, **fields)


def _told(view: MessageView) -> list[tuple[State, str | None]]:
    """Return each part's state, and its receipt or what was wrong with it."""
    return [(part.state, part.receipt or part.reason) for part in view.parts]
