"""Filters pick the messages that fit, all of them, page by page, whatever their values hold (contract OP1, OP3)."""

from __future__ import annotations

from typing import Any, Final

import pytest

from pillarbox.domain.envelope import Kind
from pillarbox.domain.filter_fields import Condition, Field
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Rejected
from pillarbox.store.base import Cancel, Query, Replay
from pillarbox.testing.store_suite.driver import StoreDriver
from pillarbox.testing.store_suite.fixtures import StoreFixtures

ODD: Final = "a'b\"c,d %_\\ =~ é\U0001f4ee"
# For each field: what a message gets, what the condition says, and what another one has that must not fit.
BY_FIELD: Final[dict[Field, tuple[dict[str, Any], str, dict[str, Any]]]] = {
    Field.CHANNEL: ({"channel": "mail"}, "mail", {}),
    Field.TO: ({"recipient": ODD}, ODD, {}),
    Field.TENANT: ({"tenant": "acme"}, "acme", {}),
    Field.ACCOUNT: ({"account": "shop"}, "shop", {}),
    Field.THREAD: ({"thread": ODD}, ODD, {"thread": "t"}),
    Field.KIND: ({"kind": Kind.TOOL}, "tool", {"kind": Kind.BLOCK}),
    Field.PRIORITY: ({"priority": 3}, "3", {"priority": 0}),
    Field.LANE: ({"lane": "acme\x1fchat\x1f\x1fann\x1f"}, "acme/chat/ann", {"lane": "acme\x1fchat\x1f\x1fbob\x1f"}),
    Field.KEY: ({"key": ODD, "digest": b"1"}, ODD, {"key": "k", "digest": b"1"}),
    Field.CORRELATION: ({"correlation_id": ODD}, ODD, {"correlation_id": "turn"}),
    Field.COLLAPSE: ({"collapse_key": ODD}, ODD, {"collapse_key": "status"}),
    Field.ORIGIN: ({"origin": ODD}, ODD, {"origin": "billing"}),
}


class SelectingSuite(StoreFixtures):
    """Filters."""

    @pytest.mark.contract("OP1")
    @pytest.mark.parametrize("field", BY_FIELD)
    async def test_a_condition_picks_by_every_field_and_its_opposite_the_others(
        self, driver: StoreDriver, field: Field
    ) -> None:
        given, value, others = BY_FIELD[field]
        fits = await driver.send(**given)
        differs = [await driver.send(**others), await driver.send()]
        assert await picked(driver, Condition(field=field, values=(value,))) == [fits]
        assert await picked(driver, Condition(field=field, values=("no", value))) == [fits]
        assert await picked(driver, Condition(field=field, values=(value, "no"), negated=True)) == differs
        assert await picked(driver, Condition(field=field, values=("no", "never"))) == []

    @pytest.mark.contract("OP1")
    async def test_an_id_a_reason_and_an_error_are_fields_too(self, driver: StoreDriver) -> None:
        rejected, deferred, waiting = [await driver.send() for _ in range(3)]
        messages = {message.id: message for message in await driver.claim(2)}
        await driver.settle(messages[rejected], Rejected("Mailbox FULL of mail"))
        await driver.settle(messages[deferred], Deferred("read timed out"))
        assert await picked(driver, Condition(field=Field.ID, values=(waiting, rejected))) == [rejected, waiting]
        assert await picked(driver, Condition(field=Field.REASON, values=("rejected",))) == [rejected]
        assert await picked(driver, Condition(field=Field.REASON, values=("",))) == [deferred, waiting]
        assert await picked(driver, Condition(field=Field.ERROR, values=("read timed out",))) == [deferred]
        has = Condition(field=Field.ERROR, values=("full", "nothing"), contains=True)
        assert await picked(driver, has) == [rejected]
        has_not = Condition(field=Field.ERROR, values=("full", "TIMED"), contains=True, negated=True)
        assert await picked(driver, has_not) == [waiting]

    @pytest.mark.contract("OP1", "ST2")
    async def test_what_was_replayed_can_be_left_out(self, driver: StoreDriver) -> None:
        first, second = [await driver.send() for _ in range(2)]
        for identity in (first, second):
            await driver.act(Cancel(id=identity, actor="ann"))
        new = driver.draft().id
        await driver.act(Replay(id=first, new_id=new, actor="ann"))
        assert await picked(driver, Condition(field=Field.REPLAYED, values=("yes",))) == [first]
        assert await picked(driver, Condition(field=Field.REPLAYED, values=("no",))) == [second, new]
        assert await picked(driver, Condition(field=Field.REPLAYED, values=("yes",), negated=True)) == [second, new]

    @pytest.mark.contract("OP1")
    async def test_what_is_not_there_counts_as_empty_and_wildcards_are_letters(self, driver: StoreDriver) -> None:
        without, under, percent = [await driver.send(**more) for more in ({}, {"thread": "a_c"}, {"thread": "a%c"})]
        assert await picked(driver, Condition(field=Field.THREAD, values=("",))) == [without]
        assert await picked(driver, Condition(field=Field.THREAD, values=("",), negated=True)) == [under, percent]
        assert await picked(driver, Condition(field=Field.THREAD, values=("_",), contains=True)) == [under]
        assert await picked(driver, Condition(field=Field.THREAD, values=("%",), contains=True)) == [percent]

    @pytest.mark.contract("OP1")
    async def test_all_conditions_must_hold(self, driver: StoreDriver) -> None:
        places = [(account, thread) for account in ("a", "b") for thread in ("x", "y", "z")]
        ids = {place: await driver.send(account=place[0], thread=place[1]) for place in places}
        where = (
            Condition(field=Field.ACCOUNT, values=("b",)),
            Condition(field=Field.THREAD, values=("x", "y")),
            Condition(field=Field.THREAD, values=("x",), negated=True),
        )
        assert await picked(driver, *where) == [ids["b", "y"]]

    @pytest.mark.contract("OP1", "OP3")
    @pytest.mark.parametrize("field", ["correlation_id", "collapse_key"])
    async def test_what_is_looked_up_is_picked_as_by_a_scan(self, driver: StoreDriver, field: str) -> None:
        ids = [
            await driver.send(**{field: f"v{place % 3}"}, channel=f"c{place % 2}", recipient=f"r{place}")
            for place in range(12)
        ]
        await driver.act(Cancel(id=ids[0], actor="ann"))
        active = (State.SCHEDULED, State.LEASED, State.HELD)
        for states in ((), active, (State.CANCELLED,)):
            expected = [
                identity
                for place, identity in enumerate(ids)
                if place % 3 == 0 and (not states or (place == 0) is (states != active))
            ]
            query = Query(states=states, **{field: "v0"})  # type: ignore[arg-type]
            assert await listed(driver, query) == expected[::-1]
            oldest = Query(states=states, oldest_first=True, **{field: "v0"})  # type: ignore[arg-type]
            assert await listed(driver, oldest) == expected

    @pytest.mark.contract("OP1")
    async def test_the_oldest_first_page_by_page_up_to_what_was_there(self, driver: StoreDriver) -> None:
        ids = [await driver.send() for _ in range(7)]
        last = (await driver.view(ids[5])).seq
        found: list[MessageId] = []
        after: int | None = None
        while page := await driver.store.list_messages(
            Query(oldest_first=True, limit=2, after_seq=after, before_seq=last)
        ):
            found += [view.id for view in page]
            after = page[-1].seq
        assert found == ids[:5]

    @pytest.mark.contract("OP1")
    async def test_a_page_is_read_whole_and_holds_no_more_content_than_was_asked_for(self, driver: StoreDriver) -> None:
        ids = [await driver.send(text="x" * size) for size in (3000, 50, 50, 100, 3000)]
        parted = await driver.send(lane="p")
        await driver.act(Cancel(id=ids[1], actor="ann"))
        query = Query(oldest_first=True)
        whole = [await driver.view(one) for one in (*ids, parted)]
        assert await driver.store.read_messages(query, bytes_max=1 << 20) == whole
        assert await driver.store.read_messages(query, bytes_max=1) == whole[:1]
        assert await driver.store.read_messages(Query(), bytes_max=1) == whole[-1:]
        after = Query(oldest_first=True, after_seq=whole[0].seq)
        assert await driver.store.read_messages(after, bytes_max=3000) == whole[1:4]
        states = Query(oldest_first=True, states=(State.CANCELLED,))
        assert await driver.store.read_messages(states, bytes_max=3000) == whole[1:2]
        assert await driver.store.read_messages(Query(channel="nosuch"), bytes_max=3000) == []


async def listed(driver: StoreDriver, query: Query) -> list[MessageId]:
    """List ids."""
    return [view.id for view in await driver.store.list_messages(query)]


async def picked(driver: StoreDriver, *where: Condition) -> list[MessageId]:
    """List the ids of what fits, the oldest first."""
    return await listed(driver, Query(where=where, oldest_first=True))
