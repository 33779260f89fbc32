"""Limits are exact and named, and counted from counters that are always right (contract EN5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import pytest

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Draft
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Redirected, Rejected, Uncertain
from pillarbox.domain.retry import UncertainAction
from pillarbox.domain.transition import Reason, Transition
from pillarbox.errors import KeyConflict, QueueFull
from pillarbox.store.base import AdmissionWrite, Cancel, Retry
from pillarbox.testing.store_suite.accepting import prune
from pillarbox.testing.store_suite.driver import POLICY, StoreDriver
from pillarbox.testing.store_suite.fixtures import OpenDriver, StoreFixtures

NO_LIMITS: Final = Limits(messages=None, bytes=None)


class Case(NamedTuple):
    """Limits that two messages to ann on chat of tenant '' exhaust, what is named, and whom that does not concern."""

    limits: Limits
    full: tuple[str, str, int]
    elsewhere: dict[str, str] | None = None


CASES: Final = {
    "store": Case(Limits(messages=2), ("store", "messages", 2)),
    "channel": Case(Limits(channel_messages=2), ("channel", "messages", 2), {"channel": "mail"}),
    "one channel": Case(
        Limits(channels={"chat": 2}, channel_messages=9), ("channel", "messages", 2), {"channel": "mail"}
    ),
    "recipient": Case(Limits(recipient_messages=2), ("recipient", "messages", 2), {"recipient": "bob"}),
    "tenant": Case(Limits(tenant_messages=2), ("tenant", "messages", 2), {"tenant": "acme"}),
}
each_limit = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
HOLD: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
# Outcomes after which a message still counts, and those after which it does not.
STAYING: Final = (Deferred("busy"), RateLimited("slow"), Uncertain("no answer"), Redirected("eve"))
ENDING: Final = (Delivered("r"), Rejected("no"))
SIZE: Final = 1000


def named(error: object) -> tuple[str, str, int]:
    """Return which limit refused."""
    assert isinstance(error, QueueFull), error
    return error.scope, error.unit, error.limit


def sized(driver: StoreDriver, size: int) -> Draft:
    """Make a message whose content has *size* bytes."""
    return driver.draft(content=b'"' + b"x" * (size - 2) + b'"')


class LimitSuite(StoreFixtures):
    """Limits on active messages."""

    @pytest.mark.contract("EN5")
    @each_limit
    async def test_a_limit_is_exact_and_names_what_is_full(self, open_limited: OpenDriver, case: Case) -> None:
        driver = await open_limited(limits=case.limits)
        await driver.enqueue(driver.draft(), driver.draft())
        assert named(await driver.refusal(driver.draft())) == case.full
        assert len(await driver.everything()) == 2
        if case.elsewhere is not None:
            await driver.send(**case.elsewhere)
        await driver.healthy()

    @pytest.mark.contract("EN5")
    @each_limit
    async def test_what_leaves_makes_room(self, open_limited: OpenDriver, case: Case) -> None:
        driver = await open_limited(limits=case.limits)
        await driver.enqueue(driver.draft(), driver.draft())
        for message in await driver.claim(2):
            assert named(await driver.refusal(driver.draft())) == case.full
            await driver.deliver(message)
            await driver.send()
        assert named(await driver.refusal(driver.draft())) == case.full

    @pytest.mark.contract("EN5")
    @each_limit
    async def test_a_limit_counts_what_other_handles_wrote(self, open_limited: OpenDriver, case: Case) -> None:
        driver, unlimited = await open_limited(limits=case.limits), await open_limited(limits=NO_LIMITS)
        await unlimited.enqueue(driver.draft(), driver.draft())
        assert named(await driver.refusal(driver.draft())) == case.full
        await unlimited.deliver_next()
        await driver.send()
        assert named(await driver.refusal(driver.draft())) == case.full

    @pytest.mark.contract("EN5", "EN8")
    @each_limit
    async def test_a_group_that_does_not_fit_leaves_nothing(self, open_limited: OpenDriver, case: Case) -> None:
        driver = await open_limited(limits=case.limits)
        assert named(await driver.refusal(*[driver.draft() for _ in range(3)])) == case.full
        assert await driver.everything() == []
        await driver.enqueue_group(driver.draft(), driver.draft())
        await driver.healthy()

    @pytest.mark.contract("EN5", "EN8")
    @each_limit
    async def test_of_messages_committed_together_those_that_fit_are_stored(
        self, open_limited: OpenDriver, case: Case
    ) -> None:
        driver = await open_limited(limits=case.limits)
        drafts = [driver.draft() for _ in range(4)]
        if case.elsewhere is not None:
            drafts.append(driver.draft(**case.elsewhere))
        result = await driver.commit(enqueue=[[draft] for draft in drafts])
        refused = [place for place, accepted in enumerate(result.enqueued) if isinstance(accepted, QueueFull)]
        assert refused == [2, 3]
        assert named(result.enqueued[2]) == case.full
        await driver.healthy()

    @pytest.mark.contract("EN5")
    async def test_bytes_are_counted_exactly(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(bytes=10 * SIZE))
        await driver.enqueue(sized(driver, 3 * SIZE), sized(driver, 6 * SIZE))
        assert named(await driver.refusal(sized(driver, SIZE + 1))) == ("store", "bytes", 10 * SIZE)
        await driver.enqueue(sized(driver, SIZE))
        assert named(await driver.refusal(sized(driver, 2))) == ("store", "bytes", 10 * SIZE)
        await driver.deliver_next()
        await driver.enqueue(sized(driver, 3 * SIZE))
        await driver.healthy()

    @pytest.mark.contract("EN5")
    async def test_bytes_of_messages_committed_together_are_added_up(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(bytes=2 * SIZE))
        result = await driver.commit(enqueue=[[sized(driver, SIZE)] for _ in range(3)])
        assert [isinstance(accepted, QueueFull) for accepted in result.enqueued] == [False, False, True]

    @pytest.mark.contract("EN5")
    @pytest.mark.parametrize(
        "limits",
        [
            Limits(messages=0),
            Limits(bytes=0),
            Limits(channel_messages=0),
            Limits(recipient_messages=0),
            Limits(tenant_messages=0),
            Limits(channels={"chat": 0}),
        ],
    )
    async def test_a_limit_of_zero_lets_nothing_in(self, open_limited: OpenDriver, limits: Limits) -> None:
        driver = await open_limited(limits=limits)
        assert isinstance(await driver.refusal(driver.draft()), QueueFull)
        assert await driver.everything() == []

    @pytest.mark.contract("EN5")
    async def test_a_limit_counts_the_spelling_that_the_channel_gave_the_recipient(
        self, open_limited: OpenDriver
    ) -> None:
        driver = await open_limited(limits=Limits(recipient_messages=2))
        admission = Admission(recipient="ann")
        await driver.enqueue(*[driver.draft(recipient=name, admission=admission) for name in ("Ann", "ANN")])
        refused = await driver.refusal(driver.draft(recipient="aNN", admission=admission))
        assert named(refused) == ("recipient", "messages", 2)

    @pytest.mark.contract("EN5", "EN7")
    async def test_a_known_key_is_answered_even_when_full(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(messages=1, channel_messages=1, recipient_messages=1))
        first = await driver.send(key="k", digest=b"1")
        (again,) = await driver.enqueue(driver.draft(key="k", digest=b"1"))
        assert (again.id, again.created) == (first, False)
        assert isinstance(await driver.refusal(driver.draft(key="k", digest=b"2")), KeyConflict)

    @pytest.mark.contract("EN5")
    async def test_a_limit_for_recipients_counts_what_was_there_before_it(self, open_limited: OpenDriver) -> None:
        early = await open_limited()
        await early.enqueue(early.draft(), early.draft(), early.draft(recipient="bob"))
        await early.deliver_next()
        driver = await open_limited(limits=Limits(recipient_messages=1))
        assert named(await driver.refusal(driver.draft())) == ("recipient", "messages", 1)
        assert named(await driver.refusal(driver.draft(recipient="bob"))) == ("recipient", "messages", 1)
        await driver.send(recipient="cy")

    @pytest.mark.contract("EN5", "ST3")
    async def test_counters_are_right_after_every_kind_of_transition(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(recipient_messages=1000))
        outcomes: Sequence[AnyOutcome | Transition] = (
            *STAYING,
            *ENDING,
            Transition.expire(),
            Transition.cancel(Reason.REQUESTED),
        )
        for place, outcome in enumerate(outcomes):
            await driver.enqueue(sized(driver, 10 + place))
            message = await driver.claim_one()
            await driver.healthy()
            await driver.settle(message, outcome)
            await driver.healthy()
            # After a rate limit its recipient rests.
            driver.clock.advance(60)
        held = driver.draft(policy=HOLD, text="held")
        await driver.enqueue(held, driver.draft(policy=HOLD), driver.draft(policy=HOLD))
        for message in await driver.claim():
            await driver.settle(message, Uncertain("no answer"))
        await driver.healthy()
        held_ids = [view.id for view in await driver.everything() if view.state == "held"]
        for act in (
            Cancel(id=held_ids[0], actor="ann"),
            Retry(id=held_ids[1], actor="ann"),
            driver.burial(held_ids[2]),
        ):
            assert (await driver.act(act)).applied
            await driver.healthy()
        await driver.send(expires_ms=driver.clock.wall_ms())
        driver.clock.advance(1)
        assert len(await driver.expire()) == 1
        await driver.healthy()
        while await prune(driver):
            await driver.healthy()

    @pytest.mark.contract("EN5")
    async def test_a_recipient_that_changes_is_counted_where_it_is_now(self, open_limited: OpenDriver) -> None:
        driver = await open_limited(limits=Limits(recipient_messages=1))
        await driver.send(recipient="ann")
        leased = await driver.claim_one()
        await driver.commit(admit=[AdmissionWrite(message=leased, admission=Admission(recipient="anna"))])
        await driver.settle(leased, Redirected("eve"))
        assert isinstance(await driver.refusal(driver.draft(recipient="eve")), QueueFull)
        await driver.enqueue(driver.draft(recipient="ann"), driver.draft(recipient="anna"))
