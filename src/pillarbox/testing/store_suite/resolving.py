"""What a person knows of a held message settles it once; nothing is lost or sent out of turn (contract UN3, ST11)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import pytest

from pillarbox.domain.ids import EPOCHS_MAX, MessageId
from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.message import Admission, Leased, State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.retry import ExpireAction, OnDead, OnHeld, PartsMode, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.errors import Refused
from pillarbox.store.base import Acted, Cancel, Resolve, Retry, Settled
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures
from pillarbox.testing.store_suite.operating import chained
from pillarbox.testing.store_suite.states import in_state

MANUAL: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
BLOCKING: Final = msgspec.structs.replace(MANUAL, on_held=OnHeld.BLOCK)
TO_SEND: Final = (Verdict.NOT_DELIVERED, Verdict.RESEND)
PARTS: Final = (b'"a"', b'"b"', b'"c"')


class ResolvingSuite(StoreFixtures):
    """Verdicts on held messages."""

    @pytest.mark.contract("UN3", "ST11")
    async def test_what_a_person_knows_to_be_delivered_is_delivered(self, driver: StoreDriver) -> None:
        message = await held(driver)
        driver.clock.advance(1)
        acted = await resolve(driver, message, Verdict.DELIVERED, receipt="r-7", reason="ann has it")
        assert (acted.applied, acted.state) == (True, State.DELIVERED)
        view = await driver.view(message.id)
        assert (view.state, view.receipt, view.completed_ms) == (State.DELIVERED, "r-7", driver.clock.wall_ms())
        assert (view.terminal_reason, view.error_class, view.last_error) == (None, None, None)
        assert (view.claims, view.charged, view.extra_copies) == (1, 1, 0)
        assert await driver.claim() == []
        await driver.healthy()

    @pytest.mark.contract("UN3", "UN2")
    @pytest.mark.parametrize("verdict", TO_SEND)
    async def test_what_is_to_be_sent_is_due_now_under_the_same_token(
        self, driver: StoreDriver, verdict: Verdict
    ) -> None:
        message = await held(driver)
        driver.clock.advance(1)
        acted = await resolve(driver, message, verdict)
        assert (acted.applied, acted.state) == (True, State.SCHEDULED)
        view = await driver.view(message.id)
        assert (view.due_ms, view.completed_ms, view.terminal_reason) == (driver.clock.wall_ms(), None, None)
        assert (view.claims, view.charged) == (1, 1)
        assert await driver.queue() in driver.last.touched
        again = await driver.claim_one()
        assert (again.id, again.token_id, again.token_epoch) == (message.id, None, 0)
        await driver.deliver(again)
        await driver.healthy()

    @pytest.mark.contract("UN2", "UN3")
    async def test_only_a_forced_copy_changes_the_epoch_and_there_are_as_many_as_the_token_can_tell(
        self, driver: StoreDriver
    ) -> None:
        message = await held(driver, max_attempts=1000)
        for epoch in range(1, EPOCHS_MAX):
            # One person's orders of one millisecond are taken for one where the answer to them was lost.
            driver.clock.advance(0.001)
            assert (await resolve(driver, message, Verdict.RESEND, force_copy=True)).applied
            again = await driver.claim_one()
            assert (again.token_id, again.token_epoch) == (None, epoch)
            await driver.settle(again, Uncertain("no answer"))
        acted = await resolve(driver, message, Verdict.RESEND, force_copy=True)
        assert (acted.applied, acted.state, type(acted.refused)) == (False, State.HELD, Refused)
        assert "63 times" in str(acted.refused)
        assert (await resolve(driver, message, Verdict.RESEND)).applied
        assert (await driver.claim_one()).token_epoch == EPOCHS_MAX - 1

    @pytest.mark.contract("UN3", "LA1")
    @pytest.mark.parametrize("verdict", TO_SEND)
    @pytest.mark.parametrize("policy", [MANUAL, BLOCKING], ids=["skip", "block"])
    async def test_what_is_to_be_sent_takes_a_new_place_at_the_tail_of_its_lane(
        self, driver: StoreDriver, policy: Any, verdict: Verdict
    ) -> None:
        message = await held(driver, lane="l", policy=policy)
        behind = await driver.send_in_turn("l", 2)
        assert (await resolve(driver, message, verdict)).applied
        later = await driver.send(lane="l")
        await driver.healthy()
        # The later one was accepted after the verdict, but before a claim gave the resolved one its place.
        sent = [await driver.deliver_next() for _ in range(4)]
        assert sent[:2] == behind
        assert set(sent[2:]) == {message.id, later}
        await driver.healthy()

    @pytest.mark.contract("UN3", "LA1")
    async def test_what_was_sent_after_a_claim_saw_the_resolved_one_goes_behind_it(self, driver: StoreDriver) -> None:
        message = await held(driver, lane="l", policy=BLOCKING)
        behind = await driver.send_in_turn("l", 2)
        assert (await resolve(driver, message, Verdict.RESEND)).applied
        head = await driver.claim_one()
        later = await driver.send(lane="l")
        await driver.deliver(head)
        assert [head.id, *[await driver.deliver_next() for _ in range(3)]] == [*behind, message.id, later]
        await driver.healthy()

    @pytest.mark.contract("UN3", "LA1")
    @pytest.mark.parametrize("verdict", list(Verdict))
    async def test_every_verdict_opens_a_lane_that_waited_for_it(self, driver: StoreDriver, verdict: Verdict) -> None:
        message = await held(driver, lane="l", policy=BLOCKING)
        behind = await driver.send_in_turn("l", 3)
        assert await driver.claim() == []
        assert [view.waiting for view in await driver.everything()] == [False, True, True, True]
        assert (await resolve(driver, message, verdict)).applied
        assert await driver.claimed_ids() == behind[:1]
        await driver.healthy()

    @pytest.mark.contract("UN3", "LA1")
    async def test_a_burial_that_became_a_hold_is_resolved_too(self, driver: StoreDriver) -> None:
        policy = msgspec.structs.replace(POLICY, on_dead=OnDead.BLOCK, max_attempts=1)
        await driver.send(lane="l", policy=policy)
        message = await driver.claim_one()
        await driver.settle(message, Deferred("busy"))
        assert (await driver.view(message.id)).terminal_reason == Reason.RETRIES_EXHAUSTED
        assert (await resolve(driver, message, Verdict.RESEND)).applied
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        # It gets one more attempt; counters are never given back.
        view = await driver.view(message.id)
        assert (view.state, view.charged) == (State.HELD, 2)
        await driver.healthy()

    @pytest.mark.contract("UN3", "ST1", "ST2")
    @pytest.mark.parametrize("verdict", list(Verdict))
    @pytest.mark.parametrize("state", [state for state in State if state is not State.HELD])
    async def test_what_is_not_held_is_not_resolved_and_its_state_is_told(
        self, driver: StoreDriver, state: State, verdict: Verdict
    ) -> None:
        old, _ = await in_state(driver, state)
        before = await driver.view(old.id), await driver.store.history(old.id)
        acted = await resolve(driver, old, verdict, ttl_ms=1000)
        assert (acted.applied, acted.state, acted.refused) == (False, state, None)
        assert (await driver.view(old.id), await driver.store.history(old.id)) == before
        unknown = await driver.act(Resolve(id=driver.draft().id, actor="ann", verdict=verdict))
        assert (unknown.applied, unknown.state) == (False, None)

    @pytest.mark.contract("UN3", "EX1")
    @pytest.mark.parametrize("verdict", TO_SEND)
    async def test_what_is_past_its_time_is_not_sent_to_its_end_unless_it_gets_a_new_one(
        self, driver: StoreDriver, verdict: Verdict
    ) -> None:
        message = await held(driver, expires_ms=driver.clock.wall_ms() + 5000)
        driver.clock.advance(5.001)
        before = await driver.view(message.id)
        acted = await resolve(driver, message, verdict)
        assert (acted.applied, acted.state, type(acted.refused)) == (False, State.HELD, Refused)
        assert "a new ttl" in str(acted.refused)
        assert await driver.view(message.id) == before
        assert (await resolve(driver, message, verdict, ttl_ms=60_000)).applied
        assert (await driver.view(message.id)).expires_ms == driver.clock.wall_ms() + 60_000
        assert await driver.expire() == []
        await driver.deliver(await driver.claim_one())

    @pytest.mark.contract("UN3", "EX2")
    async def test_at_its_last_millisecond_it_may_still_go_and_what_is_delivered_needs_no_time(
        self, driver: StoreDriver
    ) -> None:
        first, second = [await held(driver, expires_ms=driver.clock.wall_ms() + 5000) for _ in range(2)]
        driver.clock.advance(5)
        assert (await resolve(driver, first, Verdict.RESEND)).applied
        assert len(await driver.claim()) == 1
        driver.clock.advance(60)
        assert (await resolve(driver, second, Verdict.DELIVERED)).applied

    @pytest.mark.contract("ST11", "EX1")
    async def test_a_held_message_past_its_time_is_not_retried_to_its_end(self, driver: StoreDriver) -> None:
        message = await held(driver, expires_ms=driver.clock.wall_ms() + 5000)
        driver.clock.advance(6)
        acted = await driver.act(Retry(id=message.id, actor="ann"))
        assert (acted.applied, acted.state, type(acted.refused)) == (False, State.HELD, Refused)
        assert (await driver.act(Retry(id=message.id, actor="ann", ttl_ms=1000))).applied
        assert (await driver.view(message.id)).expires_ms == driver.clock.wall_ms() + 1000
        assert await driver.claimed_ids() == [message.id]

    @pytest.mark.contract("UN3", "EX2")
    async def test_a_message_that_is_sent_however_late_gets_no_end_by_a_new_time(self, driver: StoreDriver) -> None:
        policy = msgspec.structs.replace(MANUAL, expire_action=ExpireAction.DELIVER)
        message = await held(driver, policy=policy)
        assert (await resolve(driver, message, Verdict.RESEND, ttl_ms=1000)).applied
        assert (await driver.view(message.id)).expires_ms is None

    @pytest.mark.contract("ST6", "UN3")
    @pytest.mark.parametrize("verdict", list(Verdict))
    async def test_a_late_answer_after_the_verdict_is_never_thrown_away(
        self, driver: StoreDriver, verdict: Verdict
    ) -> None:
        message = await lost(driver)
        assert (await resolve(driver, message, verdict)).applied
        assert await driver.settle(message, Delivered("late")) is Settled.LATE
        view = await driver.view(message.id)
        assert (view.state, view.receipt) == (State.DELIVERED, "late")
        assert await driver.claim() == []
        chained(await driver.store.history(message.id))
        await driver.healthy()

    @pytest.mark.contract("ST6", "UN3")
    @pytest.mark.parametrize("verdict", list(Verdict))
    async def test_a_verdict_after_the_late_answer_changes_nothing(
        self, driver: StoreDriver, other: StoreDriver, verdict: Verdict
    ) -> None:
        message = await lost(driver)
        assert await driver.settle(message, Delivered("late")) is Settled.LATE
        before = await driver.view(message.id)
        acted = await resolve(other, message, verdict, ttl_ms=1000)
        assert (acted.applied, acted.state) == (False, State.DELIVERED)
        assert await driver.view(message.id) == before
        await driver.healthy()

    @pytest.mark.contract("UN3", "ST7")
    async def test_of_two_operators_at_the_same_time_one_wins(self, driver: StoreDriver, other: StoreDriver) -> None:
        for _ in range(10):
            message = await held(driver)
            verdicts = await asyncio.gather(
                resolve(driver, message, Verdict.DELIVERED, receipt="r"), resolve(other, message, Verdict.RESEND)
            )
            winner = [acted for acted in verdicts if acted.applied]
            assert len(winner) == 1
            assert {acted.state for acted in verdicts} == {winner[0].state}
            assert await driver.state(message.id) is winner[0].state
            acts = [event.act for event in await driver.store.history(message.id) if event.actor == "ann"]
            assert len(acts) == 1
            await driver.act(Cancel(id=message.id, actor="ann"))
        await driver.healthy()

    @pytest.mark.contract("UN3", "ST10")
    async def test_a_verdict_is_kept_in_the_history_with_who_and_why(self, driver: StoreDriver) -> None:
        message = await held(driver)
        for verdict, force in ((Verdict.NOT_DELIVERED, False), (Verdict.RESEND, True), (Verdict.DELIVERED, False)):
            driver.clock.advance(1)
            await resolve(driver, message, verdict, force_copy=force, reason=f"because {verdict}")
            if verdict is not Verdict.DELIVERED:
                driver.clock.advance(1)
                await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        events = await driver.store.history(message.id)
        chained(events)
        said = [(event.act, event.actor, event.reason, event.to_state) for event in events if event.actor == "ann"]
        assert said == [
            ("resolve not delivered", "ann", "because not_delivered", State.SCHEDULED),
            ("resolve resend, a copy", "ann", "because resend", State.SCHEDULED),
            ("resolve delivered", "ann", "because delivered", State.DELIVERED),
        ]

    @pytest.mark.contract("UN3", "PA3")
    async def test_of_a_split_message_the_verdict_is_about_the_part_at_which_it_stands(
        self, driver: StoreDriver
    ) -> None:
        message = await held_at_second_part(driver)
        assert (await resolve(driver, message, Verdict.DELIVERED, receipt="r2")).state is State.SCHEDULED
        view = await driver.view(message.id)
        assert [(part.state, part.receipt) for part in view.parts] == [
            (State.DELIVERED, "r1"), (State.DELIVERED, "r2"), (State.SCHEDULED, None),
        ]  # fmt: skip
        last = await driver.claim_one()
        assert (last.content, last.receipts, last.charged, last.lost) == (b'"c"', ("r1", "r2"), 0, 0)
        await driver.settle(last, Uncertain("no answer"))
        assert (await resolve(driver, message, Verdict.DELIVERED)).state is State.DELIVERED
        assert await driver.state(message.id) is State.DELIVERED
        await driver.healthy()

    @pytest.mark.contract("UN3", "PA3", "LA1")
    async def test_a_split_message_goes_on_where_it_stands_and_is_sent_again_from_the_tail(
        self, driver: StoreDriver
    ) -> None:
        message = await held_at_second_part(driver, lane="l", policy=BLOCKING)
        behind = await driver.send(lane="l")
        assert (await resolve(driver, message, Verdict.DELIVERED)).applied
        assert await driver.claimed_ids() == [message.id]
        await driver.settle(await self._leased(driver, message), Uncertain("no answer"))
        assert (await resolve(driver, message, Verdict.RESEND)).applied
        assert [(await driver.deliver_next()) for _ in range(2)] == [behind, message.id]
        await driver.healthy()

    async def _leased(self, driver: StoreDriver, message: Leased) -> Leased:
        return next(one for one in driver.last.claimed if one.id == message.id)

    @pytest.mark.contract("UN3", "PA4")
    async def test_the_last_part_s_delivery_ends_a_message_whose_other_part_was_rejected_as_partial(
        self, driver: StoreDriver
    ) -> None:
        policy = msgspec.structs.replace(MANUAL, parts=PartsMode.BEST_EFFORT)
        await split(driver, policy=policy)
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        await driver.settle(await driver.claim_one(), Delivered("r2"))
        message = await driver.claim_one()
        await driver.settle(message, Uncertain("no answer"))
        assert (await resolve(driver, message, Verdict.DELIVERED, receipt="r3")).state is State.DEAD
        view = await driver.view(message.id)
        assert (view.terminal_reason, view.last_error) == (Reason.PARTIAL, "1 of 3 parts were rejected")
        assert [part.receipt for part in view.parts] == [None, "r2", "r3"]
        await driver.healthy()

    @pytest.mark.contract("UN3", "EX1", "PA3")
    async def test_parts_that_are_left_need_time_too(self, driver: StoreDriver) -> None:
        message = await held_at_second_part(driver, expires_ms=driver.clock.wall_ms() + 5000)
        driver.clock.advance(6)
        acted = await resolve(driver, message, Verdict.DELIVERED)
        assert (acted.applied, type(acted.refused)) == (False, Refused)
        assert (await resolve(driver, message, Verdict.DELIVERED, ttl_ms=1000)).applied
        assert (await driver.claim_one()).content == b'"c"'


async def held(driver: StoreDriver, **fields: Any) -> Leased:
    """Bring a message to a hold: nobody knows whether the platform has it."""
    accepted = await driver.send(**{"policy": MANUAL} | fields)
    message = await driver.claim_one()
    assert message.id == accepted
    assert await driver.settle(message, Uncertain("no answer")) is Settled.APPLIED
    assert await driver.state(accepted) is State.HELD
    return message


async def lost(driver: StoreDriver) -> Leased:
    """Bring a message to a hold by the loss of its lease: its worker may still answer."""
    await driver.send(policy=MANUAL)
    message = await driver.claim_one()
    driver.clock.advance(LEASE_MS / 1000)
    assert await driver.reap() == [Settled.APPLIED]
    assert await driver.state(message.id) is State.HELD
    return message


async def split(driver: StoreDriver, **fields: Any) -> MessageId:
    """Enqueue a message of three parts."""
    admission = Admission(recipient="ann", parts=PARTS, splitter="1")
    return await driver.send(**{"admission": admission, "text": "abc", "policy": MANUAL} | fields)


async def held_at_second_part(driver: StoreDriver, **fields: Any) -> Leased:
    """Bring a message of three parts to a hold: the first is delivered, of the second nobody knows."""
    await split(driver, **fields)
    await driver.settle(await driver.claim_one(), Delivered("r1"))
    message = await driver.claim_one()
    await driver.settle(message, Uncertain("no answer"))
    return message


async def resolve(driver: StoreDriver, message: Leased, verdict: Verdict, **fields: Any) -> Acted:
    """Resolve with ann's verdict."""
    return await driver.act(Resolve(id=message.id, actor="ann", verdict=verdict, **fields))
