"""Messages that must not outlive the process that accepted them: DK1."""

from __future__ import annotations

import pytest

from pillarbox.domain.envelope import Kind
from pillarbox.domain.message import State
from pillarbox.store.base import ABANDON_MAX
from pillarbox.testing.store_suite.driver import StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

GONE = b"nobody registered"


class AbandoningSuite(StoreFixtures):
    """Who is gone, and what ends for that."""

    @pytest.mark.contract("DK1")
    async def test_only_who_is_surely_gone_is_named(self, driver: StoreDriver, open_driver: OpenDriver) -> None:
        other = await open_driver()
        await other.register()
        (live,) = [worker.id for worker in await driver.store.workers()]
        for acceptor in (live, GONE):
            await driver.send(kind=Kind.BLOCK, accepted_by=acceptor)
        assert await driver.store.gone_acceptors() == [GONE]
        await other.leave()
        assert sorted(await driver.store.gone_acceptors()) == sorted([live, GONE])

    @pytest.mark.contract("DK1")
    async def test_who_has_nothing_scheduled_is_not_named(self, driver: StoreDriver) -> None:
        await driver.send()
        await driver.send(kind=Kind.TOOL, accepted_by=GONE)
        await driver.deliver_next()
        await driver.deliver_next()
        assert await driver.store.gone_acceptors() == []

    @pytest.mark.contract("DK1", "ST7")
    async def test_what_is_scheduled_ends_and_nothing_else(self, driver: StoreDriver) -> None:
        leased = await driver.send(kind=Kind.BLOCK, accepted_by=GONE)
        await driver.claim_one()
        waiting = await driver.send(kind=Kind.BLOCK, accepted_by=GONE, lane="lane")
        others = await driver.send(kind=Kind.BLOCK, accepted_by=b"another")
        final = await driver.send(lane="lane")
        result = await driver.commit(abandon=[GONE])
        (ended,) = result.abandoned
        assert (ended.id, ended.state, ended.reason) == (waiting, State.DEAD, "non_final")
        states = {name: (await driver.view(name)).state for name in (leased, waiting, others, final)}
        assert states == {
            leased: State.LEASED,
            waiting: State.DEAD,
            others: State.SCHEDULED,
            final: State.SCHEDULED,
        }
        assert set(await driver.claimed_ids()) == {others, final}
        await driver.healthy()

    @pytest.mark.contract("DK1")
    async def test_many_end_in_bounded_steps(self, driver: StoreDriver) -> None:
        drafts = [driver.draft(kind=Kind.TOOL, accepted_by=GONE) for _ in range(ABANDON_MAX + 1)]
        await driver.enqueue(*drafts)
        first = await driver.commit(abandon=[GONE])
        assert (len(first.abandoned), first.more) == (ABANDON_MAX, True)
        second = await driver.commit(abandon=[GONE])
        assert (len(second.abandoned), second.more) == (1, False)
        assert await driver.store.gone_acceptors() == []
        await driver.healthy()

    @pytest.mark.contract("DK1", "ST10")
    async def test_the_history_says_why(self, driver: StoreDriver) -> None:
        identity = await driver.send(kind=Kind.BLOCK, accepted_by=GONE)
        await driver.commit(abandon=[GONE])
        events = await driver.store.history(identity)
        assert [(event.act, event.to_state, event.reason) for event in events] == [
            ("enqueue", State.SCHEDULED, None),
            ("dead", State.DEAD, "non_final"),
        ]
