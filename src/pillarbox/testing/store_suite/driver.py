"""Drives a store in a test: drafts, claims and settlements with sensible defaults, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from pillarbox.domain.ids import LeaseId, MessageId, message_id
from pillarbox.domain.lifecycle import cancelled, decide, lost_worker
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Content, Draft, Leased, MessageView, State, encode_content
from pillarbox.domain.outcome import AnyOutcome, Delivered, Outcome
from pillarbox.domain.retry import Policy
from pillarbox.domain.transition import Reason, Transition
from pillarbox.errors import PillarboxError
from pillarbox.store import lost_answers
from pillarbox.store.base import (
    CANCELLED_FOR,
    Act,
    Acted,
    Batch,
    BatchResult,
    Bury,
    Claim,
    Enqueued,
    Lapsed,
    Query,
    Settled,
    Settlement,
    Store,
    WorkerStart,
)
from pillarbox.testing.fakes import FakeClock, SeededEntropy

LEASE_MS: Final = 30_000
CHANNEL: Final = "chat"
POLICY: Final = Policy(jitter=0.0, ttl_seconds=None)
"""Delays of 5 s, 25 s, 2 min, 10 min without jitter; no TTL."""

Counts = dict[tuple[str, str, State], tuple[int, int]]


class MakeStore(Protocol):
    """Makes another handle on one database, not opened."""

    def __call__(self, *, limits: Limits | None = None, clock: FakeClock | None = None) -> Store:
        """*clock* names the boot, and tells the time by which leases are judged; other times come with each batch."""


class Backstage(Protocol):
    """What a test must do or see behind the seam. Each database has its own."""

    async def lose_content(self, message: MessageId) -> None:
        """Take a stored message's content away, as damage would."""

    async def spoil_policy(self, message: MessageId) -> None:
        """Make a stored message's policy unreadable."""

    async def stored_contents(self) -> int:
        """Return how many contents are stored apart from their messages."""


class StoreDriver:
    """
    One handle on a store, used as one worker.

    Attributes:
        before_commit_seconds: Pass before each commit; for databases whose counters are a little old.
        worker: Its number; 0 until it is registered, which the first claim does.
        last: What the last batch did.
    """

    def __init__(self, store: Store, clock: FakeClock, entropy: SeededEntropy) -> None:
        self.store = store
        self.clock = clock
        self.entropy = entropy
        self.before_commit_seconds = 0.0
        self.worker = 0
        self.last = BatchResult()

    def draft(self, **fields: Any) -> Draft:
        """Make a message to ann, due now, in no lane. ``text`` is put into a content; ``lane`` orders it."""
        now_ms = self.clock.wall_ms()
        values: dict[str, Any] = {
            "id": message_id(now_ms, self.entropy.token(10)),
            "tenant": "",
            "channel": CHANNEL,
            "recipient": "ann",
            "content": encode_content(Content(text=fields.pop("text", "hello"))),
            "policy": POLICY,
            "created_ms": now_ms,
            "due_ms": fields.get("not_before_ms") or now_ms,
        }
        values |= fields
        values.setdefault("max_attempts", values["policy"].max_attempts)
        return Draft(**values)

    async def commit(self, **work: Any) -> BatchResult:
        """Commit a batch at the clock's time."""
        self.clock.advance(self.before_commit_seconds)
        batch = Batch(now_ms=self.clock.wall_ms(), **work)
        self.last = await lost_answers.commit(self.store, batch)
        return self.last

    async def enqueue(self, *drafts: Draft) -> list[Enqueued]:
        """Enqueue each for itself, in one batch. Raises what refused the first that was refused."""
        result = await self.commit(enqueue=[[draft] for draft in drafts])
        return [accepted for group in result.enqueued for accepted in raised(group)]

    async def enqueue_group(self, *drafts: Draft) -> list[Enqueued]:
        """Enqueue all or none. Raises what refused them."""
        result = await self.commit(enqueue=[drafts])
        return raised(result.enqueued[0])

    async def refusal(self, *drafts: Draft) -> PillarboxError:
        """Enqueue a group that is to be refused; return the error."""
        result = await self.commit(enqueue=[drafts])
        (refused,) = result.enqueued
        assert isinstance(refused, PillarboxError), refused
        return refused

    async def send(self, **fields: Any) -> MessageId:
        """Enqueue one message and give its id."""
        (accepted,) = await self.enqueue(self.draft(**fields))
        return accepted.id

    async def send_in_turn(self, lane: str, count: int, **fields: Any) -> list[MessageId]:
        """Enqueue *count* messages of a lane, one batch after the other."""
        return [await self.send(lane=lane, **fields) for _ in range(count)]

    async def register(self, *, channels: Sequence[str] = (CHANNEL,)) -> int:
        """Make this handle a worker."""
        start = WorkerStart(
            id=self.entropy.token(16),
            host="test",
            pid=1,
            version="0",
            channels=tuple(channels),
            now_ms=self.clock.wall_ms(),
        )
        self.worker = await self.store.register(start)
        return self.worker

    async def leave(self) -> None:
        """End the worker; what it leased lapses."""
        await self.store.deregister(self.worker)
        self.worker = 0

    async def queue(self, channel: str = CHANNEL, tenant: str = "") -> int:
        """Return a queue's number."""
        return next(q.id for q in await self.store.queues() if (q.tenant, q.channel) == (tenant, channel))

    async def request(self, capacity: int = 10, *, channels: Sequence[str] = (CHANNEL,), **fields: Any) -> Claim:
        """Build a claim of *capacity* from each channel, with a fresh lease."""
        if not self.worker:
            await self.register()
        numbers = {(q.tenant, q.channel): q.id for q in await self.store.queues()}
        values: dict[str, Any] = {
            "worker": self.worker,
            "lease": LeaseId(self.entropy.token(16)),
            "lease_ms": LEASE_MS,
            "capacity": {numbers["", name]: capacity for name in channels if ("", name) in numbers},
        }
        return Claim(**values | fields)

    async def claim(self, capacity: int = 10, **fields: Any) -> list[Leased]:
        """Claim up to *capacity* messages."""
        result = await self.commit(claim=await self.request(capacity, **fields))
        return result.claimed

    async def claim_one(self, **fields: Any) -> Leased:
        """Claim exactly one message."""
        (message,) = await self.claim(1, **fields)
        return message

    async def claimed_ids(self, capacity: int = 10, **fields: Any) -> list[MessageId]:
        """Claim and give the ids."""
        return [message.id for message in await self.claim(capacity, **fields)]

    def settlement(self, message: Leased, result: AnyOutcome | Transition, **fields: Any) -> Settlement:
        """Build the end of an attempt out of an outcome, or of a transition."""
        now_ms = self.clock.wall_ms()
        transition = decide(message, result, now_ms=now_ms, fraction=0.0) if isinstance(result, Outcome) else result
        return Settlement(message=message, transition=transition, **{"began_ms": now_ms, "ended_ms": now_ms} | fields)

    async def settle(self, message: Leased, result: AnyOutcome | Transition, **fields: Any) -> Settled:
        """Settle one attempt."""
        done = await self.commit(settle=[self.settlement(message, result, **fields)])
        return done.settled[0]

    async def settle_or_cancel(self, message: Leased, result: AnyOutcome | Transition, **fields: Any) -> Settled:
        """Settle one attempt; one that was to be cancelled ends so."""
        settlement = self.settlement(message, result, **fields)
        settled = await self.settle(message, settlement.transition, **fields)
        if settled in CANCELLED_FOR:
            settled = await self.settle(message, cancelled(settlement.transition, CANCELLED_FOR[settled]), **fields)
        return settled

    async def deliver(self, *messages: Leased, receipt: str | None = "r") -> None:
        """Deliver, and see that each was still ours."""
        done = await self.commit(settle=[self.settlement(message, Delivered(receipt)) for message in messages])
        assert done.settled == [Settled.APPLIED] * len(messages)

    async def deliver_next(self, **fields: Any) -> MessageId:
        """Claim one message and deliver it."""
        message = await self.claim_one(**fields)
        await self.deliver(message)
        return message.id

    async def act(self, act: Act) -> Acted:
        """Carry out one order."""
        return (await self.commit(acts=[act])).acted[0]

    def burial(self, message: MessageId, *, held_before_ms: int | None = None) -> Bury:
        """Return the order that gives up a held message; without *held_before_ms*, one that is held until now."""
        before_ms = self.clock.wall_ms() + 1 if held_before_ms is None else held_before_ms
        return Bury(id=message, actor="ann", reason=Reason.UNRESOLVED, held_before_ms=before_ms)

    async def lapsed(self) -> list[Lapsed]:
        """Return which leases nobody holds any more."""
        return await self.store.lapsed(limit=100)

    async def reap(self) -> list[Settled]:
        """Settle every lapsed lease as its worker's loss, as the reaper does."""
        return [await self.settle_lapsed(item) for item in await self.lapsed()]

    async def settle_lapsed(self, item: Lapsed) -> Settled:
        """Settle one lapsed lease as its worker's loss; one that was to be cancelled ends so."""
        now_ms, suspect_ms = self.clock.wall_ms(), item.suspect_ms
        transition = lost_worker(item.message, now_ms=now_ms, fraction=0.0, suspect_ms=suspect_ms)
        return await self.settle_or_cancel(item.message, transition, lapsed=item.by, began_ms=None)

    async def expire(self, limit: int = 100) -> list[MessageId]:
        """End what time has ended."""
        return [ended.id for ended in (await self.commit(expire=limit)).expired]

    async def view(self, message: MessageId) -> MessageView:
        """Read a message that must be there."""
        found = await self.store.get(message)
        assert found is not None, f"{message} is gone"
        return found

    async def state(self, message: MessageId) -> State:
        """Read a message's state."""
        return (await self.view(message)).state

    async def counted(self) -> Counts:
        """Count messages and bytes by channel and state, from the messages themselves."""
        found: Counts = {}
        for view in await self.everything():
            messages, size = found.get((view.tenant, view.channel, view.state), (0, 0))
            found[view.tenant, view.channel, view.state] = messages + 1, size + view.content_size
        return found

    async def counters(self) -> Counts:
        """Return the same from the store's counters."""
        return {(t.tenant, t.channel, t.state): (t.messages, t.bytes) for t in await self.store.stats() if t.messages}

    async def everything(self) -> list[MessageView]:
        """Read every message, oldest first."""
        return (await self.store.list_messages(Query(limit=100_000)))[::-1]

    async def healthy(self) -> None:
        """Check that counters and the store's own check find nothing wrong."""
        assert await self.counters() == await self.counted()
        assert await self.store.check() == []


def raised(group: list[Enqueued] | PillarboxError) -> list[Enqueued]:
    """Return what a group came to, or raise what refused it."""
    if isinstance(group, PillarboxError):
        raise group
    return group


def fields_of(view: MessageView) -> dict[str, object]:
    """Return a message's fields by name, to be compared."""
    return msgspec.structs.asdict(view)
