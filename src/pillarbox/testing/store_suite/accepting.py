"""Accepted messages are there, whole, unchanged, and all or none (contract EN1, EN2, EN8, EN10, CO2)."""

from __future__ import annotations

from typing import Any, Final

import pytest

from pillarbox.domain.envelope import Kind, Op, Priority
from pillarbox.domain.message import Admission, Content, Draft, Leased, State, encode_content
from pillarbox.domain.outcome import Deferred
from pillarbox.domain.retry import OnDead, OnHeld, Policy, UncertainAction
from pillarbox.errors import InvalidMessage, KeyConflict
from pillarbox.store.base import AdmissionWrite, Enqueued, Prune
from pillarbox.testing.store_suite.driver import Backstage, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

# Around 2 KiB, where a store may keep contents apart; one byte; quotes, an escaped NUL, line ends, several scripts.
CONTENTS: Final = {
    "one byte": b"1",
    "empty object": b"{}",
    "quotes": encode_content(Content(text='it\'s "so" \\ -- ; ? :a $1 %s')),
    "controls": encode_content(Content(text="a\0b\r\nc\x1b")),
    "scripts": encode_content(Content(text="Grüße, мир, 世界, \U0001f4ee\u200d, e\u0301")),
    "2047 bytes": b'"' + b"x" * 2045 + b'"',
    "2048 bytes": b'"' + b"x" * 2046 + b'"',
    "2049 bytes": b'"' + b"x" * 2047 + b'"',
    "256 KiB": b'"' + "é".encode() * 131_071 + b'"',
}
# What a view names otherwise than a draft, or has besides.
OF_THE_DRAFT_ONLY: Final = frozenset(
    {"digest", "token_id", "token_epoch", "accepted_by", "admission", "mirror", "files"}
)


def full_draft(driver: StoreDriver, **fields: Any) -> Draft:
    """Make a message that uses every option there is."""
    now_ms = driver.clock.wall_ms()
    policy = Policy(
        schedule=(1.5, 7.0),
        max_attempts=7,
        ttl_seconds=90.5,
        uncertain=UncertainAction.HOLD,
        on_dead=OnDead.BLOCK,
        on_held=OnHeld.BLOCK,
        jitter=0.5,
    )
    values: dict[str, Any] = {
        "recipient": "ann@example.org",
        "policy": policy,
        "account": "shop",
        "thread": "t-1",
        "kind": Kind.TOOL,
        "op": Op.EDIT,
        "target": "r-9",
        "group_id": "g-1",
        "priority": Priority.HIGH,
        "not_before_ms": now_ms + 1000,
        "expires_ms": now_ms + 91_500,
        "lane": "chat/shop/ann",
        "max_attempts": 9,
        "key": "order-7",
        "digest": b"\0\1digest\xff",
        "collapse_key": "status",
        "origin": "billing",
        "correlation_id": "turn-3",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "metadata": '{"a": [1, "é"]}'.encode(),
        "replay_of": "AZMgQ2V6cAAAAAAAAAAAAA",
        "token_id": "AZMgQ2V6cAAAAAAAAAAAAQ",
        "token_epoch": 3,
        "accepted_by": b"worker",
        "admission": Admission(recipient="ann@example.org", splitter=None),
    }
    return driver.draft(**values | fields)


class AcceptingSuite(StoreFixtures):
    """Accepted messages."""

    @pytest.mark.contract("EN1")
    async def test_an_accepted_message_is_seen_through_another_handle(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        accepted = await driver.send()
        assert (await other.view(accepted)).state is State.SCHEDULED
        assert await other.claimed_ids() == [accepted]

    @pytest.mark.contract("EN1")
    async def test_an_accepted_message_is_there_after_every_handle_was_closed(
        self, driver: StoreDriver, open_driver: OpenDriver
    ) -> None:
        accepted = await driver.send(text="still here")
        await driver.store.close()
        later = await open_driver()
        assert (await later.view(accepted)).content == encode_content(Content(text="still here"))

    @pytest.mark.contract("EN2")
    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    async def test_content_comes_back_byte_for_byte(self, driver: StoreDriver, content: bytes) -> None:
        accepted = await driver.send(content=content)
        assert (await driver.view(accepted)).content == content
        assert (await driver.view(accepted)).content_size == len(content)
        assert (await driver.claim_one()).content == content

    @pytest.mark.contract("EN2", "EN10")
    async def test_every_option_comes_back_as_it_was_given(self, driver: StoreDriver) -> None:
        draft = full_draft(driver)
        await driver.enqueue(draft)
        view = await driver.view(draft.id)
        for name in set(Draft.__struct_fields__) - OF_THE_DRAFT_ONLY:
            assert getattr(view, name) == getattr(draft, name), name
        assert not view.prepared

    @pytest.mark.contract("EN2", "EN10")
    async def test_every_option_reaches_the_one_who_sends(self, driver: StoreDriver) -> None:
        draft = full_draft(driver)
        await driver.enqueue(draft)
        driver.clock.advance(1)
        leased = await driver.claim_one()
        shared = set(Draft.__struct_fields__) & set(type(leased).__struct_fields__)
        for name in shared:
            assert getattr(leased, name) == getattr(draft, name), name
        assert not leased.prepared

    @pytest.mark.contract("EN2")
    async def test_a_message_without_options_has_none(self, driver: StoreDriver) -> None:
        view = await driver.view(await driver.send())
        absent = ("thread", "target", "lane", "not_before_ms", "expires_ms", "key", "correlation_id", "metadata")
        assert [getattr(view, name) for name in absent] == [None] * len(absent)
        assert not view.prepared

    @pytest.mark.contract("EN2")
    async def test_the_content_is_the_same_at_every_attempt(self, driver: StoreDriver) -> None:
        content = CONTENTS["2049 bytes"]
        await driver.send(content=content)
        seen: list[Leased] = []
        for _ in range(3):
            driver.clock.advance(600)
            seen.append(await driver.claim_one())
            await driver.settle(seen[-1], Deferred("busy"))
        assert [message.content for message in seen] == [content] * 3

    @pytest.mark.contract("EN8")
    async def test_a_group_with_one_conflict_leaves_nothing_behind(self, driver: StoreDriver) -> None:
        await driver.send(key="taken", digest=b"1")
        group = [
            driver.draft(key="new", digest=b"2", channel="unheard"),
            driver.draft(text="x" * 5000, group_id="g"),
            driver.draft(key="taken", digest=b"other"),
        ]
        assert isinstance(await driver.refusal(*group), KeyConflict)
        assert len(await driver.everything()) == 1
        assert [queue.channel for queue in await driver.store.queues()] == ["chat"]
        # The refused group's own key is free again.
        assert (await driver.enqueue(driver.draft(key="new", digest=b"3")))[0].created
        await driver.healthy()

    @pytest.mark.contract("EN8")
    async def test_a_refused_group_leaves_those_committed_with_it_alone(self, driver: StoreDriver) -> None:
        await driver.send(key="taken", digest=b"1")
        before, after = driver.draft(), driver.draft()
        bad = driver.draft(recipient="\ud800")
        conflict = driver.draft(key="taken", digest=b"2")
        many = [driver.draft() for _ in range(3)]
        result = await driver.commit(enqueue=[[before], [bad], [conflict], many, [after]])
        assert result.enqueued[0] == [Enqueued(before.id, created=True)]
        assert isinstance(result.enqueued[1], InvalidMessage)
        assert isinstance(result.enqueued[2], KeyConflict)
        assert result.enqueued[3] == [Enqueued(draft.id, created=True) for draft in many]
        assert result.enqueued[4] == [Enqueued(after.id, created=True)]
        assert len(await driver.everything()) == 6
        await driver.healthy()

    @pytest.mark.contract("EN8")
    async def test_one_bad_value_among_plain_messages_fails_alone(self, driver: StoreDriver) -> None:
        drafts = [driver.draft() for _ in range(5)]
        drafts[2] = driver.draft(priority=9)
        result = await driver.commit(enqueue=[[draft] for draft in drafts])
        assert [isinstance(accepted, InvalidMessage) for accepted in result.enqueued] == [
            False, False, True, False, False,
        ]  # fmt: skip
        assert [view.id for view in await driver.everything()] == [d.id for d in drafts if d.priority != 9]
        await driver.healthy()

    @pytest.mark.contract("EN8")
    async def test_a_group_is_there_whole_in_its_order(self, driver: StoreDriver, other: StoreDriver) -> None:
        group = [driver.draft(lane="l") for _ in range(4)]
        accepted = await driver.enqueue_group(*group)
        assert [one.id for one in accepted] == [draft.id for draft in group]
        assert [await other.deliver_next() for _ in group] == [draft.id for draft in group]

    async def test_a_batch_enqueues_before_it_claims(self, driver: StoreDriver) -> None:
        await driver.send()
        await driver.claim()
        draft = driver.draft()
        result = await driver.commit(enqueue=[[draft]], claim=await driver.request())
        assert [message.id for message in result.claimed] == [draft.id]

    async def test_a_new_queue_is_named_for_whoever_claims(self, driver: StoreDriver) -> None:
        result = await driver.commit(enqueue=[[driver.draft(channel="mail", tenant="acme")]])
        assert result.touched == {await driver.queue("mail", "acme")}

    @pytest.mark.contract("CO2")
    @pytest.mark.parametrize("content", [b"{}", CONTENTS["2049 bytes"]], ids=["small", "large"])
    async def test_a_fan_out_stores_its_content_once(
        self, driver: StoreDriver, backstage: Backstage, content: bytes
    ) -> None:
        group = [driver.draft(group_id="g", content=content, recipient=name) for name in ("ann", "bob", "cy")]
        await driver.enqueue_group(*group)
        assert await backstage.stored_contents() == 1
        assert [message.content for message in await driver.claim()] == [content] * 3
        await driver.healthy()

    @pytest.mark.contract("CO2")
    async def test_a_fan_out_with_contents_of_its_own_keeps_them_apart(self, driver: StoreDriver) -> None:
        group = [driver.draft(group_id="g", text=f"dear {name}", recipient=name) for name in ("ann", "bob")]
        await driver.enqueue_group(*group)
        assert {m.id: m.content for m in await driver.claim()} == {draft.id: draft.content for draft in group}

    @pytest.mark.contract("CO2")
    async def test_the_content_of_a_fan_out_goes_with_the_last_of_its_messages(
        self, driver: StoreDriver, backstage: Backstage
    ) -> None:
        group = [driver.draft(group_id="g", recipient=name) for name in ("ann", "bob")]
        await driver.enqueue_group(*group)
        first, second = await driver.claim()
        await driver.deliver(first)
        assert await prune(driver) == 1
        assert await backstage.stored_contents() == 1
        assert (await driver.view(second.id)).content == second.content
        await driver.deliver(second)
        assert await prune(driver) == 1
        assert await backstage.stored_contents() == 0

    @pytest.mark.contract("CO2")
    async def test_a_large_content_goes_with_its_message(self, driver: StoreDriver, backstage: Backstage) -> None:
        await driver.send(content=CONTENTS["256 KiB"])
        await driver.deliver_next()
        assert await prune(driver) == 1
        assert await backstage.stored_contents() == 0

    @pytest.mark.contract("EN16")
    async def test_what_a_channel_made_of_a_message_is_kept(self, driver: StoreDriver) -> None:
        message = await driver.view(await driver.send(recipient="Ann "))
        leased = await driver.claim_one()
        assert not leased.prepared
        assert await admit(driver, leased, Admission(recipient="ann", parts=(b'"a"', b'"b"'), splitter="1")) == [True]
        view = await driver.view(message.id)
        assert (view.prepared, view.recipient, view.part_count) == (True, "ann", 2)
        assert [part.content for part in view.parts] == [b'"a"', b'"b"']
        await driver.settle(leased, Deferred("busy"))
        driver.clock.advance(10)
        again = await driver.claim_one()
        assert (again.prepared, again.recipient, again.content, again.part_count) == (True, "ann", b'"a"', 2)

    @pytest.mark.contract("EN16", "PA2")
    async def test_a_message_is_admitted_once(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        leased = await driver.claim_one()
        first = Admission(recipient="ann", parts=(b'"a"', b'"b"'), splitter="1")
        assert await admit(driver, leased, first) == [True]
        later = Admission(recipient="other", parts=(b'"x"', b'"y"', b'"z"'), splitter="2")
        await admit(driver, leased, later)
        view = await driver.view(accepted)
        assert (view.recipient, [part.content for part in view.parts]) == ("ann", [b'"a"', b'"b"'])

    @pytest.mark.contract("EN16")
    async def test_a_message_split_at_acceptance_comes_with_its_parts(self, driver: StoreDriver) -> None:
        admission = Admission(recipient="ann", parts=(b'"a"', b'"b"', b'"c"'), splitter="1")
        accepted = await driver.send(admission=admission, text="abc")
        view = await driver.view(accepted)
        assert [part.content for part in view.parts] == [b'"a"', b'"b"', b'"c"']
        assert view.content == encode_content(Content(text="abc"))
        assert (await driver.claim_one()).content == b'"a"'

    async def test_an_id_is_found_by_either_end(self, driver: StoreDriver) -> None:
        ids = [await driver.send() for _ in range(3)]
        assert await driver.store.resolve_id(ids[1]) == [ids[1]]
        assert await driver.store.resolve_id(ids[1][-8:]) == [ids[1]]
        assert set(await driver.store.resolve_id(ids[0][:4])) == set(ids)
        assert await driver.store.resolve_id("nothing!") == []
        assert await driver.store.resolve_id("%") == []
        assert await driver.store.resolve_id("") == []


async def prune(driver: StoreDriver) -> int:
    """Delete every terminal message; return how many."""
    now_ms = driver.clock.wall_ms()
    request = Prune(
        before_ms={state: now_ms + 1 for state in State if state.terminal},
        keys_until_ms=now_ms,
        audit_before_ms=now_ms,
    )
    result = await driver.commit(prune=request)
    return sum(result.pruned.values())


async def admit(driver: StoreDriver, message: Leased, admission: Admission) -> list[bool]:
    """Record what a channel made of a message."""
    result = await driver.commit(admit=[AdmissionWrite(message=message, admission=admission)])
    return result.admitted
