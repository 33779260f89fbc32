"""People's orders, pauses and history (contract ST10, ST11, OP1, OP3, FL3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec
import pytest

from pillarbox.domain.ids import MessageId
from pillarbox.domain.lifecycle import MOVES
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.domain.retry import UncertainAction
from pillarbox.domain.transition import Reason, Transition
from pillarbox.store.base import Backlog, Cancel, Event, Pause, Query, Resume, Retry, Settled
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures
from pillarbox.testing.store_suite.leasing import STALE
from pillarbox.testing.store_suite.states import in_state

MANUAL: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
NEVER_AGAIN: Final = ("retry", "release", "redirect", "hold")
"""Ends of an attempt that would leave a message active."""


async def claimed_of_all(driver: StoreDriver) -> list[MessageId]:
    """Claim from every queue, whosoever it is."""
    request = await driver.request(channels=[])
    capacity = {queue.id: 10 for queue in await driver.store.queues()}
    result = await driver.commit(claim=msgspec.structs.replace(request, capacity=capacity))
    return [message.id for message in result.claimed]


class OperatingSuite(StoreFixtures):
    """Orders, pauses, history."""

    @pytest.mark.contract("ST11")
    async def test_retry_makes_a_scheduled_message_due_now(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        before = await driver.view(accepted)
        driver.clock.advance(1)
        acted = await driver.act(Retry(id=accepted, actor="ann"))
        assert (acted.applied, acted.state) == (True, State.SCHEDULED)
        view = await driver.view(accepted)
        assert (view.due_ms, view.claims, view.charged) == (driver.clock.wall_ms(), 1, 1)
        assert (view.id, view.content, view.key) == (before.id, before.content, before.key)
        assert await driver.queue() in driver.last.touched
        assert await driver.claimed_ids() == [accepted]

    @pytest.mark.contract("ST11")
    async def test_retry_makes_a_held_message_due_now(self, driver: StoreDriver) -> None:
        accepted = await driver.send(policy=MANUAL)
        message = await driver.claim_one()
        await driver.settle(message, Uncertain("no answer"))
        held = await driver.view(accepted)
        assert (held.state, held.terminal_reason) == (State.HELD, Reason.UNCERTAIN)
        driver.clock.advance(1)
        assert (await driver.act(Retry(id=accepted, actor="ann"))).applied
        view = await driver.view(accepted)
        assert (view.state, view.terminal_reason, view.completed_ms) == (State.SCHEDULED, None, None)
        again = await driver.claim_one()
        assert (again.id, again.token_id, again.token_epoch) == (message.id, message.token_id, message.token_epoch)

    @pytest.mark.contract("ST11", "ST2")
    @pytest.mark.parametrize("state", [s for s in State if s.terminal or s is State.LEASED])
    async def test_retry_is_refused_for_what_is_sent_or_has_ended(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        before = await driver.view(old.id), await driver.store.history(old.id)
        acted = await driver.act(Retry(id=old.id, actor="ann"))
        assert (acted.applied, acted.state) == (False, state)
        assert (await driver.view(old.id), await driver.store.history(old.id)) == before

    @pytest.mark.contract("OP3")
    async def test_cancel_ends_a_message_that_nobody_sends(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        acted = await driver.act(Cancel(id=accepted, actor="ann", reason="typo"))
        assert (acted.applied, acted.state, acted.pending) == (True, State.CANCELLED, False)
        view = await driver.view(accepted)
        assert (view.terminal_reason, view.completed_ms) == (Reason.REQUESTED, driver.clock.wall_ms())
        assert await driver.claim() == []

    @pytest.mark.contract("OP3")
    async def test_cancelling_what_is_being_sent_waits_for_its_end(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        accepted = await driver.send()
        await driver.claim_one()
        acted = await other.act(Cancel(id=accepted, actor="ann"))
        assert (acted.applied, acted.state, acted.pending) == (True, State.LEASED, True)
        view = await driver.view(accepted)
        assert (view.state, view.cancel_requested_ms) == (State.LEASED, driver.clock.wall_ms())

    @pytest.mark.contract("OP3")
    @pytest.mark.parametrize("name", NEVER_AGAIN)
    async def test_what_was_to_be_cancelled_is_never_scheduled_again(self, driver: StoreDriver, name: str) -> None:
        accepted = await driver.send()
        message = await driver.claim_one()
        await driver.act(Cancel(id=accepted, actor="ann"))
        before = await driver.view(accepted)
        assert await driver.settle(message, STALE[name]) is Settled.CANCEL
        assert await driver.view(accepted) == before
        assert await driver.settle(message, Transition.cancel(Reason.REQUESTED, charged=1)) is Settled.APPLIED
        assert await driver.state(accepted) is State.CANCELLED
        await driver.healthy()

    @pytest.mark.contract("OP3")
    @pytest.mark.parametrize("outcome", [Delivered("r"), Rejected("no")], ids=["delivered", "dead"])
    async def test_what_was_to_be_cancelled_ends_as_it_ended(
        self, driver: StoreDriver, outcome: Delivered | Rejected
    ) -> None:
        accepted = await driver.send()
        message = await driver.claim_one()
        await driver.act(Cancel(id=accepted, actor="ann"))
        assert await driver.settle(message, outcome) is Settled.APPLIED
        expected = State.DELIVERED if outcome == Delivered("r") else State.DEAD
        assert await driver.state(accepted) is expected

    @pytest.mark.contract("OP3", "ST2")
    @pytest.mark.parametrize("state", [state for state in State if state.terminal])
    async def test_cancel_is_refused_for_what_has_ended(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        before = await driver.view(old.id)
        acted = await driver.act(Cancel(id=old.id, actor="ann"))
        assert (acted.applied, acted.state) == (False, state)
        assert await driver.view(old.id) == before

    @pytest.mark.contract("EX1")
    async def test_a_hold_that_nobody_resolved_is_found_and_ended(self, driver: StoreDriver) -> None:
        held = []
        for _ in range(2):
            held.append(await driver.send(policy=MANUAL))
            await driver.settle(await driver.claim_one(), Uncertain("no answer"))
            driver.clock.advance(10)
        now_ms = driver.clock.wall_ms()
        assert await driver.store.overdue_holds(before_ms=now_ms - 20_000, limit=10) == []
        assert await driver.store.overdue_holds(before_ms=now_ms - 10_000, limit=10) == held[:1]
        assert await driver.store.overdue_holds(before_ms=now_ms, limit=1) == held[:1]
        acted = await driver.act(driver.burial(held[0], held_before_ms=now_ms - 10_000))
        assert (acted.applied, acted.state) == (True, State.DEAD)
        view = await driver.view(held[0])
        assert (view.terminal_reason, view.completed_ms) == (Reason.UNRESOLVED, now_ms)
        assert await driver.store.overdue_holds(before_ms=now_ms, limit=10) == held[1:]

    @pytest.mark.contract("EX1", "UN3")
    async def test_a_hold_is_ended_by_its_own_age_and_not_by_that_of_an_earlier_one(self, driver: StoreDriver) -> None:
        ids = [await driver.send(policy=MANUAL) for _ in range(2)]
        for _ in ids:
            await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        driver.clock.advance(10)
        before_ms = driver.clock.wall_ms()
        assert await driver.store.overdue_holds(before_ms=before_ms, limit=10) == ids
        assert (await driver.act(Retry(id=ids[0], actor="ann"))).applied
        await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        acts = [driver.burial(one, held_before_ms=before_ms) for one in ids]
        acted = (await driver.commit(acts=acts)).acted
        assert [(done.applied, done.state) for done in acted] == [(False, State.HELD), (True, State.DEAD)]
        await driver.healthy()
        assert (await driver.act(driver.burial(ids[0], held_before_ms=before_ms + 1))).applied
        await driver.healthy()

    @pytest.mark.contract("ST11", "FL3")
    async def test_a_paused_channel_is_not_claimed_from_until_resumed(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        accepted = await driver.send()
        mail = await driver.send(channel="mail")
        await driver.act(Pause(tenant=None, channel="chat", actor="ann", reason="maintenance"))
        assert await other.claimed_ids(channels=["chat", "mail"]) == [mail]
        assert await other.state(accepted) is State.SCHEDULED
        queue = next(queue for queue in await other.store.queues() if queue.channel == "chat")
        assert (queue.paused, queue.paused_until_ms, queue.pause_reason) == (True, None, "maintenance")
        assert (await driver.act(Resume(tenant=None, channel="chat", actor="ann"))).applied
        assert queue.id in driver.last.touched
        assert await other.claimed_ids() == [accepted]

    @pytest.mark.contract("FL3")
    async def test_a_timed_pause_ends_by_itself(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        until_ms = driver.clock.wall_ms() + 5000
        await driver.act(Pause(tenant=None, channel="chat", actor="ann", until_ms=until_ms))
        assert await driver.claim() == []
        assert driver.last.next_due_ms == {await driver.queue(): until_ms}
        driver.clock.advance(4.999)
        assert await driver.claim() == []
        driver.clock.advance(0.001)
        assert await driver.claimed_ids() == [accepted]

    @pytest.mark.contract("FL3")
    async def test_a_channel_may_be_paused_before_its_first_message(self, driver: StoreDriver) -> None:
        await driver.act(Pause(tenant=None, channel="chat", actor="ann"))
        await driver.send()
        assert await driver.claim() == []
        assert not (await driver.act(Resume(tenant=None, channel="never", actor="ann"))).applied

    @pytest.mark.contract("FL3")
    @pytest.mark.parametrize("tenant", ["acme", ""])
    async def test_a_pause_of_one_tenant_is_no_other_s(self, driver: StoreDriver, tenant: str) -> None:
        mine, other = await driver.send(tenant=tenant), await driver.send(tenant="other")
        await driver.act(Pause(tenant=tenant, channel="chat", actor="ann"))
        assert await claimed_of_all(driver) == [other]
        assert await driver.state(mine) is State.SCHEDULED
        assert (await driver.act(Resume(tenant=tenant, channel="chat", actor="ann"))).applied
        assert await claimed_of_all(driver) == [mine]

    @pytest.mark.contract("FL3")
    @pytest.mark.parametrize("until", [None, 60_000], ids=["open-ended", "timed"])
    async def test_a_pause_of_a_channel_is_every_tenant_s_of_later_ones_too(
        self, driver: StoreDriver, other: StoreDriver, until: int | None
    ) -> None:
        first = [await driver.send(tenant=tenant) for tenant in ("", "acme")]
        until_ms = None if until is None else driver.clock.wall_ms() + until
        await driver.act(Pause(tenant=None, channel="chat", actor="ann", reason="moving", until_ms=until_ms))
        later = await other.send(tenant="later")
        elsewhere = await other.send(tenant="later", channel="mail")
        assert await claimed_of_all(other) == [elsewhere]
        found = {q.tenant: q for q in await driver.store.queues() if q.channel == "chat"}
        assert {(q.paused, q.paused_until_ms, q.pause_reason) for q in found.values()} == {(True, until_ms, "moving")}
        assert found.keys() == {"", "acme", "later"}
        assert (await driver.act(Resume(tenant=None, channel="chat", actor="ann"))).applied
        assert sorted(await claimed_of_all(other)) == sorted([*first, later])
        assert await claimed_of_all(other) == []
        newest = await other.send(tenant="newest")
        assert await claimed_of_all(other) == [newest]

    @pytest.mark.contract("FL3")
    async def test_one_tenant_is_let_go_while_the_channel_is_paused(self, driver: StoreDriver) -> None:
        await driver.send()
        mine = await driver.send(tenant="acme")
        await driver.act(Pause(tenant=None, channel="chat", actor="ann"))
        assert (await driver.act(Resume(tenant="acme", channel="chat", actor="ann"))).applied
        assert await claimed_of_all(driver) == [mine]
        await driver.send(tenant="later")
        assert await claimed_of_all(driver) == []

    @pytest.mark.contract("FL3")
    async def test_a_pause_that_ran_out_is_not_that_of_a_later_tenant(self, driver: StoreDriver) -> None:
        until_ms = driver.clock.wall_ms() + 1000
        await driver.act(Pause(tenant=None, channel="chat", actor="ann", until_ms=until_ms))
        driver.clock.advance(1)
        later = await driver.send(tenant="later")
        assert [queue.paused for queue in await driver.store.queues() if queue.tenant == "later"] == [False]
        assert await claimed_of_all(driver) == [later]

    @pytest.mark.contract("FL1", "CL1")
    async def test_a_limit_on_the_channel_pauses_it_for_everybody(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(3)])
        await driver.settle(await driver.claim_one(), RateLimited("slow", scope="channel", after=30))
        assert await other.claim() == []
        driver.clock.advance(30)
        assert len(await other.claim()) == 3

    @pytest.mark.contract("FL3")
    @pytest.mark.parametrize("until", [None, 3600], ids=["open-ended", "timed"])
    async def test_a_person_s_pause_is_not_shortened_by_the_platform(
        self, driver: StoreDriver, until: int | None
    ) -> None:
        await driver.enqueue(*[driver.draft() for _ in range(3)])
        one, two = await driver.claim(2)
        until_ms = None if until is None else driver.clock.wall_ms() + until * 1000
        await driver.act(Pause(tenant=None, channel="chat", actor="ann", until_ms=until_ms))
        await driver.settle(one, RateLimited("slow", scope="channel", after=1))
        await driver.settle(two, Delivered("r"))
        driver.clock.advance(60)
        assert await driver.claim() == []
        (queue,) = await driver.store.queues()
        assert (queue.paused, queue.paused_until_ms) == (True, until_ms)

    @pytest.mark.contract("FL2")
    async def test_a_closed_endpoint_stays_paused_until_somebody_resumes_it(self, driver: StoreDriver) -> None:
        await driver.enqueue(driver.draft(), driver.draft())
        await driver.settle(await driver.claim_one(), Rejected("gone", about="endpoint"))
        driver.clock.advance(10**7)
        assert await driver.claim() == []
        await driver.act(Resume(tenant=None, channel="chat", actor="ann"))
        assert len(await driver.claim()) == 1

    @pytest.mark.contract("ST10", "ST1")
    @pytest.mark.parametrize("keep", [False, True], ids=["outcomes", "full"])
    async def test_history_shows_every_transition_as_one_chain(
        self, driver: StoreDriver, other: StoreDriver, *, keep: bool
    ) -> None:
        accepted = await driver.send(policy=MANUAL, origin="billing")
        await self._step(driver, Deferred("busy"), keep=keep)
        await self._step(driver, RateLimited("slow"), keep=keep)
        await driver.claim()
        driver.clock.advance(LEASE_MS / 1000)
        await other.reap()
        driver.clock.advance(1)
        await driver.act(Retry(id=accepted, actor="ann", reason="looked at it"))
        await self._step(driver, Delivered("r-1"), keep=keep)
        events = await driver.store.history(accepted)
        chained(events)
        assert [str(event.to_state) for event in events] == [
            "scheduled", "leased", "scheduled", "leased", "scheduled", "leased", "held", "scheduled", "leased",
            "delivered",
        ]  # fmt: skip
        assert events[0].actor == "billing"
        order = next(event for event in events if event.act == "retry")
        assert (order.actor, order.reason) == ("ann", "looked at it")
        assert [event.attempt for event in events if event.act == "claim"] == [1, 2, 3, 4]
        assert [event.outcome for event in events if event.act == "settle"] == [
            "transient", "rate_limited", "worker_lost", "delivered",
        ]  # fmt: skip
        assert events[-1].receipt == "r-1"
        assert all(event.actor for event in events)

    @pytest.mark.contract("ST10")
    @pytest.mark.parametrize("state", list(State))
    async def test_history_ends_where_the_message_is(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        events = await driver.store.history(old.id)
        chained(events)
        assert events[-1].to_state is state

    @pytest.mark.contract("ST10")
    async def test_history_of_a_first_time_success_is_told_from_its_row(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        driver.clock.advance(1)
        message = await driver.claim_one()
        claimed_ms = driver.clock.wall_ms()
        driver.clock.advance(1)
        await driver.deliver(message, receipt="r-1")
        events = await driver.store.history(accepted)
        chained(events)
        assert [(event.act, event.at_ms) for event in events] == [
            ("enqueue", claimed_ms - 1000), ("claim", claimed_ms), ("settle", claimed_ms + 1000),
        ]  # fmt: skip
        assert (events[-1].outcome, events[-1].receipt, events[-1].attempt) == ("delivered", "r-1", 1)

    @pytest.mark.contract("ST10")
    async def test_a_full_history_keeps_every_attempt_with_its_answer(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        message = await driver.claim_one()
        began_ms = driver.clock.wall_ms()
        driver.clock.advance(0.25)
        await driver.settle(message, Delivered("r-1", answer='{"ok": 1}'), keep_attempt=True, began_ms=began_ms)
        end = (await driver.store.history(accepted))[-1]
        assert (end.began_ms, end.at_ms, end.receipt, end.answer) == (began_ms, began_ms + 250, "r-1", '{"ok": 1}')

    @pytest.mark.contract("ST10")
    @pytest.mark.parametrize(
        "outcome",
        [
            Rejected("no", answer="a reply"),
            Deferred("later", answer="a reply"),
            Uncertain("who knows", answer="a reply"),
            RateLimited("slow down", answer="a reply"),
            Unavailable("no key", answer="a reply"),
        ],
        ids=lambda outcome: type(outcome).__name__,
    )
    async def test_an_attempt_that_failed_keeps_its_answer_in_any_history(
        self, driver: StoreDriver, outcome: Rejected
    ) -> None:
        accepted = await driver.send()
        await driver.settle(await driver.claim_one(), outcome)
        assert (await driver.store.history(accepted))[-1].answer == "a reply"
        facts = await driver.store.facts(accepted, now_ms=driver.clock.wall_ms())
        assert facts is not None
        assert facts.subject.answer == "a reply"

    @pytest.mark.contract("ST10")
    async def test_history_tells_of_orders_and_of_an_unreadable_message(
        self, driver: StoreDriver, backstage: Backstage
    ) -> None:
        cancelled, unreadable = await driver.send(), await driver.send()
        driver.clock.advance(1)
        await driver.act(Cancel(id=cancelled, actor="ann", reason="typo"))
        events = await driver.store.history(cancelled)
        chained(events)
        assert (events[-1].actor, events[-1].reason) == ("ann", "typo")
        await backstage.lose_content(unreadable)
        await driver.claim()
        events = await driver.store.history(unreadable)
        chained(events)
        assert events[-1].reason == Reason.UNREADABLE

    @pytest.mark.contract("ST10")
    async def test_an_unknown_message_has_no_history(self, driver: StoreDriver) -> None:
        assert await driver.store.history(driver.draft().id) == []
        assert await driver.store.get(driver.draft().id) is None

    @pytest.mark.contract("OP1")
    async def test_messages_are_listed_newest_first_by_filter_and_page(self, driver: StoreDriver) -> None:
        ids = []
        for place in range(6):
            correlation = f"turn-{place % 2}"
            recipient = f"r{place}"
            ids.append(await driver.send(correlation_id=correlation, recipient=recipient, lane=f"l{place % 3}"))
            driver.clock.advance(1)
        await driver.deliver_next()
        assert await self._listed(driver, Query()) == ids[::-1]
        assert await self._listed(driver, Query(states=(State.DELIVERED,))) == ids[:1]
        assert await self._listed(driver, Query(states=(State.DELIVERED, State.SCHEDULED))) == ids[::-1]
        assert await self._listed(driver, Query(correlation_id="turn-1")) == [ids[5], ids[3], ids[1]]
        assert await self._listed(driver, Query(recipient="r2")) == [ids[2]]
        assert await self._listed(driver, Query(lane="l1")) == [ids[4], ids[1]]
        assert await self._listed(driver, Query(channel="mail")) == []
        assert await self._listed(driver, Query(tenant="acme")) == []
        start_ms = (await driver.view(ids[0])).created_ms
        span = Query(created_from_ms=start_ms + 1000, created_to_ms=start_ms + 3000)
        assert await self._listed(driver, span) == [ids[2], ids[1]]
        page = await driver.store.list_messages(Query(limit=4))
        assert await self._listed(driver, Query(limit=4, before_seq=page[-1].seq)) == ids[1::-1]
        assert {view.content for view in page} == {None}

    @pytest.mark.contract("OP1", "ST6")
    async def test_a_message_is_listed_under_the_state_it_is_shown_in(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.LEASED)
        await driver.settle(old, Delivered("late"))
        assert await self._listed(driver, Query(states=(State.DELIVERED,))) == [old.id]
        assert await self._listed(driver, Query(states=(State.LEASED,))) == []

    @pytest.mark.contract("DR1")
    async def test_what_is_due_and_what_comes_later_is_counted(self, driver: StoreDriver) -> None:
        now_ms = driver.clock.wall_ms()
        await driver.enqueue(*[driver.draft(due_ms=now_ms + wait) for wait in (-1, 0, 1)])
        await driver.send(channel="mail")

        async def counted(*channels: str) -> tuple[int, int]:
            found = await driver.store.backlog(now_ms=now_ms, channels=channels, worker=driver.worker)
            assert (found.lost, found.ours, found.others) == (0, 0, 0)
            return found.due, found.later

        assert await counted("chat") == (2, 1)
        assert await counted("chat", "mail") == (3, 1)
        assert await counted() == (0, 0)

    @pytest.mark.contract("DR1", "LE4")
    async def test_what_is_leased_and_what_waits_after_a_lost_worker_is_counted_apart(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        await driver.send()
        for _ in range(2):
            await driver.claim(1)
            await driver.leave()
            await other.reap()
        await driver.enqueue(*[driver.draft(due_ms=driver.clock.wall_ms() + 1) for _ in range(2)])
        await driver.enqueue(*[driver.draft() for _ in range(6)])
        await driver.claim(1)
        await other.claim(3)
        found = await driver.store.backlog(now_ms=driver.clock.wall_ms(), channels=("chat",), worker=driver.worker)
        assert found == Backlog(due=2, later=2, lost=1, ours=1, others=3)

    @pytest.mark.contract("DR1", "ST6")
    async def test_what_arrived_while_it_was_leased_is_not_counted_as_being_sent(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.LEASED)
        await driver.settle(old, Delivered("late"))
        now_ms = driver.clock.wall_ms()
        assert await driver.store.backlog(now_ms=now_ms, channels=("chat",), worker=driver.worker) == Backlog()

    async def _step(self, driver: StoreDriver, outcome: Deferred | RateLimited | Delivered, *, keep: bool) -> None:
        """Claim, answer, and let the next attempt become due."""
        driver.clock.advance(1)
        message = await driver.claim_one()
        driver.clock.advance(1)
        await driver.settle(message, outcome, keep_attempt=keep)
        driver.clock.advance(600)

    async def _listed(self, driver: StoreDriver, query: Query) -> list[MessageId]:
        return [view.id for view in await driver.store.list_messages(query)]


def chained(events: Sequence[Event]) -> None:
    """Check that each event begins in the state in which the one before it ended, by a move of the table."""
    assert (events[0].act, events[0].from_state, events[0].to_state) == ("enqueue", None, State.SCHEDULED)
    for before, event in itertools.pairwise(events):
        assert event.from_state is before.to_state, (before, event)
        assert event.at_ms >= before.at_ms
        assert event.from_state is event.to_state or (event.from_state, event.to_state) in MOVES, event
