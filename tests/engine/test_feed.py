"""How free slots are shared: no more than there are, and to everybody in turn."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.ids import LeaseId, message_id
from pillarbox.engine.capacity import Feed
from pillarbox.store.base import BatchResult, Claim, QueueInfo

NOW = 1_000


def info(number: int, channel: str = "chat", tenant: str = "") -> QueueInfo:
    return QueueInfo(
        id=number,
        tenant=tenant,
        channel=channel,
        paused=False,
        paused_until_ms=None,
        pause_reason=None,
        strikes=0,
    )


def feed_of(*queues: QueueInfo, concurrency: int = 10, limits: dict[str, int] | None = None) -> Feed:
    feed = Feed(concurrency, limits or {queue.channel: 1000 for queue in queues})
    feed.learn(queues, feed.sighted)
    return feed


def offer(feed: Feed, *, ending: dict[int, int] | None = None) -> dict[int, int]:
    return feed.capacity(now_ms=NOW, ending=ending or {})


def claim(**fields: Any) -> Claim:
    return Claim(worker=1, lease=LeaseId(b""), lease_ms=1, capacity={}, **fields)


@pytest.mark.contract("LE2")
def test_one_queue_is_offered_every_free_slot_and_no_more() -> None:
    feed = feed_of(info(1), concurrency=10)
    assert offer(feed) == {1: 10}
    for _ in range(7):
        feed.started("chat")
    assert offer(feed) == {1: 3}
    feed.ended("chat")
    assert offer(feed) == {1: 4}
    for _ in range(4):
        feed.started("chat")
    assert offer(feed) == {}


@pytest.mark.contract("LE2")
def test_a_channel_is_offered_no_more_than_it_takes() -> None:
    feed = feed_of(info(1, "chat"), info(2, "mail"), concurrency=10, limits={"chat": 2, "mail": 100})
    assert offer(feed) == {1: 2, 2: 8}
    feed.started("chat")
    feed.started("chat")
    assert offer(feed) == {2: 8}


@pytest.mark.contract("LE2")
def test_slots_that_end_in_the_same_batch_are_free_to_its_claim() -> None:
    feed = feed_of(info(1), concurrency=2)
    feed.started("chat")
    feed.started("chat")
    assert offer(feed) == {}
    assert offer(feed, ending={1: 1}) == {1: 1}


@pytest.mark.contract("LA4")
def test_channels_of_one_tenant_get_the_same_share() -> None:
    feed = feed_of(info(1, "a"), info(2, "b"), info(3, "c"), concurrency=9)
    assert offer(feed) == {1: 3, 2: 3, 3: 3}


@pytest.mark.contract("LA4")
def test_tenants_get_the_same_share_however_many_channels_they_have() -> None:
    queues = [info(number, f"c{number}", "many") for number in range(1, 9)]
    feed = feed_of(*queues, info(9, "c1", "one"), concurrency=16, limits={f"c{n}": 99 for n in range(1, 10)})
    shares = offer(feed)
    assert shares[9] == 8
    assert sum(shares.values()) == 16


@pytest.mark.contract("LA4")
@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_with_more_queues_than_slots_all_take_turns(slots: int) -> None:
    feed = feed_of(*(info(n, f"c{n}") for n in range(1, 8)), concurrency=slots)
    served: Counter[int] = Counter()
    for _ in range(7 * 20):
        served.update(offer(feed))
    assert sum(served.values()) == 7 * 20 * slots
    assert max(served.values()) - min(served.values()) <= 1


@pytest.mark.contract("LA4")
def test_whoever_waited_longest_is_first_also_when_one_slot_frees_at_a_time() -> None:
    feed = feed_of(*(info(n, "c", f"t{n}") for n in range(1, 100)), concurrency=1)
    for _ in range(99):
        assert len(offer(feed)) == 1
    newcomer = info(100, "c", "new")
    feed.learn([newcomer], feed.sighted)
    assert offer(feed) == {100: 1}


@pytest.mark.contract("LA4")
def test_a_channel_that_is_full_leaves_its_share_to_the_others() -> None:
    feed = feed_of(info(1, "slow"), info(2, "quick"), concurrency=10, limits={"slow": 1, "quick": 100})
    assert offer(feed) == {1: 1, 2: 9}


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12, unique=True),
    st.integers(1, 40),
    st.lists(st.integers(1, 10), min_size=4, max_size=4),
    st.integers(0, 40),
)
@pytest.mark.contract("LE2")
def test_no_share_ever_exceeds_what_is_free(
    routes: list[tuple[int, int]], concurrency: int, limits: list[int], busy: int
) -> None:
    queues = [info(n, f"c{channel}", f"t{tenant}") for n, (tenant, channel) in enumerate(routes)]
    feed = feed_of(*queues, concurrency=concurrency, limits={f"c{n}": limit for n, limit in enumerate(limits)})
    room = {f"c{n}": limit for n, limit in enumerate(limits)}
    for n in range(busy):
        channel = f"c{n % 4}"
        if room[channel] and feed.total_in_flight < concurrency:
            feed.started(channel)
            room[channel] -= 1
    free = concurrency - feed.total_in_flight
    shares = offer(feed)
    assert sum(shares.values()) <= free
    assert all(count > 0 for count in shares.values())
    wanted = {queue.channel for queue in queues}
    for channel in wanted:
        given = sum(shares.get(queue.id, 0) for queue in queues if queue.channel == channel)
        assert given <= room[channel]
    # Nothing free is left lying while somebody could use it.
    assert sum(shares.values()) == min(free, sum(room[channel] for channel in wanted))


def test_a_queue_that_ran_dry_is_left_alone_until_something_is_written_there() -> None:
    feed = feed_of(info(1))
    offer(feed)
    feed.note(BatchResult(next_due_ms={1: None}), claim())
    assert offer(feed) == {}
    assert feed.next_due_ms() is None
    feed.note(BatchResult(touched={1}), None)
    assert offer(feed) == {1: 10}


def test_a_queue_is_looked_at_again_when_its_next_message_is_due() -> None:
    feed = feed_of(info(1))
    offer(feed)
    feed.note(BatchResult(next_due_ms={1: NOW + 1}), claim())
    assert offer(feed) == {}
    assert feed.next_due_ms() == NOW + 1
    assert feed.capacity(now_ms=NOW + 1, ending={}) == {1: 10}


@pytest.mark.contract("DR2")
def test_what_is_expected_while_a_claim_is_committed_is_not_forgotten_when_that_finds_nothing() -> None:
    feed = feed_of(info(1))
    offer(feed)  # the claim that is being committed
    feed.expect("", "chat")
    feed.note(BatchResult(next_due_ms={1: None}), claim())
    assert offer(feed) == {1: 10}


def test_a_claim_for_one_message_says_nothing_about_its_queue() -> None:
    feed = feed_of(info(1))
    feed.note(BatchResult(next_due_ms={1: None}), claim(only=message_id(0, bytes(10))))
    assert offer(feed) == {1: 10}


@pytest.mark.contract("LE8")
def test_a_worker_looks_only_at_channels_that_it_has() -> None:
    feed = Feed(10, {"chat": 5})
    feed.learn([info(1, "chat"), info(2, "mail")], feed.sighted)
    assert offer(feed) == {1: 5}
    feed.note(BatchResult(touched={1, 2}), None)
    assert not feed.unknown
    assert offer(feed) == {1: 5}


def test_a_queue_that_is_not_known_yet_is_asked_for() -> None:
    feed = Feed(10, {"chat": 5})
    feed.note(BatchResult(touched={1}), None)
    before = feed.unknown
    feed.learn([info(1, "chat", "acme")], feed.sighted)
    assert (before, feed.unknown) == (True, False)
    assert offer(feed) == {1: 5}


@pytest.mark.contract("DR2")
def test_a_notice_during_a_commit_that_found_nothing_is_not_forgotten() -> None:
    """The commit may have looked before the other process wrote."""
    feed = feed_of(info(1, "chat"))
    assert offer(feed) == {1: 10}
    feed.probe_all()
    feed.note(BatchResult(next_due_ms={1: None}, suspects_ms={1: None}), claim())
    assert offer(feed) == {1: 10}
    feed.note(BatchResult(next_due_ms={1: None}, suspects_ms={1: None}), claim())
    assert offer(feed) == {}
