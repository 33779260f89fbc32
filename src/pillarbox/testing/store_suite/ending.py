"""Expiry is strict and never beneath a sender; pruning takes only what ended (contract EX1–EX3, PR1–PR3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import STATES, State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Cancel, Pause, Prune
from pillarbox.testing.store_suite.driver import Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures
from pillarbox.testing.store_suite.states import in_state

TERMINAL: Final = [state for state in STATES if state.terminal]
ACTIVE: Final = [state for state in STATES if not state.terminal]


class EndingSuite(StoreFixtures):
    """Expiry and pruning."""

    @pytest.mark.contract("EX1", "EX2")
    async def test_a_message_expires_after_its_last_millisecond(self, driver: StoreDriver) -> None:
        accepted = await driver.send(expires_ms=driver.clock.wall_ms() + 1000, origin="billing")
        driver.clock.advance(1)
        assert await driver.expire() == []
        driver.clock.advance(0.001)
        result = await driver.commit(expire=10)
        (ended,) = result.expired
        assert (ended.id, ended.state, ended.reason) == (accepted, State.EXPIRED, Reason.EXPIRED)
        assert (ended.channel, ended.origin, ended.queue) == ("chat", "billing", await driver.queue())
        view = await driver.view(accepted)
        assert (view.state, view.terminal_reason) == (State.EXPIRED, Reason.EXPIRED)
        assert (view.completed_ms, view.claims, view.charged) == (driver.clock.wall_ms(), 0, 0)
        await driver.healthy()

    @pytest.mark.contract("EX1", "EX2")
    async def test_a_message_may_go_in_its_last_millisecond_and_not_after_it(self, driver: StoreDriver) -> None:
        until_ms = driver.clock.wall_ms() + 1000
        first, second = [await driver.send(expires_ms=until_ms) for _ in range(2)]
        driver.clock.advance(1)
        assert await driver.claimed_ids(1) == [first]
        driver.clock.advance(0.001)
        assert await driver.claim() == []
        view = await driver.view(second)
        assert (view.state, view.claims) == (State.EXPIRED, 0)
        assert [ended.id for ended in driver.last.overdue] == [second]
        await driver.healthy()

    @pytest.mark.contract("LE6", "EX1")
    async def test_nothing_expires_while_the_clock_is_not_trusted(self, driver: StoreDriver) -> None:
        accepted = await driver.send(expires_ms=driver.clock.wall_ms() + 1000)
        driver.clock.set_wall(driver.clock.wall_ms() + 7_200_000)
        assert await driver.claimed_ids(judge_expiry=False) == [accepted]

    @pytest.mark.contract("EX1", "LA1")
    async def test_what_has_expired_takes_no_slot_and_keeps_no_lane(self, driver: StoreDriver) -> None:
        until_ms = driver.clock.wall_ms() + 1000
        expired = [await driver.send(lane="l", expires_ms=until_ms) for _ in range(3)]
        good, behind = await driver.send(lane="l"), await driver.send(lane="l")
        driver.clock.advance(2)
        assert await driver.claimed_ids(1) == [good]
        assert await driver.claimed_ids(1) == []
        assert {ended.id for ended in driver.last.overdue} <= set(expired)
        for one in expired:
            assert await driver.state(one) in {State.EXPIRED, State.SCHEDULED}
        await driver.expire()
        assert {await driver.state(one) for one in expired} == {State.EXPIRED}
        assert await driver.state(behind) is State.SCHEDULED
        await driver.healthy()

    @pytest.mark.contract("EX1")
    async def test_waiting_paused_and_future_messages_expire_too(self, driver: StoreDriver) -> None:
        until_ms = driver.clock.wall_ms() + 1000
        head = await driver.send(lane="l")
        waiting = await driver.send(lane="l", expires_ms=until_ms)
        await driver.claim()
        assert (await driver.view(waiting)).waiting
        await driver.act(Pause(tenant=None, channel="mail", actor="ann"))
        paused = await driver.send(channel="mail", expires_ms=until_ms)
        future = await driver.send(not_before_ms=until_ms - 1, expires_ms=until_ms)
        await driver.send(expires_ms=None)
        driver.clock.advance(1.001)
        assert set(await driver.expire()) == {waiting, paused, future}
        assert await driver.state(head) is State.LEASED
        assert not (await driver.view(waiting)).waiting

    @pytest.mark.contract("EX1")
    async def test_a_message_to_be_tried_again_expires(self, driver: StoreDriver) -> None:
        accepted = await driver.send(expires_ms=driver.clock.wall_ms() + 1000)
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        driver.clock.advance(2)
        assert await driver.expire() == [accepted]
        view = await driver.view(accepted)
        assert (view.state, view.claims, view.charged) == (State.EXPIRED, 1, 1)

    @pytest.mark.contract("EX1")
    async def test_expiry_takes_bounded_steps_oldest_first(self, driver: StoreDriver) -> None:
        now_ms = driver.clock.wall_ms()
        ids = [await driver.send(expires_ms=now_ms + age) for age in (500, 300, 100, 400, 200)]
        driver.clock.advance(1)
        assert set(await driver.expire(2)) == {ids[2], ids[4]}
        assert driver.last.more
        driver.clock.advance(0.001)  # what ends in one millisecond is told of again where an answer was lost
        assert set(await driver.expire(2)) == {ids[1], ids[3]}
        driver.clock.advance(0.001)
        assert await driver.expire(2) == [ids[0]]
        assert not driver.last.more

    @pytest.mark.contract("EX3")
    async def test_a_message_is_not_expired_beneath_its_sender(self, driver: StoreDriver, other: StoreDriver) -> None:
        accepted = await driver.send(expires_ms=driver.clock.wall_ms() + 1000)
        message = await driver.claim_one()
        driver.clock.advance(2)
        assert await other.expire() == []
        assert await driver.state(accepted) is State.LEASED
        await driver.deliver(message)

    @pytest.mark.contract("EX1")
    async def test_a_held_message_does_not_expire(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.HELD)
        driver.clock.advance(10**6)
        assert await driver.expire() == []
        assert await driver.state(old.id) is State.HELD

    @pytest.mark.contract("PR2")
    @pytest.mark.parametrize("state", STATES)
    async def test_only_what_has_ended_is_pruned(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        driver.clock.advance(1)
        pruned = await self._prune(driver, TERMINAL)
        assert pruned == ({state: 1} if state.terminal else {})
        assert (await driver.store.get(old.id) is None) is state.terminal
        await driver.healthy()

    @pytest.mark.contract("PR1", "PR2")
    @pytest.mark.parametrize("state", ACTIVE)
    async def test_a_request_to_prune_what_has_not_ended_is_refused(self, driver: StoreDriver, state: State) -> None:
        delivered = await self._ended(driver, Delivered("r"))
        await in_state(driver, state)
        driver.clock.advance(1)
        with pytest.raises(ValueError, match="not terminal"):
            await self._prune(driver, [State.DELIVERED, state])
        assert await driver.state(delivered) is State.DELIVERED
        assert len(await driver.everything()) == 2

    @pytest.mark.contract("PR2")
    async def test_messages_are_pruned_by_the_time_they_ended(self, driver: StoreDriver) -> None:
        early = await driver.send()
        late = await driver.send()
        messages = {message.id: message for message in await driver.claim()}
        await driver.deliver(messages[late])
        driver.clock.advance(10)
        await driver.deliver(messages[early])
        assert await self._prune(driver, TERMINAL) == {State.DELIVERED: 1}
        assert await driver.store.get(late) is None
        assert await driver.state(early) is State.DELIVERED
        driver.clock.advance(0.001)
        assert await self._prune(driver, TERMINAL) == {State.DELIVERED: 1}

    @pytest.mark.contract("PR3")
    async def test_each_state_has_its_own_retention(self, driver: StoreDriver) -> None:
        delivered = await self._ended(driver, Delivered("r"))
        dead = await self._ended(driver, Rejected("no"))
        driver.clock.advance(10)
        now_ms = driver.clock.wall_ms()
        before_ms = {State.DELIVERED: now_ms - 5000, State.DEAD: now_ms - 60_000}
        result = await driver.commit(prune=Prune(before_ms=before_ms, keys_until_ms=0, audit_before_ms=0))
        assert result.pruned == {State.DELIVERED: 1}
        assert await driver.store.get(delivered) is None
        assert await driver.state(dead) is State.DEAD

    @pytest.mark.contract("PR2")
    async def test_pruning_takes_bounded_steps(self, driver: StoreDriver) -> None:
        for _ in range(5):
            await self._ended(driver, Delivered("r"))
        driver.clock.advance(1)
        counts = []
        for _ in range(4):
            counts.append(sum((await self._prune(driver, TERMINAL, limit=2)).values()))
            if not driver.last.more:
                break
        assert counts == [2, 2, 1]
        await driver.healthy()

    @pytest.mark.contract("PR2", "LA1")
    async def test_pruning_moves_nothing_in_a_lane(self, driver: StoreDriver) -> None:
        ids = await driver.send_in_turn("l", 4)
        assert await driver.deliver_next() == ids[0]
        await driver.act(Cancel(id=ids[2], actor="ann"))
        driver.clock.advance(1)
        assert sum((await self._prune(driver, TERMINAL)).values()) == 2
        later = await driver.send(lane="l")
        assert [await driver.deliver_next() for _ in range(3)] == [ids[1], ids[3], later]

    @pytest.mark.contract("PR2")
    async def test_a_late_answer_to_a_pruned_message_changes_nothing(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.DELIVERED)
        driver.clock.advance(1)
        await self._prune(driver, TERMINAL)
        assert await driver.settle(old, Delivered("late")) == "stale"
        assert await driver.everything() == []
        await driver.healthy()

    @pytest.mark.contract("PR3", "CO2")
    async def test_content_may_go_before_its_message(self, driver: StoreDriver, backstage: Backstage) -> None:
        group = [driver.draft(group_id="g", text="x" * 5000) for _ in range(2)]
        await driver.enqueue_group(*group)
        ended = await driver.claim_one()
        await driver.settle(ended, Rejected("no"))
        driver.clock.advance(10)
        later = await self._ended(driver, Delivered("r"), text="later")
        left = group[0].id if ended.id == group[1].id else group[1].id
        await self._scrub(driver)
        view = await driver.view(ended.id)
        assert (view.state, view.content, view.last_error) == (State.DEAD, None, "no")
        # What others of its fan-out still say stays, and so does what ended just now.
        assert (await driver.view(left)).content == group[0].content
        assert (await driver.view(later)).content is not None
        assert await backstage.stored_contents() == 1
        await driver.healthy()

    @pytest.mark.contract("PR3")
    async def test_content_goes_in_bounded_steps_each_once(self, driver: StoreDriver) -> None:
        ids = [await self._ended(driver, Delivered("r")) for _ in range(5)]
        driver.clock.advance(10)
        steps = 0
        while await self._scrub(driver, limit=2):
            steps += 1
            assert steps < 10
        assert [(await driver.view(one)).content for one in ids] == [None] * 5
        late = await self._ended(driver, Delivered("r"))
        driver.clock.advance(10)
        await self._scrub(driver, limit=2)
        assert (await driver.view(late)).content is None
        await driver.healthy()

    @pytest.mark.contract("ST10", "PR3")
    async def test_full_attempts_and_orders_outlive_their_message_for_the_audit(self, driver: StoreDriver) -> None:
        kept = await driver.send()
        await driver.settle(await driver.claim_one(), Delivered("r"), keep_attempt=True)
        ordered = await driver.send()
        await driver.act(Cancel(id=ordered, actor="ann", reason="typo"))
        plain = await self._ended(driver, Rejected("no"))
        driver.clock.advance(10)
        await self._prune(driver, TERMINAL)
        assert [event.receipt for event in await driver.store.history(kept) if event.act == "settle"] == ["r"]
        assert [event.actor for event in await driver.store.history(ordered)] == ["ann"]
        assert await driver.store.history(plain) == []
        await self._prune(driver, [], audit_before_ms=driver.clock.wall_ms())
        assert await driver.store.history(kept) == []
        assert await driver.store.history(ordered) == []

    @pytest.mark.contract("ST10", "PR3")
    async def test_the_history_of_a_message_that_is_there_is_kept(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.DEAD)
        before = await driver.store.history(old.id)
        driver.clock.advance(10)
        await self._prune(driver, [], audit_before_ms=driver.clock.wall_ms())
        assert await driver.store.history(old.id) == before

    async def _ended(self, driver: StoreDriver, outcome: Delivered | Rejected, **fields: object) -> MessageId:
        """Return a message that this outcome ended."""
        accepted = await driver.send(**fields)
        (message,) = await driver.claim(only=accepted)
        await driver.settle(message, outcome)
        return accepted

    async def _scrub(self, driver: StoreDriver, *, limit: int = 500) -> bool:
        """Delete the content of messages that ended before now; return whether more is left."""
        now_ms = driver.clock.wall_ms()
        request = Prune(before_ms={}, keys_until_ms=0, audit_before_ms=0, scrub_before_ms=now_ms, limit=limit)
        return (await driver.commit(prune=request)).more

    async def _prune(
        self, driver: StoreDriver, states: Iterable[State], *, limit: int = 500, audit_before_ms: int = 0
    ) -> dict[State, int]:
        """Prune what ended before now in these states."""
        now_ms = driver.clock.wall_ms()
        request = Prune(
            before_ms=dict.fromkeys(states, now_ms),
            keys_until_ms=now_ms,
            audit_before_ms=audit_before_ms,
            limit=limit,
        )
        return (await driver.commit(prune=request)).pruned

    @pytest.mark.contract("CH3", "ST10")
    async def test_what_a_message_was_delivered_without_stands_in_its_history(self, driver: StoreDriver) -> None:
        message = await driver.send()
        without = Delivered("r", degraded="sent without its thread: it is gone")
        await driver.settle(await driver.claim_one(), without, keep_attempt=True)
        (end,) = [event for event in await driver.store.history(message) if event.act == "settle"]
        assert (end.outcome, end.receipt, end.reason) == ("delivered", "r", "sent without its thread: it is gone")
        view = await driver.view(message)
        assert (view.state, view.error_class, view.last_error) == (State.DELIVERED, None, None)
