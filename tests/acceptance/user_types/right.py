"""A program as a user writes it: two type checkers read it and find nothing. It is never run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_type

from pillarbox import Attempt, BulkItem, BulkReport, Channel, Message, Outbox, Outgoing, State, sync
from pillarbox.events import BusEvent, MessageDied
from pillarbox.testing.scripted import ScriptedChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

box = Outbox("outbox.db", channels={"ops": "https://example.org/ops"}, concurrency=8)
blocking = sync.Outbox("outbox.db")


@box.channel("pager", text_limit=160, unit="utf16", schedule="5s, 25s", ttl=timedelta(hours=1))
async def page(attempt: Attempt) -> str:
    return attempt.text


@box.channel("bell", threads=2, ordered=False, uncertain="hold")
def ring(attempt: Attempt) -> None:
    print(attempt.to)


@blocking.channel("bell")
def ring_too(attempt: Attempt) -> int:
    return len(attempt.text)


stays_async: Callable[[Attempt], Coroutine[Any, Any, str]] = page
stays_plain: Callable[[Attempt], int] = ring_too
url: str = box.channel(
    "hooks", "https://example.org/hook", secret="whsec_c2VjcmV0", timeout="10s", split_mode="newline"
)
scripted: ScriptedChannel = box.channel("scripted", ScriptedChannel(), max_attempts=3, lane="none")
channel: Channel = scripted
box.channel("late", ring, history="full")


def died(event: BusEvent) -> None:
    print(event)


def told(item: BulkItem) -> None:
    print(item.id, item.applied)


async def main() -> None:
    async with box:
        stop = box.subscribe(died, MessageDied)
        message: Message = await box.send("pager", to="ann", text="Deploy done", key="deploy-812", ttl=60)
        await message.wait(5)
        many: list[Message] = await box.send_many([Outgoing(channel="pager", to="ben", text="hi")])
        found: Message | None = await box.get(many[0].id or "")
        if found is not None and found.state is State.DEAD:
            again: Message = await box.replay(found.id or "", reason="mended")
            print(again.receipt)
        report: BulkReport = await box.replay_many("state=dead", dry_run=True, on_item=told)
        print(report.matched, [queue.paused for queue in await box.queues()], box.counts["delivered"])
        stop()


async def types_of_what_is_returned() -> None:
    message = assert_type(await box.send("pager", to="ann", text="hi"), Message)
    assert_type(await message.wait(timeout="5s"), Message)
    assert_type((message.id, message.receipt, message.created), tuple[str | None, str | None, bool])
    assert_type(message.state, State)
    assert_type(await box.send_many([{"channel": "pager", "to": "ann", "text": "hi"}]), list[Message])
    assert_type(await box.list(where="state=held"), list[Message])
    assert_type(await box.cancel_many(where="channel=pager"), BulkReport)
    assert_type(box.channels, tuple[str, ...])
    assert_type((await box.health()).problems, tuple[str, ...])
    assert_type(blocking.send("bell", to="ann", text="hi"), sync.Message)
    assert_type(blocking.list(), list[sync.Message])


def main_blocking() -> None:
    with blocking:
        message: sync.Message = blocking.send("bell", to="ann", text="hi")
        print(message.wait(5).state, [one.id for one in blocking.list(where="state=dead")])
        entries = blocking.mirror.pending("session", entries=3)
        print(blocking.mirror.acknowledge(entries))
