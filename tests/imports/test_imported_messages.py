"""The store's side of an import: states, counts, ledger; what moved on is never touched again (contract IM1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Content, State, encode_content
from pillarbox.domain.outcome import Deferred, Delivered
from pillarbox.domain.retry import OnHeld, Policy
from pillarbox.errors import InvalidMessage, KeyConflict, QueueFull, Refused
from pillarbox.store.base import Enqueued, Import, Prune, Retry
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite.driver import StoreDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.domain.message import MessageView
    from pillarbox.errors import PillarboxError

SYSTEM: Final = "openclaw-files"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[StoreDriver]:
    clock = FakeClock()
    store = open_store(tmp_path / "outbox.db", clock=clock)
    await store.open()
    yield StoreDriver(store, clock, SeededEntropy(1))
    await store.close()


def item(driver: StoreDriver, source_id: str = "a.json", **fields: Any) -> Import:
    """Make an import; what a draft has goes there."""
    own = {name: fields.pop(name) for name in list(fields) if name in Import.__struct_fields__}
    draft = driver.draft(key=f"{SYSTEM}:{source_id}", digest=source_id.encode(), **fields)
    values: dict[str, Any] = {"system": SYSTEM, "source_id": source_id, "outcome": "imported", "draft": draft}
    return Import(**values | own)


async def take(driver: StoreDriver, *items: Import) -> list[Enqueued | PillarboxError]:
    return (await driver.commit(imports=items)).imported


async def view_of(driver: StoreDriver, imported: Import) -> MessageView:
    return await driver.view(imported.draft.id)


@pytest.mark.contract("IM1")
@pytest.mark.parametrize(
    ("state", "reason"),
    [(State.SCHEDULED, None), (State.HELD, "uncertain"), (State.DEAD, "rejected"), (State.EXPIRED, "expired")],
)
async def test_a_message_comes_in_as_it_was(driver: StoreDriver, state: State, reason: str | None) -> None:
    now_ms = driver.clock.wall_ms()
    one = item(
        driver, state=state, reason=reason, attempts=3, error_class="transient", last_error="ETIMEDOUT",
        last_attempt_ms=now_ms - 5_000, due_ms=now_ms + 7, created_ms=now_ms - 9_000, note="from there",
    )  # fmt: skip
    assert await take(driver, one) == [Enqueued(one.draft.id, created=True)]
    view = await view_of(driver, one)
    assert (view.state, view.claims, view.charged, view.lost) == (state, 3, 3, 0)
    assert (view.terminal_reason, view.error_class, view.last_error) == (reason, "transient", "ETIMEDOUT")
    assert (view.created_ms, view.due_ms, view.claimed_ms) == (now_ms - 9_000, now_ms + 7, now_ms - 5_000)
    # Retention counts from the import, or the record would be pruned at once.
    assert view.completed_ms == (None if state is State.SCHEDULED else now_ms)
    assert view.key == f"{SYSTEM}:a.json"
    events = await driver.store.history(view.id)
    assert [event.act for event in events] == ["enqueue", "claim", "settle", "import"]
    assert (events[2].reason, events[2].attempt) == ("ETIMEDOUT", 3)
    assert (events[3].to_state, events[3].reason, events[3].actor) == (state, "from there", "import")
    await driver.healthy()


@pytest.mark.contract("IM1", "RE2")
async def test_attempts_made_elsewhere_count(driver: StoreDriver) -> None:
    one = item(driver, attempts=3, max_attempts=4)
    await take(driver, one)
    message = await driver.claim_one()
    assert (message.claims, message.charged) == (4, 3)
    await driver.settle(message, Deferred("again"))
    view = await view_of(driver, one)
    assert (view.state, view.terminal_reason, view.charged) == (State.DEAD, "retries_exhausted", 4)


@pytest.mark.contract("IM1")
async def test_what_moved_on_is_never_touched_again(driver: StoreDriver) -> None:
    items = [item(driver, name) for name in ("delivered", "retried", "waiting")]
    await take(driver, *items)
    await driver.deliver(await driver.claim_one(only=items[0].draft.id))
    await driver.settle(await driver.claim_one(only=items[1].draft.id), Deferred("no"))
    before = await driver.everything()
    driver.clock.advance(60)
    again = [item(driver, name, state=State.HELD, attempts=9) for name in ("delivered", "retried", "waiting")]
    assert await take(driver, *again) == [Enqueued(one.draft.id, created=False) for one in items]
    assert await driver.everything() == before
    await driver.healthy()


@pytest.mark.contract("IM1", "PR2")
async def test_the_ledger_outlives_message_and_key(driver: StoreDriver) -> None:
    one = item(driver, alias="another name")
    await take(driver, one)
    await driver.deliver(await driver.claim_one())
    for _ in range(3):
        driver.clock.advance(30 * 24 * 3600)
        now_ms = driver.clock.wall_ms()
        ended = {state: now_ms for state in State if state.terminal}
        await driver.commit(prune=Prune(before_ms=ended, keys_until_ms=now_ms, audit_before_ms=now_ms))
    assert await driver.store.get(one.draft.id) is None
    assert await driver.store.known_imports(SYSTEM, ["a.json", "b.json", "another name"]) == {"a.json", "another name"}
    assert await driver.store.known_imports("comis", ["a.json"]) == set()
    assert await take(driver, item(driver)) == [Enqueued(one.draft.id, created=False)]
    assert await driver.everything() == []
    # Nothing holds the key any more; only the ledger does.
    (other,) = await driver.enqueue(driver.draft(key=f"{SYSTEM}:a.json", digest=b"other"))
    assert other.created


@pytest.mark.contract("IM1")
async def test_a_key_that_is_taken_is_found_or_refused(driver: StoreDriver) -> None:
    same = await driver.send(key=f"{SYSTEM}:same", digest=b"same")
    await driver.send(key=f"{SYSTEM}:other", digest=b"something else")
    done = await take(driver, item(driver, "same"), item(driver, "other"), item(driver, "new"))
    assert done[0] == Enqueued(same, created=False)
    assert isinstance(done[1], KeyConflict)
    assert isinstance(done[2], Enqueued)
    assert await driver.store.known_imports(SYSTEM, ["same", "other", "new"]) == {"same", "new"}
    assert (await driver.view(same)).state is State.SCHEDULED
    await driver.healthy()


@pytest.mark.contract("IM1", "EN8")
async def test_one_that_is_refused_leaves_the_others(driver: StoreDriver) -> None:
    bad = item(driver, "bad", due_ms=1 << 70)
    wrong = item(driver, "wrong", state=State.DELIVERED)
    done = await take(driver, item(driver, "a"), bad, wrong, item(driver, "b"))
    assert [isinstance(result, Enqueued) for result in done] == [True, False, False, True]
    assert isinstance(done[1], InvalidMessage)
    assert await driver.store.known_imports(SYSTEM, ["a", "bad", "wrong", "b"]) == {"a", "b"}
    assert len(await driver.everything()) == 2
    await driver.healthy()


@pytest.mark.contract("IM1", "EN5")
async def test_what_has_ended_takes_no_room(tmp_path: Path) -> None:
    clock = FakeClock()
    store = open_store(tmp_path / "outbox.db", clock=clock, limits=Limits(messages=1, recipient_messages=1))
    await store.open()
    driver = StoreDriver(store, clock, SeededEntropy(1))
    ended = [item(driver, name, state=State.DEAD, reason="rejected") for name in ("x", "y", "z")]
    done = await take(driver, *ended, item(driver, "a"), item(driver, "b"))
    assert [isinstance(result, Enqueued) for result in done] == [True, True, True, True, False]
    assert isinstance(done[4], QueueFull)
    await driver.healthy()
    await store.close()


@pytest.mark.contract("IM1", "LA1")
@pytest.mark.parametrize(("on_held", "follows"), [(OnHeld.SKIP, True), (OnHeld.BLOCK, False)])
async def test_a_held_message_gives_up_its_turn_or_keeps_it(
    driver: StoreDriver, on_held: OnHeld, follows: bool
) -> None:
    policy = Policy(jitter=0.0, ttl_seconds=None, on_held=on_held)
    first = item(driver, "a", state=State.HELD, reason="uncertain", lane="l", policy=policy)
    second = item(driver, "b", lane="l", policy=policy)
    await take(driver, first, second)
    assert await driver.claimed_ids() == ([second.draft.id] if follows else [])
    if follows:
        await driver.settle(driver.last.claimed[0], Delivered("r"))
    assert (await driver.act(Retry(id=first.draft.id, actor="ann"))).applied
    assert first.draft.id in await driver.claimed_ids()
    await driver.healthy()


@pytest.mark.contract("IM1", "PA3")
async def test_parts_come_in_with_their_message(driver: StoreDriver) -> None:
    parts = tuple(encode_content(Content(text=text)) for text in ("one", "two"))
    one = item(driver, admission=Admission(recipient="@ann", parts=parts, splitter="import"))
    await take(driver, one)
    view = await view_of(driver, one)
    assert (view.part_count, view.part_next, view.recipient) == (2, 0, "@ann")
    assert [part.content for part in view.parts] == list(parts)
    assert (await driver.claim_one()).content == parts[0]
    await driver.healthy()


@pytest.mark.contract("IM1", "SG1")
async def test_memory_takes_no_imports() -> None:
    clock = FakeClock()
    store = open_store(":memory:", clock=clock)
    await store.open()
    driver = StoreDriver(store, clock, SeededEntropy(1))
    with pytest.raises(Refused, match="memory"):
        await take(driver, item(driver))
    assert await driver.everything() == []
    await store.close()


@pytest.mark.contract("IM1", "LE1")
async def test_two_importers_at_once_store_one_message(driver: StoreDriver, tmp_path: Path) -> None:
    store = open_store(tmp_path / "outbox.db", clock=driver.clock)
    await store.open()
    other = StoreDriver(store, driver.clock, SeededEntropy(2))
    first, second = item(driver), item(other)
    assert await take(driver, first) == [Enqueued(first.draft.id, created=True)]
    assert await take(other, second) == [Enqueued(first.draft.id, created=False)]
    assert len(await driver.everything()) == 1
    await store.close()
