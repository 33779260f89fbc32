"""What has ended comes back only as a new message, once, whole, under the old token (contract ST2, UN2); or goes."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import pytest

from pillarbox.domain.ids import MessageId, message_id
from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Draft, State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.retry import PartsMode
from pillarbox.domain.transition import Reason
from pillarbox.errors import KeyConflict, QueueFull, Refused
from pillarbox.store.base import Acted, Cancel, Prune, Purge, Replay, Resolve, Settled
from pillarbox.testing.store_suite.accepting import OF_THE_DRAFT_ONLY, full_draft
from pillarbox.testing.store_suite.driver import POLICY, Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures
from pillarbox.testing.store_suite.operating import chained
from pillarbox.testing.store_suite.resolving import PARTS, held, split
from pillarbox.testing.store_suite.states import TERMINAL, in_state

BEST_EFFORT: Final = msgspec.structs.replace(POLICY, parts=PartsMode.BEST_EFFORT)
LARGE: Final = b'"' + b"x" * 5000 + b'"'
# What a replay does not take over, or gives anew.
ITS_OWN: Final = frozenset(
    {"id", "key", "digest", "created_ms", "not_before_ms", "due_ms", "expires_ms", "replay_of", "token_id",
     "token_epoch", "group_id", "accepted_by", "admission", "mirror"}
)  # fmt: skip


class ReplayingSuite(StoreFixtures):
    """Replays and deletions."""

    @pytest.mark.contract("ST2")
    async def test_an_order_sees_what_a_replay_of_the_same_batch_has_made(self, driver: StoreDriver) -> None:
        original = await driver.send()
        await driver.deliver_next()
        copy, another = driver.draft().id, driver.draft().id
        result = await driver.commit(
            acts=[
                Replay(id=original, new_id=copy, actor="ops", fresh=True),
                Replay(id=copy, new_id=another, actor="ops", fresh=True),
            ]
        )
        assert [(acted.applied, acted.state) for acted in result.acted] == [
            (True, State.DELIVERED),
            (False, State.SCHEDULED),
        ]

    @pytest.mark.contract("ST2")
    @pytest.mark.parametrize("state", TERMINAL)
    async def test_what_has_ended_is_sent_once_more_as_a_new_message_and_stays_as_it_was(
        self, driver: StoreDriver, state: State
    ) -> None:
        old, _ = await in_state(driver, state)
        before = await driver.view(old.id)
        driver.clock.advance(1)
        acted, new = await replay(driver, old.id, reason="the address is fixed")
        assert (acted.applied, acted.state) == (True, state)
        assert await driver.view(old.id) == before
        view = await driver.view(new)
        assert (view.state, view.replay_of, view.content) == (State.SCHEDULED, old.id, before.content)
        assert (view.claims, view.charged, view.lost, view.receipt) == (0, 0, 0, None)
        assert await driver.queue() in driver.last.touched
        message = await driver.claim_one()
        assert message.id == new
        token = (None, 0) if state is State.DELIVERED else (old.id, 0)
        assert (message.token_id, message.token_epoch) == token
        await driver.deliver(message)
        await driver.healthy()

    @pytest.mark.contract("ST2", "ST1")
    @pytest.mark.parametrize("state", [state for state in State if not state.terminal])
    async def test_what_has_not_ended_is_not_replayed_and_its_state_is_told(
        self, driver: StoreDriver, state: State
    ) -> None:
        old, _ = await in_state(driver, state)
        before = await driver.view(old.id), await driver.store.history(old.id)
        acted, new = await replay(driver, old.id, fresh=True)
        assert (acted.applied, acted.state, acted.refused) == (False, state, None)
        assert await driver.store.get(new) is None
        assert (await driver.view(old.id), await driver.store.history(old.id)) == before
        unknown, _ = await replay(driver, driver.draft().id)
        assert (unknown.applied, unknown.state) == (False, None)

    @pytest.mark.contract("ST2", "ST6")
    async def test_what_arrived_while_it_is_sent_again_has_not_ended(self, driver: StoreDriver) -> None:
        old, last = await in_state(driver, State.LEASED)
        await driver.settle(old, Delivered("late"))
        acted, _ = await replay(driver, old.id)
        assert (acted.applied, acted.state) == (False, State.DELIVERED)
        assert (await purge(driver, old.id)).applied is False
        await driver.settle(last, Deferred("busy"))
        assert (await replay(driver, old.id))[0].applied
        await driver.healthy()

    @pytest.mark.contract("ST2", "EN2")
    async def test_a_replay_keeps_every_option_but_its_key_and_its_times(self, driver: StoreDriver) -> None:
        draft = full_draft(driver)
        await driver.enqueue(draft)
        await driver.act(Cancel(id=draft.id, actor="ann"))
        driver.clock.advance(10)
        _, new = await replay(driver, draft.id)
        view = await driver.view(new)
        for name in set(Draft.__struct_fields__) - OF_THE_DRAFT_ONLY - ITS_OWN:
            assert getattr(view, name) == getattr(draft, name), name
        now_ms = driver.clock.wall_ms()
        assert (view.key, view.replay_of, view.not_before_ms) == (None, draft.id, None)
        assert (view.created_ms, view.due_ms, view.expires_ms) == (now_ms, now_ms, now_ms + 90_500)
        message = await driver.claim_one()
        assert (message.token_id, message.token_epoch) == (draft.token_id, draft.token_epoch)
        # The key still stands for the first one, and for nothing else.
        again = driver.draft(key=draft.key, digest=b"other")
        assert isinstance(await driver.refusal(again), KeyConflict)

    @pytest.mark.contract("ST2", "UN2")
    async def test_the_token_is_the_first_one_s_through_replays_of_replays(self, driver: StoreDriver) -> None:
        message = await held(driver)
        await driver.act(Resolve(id=message.id, actor="ann", verdict=Verdict.RESEND, force_copy=True))
        await driver.settle(await driver.claim_one(), Uncertain("no answer"))
        await driver.act(driver.burial(message.id))
        original = message.id
        for _ in range(2):
            _, new = await replay(driver, message.id)
            message = await driver.claim_one()
            assert (message.id, message.token_id, message.token_epoch) == (new, original, 1)
            await driver.settle(message, Rejected("no"))
        _, new = await replay(driver, message.id, fresh=True)
        message = await driver.claim_one()
        assert (message.id, message.token_id, message.token_epoch) == (new, None, 0)

    @pytest.mark.contract("ST2")
    async def test_what_is_on_its_way_or_arrived_by_a_replay_is_not_replayed_again(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.DEAD)
        _, first = await replay(driver, old.id)
        for _ in range(2):
            acted, second = await replay(driver, old.id)
            assert (acted.applied, acted.state, type(acted.refused)) == (False, State.DEAD, Refused)
            assert first in str(acted.refused)
            assert await driver.store.get(second) is None
            if await driver.state(first) is State.SCHEDULED:
                await driver.deliver_next()
        acted, copy = await replay(driver, old.id, fresh=True)
        assert acted.applied
        assert (await driver.claim_one()).id == copy

    @pytest.mark.contract("ST2")
    async def test_a_replay_that_failed_may_be_followed_and_its_own_replay_counts(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.DEAD)
        _, first = await replay(driver, old.id)
        await driver.settle(await driver.claim_one(), Rejected("no"))
        _, second = await replay(driver, first)
        acted, _ = await replay(driver, old.id)
        assert second in str(acted.refused)
        await driver.settle(await driver.claim_one(), Rejected("no"))
        assert (await replay(driver, old.id))[0].applied
        await driver.healthy()

    @pytest.mark.contract("ST2")
    @pytest.mark.parametrize("order", [(0, 2), (2, 0), (1, 0, 2)])
    async def test_of_a_message_and_its_replays_one_batch_replays_one(
        self, driver: StoreDriver, order: tuple[int, ...]
    ) -> None:
        dead, _ = await in_state(driver, State.DEAD)
        family = [dead.id]
        for _ in range(2):
            family.append((await replay(driver, family[-1]))[1])
            await driver.settle(await driver.claim_one(), Rejected("no"))
        others = [(await in_state(driver, State.DEAD))[0].id for _ in range(2)]
        asked = [others[0], *(family[index] for index in order), others[1]]
        result = await driver.commit(acts=[Replay(id=old, new_id=driver.draft().id, actor="ops") for old in asked])
        # What an older one's replay is known of, its own replays are not asked about: only those that follow it.
        follows = [index for place, index in enumerate(order) if any(index <= made for made in order[:place])]
        expected = [True, *(index not in follows for index in order), True]
        assert [acted.applied for acted in result.acted] == expected
        await driver.healthy()

    @pytest.mark.contract("ST2", "ST7")
    async def test_of_two_operators_who_replay_at_the_same_time_one_does(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        for _ in range(10):
            old, _ = await in_state(driver, State.DEAD)
            both = await asyncio.gather(replay(driver, old.id), replay(other, old.id))
            (won,) = [new for acted, new in both if acted.applied]
            (lost,) = [acted for acted, _ in both if not acted.applied]
            assert won in str(lost.refused)
            await driver.deliver_next()
        await driver.healthy()

    @pytest.mark.contract("ST2", "LA1")
    async def test_a_replay_goes_to_the_tail_of_its_lane(self, driver: StoreDriver) -> None:
        old = await driver.send(lane="l")
        await driver.settle(await driver.claim_one(), Rejected("no"))
        before = await driver.send_in_turn("l", 2)
        _, new = await replay(driver, old)
        behind = await driver.send(lane="l")
        assert [await driver.deliver_next() for _ in range(4)] == [*before, new, behind]
        await driver.healthy()

    @pytest.mark.contract("ST2", "EN5")
    async def test_a_replay_of_what_does_not_fit_writes_nothing(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(messages=1))
        old, _ = await in_state(driver, State.DEAD)
        waiting = await driver.send()
        acted, new = await replay(driver, old.id)
        assert (acted.applied, acted.state, type(acted.refused)) == (False, State.DEAD, QueueFull)
        assert await driver.store.get(new) is None
        assert not any(event.act == "replay" for event in await driver.store.history(old.id))
        await driver.healthy()
        await driver.act(Cancel(id=waiting, actor="ann"))
        assert (await replay(driver, old.id))[0].applied
        await driver.healthy()

    @pytest.mark.contract("ST2", "EN5")
    @pytest.mark.parametrize(
        "limits",
        [
            Limits(channel_messages=1),
            Limits(channels={"chat": 1}),
            Limits(recipient_messages=1),
            Limits(tenant_messages=1),
            Limits(bytes=100),
        ],
        ids=["channel", "named channel", "recipient", "tenant", "bytes"],
    )
    async def test_every_limit_holds_for_replays(self, open_limited: OpenDriver, limits: Limits) -> None:
        driver = await open_limited(limits=limits)
        old = await driver.send(content=b'"' + b"x" * 58 + b'"')
        await driver.settle(await driver.claim_one(), Rejected("no"))
        assert (await replay(driver, old, fresh=True))[0].applied
        acted, _ = await replay(driver, old, fresh=True)
        assert isinstance(acted.refused, QueueFull)
        await driver.healthy()

    @pytest.mark.contract("ST2", "CO2")
    async def test_content_kept_apart_is_shared_and_goes_with_the_last(
        self, driver: StoreDriver, backstage: Backstage
    ) -> None:
        old = await driver.send(content=LARGE)
        await driver.settle(await driver.claim_one(), Rejected("no"))
        _, new = await replay(driver, old)
        assert await backstage.stored_contents() == 1
        assert (await purge(driver, old)).applied
        assert await backstage.stored_contents() == 1
        message = await driver.claim_one()
        assert (message.id, message.content) == (new, LARGE)
        await driver.deliver(message)
        assert (await purge(driver, new)).applied
        assert await backstage.stored_contents() == 0
        await driver.healthy()

    @pytest.mark.contract("ST2", "PR3")
    async def test_what_it_said_being_gone_nothing_is_replayed(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.DEAD)
        driver.clock.advance(1)
        now_ms = driver.clock.wall_ms()
        await driver.commit(prune=Prune(before_ms={}, keys_until_ms=0, audit_before_ms=0, scrub_before_ms=now_ms))
        acted, new = await replay(driver, old.id, fresh=True)
        assert (acted.applied, acted.state, type(acted.refused)) == (False, State.DEAD, Refused)
        assert "deleted" in str(acted.refused)
        assert await driver.store.get(new) is None
        await driver.healthy()

    @pytest.mark.contract("ST2", "ST9")
    async def test_an_unreadable_policy_is_told_and_harms_nobody(
        self, driver: StoreDriver, backstage: Backstage
    ) -> None:
        bad, _ = await in_state(driver, State.DEAD)
        good, _ = await in_state(driver, State.DEAD)
        await backstage.spoil_policy(bad.id)
        acts = [Replay(id=old.id, new_id=fresh_id(driver), actor="ann") for old in (bad, good)]
        refused, applied = (await driver.commit(acts=acts)).acted
        assert (refused.applied, applied.applied) == (False, True)
        assert "cannot be read" in str(refused.refused)
        await driver.healthy()

    @pytest.mark.contract("ST2", "PA3", "UN2")
    async def test_delivered_parts_are_not_sent_again(self, driver: StoreDriver) -> None:
        old = await split(driver, policy=POLICY)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        await driver.settle(await driver.claim_one(), Rejected("too long"))
        _, new = await replay(driver, old)
        message = await driver.claim_one()
        assert (message.id, message.content, message.part_next, message.receipts) == (new, b'"b"', 1, ("r1",))
        # A token names its part by number, and the numbers are the same.
        assert (message.token_id, message.token_epoch) == (old, 0)
        await driver.settle(message, Delivered("r2"))
        await driver.settle(await driver.claim_one(), Delivered("r3"))
        view = await driver.view(new)
        assert [(part.state, part.receipt, part.content) for part in view.parts] == [
            (State.DELIVERED, "r1", b'"a"'), (State.DELIVERED, "r2", b'"b"'), (State.DELIVERED, "r3", b'"c"'),
        ]  # fmt: skip
        assert view.state is State.DELIVERED
        chained(await driver.store.history(new))
        assert [part.state for part in (await driver.view(old)).parts] == [
            State.DELIVERED, State.DEAD, State.CANCELLED,
        ]  # fmt: skip
        await driver.healthy()

    @pytest.mark.contract("ST2", "PA4", "UN2")
    async def test_a_delivered_part_behind_a_rejected_one_is_not_sent_again_either(self, driver: StoreDriver) -> None:
        old = await split(driver, policy=BEST_EFFORT)
        for outcome in (Rejected("too long"), Delivered("r2"), Delivered("r3")):
            await driver.settle(await driver.claim_one(), outcome)
        assert (await driver.view(old)).terminal_reason == Reason.PARTIAL
        _, new = await replay(driver, old)
        message = await driver.claim_one()
        assert (message.content, message.part_next, message.receipts) == (b'"a"', 2, ("r2", "r3"))
        # It has another number now, and that number's old token belongs to a part that was delivered.
        assert (message.token_id, message.token_epoch) == (None, 0)
        await driver.settle(message, Delivered("r1"))
        assert await driver.state(new) is State.DELIVERED
        await driver.healthy()

    @pytest.mark.contract("ST2", "PA3")
    @pytest.mark.parametrize("delivered", [False, True])
    async def test_a_fresh_replay_sends_every_part_and_so_does_one_of_what_was_delivered(
        self, driver: StoreDriver, *, delivered: bool
    ) -> None:
        old = await split(driver, policy=POLICY)
        await driver.settle(await driver.claim_one(), Delivered("r1"))
        for outcome in (Delivered("r2"), Delivered("r3")) if delivered else (Rejected("no"),):
            await driver.settle(await driver.claim_one(), outcome)
        await replay(driver, old, fresh=not delivered)
        sent = []
        while messages := await driver.claim(1):
            sent.append((messages[0].content, messages[0].receipts, messages[0].token_id))
            await driver.settle(messages[0], Delivered("again"))
        assert sent == [(part, ("again",) * number, None) for number, part in enumerate(PARTS)]
        await driver.healthy()

    @pytest.mark.contract("ST2", "ST10")
    async def test_the_history_of_both_tells_of_a_replay_with_who_and_why(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        driver.clock.advance(1)
        await driver.deliver_next()
        _, new = await replay(driver, accepted, reason="ann lost it")
        driver.clock.advance(1)
        events = await driver.store.history(accepted)
        chained(events)
        assert [event.act for event in events] == ["enqueue", "claim", "settle", "replay"]
        assert (events[-1].actor, events[-1].reason) == ("ann", f"as {new}: ann lost it")
        events = await driver.store.history(new)
        chained(events)
        assert [(event.act, event.actor, event.reason) for event in events] == [
            ("enqueue", "application", f"replay of {accepted}"),
            ("replay", "ann", f"of {accepted}: ann lost it"),
        ]

    @pytest.mark.contract("PA2", "ST10")
    async def test_the_history_of_a_split_message_tells_when_each_part_got_through(self, driver: StoreDriver) -> None:
        accepted = await split(driver, policy=POLICY)
        for outcome in (Delivered("r1"), Deferred("busy"), Delivered("r2"), Delivered("r3")):
            driver.clock.advance(10)
            message = await driver.claim_one()
            driver.clock.advance(1)
            await driver.settle(message, outcome)
        events = await driver.store.history(accepted)
        chained(events)
        told = [(event.act, event.reason, event.receipt) for event in events if event.outcome == "delivered"]
        assert told == [("part", "part 1 of 3", "r1"), ("part", "part 2 of 3", "r2"), ("settle", None, "r3")]

    @pytest.mark.contract("PA4", "ST10")
    async def test_the_history_tells_of_a_part_that_ended_its_message_as_partial(self, driver: StoreDriver) -> None:
        accepted = await split(driver, policy=BEST_EFFORT)
        for outcome in (Rejected("too long"), Delivered("r2"), Delivered("r3")):
            await driver.settle(await driver.claim_one(), outcome)
        events = await driver.store.history(accepted)
        chained(events)
        assert [event.receipt for event in events if event.act == "part"] == ["r2", "r3"]
        assert events[-1].to_state is State.DEAD

    # --- deletion

    @pytest.mark.contract("OP1")
    @pytest.mark.parametrize("state", TERMINAL)
    async def test_what_has_ended_is_deleted_whatever_its_retention(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        driver.clock.advance(1)
        acted = await purge(driver, old.id, reason="asked to forget")
        assert (acted.applied, acted.state) == (True, None)
        assert await driver.store.get(old.id) is None
        (event,) = [event for event in await driver.store.history(old.id) if event.act == "purge"]
        assert (event.actor, event.reason, event.from_state) == ("ann", "asked to forget", state)
        again = await purge(driver, old.id)
        assert (again.applied, again.state) == (False, None)
        await driver.healthy()

    @pytest.mark.contract("OP1", "ST1")
    @pytest.mark.parametrize("state", [state for state in State if not state.terminal])
    async def test_what_has_not_ended_is_never_deleted(self, driver: StoreDriver, state: State) -> None:
        old, _ = await in_state(driver, state)
        before = await driver.view(old.id), await driver.store.history(old.id)
        acted = await purge(driver, old.id)
        assert (acted.applied, acted.state) == (False, state)
        assert (await driver.view(old.id), await driver.store.history(old.id)) == before
        await driver.healthy()

    @pytest.mark.contract("OP1", "ST10")
    async def test_attempts_and_parts_go_with_it_full_ones_too(self, driver: StoreDriver) -> None:
        old = await split(driver, policy=POLICY)
        await driver.settle(await driver.claim_one(), Delivered("r1", answer="secret"), keep_attempt=True)
        await driver.settle(await driver.claim_one(), Rejected("no"), keep_attempt=True)
        assert (await purge(driver, old)).applied
        assert [event.act for event in await driver.store.history(old)] == ["purge"]
        # The next message of the same shape has parts of its own.
        again = await split(driver, policy=POLICY)
        assert [part.state for part in (await driver.view(again)).parts] == [State.SCHEDULED] * 3

    @pytest.mark.contract("OP1", "EN7")
    async def test_a_key_outlives_the_deletion_for_as_long_as_it_was_told(self, driver: StoreDriver) -> None:
        draft = driver.draft(key="k", digest=b"1")
        await driver.enqueue(draft)
        await driver.deliver_next()
        driver.clock.advance(1)
        now_ms = driver.clock.wall_ms()
        await purge(driver, draft.id, keys_until_ms=now_ms + 5000)
        (accepted,) = await driver.enqueue(driver.draft(key="k", digest=b"1"))
        assert (accepted.id, accepted.created) == (draft.id, False)
        driver.clock.advance(6)
        await driver.commit(prune=Prune(before_ms={}, keys_until_ms=0, audit_before_ms=0))
        (accepted,) = await driver.enqueue(driver.draft(key="k", digest=b"1"))
        assert accepted.created

    @pytest.mark.contract("OP1", "ST2")
    async def test_of_a_replay_and_a_deletion_at_the_same_time_each_is_whole(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        for _ in range(10):
            old, _ = await in_state(driver, State.DEAD)
            (acted, new), gone = await asyncio.gather(replay(driver, old.id), purge(other, old.id))
            assert gone.applied
            if acted.applied:
                assert (await driver.claim_one()).id == new
                await driver.settle(driver.last.claimed[0], Delivered("r"))
            else:
                assert await driver.store.get(new) is None
        await driver.healthy()

    @pytest.mark.contract("ST6", "OP1")
    async def test_a_late_answer_to_what_was_deleted_changes_nothing(self, driver: StoreDriver) -> None:
        old, _ = await in_state(driver, State.DEAD)
        await purge(driver, old.id)
        assert await driver.settle(old, Delivered("late")) is Settled.STALE
        assert await driver.everything() == []
        await driver.healthy()


def fresh_id(driver: StoreDriver) -> MessageId:
    """Make an id that nobody has."""
    return message_id(driver.clock.wall_ms(), driver.entropy.token(10))


async def replay(driver: StoreDriver, old: MessageId, **fields: Any) -> tuple[Acted, MessageId]:
    """Replay a message in ann's name; return the new one's id too."""
    new = fresh_id(driver)
    return await driver.act(Replay(id=old, new_id=new, actor="ann", **fields)), new


async def purge(driver: StoreDriver, old: MessageId, **fields: Any) -> Acted:
    """Delete a message in ann's name."""
    values: dict[str, Any] = {"keys_until_ms": driver.clock.wall_ms()} | fields
    return await driver.act(Purge(id=old, actor="ann", **values))
