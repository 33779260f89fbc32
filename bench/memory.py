"""
How much memory a worker takes, idle and with many messages waiting.

The resident set of a process with a function channel and a webhook channel, two seconds after its start. What waits is
due, and the worker is sending as much of it at once as it may.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import psutil

from bench.harness.figure import Figure, Goal, Of
from bench.harness.filling import fill
from bench.harness.processes import Program
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan


def measure(plan: Plan) -> list[Figure]:
    waiting = plan.size(trial=500, quick=10_000, usual=100_000, full=1_000_000)
    settle = plan.size(trial=0.1, quick=1.0, usual=2.0)
    idle: list[float] = []
    busy: list[float] = []
    with plan.folder() as folder:
        asyncio.run(fill(folder / "waiting.db", waiting, now_ms=SystemClock().wall_ms()))
        for _ in range(plan.rounds):
            idle.append(_resident(folder / "idle.db", settle))
            busy.append(_resident(folder / "waiting.db", settle))
    return [
        Figure(name="idle", unit="MB", samples=tuple(idle), goal=Goal(of=Of.VALUE, most=60)),
        Figure(
            name=f"with {waiting} waiting",
            unit="MB",
            samples=tuple(busy),
            peer="idle",
            peer_samples=tuple(idle),
            aim=Goal(of=Of.VALUE, most=80),
        ),
    ]


def _resident(db: Path, settle_seconds: float) -> float:
    with Program("worker", db) as program:
        program.hear()
        time.sleep(settle_seconds)
        return psutil.Process(program.pid).memory_info().rss / 1e6
