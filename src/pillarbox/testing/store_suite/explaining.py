"""What is read to explain where a message stands (contract OP2)."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from pillarbox.domain.envelope import Priority
from pillarbox.domain.explain.facts import Facts
from pillarbox.domain.explain.texts import MANY
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, RateLimited, Rejected, Unavailable
from pillarbox.domain.retry import OnDead
from pillarbox.store.base import Cancel, Pause, Replay
from pillarbox.testing.store_suite.driver import CHANNEL, LEASE_MS, POLICY, Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures

BLOCKING: Final = msgspec.structs.replace(POLICY, on_dead=OnDead.BLOCK)


async def known(driver: StoreDriver, message: MessageId) -> Facts:
    """Read what is known of a message that must be there."""
    found = await driver.store.facts(message, now_ms=driver.clock.wall_ms())
    assert found is not None
    return found


class ExplainingSuite(StoreFixtures):
    """One message, its queue, its lane, the workers."""

    @pytest.mark.contract("OP2")
    async def test_of_a_message_that_is_not_there_nothing_is_known(self, driver: StoreDriver) -> None:
        await driver.send()
        unknown = driver.draft().id
        assert await driver.store.facts(unknown, now_ms=0) is None

    @pytest.mark.contract("OP2")
    async def test_a_message_is_read_with_how_its_last_attempt_ended(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        found = await known(driver, accepted)
        assert found.now_ms == driver.clock.wall_ms()
        subject = found.subject
        assert (subject.view.id, subject.view.state, subject.view.content) == (accepted, State.SCHEDULED, None)
        assert (subject.under_lease, subject.has_content, subject.attempt_ended_ms) == (False, True, None)
        assert subject.position is not None
        for _ in range(2):
            driver.clock.advance(60)
            await driver.settle(await driver.claim_one(), RateLimited("slow down", after=30.0))
        subject = (await known(driver, accepted)).subject
        assert (subject.free_returns, subject.attempt_ended_ms) == (2, driver.clock.wall_ms())

    @pytest.mark.contract("OP2")
    async def test_a_lease_is_read_with_its_worker(self, driver: StoreDriver) -> None:
        first, second = [await driver.send() for _ in range(2)]
        other = await driver.send(channel="mail")
        await driver.claim_one()
        found = await known(driver, first)
        assert found.subject.under_lease
        assert found.subject.worker == driver.worker
        assert found.subject.lease_left_ms == LEASE_MS
        (worker,) = found.workers
        assert (worker.slot, worker.channels, worker.alive) == (driver.worker, (CHANNEL,), True)
        assert (worker.sending, worker.suspects, worker.seen_ms) == (1, 0, driver.clock.wall_ms())
        assert [(await known(driver, one)).subject.gate.sending for one in (second, other)] == [1, 0]
        await driver.leave()
        assert (await known(driver, first)).workers == ()

    @pytest.mark.contract("OP2")
    async def test_a_queue_is_read_with_who_paused_it(self, driver: StoreDriver) -> None:
        accepted = await driver.send(tenant="acme")
        now_ms = driver.clock.wall_ms()
        pause = Pause(tenant="acme", channel=CHANNEL, actor="ann", reason="moving", until_ms=now_ms + 5)
        await driver.act(pause)
        gate = (await known(driver, accepted)).subject.gate
        assert (gate.tenant, gate.channel, gate.strikes) == ("acme", CHANNEL, 0)
        assert (gate.paused_ms, gate.paused_until_ms) == (now_ms, now_ms + 5)
        assert (gate.pause_reason, gate.paused_by) == ("moving", "ann")
        assert [gate.paused(now_ms + after) for after in (0, 4, 5)] == [True, True, False]

    @pytest.mark.contract("OP2")
    async def test_a_queue_that_was_unavailable_is_read_with_its_strikes(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.settle(await driver.claim_one(), Unavailable("HTTP 401"))
        gate = (await known(driver, accepted)).subject.gate
        assert (gate.strikes, gate.pause_reason, gate.paused_by) == (1, "HTTP 401", "pillarbox")

    @pytest.mark.contract("OP2", "LA1")
    async def test_what_stands_before_a_message_in_its_lane_is_what_a_claim_meets(self, driver: StoreDriver) -> None:
        first, second, third = await driver.send_in_turn("l", 3)
        alone = await driver.send(lane="other")
        assert [one.view.id for one in (await known(driver, third)).ahead] == [first]
        assert (await known(driver, third)).ahead_count == 2
        assert (await known(driver, first)).ahead == (await known(driver, alone)).ahead == ()
        message = await driver.claim_one()
        assert message.id == first
        await driver.claim()
        found = await known(driver, third)
        assert found.subject.view.waiting
        assert [(one.view.id, one.under_lease) for one in found.ahead] == [(first, True)]
        assert (found.ahead_count, (await known(driver, second)).ahead_count) == (2, 1)
        await driver.deliver(message)
        assert [one.view.id for one in (await known(driver, third)).ahead] == [second]
        assert (await known(driver, second)).ahead == ()
        await driver.act(Cancel(id=third, actor="ann"))
        ended = await known(driver, third)
        assert (ended.ahead, ended.ahead_count, ended.due_before) == ((), 0, 0)

    @pytest.mark.contract("OP2", "LA1")
    async def test_a_held_message_that_keeps_its_turn_stands_before_the_others(self, driver: StoreDriver) -> None:
        first, second, third = await driver.send_in_turn("l", 3, policy=BLOCKING)
        await driver.settle(await driver.claim_one(), Rejected("no such room"))
        await driver.claim()
        for one in (second, third):
            (ahead,) = (await known(driver, one)).ahead
            assert (ahead.view.id, ahead.view.state, ahead.view.last_error) == (first, State.HELD, "no such room")

    @pytest.mark.contract("OP2", "LA1")
    async def test_a_message_for_later_has_no_position_and_comes_last(self, driver: StoreDriver) -> None:
        later = await driver.send(lane="l", not_before_ms=driver.clock.wall_ms() + 1_000)
        now = await driver.send_in_turn("l", 2)
        found = await known(driver, later)
        assert found.subject.position is None
        assert ([one.view.id for one in found.ahead], found.ahead_count) == ([now[0]], 2)
        assert (await known(driver, now[0])).ahead == ()

    @pytest.mark.contract("OP2", "LA3")
    async def test_counting_stops_at_a_thousand(self, driver: StoreDriver) -> None:
        await driver.enqueue(*[driver.draft(lane="l") for _ in range(MANY + 5)])
        found = await known(driver, await driver.send(lane="l"))
        assert (found.ahead_count, found.due_before) == (MANY, MANY)

    @pytest.mark.contract("OP2")
    async def test_due_messages_that_are_claimed_before_it_are_counted(self, driver: StoreDriver) -> None:
        for _ in range(3):
            await driver.send(priority=Priority.BULK)
        earlier, subject, _ = [await driver.send() for _ in range(3)]
        urgent = await driver.send(priority=Priority.URGENT)
        await driver.send(priority=Priority.URGENT, not_before_ms=driver.clock.wall_ms() + 1)
        await driver.send(channel="mail")
        assert (await known(driver, subject)).due_before == 2
        assert set(await driver.claimed_ids(3)) == {urgent, earlier, subject}
        assert (await known(driver, subject)).due_before == 0

    @pytest.mark.contract("OP2", "LE2")
    async def test_suspects_are_known_where_they_wait_and_where_they_are_sent(self, driver: StoreDriver) -> None:
        suspect = await driver.send()
        for _ in range(2):
            await driver.claim_one()
            driver.clock.advance(LEASE_MS / 1000)
            await driver.reap()
            driver.clock.advance(3600)
        other = await driver.send()
        assert [(one.id, one.channel) for one in (await known(driver, other)).suspects] == [(suspect, CHANNEL)]
        assert (await known(driver, suspect)).suspects == ()
        await driver.claim_one(suspect=True)
        found = await known(driver, other)
        assert found.suspects == ()
        assert [(worker.sending, worker.suspects) for worker in found.workers] == [(1, 1)]

    @pytest.mark.contract("OP2", "ST10")
    async def test_what_people_did_to_a_message_is_read_with_who_and_why(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.act(Cancel(id=accepted, actor="ann", reason="wrong text"))
        found = await known(driver, accepted)
        assert [(deed.act, deed.actor, deed.reason) for deed in found.acts] == [("cancel", "ann", "wrong text")]
        assert found.acts[0].at_ms == driver.clock.wall_ms()

    @pytest.mark.contract("OP2", "ST9")
    async def test_lost_content_is_noticed(self, driver: StoreDriver, backstage: Backstage) -> None:
        accepted = await driver.send()
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        await backstage.lose_content(accepted)
        assert not (await known(driver, accepted)).subject.has_content

    @pytest.mark.contract("OP2", "ST2")
    async def test_what_replays_made_of_a_message_is_known(self, driver: StoreDriver) -> None:
        first = await driver.send()
        await driver.settle(await driver.claim_one(), Rejected("no such room"))
        made = [driver.draft().id for _ in range(2)]
        driver.clock.advance(1)
        await driver.act(Replay(id=first, new_id=made[0], actor="ann"))
        assert [(heir.id, heir.state) for heir in (await known(driver, first)).heirs] == [(made[0], State.SCHEDULED)]
        assert (await known(driver, first)).heirs[0].created_ms == driver.clock.wall_ms()
        await driver.settle(await driver.claim_one(), Rejected("no such room"))
        await driver.act(Replay(id=made[0], new_id=made[1], actor="ann"))
        found = await known(driver, first)
        assert {heir.id: heir.state for heir in found.heirs} == {made[0]: State.DEAD, made[1]: State.SCHEDULED}
        assert (await known(driver, made[1])).heirs == ()
