"""
Whole lives a second of one process.

A life is enqueue, claim, send through a channel that accepts at once, and settle. 1 000 producers await every send;
each has a recipient of its own, and so a lane. Beside us: huey's SqliteHuey with fsync and without, doing enqueue,
dequeue and execute; the raw database, writing the same rows into the same schema in batches of 1 000 with nothing
around it; and ourselves with the concurrency that one gets without asking.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bench.harness.figure import Figure, Goal, Of
from bench.harness.peers import HUEY, install
from bench.harness.raw import connect
from bench.programs.crowd import PRODUCERS, SLOTS, lives
from pillarbox.clock import SystemClock
from pillarbox.store.sqlite import migrations

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from bench.programs.crowd import Lives

_BATCH: Final = 1000
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
_DELIVER: Final = """
UPDATE message SET state = 3, completed_at = ?3, lease = NULL, lease_until = NULL, lost = 0
WHERE seq = ?1 AND state = 1 AND lease = ?2
"""


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=1_000, quick=10_000, usual=20_000, full=100_000)
    few = plan.size(trial=100, quick=500, usual=1_000)
    there, absent = install(plan.size(trial=(), quick=(HUEY,), usual=(HUEY,)), plan)
    huey, why = there.get(HUEY.name), absent.get(HUEY.name, "not asked for")
    ours: list[Lives] = []
    usual: list[Lives] = []
    safe: list[float] = []
    fast: list[float] = []
    raw: list[float] = []
    for _ in range(plan.rounds):
        with plan.folder() as folder:
            if huey is not None:
                safe.append(huey.lives(plan, few, "fsync"))
            ours.append(asyncio.run(lives(folder / "ours.db", count)))
            usual.append(asyncio.run(lives(folder / "usual.db", count, slots=None)))
            raw.append(raw_lives(folder / "raw.db", plan.size(trial=1_000, quick=20_000, usual=30_000)))
            if huey is not None:
                fast.append(huey.lives(plan, 2 * few, "none"))
    rates = tuple(one.rate for one in ours)
    return [
        _beside("beside huey", rates, "huey, fsync", safe, why, goal=Goal(least=12)),
        _beside("beside huey without fsync", rates, "huey, no fsync", fast, why, goal=Goal(least=2.5)),
        Figure(
            name="one process",
            unit="lives/s",
            samples=rates,
            goal=Goal(of=Of.VALUE, least=26_000),
            aim=Goal(of=Of.VALUE, least=30_000),
        ),
        Figure(
            name="beside the limit",
            unit="lives/s",
            samples=rates,
            peer="raw SQLite",
            peer_samples=tuple(raw),
            goal=Goal(least=0.5),
            note="raw: same schema and columns, insert and update twice in batches of 1 000, one fsync a batch",
        ),
        Figure(
            name="default settings",
            unit="lives/s",
            samples=tuple(one.rate for one in usual),
            peer=f"concurrency {SLOTS}",
            peer_samples=rates,
            goal=Goal(least=0.8),
            note="the same with the concurrency that one gets without asking",
        ),
        Figure(
            name="CPU of one life",
            unit="µs",
            samples=tuple(one.cpu_microseconds for one in ours),
            note="of all threads, the accepting channel's included; less disturbed by other work than time is",
        ),
    ]


def _beside(
    name: str,
    rates: tuple[float, ...],
    peer: str,
    samples: list[float],
    why: str,
    *,
    goal: Goal,
) -> Figure:
    """Make the figure beside huey; where that is not there, the note says *why*."""
    note = f"{PRODUCERS} producers; concurrency {SLOTS}; huey has one producer, which is its own consumer"
    if not samples:
        return Figure(name=name, unit="lives/s", samples=rates, note=f"{peer} is absent: {why}")
    return Figure(
        name=name,
        unit="lives/s",
        samples=rates,
        peer=peer,
        peer_samples=tuple(samples),
        goal=goal,
        note=note,
    )


def raw_lives(path: Path, count: int) -> float:
    """Write the same rows with nothing around it: insert, claim by number, deliver; one commit for each 1 000."""
    now_ms = SystemClock().wall_ms()
    connection = connect(path)
    migrations.create(connection)
    began = time.perf_counter()
    for first in range(1, count + 1, _BATCH):
        numbers = range(first, first + _BATCH)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, [(f"{n:021d}A", f"recipient-{n}", now_ms) for n in numbers])
        connection.executemany(_CLAIM, [(n, _LEASE, now_ms) for n in numbers])
        connection.executemany(_DELIVER, [(n, _LEASE, now_ms) for n in numbers])
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    assert connection.execute("SELECT count(*) FROM message WHERE state = 3").get == count
    connection.close()
    return count / seconds
