"""A worker that runs takes over limits, retention and slots: see `test_reload` for what is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import QueueFull, Rejected, State, Uncertain
from pillarbox.domain.retry import Policy
from pillarbox.events import MessageDied
from pillarbox.settings.overrides import override
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS

if TYPE_CHECKING:
    from pillarbox.settings.model import Settings
    from tests.engine.stand import Box, Stand

pytestmark = pytest.mark.contract("CF3")

HOUR_MS = 3_600_000
STEADY = Policy(jitter=0.0, ttl_seconds=None)


def settings(stand: Stand, **values: Any) -> Settings:
    usual = {"db": str(stand.path), "lease_seconds": LEASE_MS / 1000, "drain_on_startup": False}
    return override(None, usual | values)


async def reloaded(stand: Stand, box: Box, **values: Any) -> None:
    """Take over settings, and see that nothing of them needs a restart."""
    changes = await box.outbox.reload(settings(stand, **values))
    assert changes.reload
    assert changes.restart == ()


@pytest.mark.contract("FL1")
@pytest.mark.parametrize("name", ["rate", "recipient_rate"])
async def test_as_many_are_sent_in_a_time_as_is_said_now(stand: Stand, name: str) -> None:
    channel = ScriptedChannel(policy=STEADY, ordered=False)
    box = await stand.open(channel)
    for _ in range(3):
        await box.settled(await box.send())
    await reloaded(stand, box, channels={"chat": {name: "2/m"}})
    sent = [await box.send() for _ in range(3)]
    await box.looked()
    await box.idle()
    assert len(channel.attempts) == 5
    waiting = (await box.outbox.explain(sent[2].id or "")).causes[0]
    assert str(waiting.word) == "paced"
    stand.advance(61_200)
    await box.looked()
    assert (await box.settled(sent[2])).state is State.DELIVERED


@pytest.mark.parametrize("scope", ["worker", "channel"])
async def test_as_many_are_sent_at_once_as_is_said_now(stand: Stand, scope: str) -> None:
    channel = ScriptedChannel(policy=STEADY, ordered=False)
    channel.hold()
    box = await stand.open(channel, concurrency=2)
    sent = [await box.send(f"r{number}") for number in range(6)]
    await channel.begun(2)
    await box.looked()
    assert channel.in_flight == 2
    more: dict[str, Any] = {"concurrency": 4}
    if scope == "channel":
        more = {"concurrency": 100, "channels": {"chat": {"concurrency": 4}}}
    await reloaded(stand, box, **more)
    await channel.begun(4)
    await box.looked()
    assert channel.in_flight == 4
    # Fewer again: those under way end, and no more than so many begin.
    fewer: dict[str, Any] = {"concurrency": 1}
    if scope == "channel":
        fewer = {"concurrency": 100, "channels": {"chat": {"concurrency": 1}}}
    await reloaded(stand, box, **fewer)
    channel.most = 0
    channel.release()
    for message in sent:
        assert (await box.settled(message)).state is State.DELIVERED
    assert channel.most <= 1


@pytest.mark.parametrize(
    ("limit", "scope"),
    [
        ({"limits": {"messages": 1}}, "store"),
        ({"limits": {"bytes": 60}}, "store"),
        ({"limits": {"channel_messages": 1}}, "channel"),
        ({"limits": {"recipient_messages": 1}}, "recipient"),
        ({"limits": {"tenant_messages": 1}}, "tenant"),
        ({"channels": {"chat": {"limit_messages": 1}}}, "channel"),
    ],
)
@pytest.mark.contract("EN5")
async def test_the_limits_are_those_of_now(stand: Stand, limit: dict[str, Any], scope: str) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    await box.outbox.pause("chat")
    first = await box.send(text="x" * 40)
    await reloaded(stand, box, **limit)
    stand.advance(1000)  # by now every database's counters are right
    with pytest.raises(QueueFull) as caught:
        await box.send(text="x" * 40)
    assert caught.value.scope == scope
    await box.outbox.cancel(first.id or "")
    stand.advance(1000)
    assert (await box.send(text="x" * 40)).created


async def test_every_attempt_leaves_a_row_where_that_is_said_now(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    before = await box.send()
    await box.settled(before)
    await reloaded(stand, box, channels={"chat": {"history": "full"}})
    after = await box.send()
    await box.settled(after)
    began = [
        [event.began_ms for event in await box.outbox.history(message.id or "") if event.act == "settle"]
        for message in (before, after)
    ]
    assert began == [[None], [stand.clock.wall_ms()]]


@pytest.mark.parametrize("state", ["delivered", "cancelled", "expired", "dead"])
@pytest.mark.contract("PR2")
async def test_what_ended_is_kept_as_long_as_is_said_now(stand: Stand, state: str) -> None:
    channel = ScriptedChannel(policy=STEADY)
    box = await stand.open(channel)
    if state == "dead":
        channel.script(Rejected("no"))
    if state in {"cancelled", "expired"}:
        await box.outbox.pause("chat")
    message = await box.send(ttl=1)
    if state == "cancelled":
        await box.outbox.cancel(message.id or "")
    if state == "expired":
        stand.advance(2_000)
        await box.reap()
    assert (await box.settled(message)).state == state
    stand.advance(HOUR_MS)
    await box.worker.pruner.tick()
    assert await box.outbox.get(message.id or "") is not None
    await reloaded(stand, box, retention={state: "30m"})
    await box.worker.pruner.tick()
    assert await box.outbox.get(message.id or "") is None


async def test_content_mirrors_keys_and_audit_are_kept_as_long_as_is_said_now(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    message = await box.send(key="k", mirror={"sessionKey": "s"})
    await box.settled(message)
    stand.advance(HOUR_MS)
    await reloaded(
        stand, box, retention={"content": "30m", "mirror": "30m", "delivered": "2h"}, key_retention="1h",
        audit_retention="1h",
    )  # fmt: skip
    await box.worker.pruner.tick()
    assert (await box.view(message)).content is None
    assert await box.outbox.mirror.pending("s") == []
    stand.advance(2 * HOUR_MS)
    await box.worker.pruner.tick()
    assert await box.outbox.get(message.id or "") is None
    assert (await box.send(key="k", mirror={"sessionKey": "s"})).id == message.id
    stand.advance(HOUR_MS + 1)
    await box.worker.pruner.tick()
    again = await box.send(key="k", mirror={"sessionKey": "s"})
    assert again.created
    assert await box.outbox.history(message.id or "") == []


@pytest.mark.contract("EX1")
async def test_a_held_message_waits_for_a_person_as_long_as_is_said_now(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(Uncertain("no answer"), policy=STEADY))
    message = await box.send(uncertain="hold")
    assert (await box.settled(message)).state is State.HELD
    stand.advance(HOUR_MS)
    await box.reap()
    assert (await box.view(message)).state is State.HELD
    await reloaded(stand, box, held_retention="30m")
    stand.advance(60_001)
    await box.reap()
    (died,) = await box.heard.wait_for(MessageDied)
    assert (died.id, died.reason) == (message.id, "unresolved")


async def test_pruning_comes_as_often_as_is_said_now(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    assert await box.worker._prune() == 300
    await reloaded(stand, box, prune_interval_ms=60_000)
    assert await box.worker._prune() == 60
