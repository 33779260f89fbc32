"""Messages that kill workers or cannot be read, and the workers themselves (contract LE2, LE7, LE8, ST9)."""

from __future__ import annotations

from typing import Final

import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered
from pillarbox.domain.transition import Reason
from pillarbox.store.base import Lapsed, Presence, Settled
from pillarbox.testing.store_suite.driver import LEASE_MS, Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

LEASE_SECONDS: Final = LEASE_MS / 1000


class HarmSuite(StoreFixtures):
    """What goes wrong with one message stays with it."""

    @pytest.mark.contract("LE2")
    async def test_a_suspect_is_claimed_alone_and_only_when_asked_for(self, driver: StoreDriver) -> None:
        suspects = [await self._suspect(driver) for _ in range(2)]
        innocent = await driver.send()
        driver.clock.advance(600)
        assert await driver.claimed_ids() == [innocent]
        assert driver.last.suspect_due
        assert await driver.claimed_ids(suspect=True) == [suspects[0]]
        assert await driver.claimed_ids(suspect=True) == [suspects[1]]
        assert await driver.claimed_ids(suspect=True) == []
        await driver.claim()
        assert not driver.last.suspect_due

    @pytest.mark.contract("LE2")
    async def test_a_suspect_that_answered_is_none_any_more(self, driver: StoreDriver) -> None:
        suspect = await self._suspect(driver)
        driver.clock.advance(600)
        (message,) = await driver.claim(suspect=True)
        await driver.settle(message, Deferred("busy"))
        driver.clock.advance(600)
        assert await driver.claimed_ids() == [suspect]

    @pytest.mark.contract("LE2", "LA2")
    async def test_of_a_lost_worker_it_is_known_when_it_began_its_last_suspect(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        """And what is no suspect is told first, so that it stays known until they are settled."""
        await driver.send()
        await driver.claim()
        await driver.leave()
        assert [item.suspect_ms for item in await other.lapsed()] == [None]
        await other.reap()
        suspects = [await self._suspect(driver) for _ in range(2)]
        await driver.send(), await driver.send()
        driver.clock.advance(600)
        before = await driver.claim(1)
        began = []
        for _ in suspects:
            driver.clock.advance(1)
            began.append(driver.clock.wall_ms())
            await driver.claim_one(suspect=True)
        driver.clock.advance(5)
        beside = await driver.claim()
        await driver.leave()
        lapsed = await other.store.lapsed(limit=10)
        assert {item.suspect_ms for item in lapsed} == {began[-1]}
        order = [item.message.id for item in lapsed]
        assert set(order[: len(before) + len(beside)]) == {message.id for message in (*before, *beside)}
        assert set(order[-2:]) == set(suspects)
        (first,) = await other.store.lapsed(limit=1)
        assert first.message.lost < 2
        assert first.suspect_ms == began[-1]

    @pytest.mark.contract("LE2", "LA2")
    async def test_when_a_suspect_is_due_is_told_of_every_queue_that_is_looked_at(self, driver: StoreDriver) -> None:
        suspect = await self._suspect(driver)
        due_ms = (await driver.view(suspect)).due_ms
        queue = await driver.queue()
        await driver.claim()
        assert driver.last.suspects_ms == {queue: due_ms}
        assert driver.last.next_due_ms == {queue: None}
        await driver.claim_one(suspect=True)
        assert driver.last.suspects_ms == {queue: None}

    @pytest.mark.contract("LE2")
    async def test_a_message_that_kills_every_worker_runs_out(self, driver: StoreDriver, other: StoreDriver) -> None:
        accepted = await driver.send(max_attempts=3)
        for lost in range(3):
            (message,) = await driver.claim(suspect=lost >= 2)
            assert message.lost == lost
            await driver.leave()
            await other.reap()
            driver.clock.advance(600)
        view = await driver.view(accepted)
        assert (view.state, view.terminal_reason, view.claims, view.lost) == (State.DEAD, Reason.KILLS_WORKERS, 3, 3)

    @pytest.mark.contract("LE7", "ST9")
    async def test_an_unreadable_message_does_not_take_the_place_of_the_others(
        self, driver: StoreDriver, backstage: Backstage
    ) -> None:
        bad, good = await driver.send(), await driver.send()
        await backstage.lose_content(bad)
        assert await driver.claimed_ids(1) == [good]

    @pytest.mark.contract("LE7", "ST9")
    async def test_unreadable_messages_are_dead_and_the_others_go_on(
        self, driver: StoreDriver, backstage: Backstage
    ) -> None:
        ids = [await driver.send(lane="l", origin="billing") for _ in range(2)] + [
            await driver.send() for _ in range(3)
        ]
        await backstage.lose_content(ids[0])
        await backstage.spoil_policy(ids[3])
        assert set(await driver.claimed_ids()) == {ids[1], ids[2], ids[4]}
        assert {ended.id for ended in driver.last.unreadable} == {ids[0], ids[3]}
        first = next(ended for ended in driver.last.unreadable if ended.id == ids[0])
        assert (first.state, first.reason, first.channel, first.origin) == (
            State.DEAD, Reason.UNREADABLE, "chat", "billing",
        )  # fmt: skip
        view = await driver.view(ids[0])
        assert (view.state, view.terminal_reason, view.claims, view.charged) == (State.DEAD, Reason.UNREADABLE, 1, 1)
        assert view.completed_ms == driver.clock.wall_ms()
        assert view.last_error
        await driver.healthy()

    @pytest.mark.contract("LE7")
    async def test_a_message_that_became_unreadable_while_leased_is_not_leased_for_ever(
        self, driver: StoreDriver, other: StoreDriver, backstage: Backstage
    ) -> None:
        lost, spoilt, good = [await driver.send() for _ in range(3)]
        await driver.claim()
        await backstage.lose_content(lost)
        await backstage.spoil_policy(spoilt)
        await driver.leave()
        assert await other.reap() == [Settled.APPLIED] * 3
        other.clock.advance(600)
        assert await other.claimed_ids() == [good]
        assert {ended.id for ended in other.last.unreadable} == {lost, spoilt}

    @pytest.mark.contract("LE7")
    async def test_an_outcome_that_cannot_be_written_as_it_is_does_not_fail_its_neighbours(
        self, driver: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(4)])
        one, two, three, four = await driver.claim()
        settlements = [
            driver.settlement(one, Delivered("fine")),
            driver.settlement(two, Delivered("odd \ud800 receipt")),
            driver.settlement(three, Deferred("odd \udfff reason")),
            driver.settlement(four, Delivered("fine too")),
        ]
        result = await driver.commit(settle=settlements)
        assert result.settled == [Settled.APPLIED] * 4
        states = [(await driver.view(message.id)).state for message in (one, two, three, four)]
        assert states == [State.DELIVERED, State.DELIVERED, State.SCHEDULED, State.DELIVERED]

    @pytest.mark.contract("LE8")
    async def test_workers_are_listed_with_what_they_said_of_themselves(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        slot = await driver.register(channels=["chat", "mail"])
        started_ms = driver.clock.wall_ms()
        (worker,) = await other.store.workers()
        assert (worker.slot, worker.host, worker.pid, worker.version) == (slot, "test", 1, "0")
        assert (worker.channels, worker.started_ms, worker.seen_ms) == (("chat", "mail"), started_ms, started_ms)
        assert worker.alive is not False
        driver.clock.advance(15)
        await driver.commit(presence=Presence(worker=slot, channels=("chat",)))
        (worker,) = await other.store.workers()
        assert (worker.channels, worker.started_ms, worker.seen_ms) == (("chat",), started_ms, started_ms + 15_000)
        await driver.leave()
        assert await other.store.workers() == []

    @pytest.mark.contract("LE8")
    async def test_the_queues_of_a_worker_s_channels_are_there_when_it_is(self, driver: StoreDriver) -> None:
        await driver.send(channel="mail")
        await driver.register(channels=["chat", "mail"])
        assert {(queue.tenant, queue.channel) for queue in await driver.store.queues()} == {("", "chat"), ("", "mail")}

    @pytest.mark.contract("LE8")
    async def test_workers_have_numbers_of_their_own(self, driver: StoreDriver, other: StoreDriver) -> None:
        first = await driver.register()
        await driver.leave()
        numbers = [first, await driver.register(), await other.register()]
        assert len(set(numbers)) == 3

    @pytest.mark.contract("LE8")
    async def test_a_worker_that_is_gone_is_forgotten_when_nothing_is_left_of_it(
        self, driver: StoreDriver, open_driver: OpenDriver
    ) -> None:
        await driver.send()
        await driver.claim()
        await driver.store.close()
        driver.clock.advance(self.owner_liveness)
        after = await open_driver()
        assert len(await after.lapsed()) == 1
        assert len(await after.store.workers()) == 1
        await after.reap()
        await after.lapsed()
        assert await after.store.workers() == []

    async def _suspect(self, driver: StoreDriver) -> MessageId:
        """Return a message during which two workers were lost."""
        accepted = await driver.send()
        for _ in range(2):
            await driver.claim(only=accepted)
            driver.clock.advance(LEASE_SECONDS)
            (lapsed,) = await driver.lapsed()
            assert isinstance(lapsed, Lapsed)
            await driver.settle_lapsed(lapsed)
            driver.clock.advance(600)
        return accepted
