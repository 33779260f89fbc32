"""
How long until the first send, where many messages wait.

From the worker's `start()` to its channel's `send`; and, with the interpreter's start and our imports, from the start
of its process. Each round is a process of its own on the same file; what an earlier one had leased is taken over.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of
from bench.harness.filling import fill
from bench.harness.processes import Program
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan

_MS = 1e3


def measure(plan: Plan) -> list[Figure]:
    waiting = plan.size(trial=500, quick=10_000, usual=100_000, full=1_000_000)
    within: list[float] = []
    whole: list[float] = []
    few: list[float] = []
    with plan.folder() as folder:
        now_ms = SystemClock().wall_ms()
        asyncio.run(fill(folder / "few.db", 1_000, now_ms=now_ms))
        asyncio.run(fill(folder / "many.db", waiting, now_ms=now_ms))
        for _ in range(plan.rounds):
            few.append(_first_send(folder / "few.db")[0])
            one, other = _first_send(folder / "many.db")
            within.append(one)
            whole.append(other)
    return [
        Figure(
            name=f"{waiting} waiting, from start()",
            unit="ms",
            samples=tuple(within),
            peer="1 000 waiting",
            peer_samples=tuple(few),
            aim=Goal(of=Of.VALUE, most=500),
        ),
        Figure(name="the same, from the process's start", unit="ms", samples=tuple(whole)),
    ]


def _first_send(db: Path) -> tuple[float, float]:
    began = time.monotonic()
    with Program("worker", db) as program:
        said = [program.hear(), program.hear()]
        sent = next(one["at"] for one in said if one["event"] == "sent")
        started = next(one["began"] for one in said if one["event"] == "started")
        # An orderly end gives back what it had, so that the next round finds as much.
        program.stop()
    return (sent - started) * _MS, (sent - began) * _MS
