"""
Whole lives a second of one process.

A life is enqueue, claim, send through a channel that accepts at once, and settle. 1 000 producers await every send;
each has a recipient of its own, and so a lane. Beside us: huey's SqliteHuey with fsync, doing enqueue, dequeue and
execute; and the raw database, writing the same rows into the same schema in batches of 1 000 with nothing around it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from huey import SqliteHuey

from bench.harness.figure import Figure, Goal, Of
from bench.harness.filling import CHANNEL
from bench.harness.raw import connect
from pillarbox import Outbox
from pillarbox.clock import SystemClock
from pillarbox.store.sqlite import migrations
from pillarbox.store.sqlite.statements import WRITE

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.channels.base import Attempt
    from pillarbox.outbox.add_channel import FunctionOptions

PRODUCERS: Final = 1000
BATCH: Final = 1000
SLOTS: Final = 1000
_TEXT: Final = "Deploy done, all checks are green"
_LEASE: Final = b"sixteen bytes, 1"
_INSERT: Final = """
INSERT INTO message (id, queue, due_at, lane, max_attempts, policy, recipient, created_at, expires_at, prepared,
    content, content_size)
VALUES (?1, 1, ?3, char(31) || 'ops' || char(31) || char(31) || ?2 || char(31), 5, 1, ?2, ?3, ?3 + 3600000, 1,
    '{"text":"Deploy done, all checks are green"}', 44)
"""
_CLAIM: Final = """
UPDATE message SET state = 1, claims = claims + 1, lease = ?2, lease_until = ?3, worker = 1, claimed_at = ?3
WHERE seq = ?1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """What one round found: lives a second, and what one life costs."""

    rate: float
    cpu_microseconds: float


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(quick=5_000, usual=15_000, full=100_000)
    ours: list[Lives] = []
    usual: list[Lives] = []
    huey: list[float] = []
    raw: list[float] = []
    for _ in range(plan.rounds):
        with plan.folder() as folder:
            huey.append(huey_lives(folder / "huey.db", plan.size(quick=300, usual=1_000)))
            ours.append(asyncio.run(lives(folder / "ours.db", count, slots=SLOTS)))
            usual.append(asyncio.run(lives(folder / "usual.db", count // 2)))
            raw.append(raw_lives(folder / "raw.db", plan.size(quick=10_000, usual=30_000)))
    rates = tuple(one.rate for one in ours)
    return [
        Figure(
            name="beside huey",
            unit="lives/s",
            samples=rates,
            peer="huey, fsync",
            peer_samples=tuple(huey),
            goal=Goal(least=8),
            aim=Goal(least=10),
            note=f"{PRODUCERS} producers; concurrency {SLOTS}; huey has one producer, which is its own consumer",
        ),
        Figure(name="one process", unit="lives/s", samples=rates, aim=Goal(of=Of.VALUE, least=30_000)),
        Figure(
            name="beside the limit",
            unit="lives/s",
            samples=rates,
            peer="raw SQLite",
            peer_samples=tuple(raw),
            aim=Goal(least=0.5),
            note="raw: same schema and columns, insert and update twice in batches of 1 000, one fsync a batch",
        ),
        Figure(
            name="default settings",
            unit="lives/s",
            samples=tuple(one.rate for one in usual),
            peer="huey, fsync",
            peer_samples=tuple(huey),
            note="the same with the concurrency that one gets without asking",
        ),
        Figure(
            name="CPU of one life",
            unit="µs",
            samples=tuple(one.cpu_microseconds for one in ours),
            note="of all threads, the accepting channel's included; less disturbed by other work than time is",
        ),
    ]


async def lives(path: Path, count: int, *, slots: int | None = None) -> Lives:
    """Run *count* lives, *slots* at once; ``None`` leaves that to the defaults."""
    box = Outbox(path) if slots is None else Outbox(path, concurrency=slots)
    policy: FunctionOptions = {} if slots is None else {"concurrency": slots}
    box.channel(CHANNEL, _accept, **policy)
    async with box:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_produce(box, f"recipient-{n}", count // PRODUCERS) for n in range(PRODUCERS)))
        report = await box.drain(600)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        delivered = box.counts["delivered"]
    assert delivered == count // PRODUCERS * PRODUCERS, report
    return Lives(rate=delivered / seconds, cpu_microseconds=cpu / delivered * 1e6)


async def _produce(box: Outbox, recipient: str, count: int) -> None:
    for _ in range(count):
        await box.send(CHANNEL, to=recipient, text=_TEXT)


async def _accept(_: Attempt) -> None:
    """Take it at once."""


def huey_lives(path: Path, count: int) -> float:
    """Return huey's lives a second."""
    huey = SqliteHuey(filename=str(path), fsync=True, immediate=False)
    enqueue_one = huey.task()(_huey_task)
    began = time.perf_counter()
    for number in range(count):
        enqueue_one(f"recipient-{number}", _TEXT)
    done = 0
    while (task := huey.dequeue()) is not None:
        huey.execute(task)
        done += 1
    seconds = time.perf_counter() - began
    huey.storage.close()
    assert done == count
    return count / seconds


def _huey_task(*_: str) -> None:
    """Take it at once."""


def raw_lives(path: Path, count: int) -> float:
    """Write the same rows with nothing around it: insert, claim by number, deliver; one commit for each 1 000."""
    now_ms = SystemClock().wall_ms()
    connection = connect(path)
    migrations.create(connection)
    began = time.perf_counter()
    for first in range(1, count + 1, BATCH):
        numbers = range(first, first + BATCH)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, [(f"{n:021d}A", f"recipient-{n}", now_ms) for n in numbers])
        connection.executemany(_CLAIM, [(n, _LEASE, now_ms) for n in numbers])
        # A statement that returns rows has done its work only when they are fetched.
        delivered = connection.executemany(WRITE["deliver"], [(n, _LEASE, None, now_ms) for n in numbers]).fetchall()
        assert len(delivered) == len(numbers)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    assert connection.execute("SELECT count(*) FROM message WHERE state = 3").get == count
    connection.close()
    return count / seconds
